/** A fleet in a few words: what its tests share. */

import { apply } from '../../src/fleet/apply.js';
import type { FleetCommand, FleetEvent } from '../../src/fleet/commands.js';
import { findTarget, targetNamed } from '../../src/fleet/find.js';
import {
  emptyFleet,
  everyTarget,
  type Fleet,
  type FleetPolicy,
  type FleetTarget,
  type GroupMembers,
  membersOf,
  type RegisteredTarget,
} from '../../src/fleet/state.js';
import { tableOf } from '../../src/fleet/table.js';
import { checkTarget } from '../../src/gateway/group-options.js';
import type { ProbeResult } from '../../src/health/thresholds.js';

export const OK: ProbeResult = { ok: true, detail: 'answered' };
export const BAD: ProbeResult = { ok: false, failure: 'timeout', detail: 'silence' };

export const POLICY: FleetPolicy = {
  failover: 'no_rebalance',
  resetOnUnhealthy: false,
  resetOnDeregistration: false,
  deregistrationDelayMs: 300_000,
  slowStartMs: 0,
  rule: { healthyThreshold: 2, unhealthyThreshold: 2, profile: 'aws', flapDamping: false },
};

export const LIMITS = { targets: 8, zones: 2, endpoints: 2 };

export function spec(
  n: number,
  options: { zone?: string; weight?: number; port?: number } = {},
): RegisteredTarget {
  return checkTarget({ address: `10.0.0.${n}`, ...options }, 6081, `targets[${n}]`);
}

export function group(
  targets: readonly RegisteredTarget[] = [],
  policy: Partial<FleetPolicy> = {},
  name = 'group',
): GroupMembers {
  return {
    name,
    policy: { ...POLICY, ...policy },
    targets: targets.map((target) => ({ ...target, said: null })),
  };
}

/** As if no flow were pinned to any. */
export const EVERY_SLOT = Array.from({ length: LIMITS.targets }, (_, i) => i);

/** A fleet with a group, and commands as calls. */
export class Played {
  readonly fleet: Fleet;

  constructor(policy: Partial<FleetPolicy> = {}, inUse = true, limits = LIMITS) {
    this.fleet = emptyFleet(limits, inUse);
    this.do({ type: 'useGroup', group: group([], policy) });
  }

  do(command: FleetCommand, now = 0): FleetEvent[] {
    return apply(this.fleet, command, now);
  }

  register(targets: readonly RegisteredTarget[], now = 0): FleetEvent[] {
    return this.do({ type: 'register', targets }, now);
  }

  deregister(names: readonly (string | FleetTarget)[], now = 0): FleetEvent[] {
    const targets = names.map((name) => (typeof name === 'string' ? name : name.id));
    return this.do({ type: 'deregister', targets }, now);
  }

  setPolicy(policy: Partial<FleetPolicy>, recount = false, now = 0): FleetEvent[] {
    return this.do({ type: 'setPolicy', policy: { ...POLICY, ...policy }, recount }, now);
  }

  /** Two results of a kind, which is what the thresholds ask for. */
  check({ id }: FleetTarget, result: ProbeResult, now = 0): FleetEvent[] {
    return [0, 1].flatMap(() => this.do({ type: 'checked', target: id, result }, now));
  }

  /** Time passes, while all slots have flows or those have none. */
  tick(now: number, idle: readonly number[] = []): FleetEvent[] {
    return this.do({ type: 'tick', idle }, now);
  }

  every(): FleetTarget[] {
    return everyTarget(this.fleet);
  }

  members(): FleetTarget[] {
    return membersOf(this.fleet);
  }

  find(name: string): FleetTarget | null {
    return findTarget(this.fleet, name);
  }

  get(name: string): FleetTarget {
    return targetNamed(this.fleet, name);
  }

  /** Slots of the targets that take new flows. */
  eligible(): number[] {
    return tableOf(this.fleet)
      .targets.filter(({ eligible }) => eligible)
      .map(({ slot }) => slot);
  }

  /** Whether a target's TCP flows are answered with a RST. */
  resets({ slot }: FleetTarget): boolean {
    return tableOf(this.fleet).targets.some((target) => target.slot === slot && target.reset);
  }
}

/** In use, with these targets; those named are healthy, the others initial. */
export function started(
  targets: readonly RegisteredTarget[],
  healthy: readonly number[],
  policy: Partial<FleetPolicy> = {},
) {
  const played = new Played(policy);
  played.register(targets);
  const records = played.every();
  for (const i of healthy) played.check(records[i], OK);
  return { played, records };
}

export const told = (events: readonly FleetEvent[]) =>
  events.map((event) => {
    const address = event.target.replace(/:6081$/, '');
    return event.type === 'health'
      ? `${address} ${event.previous}>${event.state} ${event.reason} (${event.cause})`
      : `${event.type} ${address} (${event.cause})`;
  });

export const slots = (targets: readonly FleetTarget[]) => targets.map(({ slot }) => slot);

export { thrown } from '../support/thrown.js';
