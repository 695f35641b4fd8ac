/**
 * What becomes of a target: registered → healthy ⇄ unhealthy → draining → gone. Each step here assumes
 * that it may be made; `apply` has checked it.
 */
import {
  type Health,
  REGISTERING,
  type TargetReason,
  type TargetState,
  UNCHECKED,
} from '../health/thresholds.js';
import {
  type Change,
  generationAfter,
  keepFlows,
  keyOf,
  LATE_RETURNS_MS,
  tell,
  touch,
} from './change.js';
import type { HealthCause } from './commands.js';
import { giveBack, take } from './numbers.js';
import { beginOf, LAST_STEP, stepAfter } from './slow-start.js';
import {
  type Fleet,
  type FleetTarget,
  formerKey,
  policyOf,
  type RegisteredTarget,
} from './state.js';

/** How often a slot that waits for its flows to end is looked at. */
export const FLOWS_POLL_MS = 1_000;

const NOT_IN_USE = 'No load balancer uses the target group.';
export const DRAINING = 'Deregistered; keeps its flows until the deregistration delay is over.';
export const NOT_REGISTERED = 'The target is not registered.';

/** A target of the group in use that has none of this id: in a slot of its own, not active yet. */
export function enlist(change: Change, spec: RegisteredTarget, said: Health | null): FleetTarget {
  const { fleet, now } = change;
  const slot = take(fleet.slots, now);
  const former = fleet.targets[spec.id];
  if (former) {
    delete fleet.targets[spec.id];
    fleet.targets[formerKey(former)] = former;
  }
  // One literal: thousands are made at a time, and V8 makes one that begins with a spread property by
  // property.
  const target: FleetTarget = {
    id: spec.id,
    address: spec.address,
    number: spec.number,
    port: spec.port,
    slot,
    group: fleet.group,
    zone: spec.zone,
    weight: spec.weight,
    said,
    generation: fleet.generations[slot] ?? 0,
    phase: 'active',
    state: 'unused',
    reason: 'Target.NotInUse',
    description: NOT_IN_USE,
    since: now,
    health: REGISTERING,
    failing: false,
    moved: false,
    warmingSince: null,
    step: LAST_STEP,
    drainUntil: 0,
    freeAt: null,
    lookAt: 0,
  };
  change.touched.add(target);
  fleet.targets[spec.id] = target;
  fleet.groups[fleet.group].targets++;
  return target;
}

/** It is registered, and as new, but for its flows. */
export function activate(change: Change, target: FleetTarget, cause: HealthCause): void {
  touch(change, target);
  target.phase = 'active';
  target.failing = false;
  keepFlows(target);
  if (!change.fleet.inUse) return;
  const checked = policyOf(change.fleet, target).rule !== null;
  setHealth(change, target, checked ? REGISTERING : (target.said ?? UNCHECKED), cause);
}

export function drain(change: Change, target: FleetTarget, cause: HealthCause): void {
  const { fleet, now } = change;
  touch(change, target);
  target.phase = 'draining';
  target.drainUntil = now + policyOf(fleet, target).deregistrationDelayMs;
  if (fleet.inUse) {
    enter(change, target, 'draining', 'Target.DeregistrationInProgress', DRAINING, cause);
  }
  change.revised = true;
  if (!fleet.inUse || target.drainUntil <= now) leave(change, target, cause);
}

/** The target is gone for users; the data plane keeps its slot until its flows have left. */
export function leave(change: Change, target: FleetTarget, cause: HealthCause): void {
  const { fleet, now } = change;
  touch(change, target);
  target.phase = 'gone';
  enter(change, target, 'unused', 'Target.NotRegistered', NOT_REGISTERED, cause);
  tell(change, target, { type: 'deregister', cause });
  target.freeAt = target.moved ? now + LATE_RETURNS_MS : null;
  target.lookAt = now + FLOWS_POLL_MS;
  if (!fleet.inUse) free(change, target);
}

/** No load balancer uses its group any more. */
export function rest(change: Change, target: FleetTarget): void {
  touch(change, target);
  enter(change, target, 'unused', 'Target.NotInUse', NOT_IN_USE, 'detach');
}

/** Nothing of it is left but its slot, which others get later. */
export function free(change: Change, target: FleetTarget): void {
  const { fleet, now } = change;
  touch(change, target);
  const key = keyOf(fleet, target);
  if (key === null) return;
  delete fleet.targets[key];
  giveBack(fleet.slots, target.slot, now, !fleet.inUse);
  // Flows of the former target that still wait for their next packet must not stay pinned.
  fleet.generations[target.slot] = generationAfter(target.generation, 1);
  quit(fleet, target.group);
  change.revised = true;
}

/** A group has one target less. */
export function quit(fleet: Fleet, number: number): void {
  const group = fleet.groups[number];
  group.targets--;
  if (group.targets === 0 && number !== fleet.group) delete fleet.groups[number];
}

/** What checks or others say of it is this from now on. */
export function setHealth(
  change: Change,
  target: FleetTarget,
  health: Health,
  cause: HealthCause,
): void {
  const { fleet, now } = change;
  touch(change, target);
  target.health = health;
  if (health.state === 'unhealthy') target.failing = true;
  if (health.state === 'healthy') {
    target.failing = false;
    keepFlows(target);
  }
  if (target.state === health.state) {
    describe(target);
    return;
  }
  enter(change, target, health.state, health.reason, health.description, cause);
  // Those that nobody checks, and that nobody spoke of, have always been healthy.
  const turned = cause === 'health-check' || cause === 'set-health';
  if (turned && health.state === 'healthy' && policyOf(fleet, target).slowStartMs > 0) {
    target.warmingSince = now;
    warmUp(change, target);
  }
}

export function describe(target: FleetTarget): void {
  target.reason = target.health.reason;
  target.description = target.health.description;
}

/** Brings the step of a slow start up to date. */
export function warmUp(change: Change, target: FleetTarget): void {
  const { warmingSince, step: before } = target;
  const { slowStartMs } = policyOf(change.fleet, target);
  target.step =
    warmingSince === null ? LAST_STEP : stepAfter(change.now - warmingSince, slowStartMs);
  if (target.step === LAST_STEP) target.warmingSince = null;
  if (target.step !== before) tell(change, target, { type: 'weight', cause: 'slow-start' });
}

/** When the next step of its slow start begins; null where it has none. */
export function nextStepAt(fleet: Fleet, target: FleetTarget): number | null {
  const { warmingSince, step } = target;
  if (warmingSince === null) return null;
  return warmingSince + beginOf(step + 1, policyOf(fleet, target).slowStartMs);
}

function enter(
  change: Change,
  target: FleetTarget,
  state: TargetState,
  reason: TargetReason | null,
  description: string,
  cause: HealthCause,
): void {
  const previous = target.state;
  target.reason = reason;
  target.description = description;
  if (previous === state) return;
  target.state = state;
  target.since = change.now;
  tell(change, target, { type: 'health', previous, state, reason, cause });
  target.warmingSince = null;
  warmUp(change, target);
}
