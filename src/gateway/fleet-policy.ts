/** What a fleet must know of a group's options. */
import type { FleetPolicy } from '../fleet/state.js';
import type { HealthCheck } from '../health/options.js';
import type { HealthRule } from '../health/thresholds.js';
import type { Policy } from './group-options.js';

export function fleetPolicy(policy: Policy): FleetPolicy {
  const { failover, sendTcpReset, deregistrationDelaySeconds, slowStartSeconds, healthCheck } =
    policy;
  return {
    failover,
    resetOnUnhealthy: sendTcpReset.onUnhealthy,
    resetOnDeregistration: sendTcpReset.onDeregistration,
    deregistrationDelayMs: deregistrationDelaySeconds * 1000,
    slowStartMs: slowStartSeconds * 1000,
    rule: healthCheck ? ruleOf(healthCheck) : null,
  };
}

/** What is data of a check: how its results count. */
function ruleOf(check: HealthCheck): HealthRule {
  const { healthyThreshold, unhealthyThreshold, profile, flapDamping } = check;
  return { healthyThreshold, unhealthyThreshold, profile, flapDamping };
}
