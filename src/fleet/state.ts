/**
 * The fleet of one load balancer as plain data: the groups of targets it uses and used, what becomes of
 * each target, and the numbers that packets carry. `JSON.parse(JSON.stringify(fleet))` is the same
 * fleet: it answers every further command with the same events and the same tables.
 *
 * It is read by anyone and changed by `apply` alone, in place. After every command:
 *
 * - each target has a slot of its own that is lent in `slots`; a slot that was given back keeps in
 *   `generations` what its next owner begins with, so that no flow of before is pinned to that one
 * - `targets` has each under its id, but those that are gone and whose id is registered again under
 *   `formerKey`
 * - `zones` counts, name by name, the targets and endpoints that are there and the targets that are
 *   healthy and take new flows; a zone without any target or endpoint has no number
 * - `groups` has the one in use and each whose targets have not all left, with their number
 * - generations say whose flows choose anew: nothing else must happen before the data plane reads
 *   `tableOf`
 * - every endpoint has an index of its own that is lent in `indices`
 * - `revision` has grown where `tableOf` answers otherwise
 *
 * A fleet that no load balancer has (`inUse: false`) is a group by itself: its targets are `unused`,
 * are not checked, and leave at once.
 */
import type { Health, HealthRule, TargetReason, TargetState } from '../health/thresholds.js';
import { freshNumbers, INDEX_QUARANTINE_MS, type Numbers, SLOT_QUARANTINE_MS } from './numbers.js';

/** Generations of a slot, which then begin again: what a flow's record has room for. */
export const GENERATIONS = 8192;

/** What a group does with its targets and their flows. */
export interface FleetPolicy {
  /** See `TargetGroupPolicy.failover`. */
  readonly failover: 'no_rebalance' | 'rebalance';
  readonly resetOnUnhealthy: boolean;
  readonly resetOnDeregistration: boolean;
  readonly deregistrationDelayMs: number;
  readonly slowStartMs: number;
  /** What turns check results into states; null: no checks, targets are healthy at once. */
  readonly rule: HealthRule | null;
}

/** A target as it is registered; its values were checked. */
export interface RegisteredTarget {
  /** Address and port, `10.0.1.10:6081`. */
  readonly id: string;
  readonly address: string;
  /** `address` as native code takes it. */
  readonly number: number;
  readonly port: number;
  readonly zone: string;
  readonly weight: number;
}

/** A group as it comes into a fleet. */
export interface GroupMembers {
  readonly name: string;
  readonly policy: FleetPolicy;
  /** `said`: see `FleetTarget`. */
  readonly targets: readonly (RegisteredTarget & { readonly said: Health | null })[];
}

/** A group that the load balancer uses, or whose targets have not all left since. */
export interface FleetGroup {
  readonly name: string;
  policy: FleetPolicy;
  /** How many targets of the fleet are its own. */
  targets: number;
}

/**
 * `active`: registered. `draining`: deregistered, keeps its flows until the delay is over. `gone`: no
 * target any more for users; its slot stays known to the data plane until its flows have left.
 */
export type Phase = 'active' | 'draining' | 'gone';

/** One target, from its registration until its slot is free. */
export interface FleetTarget {
  readonly id: string;
  readonly address: string;
  readonly number: number;
  readonly port: number;
  readonly slot: number;
  /** Number of its group. */
  group: number;
  zone: string;
  /** 0–1000; with 0 it takes no new flows. */
  weight: number;
  /** Flows that were pinned under another generation choose again. Below `GENERATIONS`. */
  generation: number;
  phase: Phase;
  state: TargetState;
  reason: TargetReason | null;
  description: string;
  /** When it entered its state. */
  since: number;
  /** What checks, or others, say of it. */
  health: Health;
  /** What `setHealth` said last; null where it said nothing, or checks were turned on since. */
  said: Health | null;
  /** Turned unhealthy and was not healthy since. */
  failing: boolean;
  /** The flows it had when it failed or left were told to choose again. */
  moved: boolean;
  /** When it turned healthy, while its slow start lasts; null otherwise. */
  warmingSince: number | null;
  /** How far its slow start is; see slow-start.ts. */
  step: number;
  /** When a draining target is gone. */
  drainUntil: number;
  /** When a gone target's slot is free; null: when no flow is pinned to it. */
  freeAt: number | null;
  /** When it is looked at next whether a flow is pinned to it. */
  lookAt: number;
}

/** A zone that has a number. */
export interface FleetZone {
  readonly name: string;
  /** Targets in it, gone ones whose slot is not free included. */
  targets: number;
  /** Those that are registered, healthy and have a weight. */
  healthy: number;
  endpoints: number;
}

export interface FleetEndpoint {
  /** Its number in the data plane: the scope of its flows. */
  readonly index: number;
  readonly zone: string;
}

export interface FleetLimits {
  readonly targets: number;
  readonly zones: number;
  readonly endpoints: number;
}

export interface Fleet {
  readonly limits: FleetLimits;
  /** Whether a load balancer has it. */
  inUse: boolean;
  /** Whether all zones are one. */
  crossZone: boolean;
  /** Number of the group that new flows go to; 0 before there is one. */
  group: number;
  /** By their numbers. */
  groups: Record<string, FleetGroup>;
  targets: Record<string, FleetTarget>;
  slots: Numbers;
  /** By slot: what its next owner begins with. */
  generations: number[];
  /** By number; null where that is free. */
  zones: (FleetZone | null)[];
  /** By id. */
  endpoints: Record<string, FleetEndpoint>;
  indices: Numbers;
  /** Grows with everything that the data plane must hear of. */
  revision: number;
}

/** Without groups, targets and endpoints. */
export function emptyFleet(limits: FleetLimits, inUse: boolean, crossZone = false): Fleet {
  return {
    limits,
    inUse,
    crossZone,
    group: 0,
    groups: {},
    targets: {},
    slots: freshNumbers(limits.targets, SLOT_QUARANTINE_MS),
    generations: [],
    zones: [],
    endpoints: {},
    indices: freshNumbers(limits.endpoints, INDEX_QUARANTINE_MS),
    revision: 0,
  };
}

/** What a gone target is found by where its id is registered again; no target has such an id. */
export function formerKey({ id, slot }: FleetTarget): string {
  return `${id} in ${slot}`;
}

/** Everything the data plane must know, gone targets included, in order of registration. */
export function everyTarget(fleet: Fleet): FleetTarget[] {
  return Object.values(fleet.targets);
}

/** Registered and draining targets of the group in use, in order of registration. */
export function membersOf(fleet: Fleet): FleetTarget[] {
  return everyTarget(fleet).filter(({ phase, group }) => phase !== 'gone' && group === fleet.group);
}

/** The group in use as it would come into another fleet, without targets that drain. */
export function groupOf(fleet: Fleet): GroupMembers {
  const { name, policy } = fleet.groups[fleet.group];
  const active = membersOf(fleet).filter(({ phase }) => phase === 'active');
  const targets = active.map(({ id, address, number, port, zone, weight, said }) => {
    return { id, address, number, port, zone, weight, said };
  });
  return { name, policy, targets };
}

/** What the group of a target does. */
export function policyOf(fleet: Fleet, target: FleetTarget): FleetPolicy {
  return fleet.groups[target.group].policy;
}
