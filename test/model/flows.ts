/**
 * Flows and their life: one entry a key, TCP states, idle timeouts, probation. An entry that is
 * overdue still counts until a sweep finds it.
 */
import type { Key } from './key.js';
import { ACK, FIN, isLater, type Packet, RST, SYN, TCP } from './packets.js';

export const CLOSING_MS = 15_000;
export const RESET_MS = 10_000;
const SYN_MS = 120_000;
const SYN_ACKED_MS = 60_000;
/** P1: an acknowledgment this far behind the SYN-ACK is one of it. */
const SYN_ACK_WINDOW = 16_384;
/** P1: so many packets of one end are talk where the other is silent. */
const ONE_SIDED_PACKETS = 4;
/** Places of the probation queue that are looked at to make room in a full table. */
const TRIES = 64;

export type Life = 'tcp' | 'other' | 'closing' | 'reset' | 'syn' | 'syn-acked';

type End = 'low' | 'high';

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
  handshakeOver: boolean;
  /** It began with a SYN, and is not established. */
  handshake: boolean;
  /** Ends that sent a SYN: of the handshake, or since then. */
  readonly synFrom: Set<End>;
  /** In a handshake, the number of the SYN-ACK. */
  synAck: number | null;
  probation: boolean;
  /** P1: in probation, who spoke, and whether the other end did after it. */
  readonly talk: { first: End | null; packets: number; answered: boolean };
  /** It is to move with its next packet (T3, T7). */
  told: boolean;
  /** Answered with RST since its target was lost. */
  refused: boolean;
  /** The target it moved away from last; not kept between a SYN-ACK and its acknowledgment. */
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

function isSynAck(sent: Packet): boolean {
  const flags = flagsOf(sent);
  return flags !== null && (flags & (SYN | ACK | RST | FIN)) === (SYN | ACK);
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
  if (life === 'syn') return Math.min(SYN_MS, idle.tcpMs);
  if (life === 'syn-acked') return Math.min(SYN_ACKED_MS, idle.tcpMs);
  return life === 'tcp' ? idle.tcpMs : idle.otherMs;
}

/** What a flow looks at to know that its ends are there. */
export interface Touch {
  readonly packet: Packet;
  /** From the key's low end. */
  readonly forward: boolean;
  readonly ingress: boolean;
  /** P1: it speaks for the flow. */
  readonly witness: boolean;
  readonly promoteOnIngress: boolean;
  readonly now: number;
}

/** What a packet does to its flow's life (C5, C6, C7, P1). */
export function touch(flow: Flow, touched: Touch): void {
  const { packet, ingress, witness, now } = touched;
  flow.lastSeen = now;
  const flags = flagsOf(packet);
  if (flags !== null && !isConnection(flow.key)) flow.life = 'tcp';
  if (flags !== null && isConnection(flow.key)) track(flow, touched, flags, ingress);
  if (!flow.probation || !witness || isLater(packet)) return;
  if (flags !== null && flags & (SYN | RST)) return;
  if (!talks(flow, touched)) return;
  if (flow.life === 'syn' || flow.life === 'syn-acked') flow.life = 'tcp';
  establish(flow);
}

function establish(flow: Flow): void {
  flow.probation = false;
  flow.handshake = false;
  flow.synAck = null;
  flow.synFrom.clear();
}

function track(flow: Flow, touched: Touch, flags: number, ingress: boolean): void {
  if (flags & RST) {
    flow.life = 'reset';
    return;
  }
  if (flags & FIN && touched.forward) flow.finLow = true;
  if (flags & FIN && !touched.forward) flow.finHigh = true;
  if (!(flags & SYN)) flow.handshakeOver = true;
  if (flow.handshake) shakeHands(flow, touched);
  if (flow.finLow && flow.finHigh) flow.life = 'closing';
  else if (flow.life !== 'reset' || ingress) flow.life = lifeOf(flow);
}

function lifeOf({ handshake, synAck }: Flow): Life {
  if (!handshake) return 'tcp';
  return synAck === null ? 'syn' : 'syn-acked';
}

const endsOf = (forward: boolean): [own: End, other: End] =>
  forward ? ['low', 'high'] : ['high', 'low'];

/** P1: SYN, SYN-ACK, and an acknowledgment of that by the end that sent the SYN. */
function shakeHands(flow: Flow, { packet, forward }: Touch): void {
  const [own, other] = endsOf(forward);
  if (isSyn(packet)) flow.synFrom.add(own);
  else if (isSynAck(packet)) {
    if (!flow.synFrom.has(other)) return;
    flow.synAck = packet.sequence;
    flow.moved = null;
  } else if (!(packet.flags & SYN) && packet.flags & ACK && flow.synFrom.has(own)) {
    if (flow.synAck === null) return;
    const beyond = (packet.acknowledgment - flow.synAck) >>> 0;
    if (beyond <= SYN_ACK_WINDOW) establish(flow);
  }
}

/** P1: what shows that somebody talks, where no handshake does. */
function talks(flow: Flow, { packet, forward, promoteOnIngress }: Touch): boolean {
  const { talk } = flow;
  const [own] = endsOf(forward);
  if (talk.first !== null && talk.first !== own) {
    talk.answered = true;
    return false;
  }
  talk.first = own;
  if (talk.answered) return !flow.handshake;
  const mayBeSilent = promoteOnIngress || flagsOf(packet) === null;
  if (talk.packets > 0 && (!mayBeSilent || (flow.handshake && flow.synAck !== null))) return false;
  talk.packets++;
  return talk.packets === ONE_SIDED_PACKETS;
}

/** C4: a SYN-ACK that answers a SYN on an entry whose connection may have been alive. */
export function answersSyn(flow: Flow, packet: Packet, forward: boolean): boolean {
  const [, other] = endsOf(forward);
  return isSynAck(packet) && !flow.handshake && flow.synFrom.has(other);
}

/** Why a flow ends that nobody has heard of for its timeout. */
export function endOf(flow: Flow): string {
  if (flow.refused) return 'refused';
  if (flow.life === 'closing') return 'closed';
  return flow.life === 'reset' ? 'reset' : 'idle';
}
