/** What `explain` is asked and answers. */

import type { TargetState } from '../health/thresholds.js';
import type { DropReason } from '../packet/names.js';
import type { Endpoint } from './endpoint.js';
import type { FlowDecision, WhatIf } from './explain-rules.js';
import type { Failover, Stickiness } from './group-options.js';
import type { Target } from './target.js';

/** Options of `explain`. */
export interface ExplainOptions {
  /** The endpoint the packet enters by, or its id. Required unless there is exactly one. */
  endpoint?: Endpoint | string;
}

/** A flow cookie taken apart. */
export interface FlowCookie {
  /** 32 bits, as packets carry it. */
  value: number;
  /** Slot of the target it was made for. */
  slot: number;
  /** How many connections with this tuple came before, modulo 16. */
  incarnation: number;
  /** Signature, 16 bits. */
  tag: number;
  /** Whether the tag is good: made with the cookie key, or with the one before in its overlap. */
  signed: boolean;
}

/** One target of the flow's row. */
export interface Candidate {
  /** null where the target is not registered any more. */
  target: Target | null;
  /** Its slot: its number in `packet.target`. */
  slot: number;
  /** Weighted rendezvous score; the lowest is chosen. */
  score: bigint;
}

/** A target that takes no new flows of this endpoint, and why. */
export interface Excluded {
  /** The target. */
  target: Target;
  /** Its state, its weight of 0, or that it is in another zone. */
  why: Exclude<TargetState, 'healthy'> | 'weight-0' | 'other-zone';
}

/** A TCP connection, as far as its packets showed it. */
export interface TcpProgress {
  /**
   * `opening`: it began with a SYN, and the end that sent it has not acknowledged a SYN-ACK yet.
   * `closing`: FIN in both directions. `reset`: RST seen, and no packet since.
   */
  state: 'opening' | 'established' | 'half-closed' | 'closing' | 'reset';
  /** The ends that sent a FIN, as in the key. */
  finFrom: string[];
}

/** What ends a flow that has no packets any more. */
export interface IdleTimer {
  /**
   * The TCP idle timeout, that of other protocols, 15 s after FIN both ways, 10 s after RST, 120 s
   * after a SYN, or 60 s after its SYN-ACK.
   */
  timeout: 'tcp' | 'other' | 'closing' | 'reset' | 'syn-seen' | 'syn-ack-seen';
  /** How long it is, in milliseconds. */
  timeoutMs: number;
  /** What is left of it, in milliseconds. */
  leftMs: number;
}

/** A flow that has moved lately: returns from the target before are still taken. */
export interface RecentMove {
  /** null where the target is not known any more. */
  from: Target | null;
  /** Slot of that target. */
  slot: number;
  /** Milliseconds since it moved. */
  agoMs: number;
  /** Milliseconds in which returns from there are still taken. */
  graceLeftMs: number;
}

/** The options that the answer depends on. */
export interface ExplainedPolicy {
  /** `TargetGroupPolicy.failover`. */
  failover: Failover;
  /** Which TCP packets are answered with a RST. */
  sendTcpReset: {
    /** Those of flows whose target is unhealthy; `TargetTcpReset.onUnhealthy`. */
    onUnhealthy: boolean;
    /** Those of flows whose target is gone; `TargetTcpReset.onDeregistration`. */
    onDeregistration: boolean;
    /** Those of unknown flows that open none; `ListenerTcpReset.onIdleTimeout`. */
    onIdleTimeout: boolean;
  };
  /** `TargetGroupOptions.stickiness`. */
  stickiness: Stickiness;
  /** `TargetGroupOptions.scope`. */
  scope: 'endpoint' | 'gateway';
  /** Whether targets of other zones are considered too. */
  crossZone: boolean;
  /** `TargetGroupPolicy.failOpen`. */
  failOpen: boolean;
  /** Seconds; `TargetGroupPolicy.deregistrationDelaySeconds`. */
  deregistrationDelaySeconds: number;
  /** False: every target counts as healthy. */
  healthChecks: boolean;
}

/** What `explain` answers: where the flow's next packet goes, and why. */
export interface Explanation {
  /** The canonical key, the same for both directions: `5-tuple tcp 10.0.2.10:443 203.0.113.9:52144`. */
  key: string;
  /** Keyed hash of it. */
  hash: bigint;
  /** The endpoint it was asked for. */
  endpoint: Endpoint;
  /** Zone whose targets are considered. */
  zone: string;
  /** Row of the target table. */
  row: number;
  /** How many rows there are. */
  rows: number;
  /** What decides about the next packet. */
  decision: FlowDecision;
  /** The rule of docs/rules.md, such as `K3`; null for packets that are malformed. */
  rule: string | null;
  /** The decision as a sentence. */
  why: string;
  /** Where the next packet goes; null where it is dropped or bypasses inspection. */
  target: Target | null;
  /** What the row says now, and a new flow would get. */
  chosen: Target | null;
  /** Whether the flow is in the flow table. */
  pinned: boolean;
  /** Of the pinned flow. */
  cookie: FlowCookie | null;
  /** Of a pinned TCP connection (5-tuple); else null. */
  tcp: TcpProgress | null;
  /** Whether the pinned flow is in probation: newer flows may evict it. */
  probation: boolean;
  /** When the pinned flow ends. */
  idle: IdleTimer | null;
  /**
   * Other endpoints where the same tuple has an entry of its own: packets of one connection that enter
   * by several of them are several flows, unless `scope` is `'gateway'`. At most 256 are looked at.
   */
  elsewhere: Endpoint[];
  /** Until the pinned flow ends without another packet. */
  idleLeftMs: number | null;
  /** Of a flow that moved within the last 30 s. */
  moved: RecentMove | null;
  /** The row's targets, best first; at most 16. */
  candidates: Candidate[];
  /** All other targets that are registered or draining. */
  excluded: Excluded[];
  /** The options that the answer depends on. */
  policy: ExplainedPolicy;
  /** What would become of the flow if the target of its next packet failed now; null without one. */
  ifTargetFails: WhatIf | null;
  /** Why the next packet would be dropped; null where it would not. */
  dropReason: DropReason | null;
  /** All of it for people, several lines. */
  text: string;
  /** For JSON: 64-bit numbers and cookies are hexadecimal text, an endpoint is its id. */
  toJSON(): Record<string, unknown>;
}
