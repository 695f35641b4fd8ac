/**
 * Flows and their life: one entry a key, TCP states, idle timeouts, probation. An entry that is
 * overdue still counts until a sweep finds it.
 */
import type { Key } from './key.js';
import { ACK, FIN, isLater, type Packet, RST, SYN, TCP } from './packets.js';

export const CLOSING_MS = 15_000;
export const RESET_MS = 10_000;
/** Places of the probation queue that are looked at to make room in a full table. */
const TRIES = 64;

export type Life = 'tcp' | 'other' | 'closing' | 'reset';

export interface Flow {
  readonly key: Key;
  readonly hash: bigint;
  slot: number;
  incarnation: number;
  cookie: number;
  life: Life;
  lastSeen: number;
  /** FIN seen from the key's low end, and from its high end. */
  finLow: boolean;
  finHigh: boolean;
  /** Something else than SYN, SYN-ACK and RST was seen. */
  established: boolean;
  probation: boolean;
  /** It is to move with its next packet (T3, T7). */
  told: boolean;
  /** Answered with RST since its target was lost. */
  refused: boolean;
  /** The target it moved away from last. */
  moved: { readonly slot: number; readonly at: number } | null;
}

/** TCP states are kept for single connections only, not for what 3- and 2-tuples put together. */
export function isConnection(key: Key): boolean {
  return key.kind === 5 && key.protocol === TCP;
}

/** The TCP flags, or null where the packet shows no TCP header. */
export function flagsOf(sent: Packet): number | null {
  return sent.protocol === TCP && !isLater(sent) ? sent.flags : null;
}

/** C1. */
export function isSyn(sent: Packet): boolean {
  const flags = flagsOf(sent);
  return flags !== null && (flags & (SYN | ACK | RST | FIN)) === SYN;
}

/** The entries of one address family. */
export class FlowTable {
  readonly capacity: number;
  readonly flows = new Map<string, Flow>();
  /** Flows in the order they were opened; those that are no longer in probation just stand there. */
  #queue: Flow[] = [];

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  get full(): boolean {
    return this.flows.size >= this.capacity;
  }

  /** P2: puts a new flow into the queue; who has to give way to it, or null. */
  enqueue(flow: Flow): Flow | null {
    const first = this.#queue.length >= this.capacity / 4 ? this.#queue.shift() : undefined;
    this.#queue.push(flow);
    return first !== undefined && this.#isInProbation(first) ? first : null;
  }

  /** P3: the oldest flow in probation, looked for in as many places as a packet may take. */
  oldestInProbation(): Flow | null {
    for (let tries = 0; tries < TRIES && this.#queue.length > 0; tries++) {
      const flow = this.#queue.shift() as Flow;
      if (this.#isInProbation(flow)) return flow;
    }
    return null;
  }

  #isInProbation(flow: Flow): boolean {
    return flow.probation && this.flows.get(flow.key.text) === flow;
  }
}

export interface IdleTimeouts {
  readonly tcpMs: number;
  readonly otherMs: number;
}

export function timeoutOf(life: Life, idle: IdleTimeouts): number {
  if (life === 'closing') return CLOSING_MS;
  if (life === 'reset') return RESET_MS;
  return life === 'tcp' ? idle.tcpMs : idle.otherMs;
}

/** What a packet does to its flow's life (C5, C6, C7). */
export function touch(flow: Flow, sent: Packet, forward: boolean, ingress: boolean, now: number) {
  flow.lastSeen = now;
  const flags = flagsOf(sent);
  if (flags === null) return;
  if (!isConnection(flow.key)) flow.life = 'tcp';
  else if (flags & RST) flow.life = 'reset';
  else track(flow, flags, forward, ingress);
}

function track(flow: Flow, flags: number, forward: boolean, ingress: boolean): void {
  if (flags & FIN && forward) flow.finLow = true;
  if (flags & FIN && !forward) flow.finHigh = true;
  if (!(flags & SYN)) flow.established = true;
  if (flow.finLow && flow.finHigh) flow.life = 'closing';
  else if (flow.life === 'reset' && ingress) flow.life = 'tcp';
}

/** Why a flow ends that nobody has heard of for its timeout. */
export function endOf(flow: Flow): string {
  if (flow.refused) return 'refused';
  if (flow.life === 'closing') return 'closed';
  return flow.life === 'reset' ? 'reset' : 'idle';
}
