/** What the gateway knows between packets, and what the decisions do with it. */
import { protocolName } from '../../src/packet/names.js';
import { cookieOf, parted } from './cookie.js';
import { type Flow, FlowTable, type IdleTimeouts } from './flows.js';
import { Fragments } from './fragments.js';
import { hashOf, type Key, type Kind, rowOf, SCOPE_GATEWAY } from './key.js';
import { type Packet, TCP } from './packets.js';
import type { Reply } from './replies.js';
import type { ModelTarget, TargetsModel } from './targets.js';

export interface GatewayModelOptions extends IdleTimeouts {
  readonly stickiness: Kind;
  readonly scopeGateway: boolean;
  readonly midStream: 'auto' | 'drop' | 'pickup';
  readonly strict: boolean;
  readonly promoteOnIngress: boolean;
  readonly resetOnIdle: boolean;
  readonly pathMtuDiscovery: boolean;
  /** M3; null: off. */
  readonly clampMss: 'auto' | number | null;
  readonly capacity: number;
  readonly hashKey: Uint8Array;
  readonly cookieKey: Uint8Array;
  readonly attachmentId: bigint;
}

export interface ModelEndpoint {
  readonly id: bigint;
  readonly zone: string;
  readonly mtu: number;
  /** Whoever sends its packets cuts those that are too long and may be cut (M2). */
  readonly cuts: boolean;
}

export interface Outcome {
  readonly verdict: 'forward' | 'drop' | 'reply' | 'bypass' | 'held';
  /** Why it was dropped, or why it is answered; 'none' where it was not. */
  readonly reason: string;
  /** Slot; only of what goes to a target. */
  readonly target?: number;
  readonly cookie?: number;
  readonly isNew?: boolean;
  readonly moved?: boolean;
  readonly reply?: Reply;
  /** What goes on: the packet, with what M3 and E1 change in it. */
  readonly packet?: Packet;
  /** Where a returned packet leaves. */
  readonly endpoint?: number;
}

export const drop = (reason: string): Outcome => ({ verdict: 'drop', reason });

export interface ModelEvent {
  readonly type: 'opened' | 'moved' | 'ended';
  readonly time: number;
  readonly cause: string;
  readonly protocol: string;
  readonly key: Key;
  /** Index; null where flows of all endpoints are one space and it ended. */
  readonly endpoint: number | null;
  readonly target: number;
  readonly previous: number | null;
  readonly cookie: number;
}

export interface NewEntry {
  readonly key: Key;
  readonly cookie: number;
  readonly cause: string;
  readonly endpoint: number;
  /** A connection that begins with a SYN. */
  readonly handshake: boolean;
}

export class State {
  options: GatewayModelOptions;
  readonly targets: TargetsModel;
  readonly endpoints = new Map<number, ModelEndpoint>();
  readonly tables: Record<4 | 6, FlowTable>;
  readonly fragments = new Fragments();
  readonly events: ModelEvent[] = [];
  readonly counters = new Map<string, number>();
  idle: IdleTimeouts;
  resetOnIdle: boolean;
  now = 0;
  readonly #hashes = new Map<string, bigint>();
  #cookieKey: Uint8Array;
  #keyBefore: { readonly key: Uint8Array; readonly until: number } | null = null;
  #first: number | null = null;
  /** When a flow without an entry was carried last. */
  #untrackedAt: number | null = null;
  #answers = { left: 100, at: 0 };

  constructor(targets: TargetsModel, options: GatewayModelOptions) {
    this.targets = targets;
    this.options = options;
    this.tables = { 4: new FlowTable(options.capacity), 6: new FlowTable(options.capacity) };
    this.idle = { tcpMs: options.tcpMs, otherMs: options.otherMs };
    this.resetOnIdle = options.resetOnIdle;
    this.#cookieKey = options.cookieKey;
    targets.onTold = (slot, told) => {
      for (const flow of this.flows()) if (flow.slot === slot) flow.told = told;
    };
  }

  flows(): Flow[] {
    return [...this.tables[4].flows.values(), ...this.tables[6].flows.values()];
  }

  advance(now: number, withPackets = true): void {
    this.now = now;
    if (withPackets) this.#first ??= now;
  }

  endpoint(index: number): ModelEndpoint {
    const endpoint = this.endpoints.get(index);
    if (endpoint === undefined) throw new Error(`no endpoint ${index}`);
    return endpoint;
  }

  /** K2. */
  scope(endpoint: number): number {
    return this.options.scopeGateway ? SCOPE_GATEWAY : endpoint;
  }

  hash(key: Key): bigint {
    const known = this.#hashes.get(key.text);
    if (known !== undefined) return known;
    const hash = hashOf(key, this.options.hashKey);
    this.#hashes.set(key.text, hash);
    return hash;
  }

