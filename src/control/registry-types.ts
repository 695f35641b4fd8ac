/** What goes into the registry, and what comes out of it. */
import type { TargetReason, TargetState } from '../health/thresholds.js';
import type { Failover, Policy } from './options.js';
import type { TargetRecord } from './target.js';

/**
 * What made a target change its state: `health-check`, the results of its checks; `set-health`,
 * `register`, `deregister` and `update`, the call of that name; `delay-expired`, the end of its
 * deregistration delay; `attach` and `detach`, a load balancer that began or ceased to use the group.
 */
export type HealthCause =
  | 'register'
  | 'deregister'
  | 'delay-expired'
  | 'health-check'
  | 'set-health'
  | 'suspicion'
  | 'attach'
  | 'detach'
  | 'update';

/**
 * What made a target take another share of new flows: a call of `setWeight` or `setTargets`, or the next
 * step of its slow start (`slowStartSeconds`).
 */
export type WeightCause = 'set-weight' | 'slow-start';

export type RegistryEvent =
  | {
      readonly type: 'register' | 'deregister';
      readonly record: TargetRecord;
      readonly cause: HealthCause;
      readonly at: number;
    }
  | {
      readonly type: 'weight';
      readonly record: TargetRecord;
      readonly cause: WeightCause;
      readonly at: number;
    }
  | {
      readonly type: 'health';
      readonly record: TargetRecord;
      readonly previous: TargetState;
      readonly state: TargetState;
      readonly reason: TargetReason | null;
      readonly cause: HealthCause;
      readonly at: number;
    };

export interface RegistryPolicy {
  readonly failover: Failover;
  readonly resetOnUnhealthy: boolean;
  readonly resetOnDeregistration: boolean;
  readonly deregistrationDelayMs: number;
  readonly slowStartMs: number;
  /** False: every target counts as healthy at once. */
  readonly checks: boolean;
}

/** What the registry must know of a group's options. */
export function registryPolicy(policy: Policy): RegistryPolicy {
  return {
    failover: policy.failover,
    resetOnUnhealthy: policy.sendTcpReset.onUnhealthy,
    resetOnDeregistration: policy.sendTcpReset.onDeregistration,
    deregistrationDelayMs: policy.deregistrationDelaySeconds * 1000,
    slowStartMs: policy.slowStartSeconds * 1000,
    checks: policy.healthCheck !== false,
  };
}

export interface RegistryLimits {
  readonly targets: number;
  readonly zones: number;
}
