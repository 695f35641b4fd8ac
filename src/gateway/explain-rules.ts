/**
 * Which rule of docs/rules.md decides about a packet, and what would become of its flow if its
 * target failed. Both are read off the state that the data plane decides by; nothing is decided here.
 */

import type { FleetPolicy } from '../fleet/state.js';
import type { FleetTable } from '../fleet/table.js';
import { binding, type NativeExplanation } from '../native/binding.js';
import { DROP_REASONS, type DropReason } from '../packet/names.js';
import type { Target } from './target.js';

/**
 * What decides about the next packet. `new`: no entry, its row. `picked-up`: no entry, a running TCP
 * connection. `pinned`: its entry. `reopened`: a SYN that opens a new connection in the place of an
 * entry. `moved`: the entry's target is lost, its row. `refused`: answered with a RST. `bypassed`:
 * forwarded uninspected. `dropped`: see `dropReason`.
 */
export type FlowDecision =
  | 'new'
  | 'picked-up'
  | 'pinned'
  | 'reopened'
  | 'moved'
  | 'refused'
  | 'bypassed'
  | 'dropped';

/** What would become of a flow. */
export interface WhatIf {
  /** What would happen to the target: it turns `unhealthy`, or its deregistration delay ends. */
  event: 'unhealthy' | 'delay-over';
  /** The target that it would happen to. */
  target: Target;
  /**
   * The flow `stays` on it, `moves` to another one with its next packet, is `refused` (TCP packets are
   * answered with a RST), or, where it is not pinned yet, `chooses`.
   */
  fate: 'stays' | 'moves' | 'refused' | 'chooses';
  /** Where its packets would go; null where it is refused. */
  to: Target | null;
  /** The rule of docs/rules.md that says so. */
  rule: string;
  /** The same as a sentence. */
  text: string;
}

/** What the rules depend on. */
export interface Facts {
  native: NativeExplanation;
  /** What the data plane decides by. */
  snapshot: FleetTable;
  targetOf: (slot: number) => Target | null;
  /** Where the next packet goes. */
  target: Target | null;
  /** The target of the entry, registered or not; null without an entry. */
  owner: Target | null;
  /** Whether the owner is registered or draining. */
  ownerIsThere: boolean;
  /** All targets that are registered or draining, of all zones. */
  fleet: readonly Target[];
  zone: string;
  crossZone: boolean;
  /** What becomes of the flows of a target that is lost; of one that nobody knows, by the group in use. */
  policyOf: (target: Target | null) => LossPolicy;
}

/** What becomes of the flows of a target that is lost. */
export type LossPolicy = Pick<
  FleetPolicy,
  'failover' | 'resetOnUnhealthy' | 'resetOnDeregistration'
>;

export interface Decision {
  decision: FlowDecision;
  /** null where no rule is about it: packets that are malformed. */
  rule: string | null;
  why: string;
}

const TCP = 6;

/** Rules of drops that do not depend on anything else. */
const DROP_RULES: Partial<Record<DropReason, string>> = {
  tcp_not_syn: 'C2',
  icmp_no_flow: 'I2',
  icmp_bad_quote: 'I4',
  inner_bad_fragment: 'F4',
  inner_too_big: 'M1',
  no_targets: 'K4',
};

/** `zone a`, or `all zones`. */
export function poolText({ zone, crossZone }: Pick<Facts, 'zone' | 'crossZone'>): string {
  return crossZone ? 'all zones' : `zone ${zone}`;
}

function inPool(facts: Facts, target: Target): boolean {
  return facts.crossZone || target.zone === facts.zone;
}

function isHealthy(target: Target): boolean {
  return target.state === 'healthy' && target.weight > 0;
}

/** Targets of the pool, other than this one, that a flow could move to. */
function healthyOthers(facts: Facts, target: Target | null): Target[] {
  return facts.fleet.filter(
    (other) => other !== target && inPool(facts, other) && isHealthy(other),
  );
}

/** Whether the flow is a TCP connection: what RST answers are for. */
function isConnection({ native }: Facts): boolean {
  return native.kind === 5 && native.protocol === TCP;
}

