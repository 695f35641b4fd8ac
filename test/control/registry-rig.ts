/** A registry in a few words: what its tests share. */

import type { CheckedTarget } from '../../src/control/options.js';
import { checkTarget } from '../../src/control/options.js';
import { Registry } from '../../src/control/registry.js';
import type { RegistryEvent, RegistryPolicy } from '../../src/control/registry-types.js';
import type { TargetRecord } from '../../src/control/target.js';
import type { GatewayError } from '../../src/errors.js';
import type { ProbeResult } from '../../src/health/thresholds.js';

export const THRESHOLDS = {
  healthyThreshold: 2,
  unhealthyThreshold: 2,
  profile: 'aws',
  flapDamping: false,
} as const;
export const OK: ProbeResult = { ok: true, detail: 'answered' };
export const BAD: ProbeResult = { ok: false, failure: 'timeout', detail: 'silence' };
export const NO_FLOWS = () => 0;
export const FLOWS = () => 1;

export const POLICY: RegistryPolicy = {
  failover: 'no_rebalance',
  resetOnUnhealthy: false,
  resetOnDeregistration: false,
  deregistrationDelayMs: 300_000,
  slowStartMs: 0,
  checks: true,
};

export function target(n: number, options: { zone?: string; weight?: number } = {}): CheckedTarget {
  return checkTarget({ address: `10.0.0.${n}`, ...options }, 6081, `targets[${n}]`);
}

export function registry(policy: Partial<RegistryPolicy> = {}) {
  return new Registry({ ...POLICY, ...policy }, { targets: 8, zones: 2 });
}

/** Two results of a kind, which is what the thresholds ask for. */
export function check(registry: Registry, record: TargetRecord, result: ProbeResult, now = 0) {
  return [0, 1].flatMap(() => registry.checked(record, result, THRESHOLDS, now));
}

/** In use, with these targets; those named are healthy, the others initial. */
export function started(
  targets: CheckedTarget[],
  healthy: number[],
  policy: Partial<RegistryPolicy> = {},
) {
  const made = registry(policy);
  made.attach(0);
  made.register(targets, 0);
  const records = [...made.records()];
  for (const i of healthy) check(made, records[i], OK);
  return { made, records };
}

export const told = (events: RegistryEvent[]) =>
  events.map((event) =>
    event.type === 'health'
      ? `${event.record.address} ${event.previous}>${event.state} ${event.reason} (${event.cause})`
      : `${event.type} ${event.record.address} (${event.cause})`,
  );
export const slots = (records: Iterable<TargetRecord>) => [...records].map((record) => record.slot);

export function thrown(run: () => unknown): GatewayError {
  try {
    run();
  } catch (error) {
    return error as GatewayError;
  }
  throw new Error('nothing was thrown');
}