  find(key: Key): Flow | null {
    return this.tables[key.version].flows.get(key.text) ?? null;
  }

  /** C3: whether packets of flows without an entry may be in order. */
  learning(): boolean {
    const { midStream, tcpMs } = this.options;
    if (midStream === 'pickup') return true;
    if (this.#untrackedAt !== null && this.now - this.#untrackedAt < this.idle.tcpMs) return true;
    return midStream === 'auto' && this.now - (this.#first ?? this.now) < tcpMs;
  }

  /** K5. */
  stickTo(stickiness: Kind): void {
    if (stickiness === this.options.stickiness) return;
    this.options = { ...this.options, stickiness };
    this.carryUntracked();
  }

  /** T3, T7: whether the flow has to choose again. */
  isVoid(flow: Flow): boolean {
    const target = this.targets.targets.get(flow.slot);
    if (target === undefined) return true;
    return flow.told;
  }

  carryUntracked(): void {
    this.#untrackedAt = this.now;
  }

  /** The row's target for a packet that enters by this endpoint. */
  choose(endpoint: number, hash: bigint): ModelTarget | null {
    return this.targets.choose(this.endpoint(endpoint).zone, rowOf(hash));
  }

  /** W1. With one space for all endpoints the tag is the same for all of them. */
  cookie(endpoint: number, hash: bigint, slot: number, incarnation: number): number {
    return this.#signed(this.#cookieKey, endpoint, hash, slot, incarnation);
  }

  /** W3 to W6: whether this gateway may have given a flow this cookie. */
  isGood(cookie: number, endpoint: number, hash: bigint): boolean {
    const { slot, incarnation } = parted(cookie);
    const keys = [this.#cookieKey];
    if (this.#keyBefore !== null && this.now < this.#keyBefore.until) {
      keys.push(this.#keyBefore.key);
    }
    return keys.some((key) => this.#signed(key, endpoint, hash, slot, incarnation) === cookie);
  }

  #signed(key: Uint8Array, endpoint: number, hash: bigint, slot: number, incarnation: number) {
    const { attachmentId, scopeGateway } = this.options;
    const endpointId = scopeGateway ? 0n : this.endpoint(endpoint).id;
    return cookieOf(key, { endpointId, attachmentId, hash, slot, incarnation });
  }

  /** W6. */
  rotateCookieKey(key: Uint8Array, overlapMs: number, now: number): void {
    this.#keyBefore = { key: this.#cookieKey, until: now + overlapMs };
    this.#cookieKey = key;
  }

  /** M1: at most 100 ICMP errors at once, and 1000 a second. */
  mayAnswer(): boolean {
    const left = Math.min(100, this.#answers.left + (this.now - this.#answers.at));
    this.#answers = { left: Math.max(0, left - 1), at: this.now };
    return left > 0;
  }

  /** A new entry; null where there is no room for it (P2, P3). */
  insert(entry: NewEntry): Flow | null {
    const { key, cookie, cause, endpoint, handshake } = entry;
    const table = this.tables[key.version];
    if (table.full) {
      const oldest = table.oldestInProbation();
      if (oldest === null) return null;
      this.#evict(oldest);
    }
    const { slot, incarnation } = parted(cookie);
    const flow: Flow = {
      key,
      hash: this.hash(key),
      slot,
      incarnation,
      cookie,
      life: key.protocol === TCP ? 'tcp' : 'other',
      lastSeen: this.now,
      finLow: false,
      finHigh: false,
      handshakeOver: false,
      handshake,
      synFrom: new Set(),
      synAck: null,
      probation: true,
      talk: { first: null, packets: 0, answered: false },
      told: false,
      refused: false,
      moved: null,
    };
    table.flows.set(key.text, flow);
    this.count('flowsNew');
    const overstayed = table.enqueue(flow);
    if (overstayed !== null) this.#evict(overstayed);
    this.tell('opened', flow, cause, endpoint);
    return flow;
  }

  #evict(flow: Flow): void {
    this.count('flowsEvicted');
    this.end(flow, 'evicted');
  }

  end(flow: Flow, cause: string): void {
    const { key } = flow;
    this.tables[key.version].flows.delete(key.text);
    this.count('flowsEnded');
    this.tell('ended', flow, cause, key.scope === SCOPE_GATEWAY ? null : key.scope);
  }

  tell(
    type: ModelEvent['type'],
    flow: Flow,
    cause: string,
    endpoint: number | null,
    previous: number | null = null,
  ): void {
    const { key, slot: target, cookie } = flow;
    const protocol = key.protocol === 0 ? 'any' : protocolName(key.protocol);
    const time = this.now;
    this.events.push({ type, time, cause, protocol, key, endpoint, target, previous, cookie });
  }

  count(name: string, by = 1): void {
    this.counters.set(name, (this.counters.get(name) ?? 0) + by);
  }
}