export function decisionOf(facts: Facts): Decision {
  const { native } = facts;
  const decision = native.rule as FlowDecision;
  switch (decision) {
    case 'new':
      return { decision, ...newFlow(facts) };
    case 'picked-up': {
      const why = 'it opens no connection, but running ones are picked up now: its row decides';
      return { decision, rule: 'C3', why };
    }
    case 'pinned':
      return { decision, ...pinned(facts) };
    case 'reopened': {
      const why = 'a SYN on this entry opens a new connection in its place, with another cookie';
      return { decision, rule: 'C4', why };
    }
    case 'moved':
      return { decision, ...moved(facts) };
    case 'refused':
      return { decision, ...refused(facts) };
    case 'bypassed': {
      const why = `no target of ${poolText(facts)} is registered, and failOpen is on`;
      return { decision, rule: 'T11', why };
    }
    default: {
      const reason = native.error as DropReason;
      return { decision, rule: DROP_RULES[reason] ?? null, why: DROP_REASONS[reason] };
    }
  }
}

type Because = Omit<Decision, 'decision'>;

function newFlow(facts: Facts): Because {
  if (facts.native.quoted) {
    const why = 'an ICMP error about a flow without an entry goes by the row, as its packets do';
    return { rule: 'I5', why };
  }
  if (facts.target && !isHealthy(facts.target) && healthyOthers(facts, null).length === 0) {
    const why = `no target of ${poolText(facts)} is healthy: the row is chosen among all of them`;
    return { rule: 'T10', why };
  }
  return { rule: 'K3', why: "the first packet pins the flow to the row's best candidate" };
}

function pinned(facts: Facts): Because {
  const { native, owner, ownerIsThere } = facts;
  const { failover } = facts.policyOf(owner);
  if (native.quoted) return { rule: 'I1', why: 'an ICMP error follows the flow that it quotes' };
  if (native.stray) {
    const why = 'a SYN moves no connection that may be alive, until a SYN-ACK answers it';
    return { rule: 'C4', why };
  }
  const lost = !ownerIsThere || owner?.state === 'unhealthy';
  if (lost && failover === 'rebalance' && healthyOthers(facts, owner).length === 0) {
    const why = `the flow stays on its lost target: no other one of ${poolText(facts)} is healthy`;
    return { rule: 'T10', why };
  }
  if (!ownerIsThere) {
    const why = 'the flow stays on its former target until it ends (failover no_rebalance)';
    return { rule: 'T6', why };
  }
  if (owner?.state === 'unhealthy') {
    return { rule: 'T2', why: 'the flow stays on its unhealthy target (failover no_rebalance)' };
  }
  if (owner?.state === 'draining') {
    const why = 'the target is draining and keeps its flows until its delay is over';
    return { rule: 'T5', why };
  }
  return { rule: 'K3', why: 'its first packet pinned the flow to this target' };
}

function moved({ owner, ownerIsThere }: Facts): Because {
  if (ownerIsThere) {
    const why = `its target ${owner?.id} failed: the flow moves with its next packet (rebalance)`;
    return { rule: 'T3', why };
  }
  const id = owner?.id ?? 'of before';
  const why = `its target ${id} is gone: the flow moves with its next packet (rebalance)`;
  return { rule: 'T7', why };
}

function refused(facts: Facts): Because {
  if (!facts.native.pinned) {
    const why = 'a TCP packet of no flow is answered with a RST (sendTcpReset.onIdleTimeout)';
    return { rule: 'C2', why };
  }
  if (facts.ownerIsThere) {
    const why = 'its target failed: TCP packets are answered with a RST until a SYN opens anew';
    return { rule: 'T4', why };
  }
  const why = 'its target is gone: TCP packets are answered with a RST until a SYN opens anew';
  return { rule: 'T8', why };
}

