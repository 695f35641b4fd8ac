/**
 * One command's way through a fleet. What it is about to change it touches first, so that the counts of
 * zones are right afterwards, and so that only what it may concern is looked at again.
 */
import type { FleetEvent } from './commands.js';
import { everyTarget, type Fleet, type FleetTarget, formerKey, GENERATIONS } from './state.js';
import { takesNewFlows } from './table.js';
import { countIn, countOut, freeZones, helpedZones, isHelped } from './zones.js';

type EventOf<E> = E extends FleetEvent ? Omit<E, 'target' | 'slot' | 'group' | 'at'> : never;

export interface Change {
  readonly fleet: Fleet;
  readonly now: number;
  readonly events: FleetEvent[];
  /** Targets that may be different, and that the counts of zones are without. */
  readonly touched: Set<FleetTarget>;
  /** By number of zone: whether a healthy target took new flows before. */
  readonly helpedBefore: readonly boolean[];
  /** Whether flows of any target may choose anew or stay after all. */
  everywhere: boolean;
  /** Whether the data plane must hear of it. */
  revised: boolean;
}

/** What a command that was checked does. */
export type Plan = (change: Change) => void;

/** Begins a change; `finish` ends it. */
export function begin(fleet: Fleet, now: number): Change {
  return {
    fleet,
    now,
    events: [],
    touched: new Set(),
    helpedBefore: helpedZones(fleet),
    everywhere: false,
    revised: false,
  };
}

/** Before anything of a target changes that zones count: zone, phase, weight, state. */
export function touch(change: Change, target: FleetTarget): void {
  if (change.touched.has(target)) return;
  change.touched.add(target);
  if (keyOf(change.fleet, target) !== null) countOut(change.fleet, target);
}

/** Where the target is found; null where it is not part of the fleet. */
export function keyOf({ targets }: Fleet, target: FleetTarget): string | null {
  if (targets[target.id] === target) return target.id;
  const former = formerKey(target);
  return targets[former] === target ? former : null;
}

export function tell(change: Change, target: FleetTarget, event: EventOf<FleetEvent>): void {
  const { id, slot, group } = target;
  const at = change.now;
  // Literals, as in `enlist`.
  if (event.type === 'health') {
    const { type, previous, state, reason, cause } = event;
    change.events.push({ type, previous, state, reason, cause, target: id, slot, group, at });
  } else {
    const { type, cause } = event;
    change.events.push({ type, cause, target: id, slot, group, at } as FleetEvent);
  }
}

/** Counts, and brings the generations up to date; what was told. */
export function finish(change: Change): FleetEvent[] {
  const { fleet, touched, events } = change;
  for (const target of touched) if (keyOf(fleet, target) !== null) countIn(fleet, target);
  // The data plane has a number for each zone of its targets and endpoints, and no others.
  if (freeZones(fleet)) change.revised = true;
  settle(change);
  if (change.revised || events.length > 0) fleet.revision++;
  return events;
}

function settle(change: Change): void {
  const { fleet, helpedBefore } = change;
  if (!fleet.inUse) return;
  const helped = helpedZones(fleet);
  const other = (target: FleetTarget) => {
    const zone = fleet.zones.findIndex((candidate) => candidate?.name === target.zone);
    return helped[zone] !== (helpedBefore[zone] ?? false);
  };
  const changed = helped.some((is, zone) => is !== (helpedBefore[zone] ?? false));
  const concerned =
    change.everywhere || changed
      ? everyTarget(fleet).filter((t) => change.everywhere || change.touched.has(t) || other(t))
      : change.touched;
  for (const target of concerned) {
    if (keyOf(fleet, target) !== null) settleOne(change, target);
  }
}

/**
 * Existing flows are moved by generations: a flow pinned under another generation than its target's
 * chooses again with its next packet. With failover `rebalance` a target that failed or left gets a
 * new generation as soon as its pool has a healthy target. Where its flows may stay after all (it
 * recovered, came back, or none is healthy any more) it has the one before again: nothing was pinned
 * to it meanwhile.
 */
function settleOne({ fleet, now }: Change, target: FleetTarget): void {
  const helped = isHelped(fleet, target);
  if (target.failing && takesNewFlows(target, helped)) keepFlows(target);
  else if (helped) moveFlows(fleet, target, now);
}

/** They go round. */
export function generationAfter(generation: number, steps: 1 | -1): number {
  return (generation + GENERATIONS + steps) % GENERATIONS;
}

/** How long a slot stays known after its flows were told to choose again, for late returns. */
export const LATE_RETURNS_MS = 30_000;

function moveFlows(fleet: Fleet, target: FleetTarget, now: number): void {
  const away = target.failing || target.phase === 'gone';
  const { failover } = fleet.groups[target.group].policy;
  if (failover !== 'rebalance' || !away || target.moved) return;
  target.generation = generationAfter(target.generation, 1);
  target.moved = true;
  if (target.phase === 'gone') target.freeAt = now + LATE_RETURNS_MS;
}

/** Flows that were told to move and have had no packet since stay: their generation is back. */
export function keepFlows(target: FleetTarget): void {
  if (!target.moved) return;
  target.moved = false;
  target.generation = generationAfter(target.generation, -1);
}
