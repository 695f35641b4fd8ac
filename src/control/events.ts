/** What a target group tells, and what a load balancer must tell of its data plane. */
import type { NativeFlowMove, NativeTargetTable } from '../binding.js';
import type { HealthCause, WeightCause } from '../fleet/commands.js';
import type { ProbeFailure, TargetReason, TargetState } from '../health/thresholds.js';
import type { Stickiness } from './options.js';
import type { Traffic } from './suspicion.js';
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

/** Where a probe goes: slot, address as a number, and UDP port. */
export interface ProbedTarget {
  readonly slot: number;
  readonly number: number;
  readonly port: number;
}

/** What the load balancer that has a fleet does for it, and tells. */
export interface FleetHost {
  /** Network namespace that health checks are made from; '' for the process's own. */
  readonly netns: string;
  /** How many flows are pinned to the target in this slot. */
  flowsActive(slot: number): number;
  /** The table of targets is another one: the data plane must hear of it. */
  publish(): void;
  /** The target has a slot from now on; `anew`: it is another one, or another time, so counts begin. */
  took(target: Target, anew: boolean): void;
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
  /** Throws where the load balancer's own settings exclude it. */
  checkStickiness?(stickiness: Stickiness): void;
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
