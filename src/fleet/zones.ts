/**
 * Zones and their numbers. A name has its number for as long as a target has it (until the slot is free
 * again) or an endpoint.
 */
import { mismatch } from '../base/errors.js';
import type { Fleet, FleetTarget, FleetZone } from './state.js';

export function zoneNamed({ zones }: Fleet, name: string): FleetZone | null {
  return zones.find((zone) => zone?.name === name) ?? null;
}

/** Its number in the data plane; -1 where it has none. */
export function zoneNumber({ zones }: Fleet, name: string): number {
  return zones.findIndex((zone) => zone?.name === name);
}

/** Names of the zones that have a number, in the order of these. */
export function zoneNames({ zones }: Fleet): string[] {
  return zones.flatMap((zone) => (zone === null ? [] : [zone.name]));
}

/** A new name takes the lowest number that is free; that there is one was checked before. */
function zoneFor(fleet: Fleet, name: string): FleetZone {
  const known = zoneNamed(fleet, name);
  if (known) return known;
  const zone = { name, targets: 0, healthy: 0, endpoints: 0 };
  const free = fleet.zones.indexOf(null);
  if (free < 0) fleet.zones.push(zone);
  else fleet.zones[free] = zone;
  return zone;
}

/** Registered, healthy, and with a weight. */
function isTaking({ phase, weight, state }: FleetTarget): boolean {
  return phase === 'active' && weight > 0 && state === 'healthy';
}

export function countIn(fleet: Fleet, target: FleetTarget): void {
  const zone = zoneFor(fleet, target.zone);
  zone.targets++;
  if (isTaking(target)) zone.healthy++;
}

export function countOut(fleet: Fleet, target: FleetTarget): void {
  const zone = zoneFor(fleet, target.zone);
  zone.targets--;
  if (isTaking(target)) zone.healthy--;
}

export function holdZone(fleet: Fleet, name: string): void {
  zoneFor(fleet, name).endpoints++;
}

export function releaseZone(fleet: Fleet, name: string): void {
  zoneFor(fleet, name).endpoints--;
}

/** Frees the numbers of zones that nobody has any more; whether there were any. */
export function freeZones({ zones }: Fleet): boolean {
  let freed = false;
  zones.forEach((zone, number) => {
    if (zone === null || zone.targets > 0 || zone.endpoints > 0) return;
    zones[number] = null;
    freed = true;
  });
  while (zones.length > 0 && zones[zones.length - 1] === null) zones.pop();
  return freed;
}

/** By number: whether a healthy target takes new flows there. */
export function helpedZones({ zones, crossZone }: Fleet): boolean[] {
  const helped = zones.map((zone) => zone !== null && zone.healthy > 0);
  return crossZone ? helped.fill(helped.includes(true)) : helped;
}

/** Whether a healthy target of its pool takes new flows: its zone, or all zones with cross-zone. */
export function isHelped(fleet: Fleet, { zone }: FleetTarget): boolean {
  if (fleet.crossZone) return fleet.zones.some((one) => one !== null && one.healthy > 0);
  return (zoneNamed(fleet, zone)?.healthy ?? 0) > 0;
}

/** Throws where targets in these zones too would be in too many. */
export function checkTargetZones(fleet: Fleet, names: readonly string[]): void {
  const { zones, limits } = fleet;
  const known = zones.flatMap((zone) => (zone && zone.targets > 0 ? [zone.name] : []));
  const count = new Set([...known, ...names]).size;
  if (count <= limits.zones) {
    checkZones(fleet, names);
    return;
  }
  throw mismatch(
    'ERR_GWLB_TARGET_LIMIT',
    'targets',
    `targets of at most ${limits.zones} zones`,
    `${count}`,
  );
}

/** Throws where these zones would not all get a number. */
export function checkZones(fleet: Fleet, names: readonly string[]): void {
  const most = fleet.limits.zones;
  const all = new Set([...zoneNames(fleet), ...names]).size;
  if (all <= most) return;
  throw mismatch(
    'ERR_GWLB_ENDPOINT_LIMIT',
    'zone',
    `at most ${most} zones of targets and endpoints`,
    `${all}`,
  );
}
