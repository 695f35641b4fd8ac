/**
 * What must be so of every packet, whatever happened before: it stays with its target unless policy moved
 * it, it goes to no target that takes no new flows, and it leaves by the endpoint that it came by.
 */
import { everyTarget, type Fleet, type FleetTarget, policyOf } from '../../src/fleet/state.js';
import type { FleetTable, TableTarget } from '../../src/fleet/table.js';
import { ACK, SYN } from '../model/packets.js';
import type { Connection, Pin } from './connection.js';
import type { Fate } from './core.js';
import type { Sent } from './network.js';

/** What a judgement is made by. */
export interface Scene {
  readonly fleet: Fleet;
  readonly table: FleetTable;
  readonly now: number;
  /** Which registration has a slot. */
  readonly owners: ReadonlyMap<number, number>;
  readonly life: number;
}

/** A packet on its way in. */
export interface Entering {
  readonly connection: Connection;
  readonly flags: number;
  readonly later: boolean;
  readonly endpoint: { readonly index: number; readonly zone: string };
}

const entryOf = ({ table }: Scene, slot: number): TableTarget | undefined =>
  table.targets.find((target) => target.slot === slot);

/** The entry that a pin is about, unless policy moved its flows or it is another's. */
function pinnedEntry(scene: Scene, pin: Pin | null): TableTarget | undefined {
  if (pin === null || scene.owners.get(pin.slot) !== pin.owner) return undefined;
  const entry = entryOf(scene, pin.slot);
  return entry?.generation === pin.generation ? entry : undefined;
}

function isSyn(flags: number): boolean {
  return (flags & (SYN | ACK)) === SYN;
}

/** Slots that may be given to a new flow of the zone, worked out from the targets themselves. */
export function takersOf({ fleet }: Scene, zone: string): Set<number> {
  const ready = everyTarget(fleet).filter(
    (target) =>
      target.phase === 'active' &&
      target.group === fleet.group &&
      target.weight > 0 &&
      (fleet.crossZone || target.zone === zone),
  );
  const healthy = ready.filter(({ state }) => state === 'healthy');
  return new Set((healthy.length > 0 ? healthy : ready).map(({ slot }: FleetTarget) => slot));
}

/** Whether the flows of the target in a slot have to move: it failed or left, and another can have them. */
function isLost(scene: Scene, slot: number): boolean {
  const target = everyTarget(scene.fleet).find((one) => one.slot === slot);
  if (!target || policyOf(scene.fleet, target).failover !== 'rebalance') return false;
  return isHelped(scene, target) && (target.failing || target.phase === 'gone');
}

/** Whether a healthy target takes new flows where this one is. */
function isHelped(scene: Scene, { zone }: FleetTarget): boolean {
  const takers = takersOf(scene, zone);
  return everyTarget(scene.fleet).some((one) => takers.has(one.slot) && one.state === 'healthy');
}

/** Whether connections of the target in a slot are answered with a RST: it is lost, and another is not. */
function mayRefuse(scene: Scene, slot: number): boolean {
  const target = everyTarget(scene.fleet).find((one) => one.slot === slot);
  if (!target || !isHelped(scene, target)) return false;
  const { resetOnUnhealthy, resetOnDeregistration } = policyOf(scene.fleet, target);
  return (resetOnUnhealthy && target.failing) || (resetOnDeregistration && target.phase === 'gone');
}

/** A target whose flows were told to choose anew although it is as well as it was. */
export function wronglyTold(before: FleetTable, scene: Scene): string | null {
  for (const { slot, generation, keeps } of scene.table.targets) {
    const former = before.targets.find((target) => target.slot === slot);
    const same = former?.generation === generation;
    if (same || !former?.keeps || !keeps || former.identity !== entryOf(scene, slot)?.identity) {
      continue;
    }
    return `flows of slot ${slot} were told to choose anew, though it is well`;
  }
  return null;
}

