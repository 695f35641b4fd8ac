/**
 * Health of one target: a pure machine over check results. A target turns healthy after
 * `healthyThreshold` successes in a row and unhealthy after `unhealthyThreshold` failures in a row;
 * a single result of the other kind starts the count again. States and reason codes are those of
 * AWS `DescribeTargetHealth`.
 */

export type HealthState = 'initial' | 'healthy' | 'unhealthy' | 'unavailable';

/** States of a registered target; the health states and those the registry adds. */
export type TargetState = HealthState | 'draining' | 'unused';

/** AWS reason codes that occur here. */
export type TargetReason =
  | 'Elb.RegistrationInProgress'
  | 'Elb.InitialHealthChecking'
  | 'Elb.InternalError'
  | 'Target.FailedHealthChecks'
  | 'Target.ResponseCodeMismatch'
  | 'Target.Timeout'
  | 'Target.DeregistrationInProgress'
  | 'Target.NotRegistered'
  | 'Target.NotInUse';

/**
 * How a check failed. `connection`: refused, unreachable, reset or closed early. `malformed`: the
 * answer is no HTTP, or TLS failed. `internal`: this host could not make the check (out of file
 * descriptors, say); says nothing about the target.
 */
export type ProbeFailure = 'connection' | 'timeout' | 'response-code' | 'malformed' | 'internal';

export type ProbeResult =
  | { readonly ok: true; readonly detail: string }
  | { readonly ok: false; readonly failure: ProbeFailure; readonly detail: string };

export interface HealthThresholds {
  readonly healthyThreshold: number;
  readonly unhealthyThreshold: number;
}

export interface Health {
  readonly state: HealthState;
  readonly reason: TargetReason | null;
  /** One sentence for people. */
  readonly description: string;
  /** Results of one kind in a row. */
  readonly successes: number;
  readonly failures: number;
}

const REASONS: Record<Exclude<ProbeFailure, 'internal'>, TargetReason> = {
  connection: 'Target.FailedHealthChecks',
  malformed: 'Target.FailedHealthChecks',
  timeout: 'Target.Timeout',
  'response-code': 'Target.ResponseCodeMismatch',
};

export const REGISTERING: Health = {
  state: 'initial',
  reason: 'Elb.RegistrationInProgress',
  description: 'Registration is in progress; the first health check has not been sent.',
  successes: 0,
  failures: 0,
};

export const UNCHECKED: Health = {
  state: 'healthy',
  reason: null,
  description: 'Health checks are turned off.',
  successes: 0,
  failures: 0,
};

/** The first check of a target is on its way. */
export function checking(health: Health): Health {
  if (health.reason !== 'Elb.RegistrationInProgress') return health;
  return {
    ...health,
    reason: 'Elb.InitialHealthChecking',
    description: 'The initial health checks are in progress.',
  };
}

/** Keeps the state and starts counting again; for checks that change while running. */
export function recount(health: Health): Health {
  return { ...health, successes: 0, failures: 0 };
}

/** The health after one more check result. */
export function step(health: Health, result: ProbeResult, thresholds: HealthThresholds): Health {
  if (result.ok) return succeed(health, result.detail, thresholds.healthyThreshold);
  if (result.failure !== 'internal') {
    return fail(health, REASONS[result.failure], result.detail, thresholds.unhealthyThreshold);
  }
  // A verdict stands until checks say otherwise; without one the state says what is the matter.
  if (health.state === 'healthy' || health.state === 'unhealthy') return health;
  return {
    ...health,
    state: 'unavailable',
    reason: 'Elb.InternalError',
    description: `The health check could not be made: ${result.detail}.`,
  };
}

function succeed(health: Health, detail: string, threshold: number): Health {
  const successes = health.successes + 1;
  if (health.state === 'healthy' || successes >= threshold) {
    const description = `Healthy: ${detail}.`;
    return { state: 'healthy', reason: null, description, successes: 0, failures: 0 };
  }
  return { ...initialAgain(health), successes, failures: 0 };
}

function fail(health: Health, reason: TargetReason, detail: string, threshold: number): Health {
  const failures = health.failures + 1;
  if (health.state === 'unhealthy' || failures >= threshold) {
    const description = `Health checks failed: ${detail}.`;
    return { state: 'unhealthy', reason, description, successes: 0, failures };
  }
  return { ...initialAgain(health), successes: 0, failures };
}

function initialAgain(health: Health): Health {
  if (health.state !== 'unavailable') return health;
  return checking({ ...REGISTERING, successes: health.successes, failures: health.failures });
}

/**
 * When a target is checked next: at its own place in the interval (so that the checks of a large
 * group are spread evenly, the same way on every node), but at least half an interval after
 * `last`, the start of the check before.
 */
export function nextCheckAt(last: number, intervalMs: number, phase: bigint): number {
  const earliest = last + intervalMs / 2;
  const offset = Number(phase % BigInt(intervalMs));
  const begun = Math.floor((earliest - offset) / intervalMs) * intervalMs + offset;
  return begun < earliest ? begun + intervalMs : begun;
}
