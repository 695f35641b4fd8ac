/** Which flow a packet belongs to: flows are numbered in the order they are opened. */
import { endianness } from 'node:os';
import type { Endpoint } from '../gateway/endpoint.js';
import { formatEnd } from '../gateway/explain.js';
import type { Gateway } from '../gateway/gateway.js';
import { binding } from '../native/binding.js';
import { protocolName } from '../packet/names.js';

export interface ReplayFlow {
  /** Its number, from 1. */
  readonly id: number;
  /** Keyed hash of its key, by which packets name it. */
  readonly hash: bigint;
  /** The canonical key as `explain` has it. */
  readonly key: string;
  /** Cookie of its last packet; it changes when the flow moves. */
  cookie: number;
}

interface Entry extends ReplayFlow {
  /** Endpoint, protocol and ends, as events name it. */
  readonly name: string;
}

const EVENT = binding.flowEventLayout;
const EVENT_BYTES = EVENT.bytes;
const VERSION_AT = EVENT.version;
const ENDPOINT_AT = EVENT.endpoint;
const PORTS_AT = EVENT.ports;
const LOW_AT = EVENT.low;
const ADDRESS_BYTES = 16;
const ENDED = binding.names.flowEventTypes.indexOf('ended');
const LITTLE = endianness() === 'LE';
/** As many as the gateway gives at once. */
const EVENTS_AT_ONCE = 64;

/**
 * The flows that are in the gateway's table, told by its events. The packets of one batch of one
 * packet and the events after it belong together.
 */
export class FlowNumbers {
  readonly #gateway: Gateway;
  readonly #byHash = new Map<bigint, Entry>();
  readonly #byName = new Map<string, Entry>();
  /** Endpoints are one space: an event need not say which. */
  readonly #oneSpace: boolean;
  readonly #events = Buffer.alloc(EVENTS_AT_ONCE * EVENT_BYTES);
  readonly #key = Buffer.alloc(EVENT_BYTES);
  #count = 0;

  constructor(gateway: Gateway) {
    this.#gateway = gateway;
    this.#oneSpace = gateway.targetGroup.scope === 'gateway';
  }

  /** Takes the gateway's events: flows that have ended are forgotten. */
  update(): void {
    for (;;) {
      const count = this.#gateway.readEvents(this.#events);
      for (let at = 0; at < count * EVENT_BYTES; at += EVENT_BYTES) {
        if (this.#events[at + EVENT.type] === ENDED) this.#forget(at);
      }
      if (count < EVENTS_AT_ONCE) return;
    }
  }

  #forget(at: number): void {
    const events = this.#events;
    const cookie = LITTLE
      ? events.readUInt32LE(at + EVENT.cookie)
      : events.readUInt32BE(at + EVENT.cookie);
    const name = `${this.#nameOf(events, at)}${cookie}`;
    const entry = this.#byName.get(name);
    if (!entry) return;
    this.#byName.delete(name);
    if (this.#byHash.get(entry.hash) === entry) this.#byHash.delete(entry.hash);
  }

  /** The key that a packet has, as `explain` has it; null where it has none. */
  keyOf(packet: Uint8Array, endpoint: Endpoint): string | null {
    const kind = this.#gateway.describe(packet, endpoint, this.#key);
    return kind === 0 ? null : this.#keyText(kind);
  }

  /** The flow that was opened by the packet `keyOf` was asked for last. */
  open(hash: bigint, key: string, cookie: number): ReplayFlow {
    const name = this.#nameOf(this.#key, 0);
    const entry = { id: ++this.#count, hash, key, cookie, name };
    this.#byHash.set(hash, entry);
    this.#byName.set(`${name}${cookie}`, entry);
    return entry;
  }

  find(hash: bigint): ReplayFlow | null {
    return this.#byHash.get(hash) ?? null;
  }

  /** The flow has another cookie now. */
  move(flow: ReplayFlow, cookie: number): void {
    const entry = this.#byHash.get(flow.hash);
    if (!entry || entry.cookie === cookie) return;
    this.#byName.delete(`${entry.name}${entry.cookie}`);
    entry.cookie = cookie;
    this.#byName.set(`${entry.name}${cookie}`, entry);
  }

  /** Version, protocol, endpoint, ports and addresses. */
  #nameOf(event: Buffer, at: number): string {
    const text = (from: number, to: number) => event.toString('latin1', at + from, at + to);
    const space = text(VERSION_AT, this.#oneSpace ? ENDPOINT_AT : ENDPOINT_AT + 2);
    return space + text(PORTS_AT, PORTS_AT + 4) + text(LOW_AT, LOW_AT + 2 * ADDRESS_BYTES);
  }

  #keyText(kind: number): string {
    const key = this.#key;
    const version = key[VERSION_AT];
    const end = (address: number, port: number) => {
      const number = LITTLE ? key.readUInt16LE(port) : key.readUInt16BE(port);
      return formatEnd(key.subarray(address, address + ADDRESS_BYTES), version, number, kind === 5);
    };
    const protocol = kind === 2 ? '' : `${protocolName(key[EVENT.protocol])} `;
    const low = end(LOW_AT, PORTS_AT);
    return `${kind}-tuple ${protocol}${low} ${end(EVENT.high, PORTS_AT + 2)}`;
  }
}
