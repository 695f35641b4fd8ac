/** Why a flow goes where it goes, as an object and as text. */
import type { NativeExplanation } from '../binding.js';
import type { Target } from '../control/target.js';
import { formatIp, formatSocketAddress } from '../packet/address.js';
import { DROP_REASONS, type DropReason, protocolName } from '../packet/names.js';
import type { Endpoint } from './endpoint.js';

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
}

/** One target of the flow's row. */
export interface Candidate {
  /** null where the target is not registered any more. */
  target: Target | null;
  slot: number;
  /** Weighted rendezvous score; the lowest is chosen. */
  score: bigint;
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
  /** Where the next packet goes; null where it is dropped or bypasses inspection. */
  target: Target | null;
  /** What the row says now, and a new flow would get. */
  chosen: Target | null;
  /** Whether the flow is in the flow table. */
  pinned: boolean;
  /** Of the pinned flow. */
  cookie: FlowCookie | null;
  /** Until the pinned flow ends without another packet. */
  idleLeftMs: number | null;
  /** The row's targets, best first; at most 16. */
  candidates: Candidate[];
  /** Why the next packet would be dropped; null where it would not. */
  dropReason: DropReason | null;
  /** All of it for people, several lines. */
  text: string;
}

/** 32 bits: slot 12 | incarnation 4 | tag 16. */
export function decodeCookie(value: number): FlowCookie {
  return {
    value,
    slot: value >>> 20,
    incarnation: (value >>> 16) & 15,
    tag: value & 0xffff,
  };
}

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

function hex(value: number | bigint, digits: number): string {
  return `0x${value.toString(16).padStart(digits, '0')}`;
}

function keyText(native: NativeExplanation): string {
  if (native.version === 0) return '';
  const ports = native.kind === 5;
  const low = formatEnd(native.low, native.version, native.lowPort, ports);
  const high = formatEnd(native.high, native.version, native.highPort, ports);
  const protocol = native.kind === 2 ? '' : `${protocolName(native.protocol)} `;
  return `${native.kind}-tuple ${protocol}${low} ${high}`;
}

/** What explaining needs to know of the gateway. */
export interface ExplainContext {
  endpoint: Endpoint;
  targetOf(slot: number): Target | null;
  isRegistered(target: Target): boolean;
  failOpen: boolean;
}

export function explanationOf(native: NativeExplanation, context: ExplainContext): Explanation {
  const explanation: Explanation = {
    key: keyText(native),
    hash: native.hash,
    endpoint: context.endpoint,
    zone: context.endpoint.zone,
    row: native.row,
    target: native.error === 'none' ? context.targetOf(native.target) : null,
    chosen: context.targetOf(native.chosen),
    pinned: native.pinned,
    cookie: native.pinned ? decodeCookie(native.cookie) : null,
    idleLeftMs: native.pinned ? native.idleLeftMs : null,
    candidates: native.ranked.map(({ slot, score }) => {
      return { target: context.targetOf(slot), slot, score };
    }),
    dropReason: native.error === 'none' ? null : (native.error as DropReason),
    text: '',
  };
  explanation.text = textOf(explanation, context);
  return explanation;
}

function textOf(explanation: Explanation, context: ExplainContext): string {
  const { endpoint, cookie, candidates, key, hash, row } = explanation;
  const lines = [
    `${key || 'no flow'} by endpoint ${endpoint.id} (zone ${endpoint.zone})`,
    `  next packet: ${outcome(explanation, context)}`,
  ];
  if (key === '') return lines.join('\n');
  lines.push(`  flow: ${flowText(explanation, context)}`);
  if (cookie) {
    const { value, slot, incarnation, tag } = cookie;
    lines.push(
      `  cookie: ${hex(value, 8)} (slot ${slot}, incarnation ${incarnation}, tag ${hex(tag, 4)})`,
    );
  }
  lines.push(`  hash: ${hex(hash, 16)}, row ${row}`);
  for (const [i, { target, slot, score }] of candidates.entries()) {
    lines.push(`  candidate ${i + 1}: ${describe(target, slot)}, score ${score}`);
  }
  return lines.join('\n');
}

function describe(target: Target | null, slot: number): string {
  return target
    ? `target ${target.id} (zone ${target.zone}, ${target.state})`
    : `former target in slot ${slot}`;
}

function outcome(explanation: Explanation, context: ExplainContext): string {
  const { target, dropReason } = explanation;
  if (dropReason) return `dropped, ${dropReason}: ${DROP_REASONS[dropReason]}`;
  if (target) return `to ${describe(target, target.slot)}`;
  return context.failOpen ? 'forwarded uninspected (failOpen): no target is registered' : 'nowhere';
}

function flowText(explanation: Explanation, context: ExplainContext): string {
  const { pinned, cookie, target, chosen, idleLeftMs, dropReason } = explanation;
  if (!pinned || !cookie) return 'not in the flow table; a first packet takes the best candidate';
  const left = `ends in ${((idleLeftMs ?? 0) / 1000).toFixed(1)} s without packets`;
  const owner = context.targetOf(cookie.slot);
  const pin = `pinned to ${describe(owner, cookie.slot)}, ${left}`;
  if (dropReason || target === null || target === owner) return pin;
  const why = owner && context.isRegistered(owner) ? 'which gave it up' : 'which is gone';
  return `${pin}; moves from that target, ${why}, to ${describe(chosen, target.slot)}`;
}
