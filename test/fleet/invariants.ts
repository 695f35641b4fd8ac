/** What src/fleet/state.ts promises of every fleet, computed anew. */

import type { Numbers } from '../../src/fleet/numbers.js';
import { type Fleet, type FleetTarget, formerKey } from '../../src/fleet/state.js';

/** What is wrong with it; null where nothing is. */
export function brokenInvariant(fleet: Fleet): string | null {
  return (
    wrongNumbers(
      'slot',
      fleet.slots,
      Object.values(fleet.targets).map(({ slot }) => slot),
    ) ??
    wrongNumbers(
      'index',
      fleet.indices,
      Object.values(fleet.endpoints).map(({ index }) => index),
    ) ??
    wrongKeys(fleet) ??
    wrongZones(fleet) ??
    wrongGroups(fleet)
  );
}

/** Every number is lent to one, or free, exactly once. */
function wrongNumbers(what: string, numbers: Numbers, lent: readonly number[]): string | null {
  const all = [...lent, ...numbers.clean, ...numbers.waiting.map(({ number }) => number)];
  if (new Set(all).size !== all.length) return `a ${what} is lent or free twice`;
  if (all.length !== numbers.next) return `a ${what} is lost: ${all} of ${numbers.next}`;
  return all.every((number) => number >= 0 && number < numbers.next) ? null : `no such ${what}`;
}

function wrongKeys({ targets }: Fleet): string | null {
  for (const [key, target] of Object.entries(targets)) {
    if (key === target.id) continue;
    if (key !== formerKey(target) || target.phase !== 'gone') return `${key} is ${target.id}`;
  }
  return null;
}

function wrongZones({ zones, targets, endpoints }: Fleet): string | null {
  const isTaking = (target: FleetTarget) =>
    target.phase === 'active' && target.weight > 0 && target.state === 'healthy';
  const names = new Set<string>();
  for (const zone of zones) {
    if (zone === null) continue;
    const own = Object.values(targets).filter((target) => target.zone === zone.name);
    const counted = {
      name: zone.name,
      targets: own.length,
      healthy: own.filter(isTaking).length,
      endpoints: Object.values(endpoints).filter((endpoint) => endpoint.zone === zone.name).length,
    };
    if (JSON.stringify(counted) !== JSON.stringify(zone)) return `zone ${JSON.stringify(zone)}`;
    if (zone.targets + zone.endpoints === 0) return `zone ${zone.name} is lost`;
    if (names.has(zone.name)) return `zone ${zone.name} is there twice`;
    names.add(zone.name);
  }
  for (const { zone } of [...Object.values(targets), ...Object.values(endpoints)]) {
    if (!names.has(zone)) return `zone ${zone} has no number`;
  }
  return zones.at(-1) === null ? 'numbers of zones end in a hole' : null;
}

function wrongGroups({ groups, group, targets }: Fleet): string | null {
  for (const [number, { targets: count }] of Object.entries(groups)) {
    const own = Object.values(targets).filter((target) => target.group === Number(number));
    if (own.length !== count) return `group ${number} counts ${count} of ${own.length}`;
    if (count === 0 && Number(number) !== group) return `group ${number} is lost`;
  }
  return Object.values(targets).every((target) => groups[target.group]) ? null : 'no such group';
}
