/** Why a flow goes where it goes, as an object and as text. */
import type { NativeExplanation, NativeTargets } from '../binding.js';
import type { TargetState } from '../control/health.js';
import type { Failover, Stickiness } from '../control/options.js';
import type { Target } from '../control/target.js';
import type { TargetGroup } from '../control/target-group.js';
import { formatIp, formatSocketAddress } from '../packet/address.js';
import { type DropReason, protocolName } from '../packet/names.js';
import type { Endpoint } from './endpoint.js';
import {
  decisionOf,
  type Facts,
  type FlowDecision,
  type WhatIf,
  whatIfOf,
} from './explain-rules.js';
import { hex, textOf } from './explain-text.js';

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

/** Returns of the target before are taken for so long after a flow moved (rule W4). */
const MOVED_GRACE_MS = 30_000;

const NO_SLOT = 0xffff;
const FIN_FROM_LOW = 1;
const FIN_FROM_HIGH = 2;
const HANDSHAKE = 32;
const IDLE = ['tcp', 'other', 'closing', 'reset', 'syn-seen', 'syn-ack-seen'] as const;

/** `10.0.2.10:443`, or the address alone where the key has no ports. */
export function formatEnd(
  bytes: Uint8Array,
  version: number,
  port: number,
  ports: boolean,
): string {
  const address = bytes.subarray(0, version === 4 ? 4 : 16);
  return ports ? formatSocketAddress(address, port) : formatIp(address);
}

function endsOf(native: NativeExplanation): [string, string] {
  const ports = native.kind === 5;
  return [
    formatEnd(native.low, native.version, native.lowPort, ports),
    formatEnd(native.high, native.version, native.highPort, ports),
  ];
}

function keyText(native: NativeExplanation): string {
  if (native.version === 0) return '';
  const protocol = native.kind === 2 ? '' : `${protocolName(native.protocol)} `;
  return `${native.kind}-tuple ${protocol}${endsOf(native).join(' ')}`;
}

/** What explaining needs to know of the gateway. */
export interface ExplainContext {
  endpoint: Endpoint;
  elsewhere: Endpoint[];
  targetGroup: TargetGroup;
  crossZone: boolean;
  onIdleTimeout: boolean;
  /** What the data plane decides by. */
  snapshot: NativeTargets;
  /** All targets that packets go to. */
  targets: readonly Target[];
  policyOf: Facts['policyOf'];
  targetOf(slot: number): Target | null;
}

export function explanationOf(native: NativeExplanation, context: ExplainContext): Explanation {
  const { endpoint, targetOf } = context;
  const { hash, row, rows, pinned } = native;
  const policy = explainedPolicy(context);
  const facts = factsOf(native, context, policy);
  const { decision, rule, why } = decisionOf(facts);
  const idle = idleOf(native);
  const explanation = {
    key: keyText(native),
    hash,
    endpoint,
    zone: endpoint.zone,
    row,
    rows,
    decision,
    rule,
    why,
    target: facts.target,
    chosen: targetOf(native.chosen),
    pinned,
    cookie: pinned ? cookieOf(native) : null,
    tcp: tcpOf(native),
    probation: native.probation,
    idle,
    idleLeftMs: idle?.leftMs ?? null,
    elsewhere: context.elsewhere,
    moved: movedOf(native, context),
    candidates: native.ranked.map(({ slot, score }) => ({ target: targetOf(slot), slot, score })),
    excluded: native.version === 0 ? [] : excludedOf(facts),
    policy,
    ifTargetFails: whatIfOf(facts, decision),
    dropReason: native.error === 'none' ? null : (native.error as DropReason),
    text: '',
  } as Explanation;
  explanation.text = textOf(explanation, facts);
  Object.defineProperty(explanation, 'toJSON', { value: () => jsonOf(explanation) });
  return explanation;
}

function factsOf(
  native: NativeExplanation,
  { endpoint, targets: fleet, policyOf, snapshot, targetOf }: ExplainContext,
  { crossZone }: ExplainedPolicy,
): Facts {
  const owner = native.pinned ? targetOf(native.cookie >>> 20) : null;
  return {
    native,
    snapshot,
    targetOf,
    target: native.error === 'none' ? targetOf(native.target) : null,
    owner,
    ownerIsThere: owner !== null && fleet.includes(owner),
    fleet,
    zone: endpoint.zone,
    crossZone,
    policyOf,
  };
}

function explainedPolicy({
  targetGroup: group,
  crossZone,
  onIdleTimeout,
}: ExplainContext): ExplainedPolicy {
  return {
    failover: group.failover,
    sendTcpReset: { ...group.sendTcpReset, onIdleTimeout },
    stickiness: group.stickiness,
    scope: group.scope,
    crossZone,
    failOpen: group.failOpen,
    deregistrationDelaySeconds: group.deregistrationDelaySeconds,
    healthChecks: group.healthCheck !== false,
  };
}

function cookieOf({ cookie: value, cookieSigned: signed }: NativeExplanation): FlowCookie {
  return {
    value,
    slot: value >>> 20,
    incarnation: (value >>> 16) & 15,
    tag: value & 0xffff,
    signed,
  };
}

function tcpOf(native: NativeExplanation): TcpProgress | null {
  if (!native.pinned || native.kind !== 5 || native.protocol !== 6) return null;
  const fins = [FIN_FROM_LOW, FIN_FROM_HIGH];
  const finFrom = endsOf(native).filter((_, i) => (native.tcp & fins[i]) !== 0);
  const idle = IDLE[native.idle];
  if (idle === 'closing' || idle === 'reset') return { state: idle, finFrom };
  if (finFrom.length > 0) return { state: 'half-closed', finFrom };
  return { state: (native.tcp & HANDSHAKE) === 0 ? 'established' : 'opening', finFrom };
}

function idleOf(native: NativeExplanation): IdleTimer | null {
  if (!native.pinned) return null;
  const { idleTimeoutMs: timeoutMs, idleLeftMs: leftMs } = native;
  return { timeout: IDLE[native.idle], timeoutMs, leftMs };
}

function movedOf(native: NativeExplanation, context: ExplainContext): RecentMove | null {
  const { movedFrom: slot, movedAgoMs: agoMs } = native;
  if (slot === NO_SLOT) return null;
  const from = context.targetOf(slot);
  return { from, slot, agoMs, graceLeftMs: Math.max(0, MOVED_GRACE_MS - agoMs) };
}

function excludedOf(facts: Facts): Excluded[] {
  const eligible = new Set(
    facts.snapshot.targets.filter((spec) => spec.eligible).map(({ slot }) => slot),
  );
  const excluded: Excluded[] = [];
  for (const target of facts.fleet) {
    const { zone, weight, state, slot } = target;
    if (!facts.crossZone && zone !== facts.zone) excluded.push({ target, why: 'other-zone' });
    else if (eligible.has(slot)) continue;
    else if (weight === 0 && state === 'healthy') excluded.push({ target, why: 'weight-0' });
    else excluded.push({ target, why: state as Exclude<TargetState, 'healthy'> });
  }
  return excluded;
}

function jsonOf(explanation: Explanation): Record<string, unknown> {
  const { hash, endpoint, elsewhere, cookie, candidates } = explanation;
  return {
    ...explanation,
    hash: hex(hash, 16),
    endpoint: endpoint.id,
    elsewhere: elsewhere.map(({ id }) => id),
    cookie: cookie && { ...cookie, value: hex(cookie.value, 8), tag: hex(cookie.tag, 4) },
    candidates: candidates.map((one) => ({ ...one, score: hex(one.score, 16) })),
  };
}
