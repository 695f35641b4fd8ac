/** What a target group tells, and what a load balancer must tell of its data plane. */

import type { HealthCause, WeightCause } from '../fleet/commands.js';
import type { ProbeFailure, TargetReason, TargetState } from '../health/thresholds.js';
import type { Target } from './target.js';

/** A target changed its state. */
export interface HealthEvent {
  /** Whose state it is. */
  readonly target: Target;
  /** The state before. */
  readonly previous: TargetState;
  /** The state now. */
  readonly state: TargetState;
  /** AWS reason code; null where the state is `healthy`. */
  readonly reason: TargetReason | null;
  /** What made it change. */
  readonly cause: HealthCause;
  /** When, in milliseconds since 1970. */
  readonly at: number;
}

/** A target was registered, or is gone. */
export interface MembershipEvent {
  /** The one that came or went. */
  readonly target: Target;
  /**
   * `register`; of one that is gone `delay-expired`, `deregister` where there was no delay, or `detach`
   * where the load balancer left the group.
   */
  readonly cause: HealthCause;
  /** When, in milliseconds since 1970. */
  readonly at: number;
}

/** A target takes another share of new flows; `target` says which. */
export interface WeightEvent {
  /** Whose weight it is. */
  readonly target: Target;
  /** As it was given. */
  readonly weight: number;
  /** What counts now; see `Target.effectiveWeight`. */
  readonly effectiveWeight: number;
  /** What made it change. */
  readonly cause: WeightCause;
  /** When, in milliseconds since 1970. */
  readonly at: number;
}

/** One health check came to its end. */
export interface ProbeEvent {
  /** The one that was checked. */
  readonly target: Target;
  /** Whether the check succeeded. */
  readonly ok: boolean;
  /** How long the check took, in milliseconds. */
  readonly durationMs: number;
  /** What the target did, or what was missing. */
  readonly detail: string;
  /** Kind of failure; null where the check succeeded. */
  readonly failure: ProbeFailure | null;
}

/** Events of a `TargetGroup`, each with the arguments of its listeners. */
export interface TargetGroupEvents {
  /** A target changed its state. */
  health: [HealthEvent];
  /** A target was registered. */
  register: [MembershipEvent];
  /** A target is gone: its deregistration delay is over, or it had none. */
  deregister: [MembershipEvent];
  /** A target takes another share of new flows. */
  weight: [WeightEvent];
  /** A health check came to its end. */
  probe: [ProbeEvent];
  /** Targets, their weights or the policy are different: what new flows and lost targets' flows do may be too. */
  change: [];
}
