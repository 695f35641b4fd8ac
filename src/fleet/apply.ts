/**
 * Everything that can happen to a fleet. A command is checked as a whole before anything changes: one
 * that throws has changed nothing.
 */
import { recount, UNCHECKED } from '../health/thresholds.js';
import { begin, type Change, finish, type Plan } from './change.js';
import type { CommandOf, FleetCommand, FleetEvent } from './commands.js';
import { planEndpoint, planEndpointRemoval } from './endpoints.js';
import { FLOWS_POLL_MS, free, leave, rest, setHealth, warmUp } from './life.js';
import {
  planDeregistration,
  planExpiry,
  planGroup,
  planRegistration,
  planTargets,
  planWeight,
} from './members.js';
import { planConviction, planFirstCheck, planResult, planSlowStartEnd, planWord } from './news.js';
import { freshNumbers, INDEX_QUARANTINE_MS } from './numbers.js';
import { emptyFleet, everyTarget, type Fleet, groupOf } from './state.js';
import { releaseZone } from './zones.js';

const PLANS: {
  readonly [Type in FleetCommand['type']]: (
    fleet: Fleet,
    command: CommandOf<Type>,
    now: number,
  ) => Plan;
} = {
  useGroup: planGroup,
  release: () => release,
  register: planRegistration,
  deregister: planDeregistration,
  expire: (fleet, command) => {
    const expire = planExpiry(fleet, command);
    return (change) => {
      expire(change);
      tick(change, command.idle);
    };
  },
  setTargets: planTargets,
  setWeight: planWeight,
  setHealth: planWord,
  skipSlowStart: planSlowStartEnd,
  setPolicy: (_fleet, command) => (change) => setPolicy(change, command),
  setCrossZone:
    (_fleet, { crossZone }) =>
    (change) =>
      setCrossZone(change, crossZone),
  checkStarted: planFirstCheck,
  checked: planResult,
  condemned: planConviction,
  tick:
    (_fleet, { idle }) =>
    (change) =>
      tick(change, idle),
  addEndpoint: planEndpoint,
  removeEndpoint: planEndpointRemoval,
};

/**
 * Changes the fleet in place and says what happened, in order. `now`: milliseconds since 1970 that never
 * go back.
 *
 * Throws `ERR_GWLB_UNKNOWN_TARGET`, `ERR_GWLB_DUPLICATE_TARGET`, `ERR_GWLB_TARGET_LIMIT`,
 * `ERR_GWLB_DUPLICATE_ENDPOINT`, `ERR_GWLB_ENDPOINT_LIMIT`, `ERR_GWLB_UNKNOWN_ENDPOINT`, or
 * `ERR_GWLB_INVALID_ARGUMENT` where an address names several targets.
 */
export function apply(fleet: Fleet, command: FleetCommand, now: number): FleetEvent[] {
  const planFor = PLANS[command.type] as (fleet: Fleet, command: FleetCommand, now: number) => Plan;
  const plan = planFor(fleet, command, now);
  const change = begin(fleet, now);
  plan(change);
  return finish(change);
}

/** The fleet of a new load balancer that uses a group; the group itself stays as it is. */
export function used(group: Fleet, crossZone: boolean, now: number): Fleet {
  const fleet = emptyFleet(group.limits, true, crossZone);
  apply(fleet, { type: 'useGroup', group: groupOf(group) }, now);
  return fleet;
}

function setPolicy(change: Change, { policy, recount: otherChecks }: CommandOf<'setPolicy'>): void {
  const { fleet } = change;
  const group = fleet.groups[fleet.group];
  const { policy: before } = group;
  group.policy = policy;
  const members = everyTarget(fleet).filter((target) => target.group === fleet.group);
  for (const target of members) {
    if (target.phase !== 'active' || !fleet.inUse) continue;
    if (policy.rule === null) setHealth(change, target, target.said ?? UNCHECKED, 'update');
    else if (otherChecks) target.health = recount(target.health);
  }
  for (const target of members) {
    if (policy.rule !== null) target.said = null;
    warmUp(change, target);
  }
  if (
    before.failover === policy.failover &&
    before.resetOnUnhealthy === policy.resetOnUnhealthy &&
    before.resetOnDeregistration === policy.resetOnDeregistration
  ) {
    return;
  }
  change.everywhere = true;
  change.revised = true;
}

function setCrossZone(change: Change, crossZone: boolean): void {
  if (change.fleet.crossZone === crossZone) return;
  change.fleet.crossZone = crossZone;
  change.everywhere = true;
  change.revised = true;
}

function release(change: Change): void {
  const { fleet } = change;
  fleet.inUse = false;
  change.revised = true;
  fleet.crossZone = false;
  for (const target of everyTarget(fleet)) {
    if (target.phase === 'gone' || target.group !== fleet.group) free(change, target);
    else if (target.phase === 'draining') leave(change, target, 'detach');
    else rest(change, target);
  }
  for (const { zone } of Object.values(fleet.endpoints)) releaseZone(fleet, zone);
  fleet.endpoints = {};
  fleet.indices = freshNumbers(fleet.limits.endpoints, INDEX_QUARANTINE_MS);
  const { clean, waiting } = fleet.slots;
  clean.push(...waiting.splice(0).map(({ number }) => number));
}

/** Ends what is due: drains, steps of slow starts, and slots whose flows have left. */
function tick(change: Change, idle: readonly number[]): void {
  const { fleet, now } = change;
  const empty = new Set(idle);
  for (const target of everyTarget(fleet)) {
    warmUp(change, target);
    if (target.phase === 'draining' && target.drainUntil <= now) {
      leave(change, target, 'delay-expired');
    }
    if (target.phase !== 'gone') continue;
    const { freeAt } = target;
    if (freeAt === null ? empty.has(target.slot) : freeAt <= now) free(change, target);
    else if (target.lookAt <= now) target.lookAt = now + FLOWS_POLL_MS;
  }
}