/** What would become of the flow if the target of its next packet failed now. */
export function whatIfOf(facts: Facts, decision: FlowDecision): WhatIf | null {
  const { target } = facts;
  // Nothing can fail that the packet does not go to, or that is gone already.
  if (target === null || !facts.fleet.includes(target)) return null;
  if (decision === 'pinned') return whatIfPinned(facts, target);
  return whatIfChosen(facts, target);
}

function whatIfPinned(facts: Facts, target: Target): WhatIf {
  const draining = target.state === 'draining';
  const event = draining ? ('delay-over' as const) : ('unhealthy' as const);
  const { failover, resetOnUnhealthy, resetOnDeregistration } = facts.policyOf(target);
  const stays = (rule: string, because: string): WhatIf => {
    const text = `the flow stays on ${target.id}: ${because}`;
    return { event, target, fate: 'stays', to: target, rule, text };
  };
  const [next] = candidatesWithout(facts, target);
  const reset = draining ? resetOnDeregistration : resetOnUnhealthy;
  if (failover === 'no_rebalance' && (!reset || !isConnection(facts))) {
    const because = reset ? 'only TCP connections are reset' : 'failover is no_rebalance';
    return stays(draining ? 'T6' : 'T2', because);
  }
  if (!next) return stays('T10', `no other target of ${poolText(facts)} is healthy`);
  if (failover === 'rebalance') {
    const text = `the flow moves to ${next.id} with its next packet`;
    return { event, target, fate: 'moves', to: next, rule: draining ? 'T7' : 'T3', text };
  }
  const text = `its next TCP packet is answered with a RST, and the next SYN goes to ${next.id}`;
  return { event, target, fate: 'refused', to: null, rule: draining ? 'T8' : 'T4', text };
}

/** A packet that is about to choose would choose without the target. */
function whatIfChosen(facts: Facts, target: Target): WhatIf {
  const event = 'unhealthy' as const;
  const [next] = candidatesWithout(facts, target);
  if (next) {
    const text = `the flow would be pinned to ${next.id}, the next candidate`;
    return { event, target, fate: 'chooses', to: next, rule: 'T1', text };
  }
  const { owner, ownerIsThere } = facts;
  if (facts.native.pinned && ownerIsThere && owner?.state !== 'draining' && owner?.weight) {
    const text = `the flow would stay on ${owner.id}: no target of ${poolText(facts)} would be healthy`;
    return { event, target, fate: 'stays', to: owner, rule: 'T10', text };
  }
  const to = chosenOfAll(facts) ?? target;
  const text =
    `the flow would be pinned to ${to.id}: with no healthy target of ${poolText(facts)} ` +
    'the row is chosen among all of them';
  return { event, target, fate: 'chooses', to, rule: 'T10', text };
}

/** Healthy candidates of the row but this one, best first. */
function candidatesWithout(facts: Facts, target: Target): Target[] {
  const healthy = new Set(healthyOthers(facts, target));
  return facts.native.ranked
    .map(({ slot }) => facts.targetOf(slot))
    .filter((other): other is Target => other !== null && healthy.has(other));
}

/** The row's target where every registered one of the pool takes new flows. */
function chosenOfAll(facts: Facts): Target | null {
  const { snapshot, fleet, native, targetOf, zone, crossZone } = facts;
  const able = fleet.filter(
    (target) =>
      target.state !== 'draining' && target.weight > 0 && (crossZone || target.zone === zone),
  );
  const slots = new Set(able.map(({ slot }) => slot));
  let best: { readonly slot: number; readonly rank: readonly bigint[] } | null = null;
  for (const { slot, identity, weight } of snapshot.targets) {
    if (!slots.has(slot)) continue;
    const score = binding.scoreOf(snapshot.seed, identity, native.row, weight);
    const rank = [score, identity, BigInt(slot)];
    if (best === null || isBefore(rank, best.rank)) best = { slot, rank };
  }
  return best && targetOf(best.slot);
}

/** By the first that differ. */
function isBefore(a: readonly bigint[], b: readonly bigint[]): boolean {
  const i = a.findIndex((value, i) => value !== b[i]);
  return i >= 0 && a[i] < b[i];
}
