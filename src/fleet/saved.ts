/**
 * What of a load balancer's fleet has to outlive a restart, as plain data: who has which slot, under which
 * generation, which endpoint has which index, and how targets were. A fleet that is restored from it decides about
 * cookies and flow keys of before as the one that was saved.
 */
import { type Health, recount, type TargetReason, type TargetState } from '../health/thresholds.js';
import { apply } from './apply.js';
import { LATE_RETURNS_MS } from './change.js';
import type { FleetEvent } from './commands.js';
import { DRAINING, NOT_REGISTERED } from './life.js';
import {
  type FreeNumber,
  freshNumbers,
  INDEX_QUARANTINE_MS,
  SLOT_QUARANTINE_MS,
} from './numbers.js';
import { LAST_STEP, stepAfter } from './slow-start.js';
import {
  emptyFleet,
  everyTarget,
  type Fleet,
  type FleetGroup,
  type FleetLimits,
  type FleetPolicy,
  type FleetTarget,
  formerKey,
  type GroupMembers,
  type Phase,
} from './state.js';
import { countIn, freeZones } from './zones.js';

/** Of the form; another form has another number. */
export const STATE_VERSION = 1;

/** A group that is in use, or whose targets have not all left. */
export interface SavedGroup {
  /** What targets name it by. */
  readonly number: number;
  /** `targetGroup.name`. */
  readonly name: string;
  /** What it does with its targets and their flows. */
  readonly policy: FleetPolicy;
}

/** A target, from its registration until its slot is free. Times are milliseconds since 1970. */
export interface SavedTarget {
  /** Its IPv4 address. */
  readonly address: string;
  /** UDP port on which it receives GENEVE. */
  readonly port: number;
  /** Its number in the data plane and in flow cookies. */
  readonly slot: number;
  /** Flows that were pinned under another one choose again, 0–255. */
  readonly generation: number;
  /** Number of its group. */
  readonly group: number;
  /** The zone whose endpoints it serves. */
  readonly zone: string;
  /** Share of new flows. */
  readonly weight: number;
  /** Registered, deregistered with its flows, or gone but for its slot. */
  readonly phase: Phase;
  /** When it entered its state. */
  readonly since: number;
  /** What checks, or others, say of it. */
  readonly health: Health;
  /** What `setHealth` said last; null where it said nothing. */
  readonly said: Health | null;
  /** Turned unhealthy and was not healthy since. */
  readonly failing: boolean;
  /** The flows it had when it failed or left were told to choose again. */
  readonly moved: boolean;
  /** When it turned healthy, while its slow start lasts; null otherwise. */
  readonly warmingSince: number | null;
  /** When it is gone, if it drains. */
  readonly drainUntil: number;
  /** When its slot is free, if it is gone; null: when no flow is pinned to it. */
  readonly freeAt: number | null;
}

/** A slot that was given back. */
export interface SavedFreeSlot extends FreeNumber {
  /** What its next owner begins with. */
  readonly generation: number;
}

/** An endpoint's place in the data plane. */
export interface SavedEndpoint {
  /** `vpce-` and 17 hex digits. */
  readonly id: string;
  /** Its number there, part of its flows' keys. */
  readonly index: number;
}

/** What a load balancer has to know of its past to go on where another one stopped. */
export interface GatewayState {
  /** Of its form. */
  readonly version: typeof STATE_VERSION;
  /** Number of the group in use. */
  readonly group: number;
  /** That one, and those before it whose targets have not all left. */
  readonly groups: readonly SavedGroup[];
  /** Names by number; null where that is free. */
  readonly zones: readonly (string | null)[];
  /** In order of registration. */
  readonly targets: readonly SavedTarget[];
  /** Slots that were given back. */
  readonly freeSlots: readonly SavedFreeSlot[];
  /** Which endpoint has which number. */
  readonly endpoints: readonly SavedEndpoint[];
  /** Numbers of endpoints that were given back. */
  readonly freeIndices: readonly FreeNumber[];
}

/** The fleet of a load balancer as it is now. */
export function savedOf(fleet: Fleet): GatewayState {
  const { indices } = fleet;
  const lent = Object.entries(fleet.endpoints).map(([id, { index }]) => ({ id, index }));
  const kept = indices.waiting.flatMap(({ number, keptFor }) =>
    keptFor === undefined ? [] : [{ id: keptFor, index: number }],
  );
  return {
    version: STATE_VERSION,
    group: fleet.group,
    groups: Object.entries(fleet.groups).map(([number, { name, policy }]) => {
      return { number: Number(number), name, policy };
    }),
    zones: fleet.zones.map((zone) => zone?.name ?? null),
    targets: everyTarget(fleet).map(savedTarget),
    freeSlots: freeOf(fleet.slots).map((free) => {
      return { ...free, generation: fleet.generations[free.number] ?? 0 };
    }),
    endpoints: [...lent, ...kept],
    freeIndices: freeOf(indices),
  };
}

function savedTarget(target: FleetTarget): SavedTarget {
  const { address, port, slot, generation, group, zone, weight, phase, since } = target;
  const { health, said, failing, moved, warmingSince, drainUntil, freeAt } = target;
  return {
    ...{ address, port, slot, generation, group, zone, weight, phase, since },
    ...{ health, said, failing, moved, warmingSince, drainUntil, freeAt },
  };
}