/** What is wrong with what became of a packet; null where nothing is. */
export function wrongFate(scene: Scene, entering: Entering, fate: Fate): string | null {
  const { connection, flags, later, endpoint } = entering;
  const entry = connection.isCertain(scene.now) ? pinnedEntry(scene, connection.pin) : undefined;
  const takers = takersOf(scene, endpoint.zone);
  switch (fate.verdict) {
    case 'forward':
      return (
        wrongTarget(scene, connection, fate, takers) ??
        (entry ? wronglyMoved(connection, entry, fate, flags) : null)
      );
    case 'held':
      return later ? null : 'a packet that is no later fragment was held';
    case 'bypass':
      return 'forwarded without inspection';
    default:
      return wrongDrop(scene, entry, takers, connection, flags, fate);
  }
}

function wrongTarget(
  scene: Scene,
  connection: Connection,
  fate: Fate,
  takers: Set<number>,
): string | null {
  const entry = entryOf(scene, fate.target);
  if (!entry) return `sent to slot ${fate.target}, which nobody has`;
  if (entry.address !== fate.address) return `sent to another address than slot ${fate.target} has`;
  if (isLost(scene, fate.target)) return `a flow went on to slot ${fate.target}, which is lost`;
  if (!fate.chosen || takers.has(fate.target)) return null;
  // Another connection in the place of one may stay where that was.
  if (pinnedEntry(scene, connection.pin)?.slot === fate.target) return null;
  return `a new flow was given to slot ${fate.target}, which takes none`;
}

/** Its entry is there: it stays, but where a SYN may have begun another connection. */
function wronglyMoved(
  connection: Connection,
  entry: TableTarget,
  { target }: Fate,
  flags: number,
): string | null {
  if (target === entry.slot) return null;
  if (!connection.isPlain || isSyn(flags)) {
    // A target that takes new flows keeps its own, unless the connection was over.
    if (!entry.eligible || connection.isClosing) return null;
  }
  return `a flow went from slot ${entry.slot} to ${target}, though nothing moved it`;
}

function wrongDrop(
  scene: Scene,
  entry: TableTarget | undefined,
  takers: Set<number>,
  connection: Connection,
  flags: number,
  { verdict, reason }: Fate,
): string | null {
  if (reason === 'flow_refused') {
    if (!entry || mayRefuse(scene, entry.slot)) return null;
    return `a connection to slot ${entry.slot} was refused, though nothing is wrong with that`;
  }
  if (verdict === 'drop' && reason === 'tcp_not_syn') {
    return entry && connection.isPlain ? 'a connection was forgotten' : null;
  }
  if (verdict === 'drop' && reason === 'no_targets') {
    const stays = entry && connection.isPlain && (entry.eligible || !isSyn(flags));
    if (stays) return 'a flow with a target was dropped for want of one';
    return takers.size === 0 ? null : `no target, though there are slots ${[...takers]}`;
  }
  return `${verdict} with ${reason}`;
}

/** What is wrong with what became of a packet that an appliance gave back. */
export function wrongReturn(
  scene: Scene,
  sent: Sent,
  connection: Connection,
  fate: Fate,
): string | null {
  const { endpoints } = scene.fleet;
  const endpoint = Object.hasOwn(endpoints, sent.endpoint) ? endpoints[sent.endpoint] : undefined;
  if (fate.verdict === 'forward') {
    if (endpoint?.index !== fate.endpoint) {
      return `entered by ${sent.endpoint}, left by index ${fate.endpoint}`;
    }
    return fate.target === sent.slot ? null : `taken from slot ${sent.slot} as of ${fate.target}`;
  }
  const { pin } = connection;
  const same =
    sent.life === scene.life &&
    pin?.slot === sent.slot &&
    pin.owner === sent.owner &&
    pin.generation === sent.generation &&
    connection.index === endpoint?.index;
  if (!same || !connection.isCertain(scene.now) || connection.unclear) return null;
  return pinnedEntry(scene, pin) ? `a packet that came back was dropped: ${fate.reason}` : null;
}
