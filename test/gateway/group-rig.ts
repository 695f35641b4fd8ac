import { tableOf } from '../../src/fleet/table.js';
import type { FleetHost } from '../../src/gateway/fleet-host.js';
import type { TargetGroupOptions } from '../../src/gateway/group-options.js';
import { LiveFleet } from '../../src/gateway/live-fleet.js';
import {
  groupWithRuntime,
  runtimeOf,
  type TargetGroup,
  useGroup,
} from '../../src/gateway/target-group.js';
import type { ProbeRequest } from '../../src/health/probes.js';
import type { Runtime } from '../../src/health/runtime.js';
import type { ProbeResult } from '../../src/health/thresholds.js';

export const OK: ProbeResult = { ok: true, detail: 'answered' };
export const BAD: ProbeResult = { ok: false, failure: 'response-code', detail: 'answered 503' };

/** A world without sockets, whose clock moves when it is told to. */
export class World implements Runtime {
  time = 1_000_000;
  timers = new Map<object, { at: number; run: () => void }>();
  /** Checks that were begun, with the time. */
  asked: (ProbeRequest & { at: number })[] = [];
  cancelled = 0;
  /** What a target answers, after a millisecond; undefined: nothing, ever. */
  answers: (address: string) => ProbeResult | undefined = () => OK;

  now = () => this.time;

  setTimer = (run: () => void, delayMs: number) => {
    const timer = {};
    this.timers.set(timer, { at: this.time + delayMs, run });
    return timer;
  };

  clearTimer = (timer: unknown) => void this.timers.delete(timer as object);

  startProbe: Runtime['startProbe'] = (request, callback) => {
    this.asked.push({ ...request, at: this.time });
    const result = this.answers(request.address);
    const timer = result && this.setTimer(() => callback(result, 1), 1);
    return () => {
      this.cancelled++;
      if (timer) this.clearTimer(timer);
    };
  };

  advance(ms: number): void {
    const end = this.time + ms;
    for (;;) {
      const due = [...this.timers].filter(([, { at }]) => at <= end);
      due.sort(([, a], [, b]) => a.at - b.at);
      const [first] = due;
      if (!first) break;
      this.timers.delete(first[0]);
      this.time = Math.max(this.time, first[1].at);
      first[1].run();
    }
    this.time = end;
  }
}

export const HEALTH = { healthyThreshold: 2, unhealthyThreshold: 2 };
export const HOST: FleetHost = {
  netns: '',
  flowsActive: () => 0,
  publish: () => {},
  took: () => {},
};

const fleets = new WeakMap<TargetGroup, LiveFleet>();

/** A load balancer that is played by the test begins to use the group. */
export function attach(group: TargetGroup, host: Partial<FleetHost> = {}): LiveFleet {
  const fleet = new LiveFleet(runtimeOf(group), { ...HOST, ...host });
  useGroup(fleet, group);
  fleets.set(group, fleet);
  return fleet;
}

/** It is closed. */
export function detach(group: TargetGroup): void {
  fleets.get(group)?.close();
}

/** What packets are decided by, where a load balancer uses the group. */
export function table(group: TargetGroup) {
  const live = fleets.get(group);
  if (!live) throw new Error('no load balancer uses the group');
  return tableOf(live.fleet);
}

export function setup(options: TargetGroupOptions = {}) {
  const world = new World();
  const group = groupWithRuntime({ healthCheck: HEALTH, ...options }, world);
  const log: string[] = [];
  group.on('change', () => log.push('change'));
  group.on('register', ({ target }) => log.push(`register ${target.address}`));
  group.on('deregister', ({ target, cause }) =>
    log.push(`deregister ${target.address} (${cause})`),
  );
  group.on('weight', ({ target, effectiveWeight, cause }) =>
    log.push(`${target.address} weighs ${effectiveWeight} (${cause})`),
  );
  group.on('probe', ({ target, ok }) => log.push(`probe ${target.address} ${ok}`));
  group.on('health', ({ target, previous, state, reason, cause }) =>
    log.push(`${target.address} ${previous}>${state} ${reason} (${cause})`),
  );
  const said = () => log.splice(0);
  return { world, group, said };
}

export { thrown } from '../support/thrown.js';

export const ids = (group: TargetGroup) => group.targets().map((target) => target.id);