function freeOf({ clean, waiting }: Fleet['slots']): FreeNumber[] {
  return [
    ...clean.map((number) => ({ number, since: null })),
    ...waiting.flatMap(({ number, since, keptFor }) =>
      keptFor === undefined ? [{ number, since }] : [],
    ),
  ];
}

/**
 * The fleet that was saved, for a load balancer without endpoints: each gets its index again by its id. What
 * time brought meanwhile the next `tick` does. `saved` was checked. A time that has not come yet (a clock
 * that was set back) is now.
 */
export function restored(
  saved: GatewayState,
  limits: FleetLimits,
  crossZone: boolean,
  now: number,
): Fleet {
  const fleet = emptyFleet(limits, true);
  const past = (time: number) => Math.min(time, now);
  fleet.group = saved.group;
  for (const { number, name, policy } of saved.groups) {
    fleet.groups[number] = { name, policy, targets: 0 };
  }
  fleet.zones = saved.zones.map((name) => {
    return name === null ? null : { name, targets: 0, healthy: 0, endpoints: 0 };
  });
  for (const target of saved.targets) {
    const group = fleet.groups[target.group];
    join(fleet, restoredTarget(target, group, now));
  }
  fleet.slots = numbersOf(limits.targets, SLOT_QUARANTINE_MS, saved.targets.length, [
    ...saved.freeSlots.map(({ number, since }) => ({ number, since: since && past(since) })),
  ]);
  for (const { number, generation } of saved.freeSlots) fleet.generations[number] = generation;
  fleet.indices = numbersOf(limits.endpoints, INDEX_QUARANTINE_MS, 0, [
    ...saved.freeIndices.map(({ number, since }) => ({ number, since: since && past(since) })),
    ...saved.endpoints.map(({ id, index }) => ({ number: index, since: now, keptFor: id })),
  ]);
  freeZones(fleet);
  for (const [number, { targets }] of Object.entries(fleet.groups)) {
    if (targets === 0 && Number(number) !== fleet.group) delete fleet.groups[number];
  }
  apply(fleet, { type: 'setCrossZone', crossZone }, now);
  return fleet;
}

function restoredTarget(saved: SavedTarget, { policy }: FleetGroup, now: number): FleetTarget {
  const { warmingSince, drainUntil, freeAt, phase, health } = saved;
  const warming = warmingSince === null ? null : Math.min(warmingSince, now);
  const step =
    warming === null || policy.slowStartMs === 0
      ? LAST_STEP
      : stepAfter(now - warming, policy.slowStartMs);
  return {
    ...saved,
    id: `${saved.address}:${saved.port}`,
    number: saved.address.split('.').reduce((number, part) => number * 256 + Number(part), 0),
    ...shown(phase, health),
    health: recount(health),
    since: Math.min(saved.since, now),
    warmingSince: step === LAST_STEP ? null : warming,
    step,
    drainUntil: Math.min(drainUntil, now + policy.deregistrationDelayMs),
    freeAt: freeAt === null ? null : Math.min(freeAt, now + LATE_RETURNS_MS),
    lookAt: now,
  };
}

/** State, reason and description, which the rest says. */
function shown(
  phase: Phase,
  health: Health,
): { state: TargetState; reason: TargetReason | null; description: string } {
  if (phase === 'active') {
    const { state, reason, description } = health;
    return { state, reason, description };
  }
  return phase === 'draining'
    ? {
        state: 'draining',
        reason: 'Target.DeregistrationInProgress',
        description: DRAINING,
      }
    : { state: 'unused', reason: 'Target.NotRegistered', description: NOT_REGISTERED };
}

/** The one that is there has its id for itself. */
function join(fleet: Fleet, target: FleetTarget): void {
  const other = fleet.targets[target.id];
  if (other === undefined || other.phase === 'gone') {
    if (other) {
      delete fleet.targets[other.id];
      fleet.targets[formerKey(other)] = other;
    }
    fleet.targets[target.id] = target;
  } else {
    fleet.targets[formerKey(target)] = target;
  }
  fleet.groups[target.group].targets++;
  countIn(fleet, target);
}

function numbersOf(
  capacity: number,
  quarantineMs: number,
  lent: number,
  free: readonly (FreeNumber & { readonly keptFor?: string })[],
): Fleet['slots'] {
  const numbers = freshNumbers(capacity, quarantineMs);
  numbers.next = lent + free.length;
  for (const { number, since, keptFor } of free) {
    if (since === null) numbers.clean.push(number);
    else
      numbers.waiting.push(keptFor === undefined ? { number, since } : { number, since, keptFor });
  }
  numbers.waiting.sort((a, b) => a.since - b.since);
  return numbers;
}

/**
 * A restored fleet goes on with this group: with the one that was in use, where the name is the same, as if it had
 * been changed to these targets and this policy; else it begins to use another.
 */
export function resume(fleet: Fleet, group: GroupMembers, now: number): FleetEvent[] {
  if (fleet.groups[fleet.group].name !== group.name) {
    return apply(fleet, { type: 'useGroup', group }, now);
  }
  const { policy, targets } = group;
  const events = [
    ...apply(fleet, { type: 'setPolicy', policy, recount: true }, now),
    ...apply(fleet, { type: 'setTargets', targets }, now),
  ];
  for (const { id: target, said } of targets) {
    if (said === null) continue;
    const { state, description } = said;
    const known = state === 'healthy' ? state : 'unhealthy';
    events.push(...apply(fleet, { type: 'setHealth', target, state: known, description }, now));
  }
  return events;
}
