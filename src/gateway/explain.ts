/** Why a flow goes where it goes, as an object and as text. */

import type { FleetTable } from '../fleet/table.js';
import type { TargetState } from '../health/thresholds.js';
import type { NativeExplanation } from '../native/binding.js';
import { formatIp, formatSocketAddress } from '../packet/address.js';
import { type DropReason, protocolName } from '../packet/names.js';
import type { Endpoint } from './endpoint.js';
import { decisionOf, type Facts, whatIfOf } from './explain-rules.js';
import { hex, textOf } from './explain-text.js';
import type {
  Excluded,
  ExplainedPolicy,
  Explanation,
  FlowCookie,
  IdleTimer,
  RecentMove,
  TcpProgress,
} from './explain-types.js';
import type { Target } from './target.js';
import type { TargetGroup } from './target-group.js';

/** Returns of the target before are taken for so long after a flow moved (rule W4). */
const MOVED_GRACE_MS = 30_000;

const NO_SLOT = 0xffff;

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
  snapshot: FleetTable;
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
  const fins = [native.finFromLow, native.finFromHigh];
  const finFrom = endsOf(native).filter((_, i) => fins[i]);
  const { idle } = native;
  if (idle === 'closing' || idle === 'reset') return { state: idle, finFrom };
  if (finFrom.length > 0) return { state: 'half-closed', finFrom };
  return { state: native.opening ? 'opening' : 'established', finFrom };
}

function idleOf(native: NativeExplanation): IdleTimer | null {
  if (!native.pinned) return null;
  const { idleTimeoutMs: timeoutMs, idleLeftMs: leftMs } = native;
  return { timeout: native.idle as IdleTimer['timeout'], timeoutMs, leftMs };
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
