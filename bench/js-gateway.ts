// The decisions of a gateway in plain JavaScript: a Map of flows, DataView parsing, GENEVE written
// and taken off in place. The peer of the whole pass, and what the dgram forwarder decides by.
import { type GeneveFields, noFields, OPTION_CLASS, parseFields } from './js-codec.js';

/** Bytes in front of an inner packet that its GENEVE header is written to. */
export const HEADER_BYTES = 40;

export interface JsFlow {
  target: number;
  cookie: number;
  lastSeen: number;
}

/** The canonical 5-tuple of an IPv4 packet as a packed string, or null. */
function flowKey(view: DataView, at: number, length: number): string | null {
  if (length < 20 || view.getUint8(at) !== 0x45 || view.getUint16(at + 2) > length) return null;
  const protocol = view.getUint8(at + 9);
  if ((protocol !== 6 && protocol !== 17) || (view.getUint16(at + 6) & 0x3fff) !== 0) return null;
  if (length < 28) return null;
  let a = view.getUint32(at + 12);
  let b = view.getUint32(at + 16);
  let aPort = view.getUint16(at + 20);
  let bPort = view.getUint16(at + 22);
  if (a > b || (a === b && aPort > bPort)) {
    [a, b] = [b, a];
    [aPort, bPort] = [bPort, aPort];
  }
  return String.fromCharCode(a >>> 16, a & 0xffff, b >>> 16, b & 0xffff, aPort, bPort, protocol);
}

export class JsGateway {
  readonly #flows = new Map<string, JsFlow>();
  readonly #targets: readonly number[];
  readonly #fields: GeneveFields = noFields();
  readonly #endpoint = [0x0123_4567, 0x89ab_cdef] as const;
  #cookies = 1;

  /** @param targets Their IPv4 addresses as numbers. */
  constructor(targets: readonly number[]) {
    this.#targets = targets;
  }

  get flows(): number {
    return this.#flows.size;
  }

  /** Writes the header in front of the inner packet at `at`; null drops it. */
  encapsulate(view: DataView, at: number, length: number, now: number): JsFlow | null {
    const key = flowKey(view, at, length);
    if (key === null) return null;
    let flow = this.#flows.get(key);
    if (flow === undefined) {
      let hash = 0x811c9dc5;
      for (let i = 0; i < key.length; i += 1) {
        hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
      }
      const target = this.#targets[((hash ^ (hash >>> 15)) >>> 0) % this.#targets.length];
      flow = { target, cookie: this.#cookies++ >>> 0, lastSeen: now };
      this.#flows.set(key, flow);
    }
    flow.lastSeen = now;
    const to = at - HEADER_BYTES;
    view.setUint32(to, (8 << 24) | 0x0800);
    view.setUint32(to + 4, 0);
    view.setUint32(to + 8, (OPTION_CLASS << 16) | 0x0102);
    view.setUint32(to + 12, this.#endpoint[0]);
    view.setUint32(to + 16, this.#endpoint[1]);
    view.setUint32(to + 20, (OPTION_CLASS << 16) | 0x0202);
    view.setUint32(to + 24, 0);
    view.setUint32(to + 28, 0);
    view.setUint32(to + 32, (OPTION_CLASS << 16) | 0x0301);
    view.setUint32(to + 36, flow.cookie);
    return flow;
  }

  /** Bytes of the header to take off a datagram from `source`; 0 drops it. */
  decapsulate(view: DataView, at: number, length: number, source: number, now: number): number {
    const fields = this.#fields;
    if (!parseFields(view, at, length, fields) || fields.protocolType !== 0x0800) return 0;
    if (fields.endpointHigh !== this.#endpoint[0] || fields.endpointLow !== this.#endpoint[1]) {
      return 0;
    }
    const inner = at + fields.headerLength;
    const key = flowKey(view, inner, length - fields.headerLength);
    const flow = key === null ? undefined : this.#flows.get(key);
    if (flow?.cookie !== fields.cookie || flow.target !== source) return 0;
    flow.lastSeen = now;
    return fields.headerLength;
  }
}
