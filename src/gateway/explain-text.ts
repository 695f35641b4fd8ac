/** An explanation for people. */

import { DROP_REASONS } from '../packet/names.js';
import { type Facts, poolText, type WhatIf } from './explain-rules.js';
import type { Explanation, IdleTimer } from './explain-types.js';
import type { Target } from './target.js';

/** Targets that are listed before the rest is only counted. */
const LISTED_MAX = 16;

const TIMEOUTS: Record<IdleTimer['timeout'], string> = {
  tcp: 'TCP idle timeout',
  other: 'idle timeout',
  closing: 'closed by FIN both ways',
  reset: 'after a RST',
  'syn-seen': 'after a SYN that nobody has answered',
  'syn-ack-seen': 'after a SYN-ACK that nobody has acknowledged',
};

/** `0x` and at least so many digits. */
export function hex(value: number | bigint, digits: number): string {
  return `0x${value.toString(16).padStart(digits, '0')}`;
}

export function textOf(explanation: Explanation, facts: Facts): string {
  const { endpoint, key, hash, row, rows } = explanation;
  const lines = [
    `${key || 'no flow'} by endpoint ${endpoint.id} (zone ${endpoint.zone})`,
    `  next packet: ${outcome(explanation)}`,
  ];
  if (explanation.dropReason === null) {
    const { decision, rule, why } = explanation;
    lines.push(`  decided by: ${decision} (${rule}): ${why}`);
  } else if (explanation.rule !== null) {
    lines.push(`  decided by: ${explanation.decision} (${explanation.rule})`);
  }
  if (key === '') return lines.join('\n');
  lines.push(...flowLines(explanation, facts), ...elsewhereLines(explanation));
  lines.push(`  hash: ${hex(hash, 16)}, row ${row} of ${rows}`);
  lines.push(...candidateLines(explanation, facts));
  lines.push(`  policy: ${policyText(explanation)}`);
  const { ifTargetFails: what } = explanation;
  if (what) lines.push(`  ${occasion(what)}: ${what.text} (${what.rule})`);
  return lines.join('\n');
}

function occasion({ event, target }: WhatIf): string {
  if (event === 'delay-over') return `when the delay of ${target.id} is over`;
  return target.state === 'unhealthy' ? `${target.id} has failed` : `if ${target.id} failed now`;
}

function describe(target: Target | null, slot: number): string {
  return target
    ? `target ${target.id} (zone ${target.zone}, ${target.state})`
    : `former target in slot ${slot}`;
}

function outcome({ target, dropReason, decision }: Explanation): string {
  const answered = decision === 'refused' ? ', answered with a RST' : '';
  if (dropReason) return `dropped, ${dropReason}: ${DROP_REASONS[dropReason]}${answered}`;
  if (target) return `to ${describe(target, target.slot)}`;
  return decision === 'bypassed' ? 'forwarded uninspected' : 'nowhere';
}

function flowLines(explanation: Explanation, { owner, ownerIsThere }: Facts): string[] {
  const { cookie, idle, tcp, probation, moved } = explanation;
  if (!cookie || !idle) return ['  flow: not in the flow table'];
  const place = ownerIsThere ? describe(owner, cookie.slot) : former(owner, cookie.slot);
  const fin = tcp && tcp.finFrom.length === 1 ? ` by ${tcp.finFrom[0]}` : '';
  const facts = [`pinned to ${place}`, tcp && `${tcp.state}${fin}`, probation && 'in probation'];
  const lines = [
    `  flow: ${facts.filter(Boolean).join(', ')}`,
    `  timers: ends in ${seconds(idle.leftMs)} without packets ` +
      `(${TIMEOUTS[idle.timeout]}, ${idle.timeoutMs / 1000} s)`,
  ];
  if (moved) {
    lines.push(
      `  moved: ${seconds(moved.agoMs)} ago from ${moved.from?.id ?? `slot ${moved.slot}`}, ` +
        `whose returns are taken for ${seconds(moved.graceLeftMs)} more`,
    );
  }
  const { value, slot, incarnation, tag, signed } = cookie;
  lines.push(
    `  cookie: ${hex(value, 8)} (slot ${slot}, incarnation ${incarnation}, tag ${hex(tag, 4)} ` +
      `${signed ? 'good' : 'of an older key'})`,
  );
  return lines;
}

/** Endpoints that are listed before the rest is only counted. */
const ELSEWHERE_LISTED = 4;

function elsewhereLines({ elsewhere }: Explanation): string[] {
  if (elsewhere.length === 0) return [];
  const ids = elsewhere.slice(0, ELSEWHERE_LISTED).map(({ id, zone }) => `${id} (zone ${zone})`);
  const more = elsewhere.length > ids.length ? ` and ${elsewhere.length - ids.length} more` : '';
  return [
    `  elsewhere: the same tuple is a flow of its own at ${ids.join(', ')}${more}: packets of one ` +
      'connection that enter by different endpoints need scope gateway',
  ];
}

function former(owner: Target | null, slot: number): string {
  return owner ? `former target ${owner.id}` : `former target in slot ${slot}`;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

function candidateLines({ candidates, excluded, endpoint }: Explanation, facts: Facts): string[] {
  if (candidates.length === 0) return [`  candidates: none in ${poolText(facts)}`];
  const lines = candidates.map(({ target, slot, score }, i) => {
    const weight = target ? `, weight ${target.weight}` : '';
    return `  candidate ${i + 1}: ${describe(target, slot)}${weight}, score ${score}`;
  });
  for (const { target, why } of excluded.slice(0, LISTED_MAX)) {
    lines.push(`  no candidate: target ${target.id} (zone ${target.zone}), ${reason(target, why)}`);
  }
  const rest = excluded.length - LISTED_MAX;
  if (rest > 0) lines.push(`  no candidates: ${rest} more targets of ${endpoint.zone} and others`);
  return lines;
}

function reason(target: Target, why: string): string {
  if (why === 'weight-0') return 'weight 0';
  if (why === 'other-zone') return `another zone, ${target.state}`;
  const since = new Date(target.since).toISOString();
  return `${why} since ${since}${target.reason ? ` (${target.reason})` : ''}`;
}

function policyText({ policy }: Explanation): string {
  const { sendTcpReset, failover, stickiness, scope, crossZone, failOpen, healthChecks } = policy;
  const resets = Object.entries(sendTcpReset)
    .filter(([, on]) => on)
    .map(([name]) => name);
  return [
    `failover ${failover}`,
    `stickiness ${stickiness}`,
    `scope ${scope}`,
    `crossZone ${crossZone}`,
    `failOpen ${failOpen}`,
    `sendTcpReset ${resets.join(' and ') || 'off'}`,
    ...(healthChecks ? [] : ['health checks off']),
  ].join(', ');
}
