/**
 * Health of one target: a pure machine over check results. A target turns healthy after
 * `healthyThreshold` successes in a row and unhealthy after `unhealthyThreshold` failures in a row;
 * a single result of the other kind starts the count again. With flap damping one that failed too
 * often stays unhealthy for a while although it passes. States and reason codes are those of AWS
 * `DescribeTargetHealth`.
 */
import { type Penalty, penalize, suppressedUntil } from './damping.js';

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
 * descriptors, or too busy to look in time); says nothing about the target.
 */
export type ProbeFailure = 'connection' | 'timeout' | 'response-code' | 'malformed' | 'internal';

export interface FailedProbe {
  readonly ok: false;
  readonly failure: ProbeFailure;
  readonly detail: string;
}

export type ProbeResult = { readonly ok: true; readonly detail: string } | FailedProbe;

/** How soon a target is given up, and taken back. */
export type HealthProfile = 'aws' | 'fast';

/** What turns results into states. */
export interface HealthRule {
  readonly healthyThreshold: number;
  readonly unhealthyThreshold: number;
  /** Gives the half-life of penalties. */
  readonly profile: HealthProfile;
  readonly flapDamping: boolean;
}

/** In which a flap's penalty decays by half. */
const HALF_LIFE_MS: Record<HealthProfile, number> = { aws: 60_000, fast: 15_000 };

export interface Health {
  readonly state: HealthState;
  readonly reason: TargetReason | null;
  /** One sentence for people. */
  readonly description: string;
  /** Results of one kind in a row. */
  readonly successes: number;
  readonly failures: number;
  /** What the results alone say: healthy. Differs from `state` while flap damping holds it back. */
  readonly passing: boolean;
  /** For having failed; null where it never has. */
  readonly penalty: Penalty | null;
  /** Why this host could not make the last check; null where it was made. */
  readonly impeded: string | null;
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
  passing: false,
  penalty: null,
  impeded: null,
};

export const UNCHECKED: Health = {
  state: 'healthy',
  reason: null,
  description: 'Health checks are turned off.',
  successes: 0,
  failures: 0,
  passing: true,
  penalty: null,
  impeded: null,
};

/** What others say of a target that is not checked. */
export function saidToBe(state: 'healthy' | 'unhealthy', description?: string): Health {
  return {
    state,
    reason: state === 'healthy' ? null : 'Target.FailedHealthChecks',
    description: description ?? `Set to ${state}.`,
    successes: 0,
    failures: 0,
    passing: state === 'healthy',
    penalty: null,
    impeded: null,
  };
}

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
export function step(health: Health, result: ProbeResult, rule: HealthRule, now: number): Health {
  if (result.ok) return succeed(health, result.detail, rule, now);
  if (result.failure !== 'internal') {
    const failures = health.failures + 1;
    const description = `Health checks failed: ${result.detail}.`;
    return fail(health, failures, REASONS[result.failure], description, rule, now);
  }
  // A verdict stands until checks say otherwise; without one the state says what is the matter.
  const impeded = result.detail;
  if (health.state === 'healthy' || health.state === 'unhealthy') return { ...health, impeded };
  return {
    ...health,
    impeded,
    state: 'unavailable',
    reason: 'Elb.InternalError',
    description: `The health check could not be made: ${result.detail}.`,
  };
}

/** A healthy target fails before its time, since `evidence` made it be checked and it failed. */
export function condemn(
  health: Health,
  evidence: string,
  result: FailedProbe,
  rule: HealthRule,
  now: number,
): Health {
  if (result.failure === 'internal') return health;
  const failures = Math.max(health.failures + 1, rule.unhealthyThreshold);
  const description = `Suspected, since ${evidence}; then health checks failed: ${result.detail}.`;
  return fail(health, failures, REASONS[result.failure], description, rule, now);
}

function succeed(health: Health, detail: string, rule: HealthRule, now: number): Health {
  const successes = health.successes + 1;
  if (!health.passing && successes < rule.healthyThreshold) {
    return { ...initialAgain(health), successes, failures: 0, impeded: null };
  }
  const counted = { ...health, successes: 0, failures: 0, passing: true, impeded: null };
  const until = rule.flapDamping
    ? suppressedUntil(health.penalty, now, HALF_LIFE_MS[rule.profile])
    : null;
  if (health.state === 'unhealthy' && until !== null) {
    const description =
      `Passes its health checks (${detail}), but failed too often of late: kept unhealthy until ` +
      `${new Date(until).toISOString()} (flap damping).`;
    return { ...counted, description };
  }
  return { ...counted, state: 'healthy', reason: null, description: `Healthy: ${detail}.` };
}

function fail(
  health: Health,
  failures: number,
  reason: TargetReason,
  description: string,
  rule: HealthRule,
  now: number,
): Health {
  const failed = failures >= rule.unhealthyThreshold;
  if (health.state !== 'unhealthy' && !failed) {
    return { ...initialAgain(health), successes: 0, failures, impeded: null };
  }
  const flapped = failed && health.passing && rule.flapDamping;
  return {
    state: 'unhealthy',
    reason,
    description,
    successes: 0,
    failures,
    passing: health.passing && !failed,
    penalty: flapped ? penalize(health.penalty, now, HALF_LIFE_MS[rule.profile]) : health.penalty,
    impeded: null,
  };
}

function initialAgain(health: Health): Health {
  if (health.state !== 'unavailable') return health;
  const { successes, failures } = health;
  return checking({ ...REGISTERING, successes, failures });
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
