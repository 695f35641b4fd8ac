/** What a target group tells, and what it must be told by the load balancer that uses it. */
import type { NativeFlowMove, NativeTargetTable } from '../binding.js';
import type { ProbeFailure, TargetReason, TargetState } from './health.js';
import type { HealthCause, WeightCause } from './registry-types.js';
import type { Traffic } from './suspicion.js';
import type { Target } from './target.js';

/** A target changed its state. */
export interface HealthEvent {
  readonly target: Target;
  readonly previous: TargetState;
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
  readonly target: Target;
  /** As it was given. */
  readonly weight: number;
  /** What counts now; see `Target.effectiveWeight`. */
  readonly effectiveWeight: number;
  readonly cause: WeightCause;
  /** When, in milliseconds since 1970. */
  readonly at: number;
}

/** One health check came to its end. */
export interface ProbeEvent {
  readonly target: Target;
  readonly ok: boolean;
  readonly durationMs: number;
  /** What the target did, or what was missing. */
  readonly detail: string;
  /** Kind of failure; null where the check succeeded. */
  readonly failure: ProbeFailure | null;
}

export interface TargetGroupEvents {
  health: [HealthEvent];
  register: [MembershipEvent];
  deregister: [MembershipEvent];
  weight: [WeightEvent];
  probe: [ProbeEvent];
  change: [];
}

/** Where a probe goes: slot, address as a number, and UDP port. */
export interface ProbedTarget {
  readonly slot: number;
  readonly number: number;
  readonly port: number;
}

/** What a load balancer tells the target group that it uses. */
export interface TargetGroupHost {
  /** Network namespace that health checks are made from; '' for the process's own. */
  readonly netns: string;
  /** How many flows are pinned to the target in this slot. */
  flowsActive(slot: number): number;
  /** The target that has this slot, or had it last. */
  targetOf?(slot: number): Target | null;
  /**
   * What the next packets of live flows would do if these were the targets: a part of the flow table
   * from `cursor` on, which is 0 at first, and again in the answer when that was all.
   */
  previewFlows?(
    targets: NativeTargetTable,
    cursor: number,
    positions: number,
  ): { moves: NativeFlowMove[]; cursor: number };
  /** Throws where it cannot have this address as a target; `field` names it in the message. */
  checkTarget?(address: string, field: string): void;
  /** Packets of the target in this slot, sent and returned so far; for suspicion. */
  traffic?(slot: number): Traffic;
  /**
   * Targets whose hosts answered with ICMP port unreachable since this was asked last, each as address
   * x 65536 + port.
   */
  unreachable?(): readonly number[];
  /**
   * Sends an inner packet to a target as a health check with this nonce; whether it went. Absent where
   * nothing can be sent, and there is no health check of `protocol: 'GENEVE'`.
   */
  sendProbe?(target: ProbedTarget, nonce: number, inner: Uint8Array): boolean;
  /** The last health check that the target in this slot returned had this nonce. */
  probeReturned?(slot: number, nonce: number): boolean;
}
