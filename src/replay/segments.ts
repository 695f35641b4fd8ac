/**
 * Captures of hosts that leave segmentation to their network card show packets which no link has carried:
 * many segments as one (TSO, USO, GRO), maybe with an IP length of 0. What went over the link is made of
 * them here, as far as it can be known.
 */
import { binding } from '../native/binding.js';
import type { EnteringPacket } from './frames.js';

const TCP = 6;
const UDP = 17;
const SYN = 0x02;
const TCP_HEADER = 20;
const OPTION_END = 0;
const OPTION_NOP = 1;
const OPTION_MSS = 2;
/** A sender makes none smaller, whatever a SYN says: Linux has 88 bytes less 40 of options. */
const SEGMENT_MIN = 48;
/** Above every link's MTU: a UDP packet of more has been put together, or waits to be cut. */
const LINK_BYTES_MAX = 9216;
/** Ends of connections whose SYN is remembered. */
const ENDS_MAX = 65_536;
const IP_BYTES_MAX = 0xffff;

/** The packets that went over the link. */
export interface Carried {
  /** The first of them. */
  readonly first: Uint8Array;
  /** Those after it, each valid until the next is asked for. */
  readonly rest: Iterable<Uint8Array>;
}

const NOTHING: readonly Uint8Array[] = [];

/** What the two ends of TCP connections take, by their SYN. */
export class SegmentSizes {
  /** Largest segment that an end takes, by what is sent to it. */
  readonly #sizes = new Map<string, number>();

  /** The packet as it went over the link to an endpoint with this MTU. */
  carried(packet: EnteringPacket, mtu: number): Carried {
    const { bytes, headers, tcpFlags, protocol, lengthZero } = packet;
    if (protocol === TCP && headers !== 0 && (tcpFlags & SYN) !== 0) this.#note(packet);
    const segment = headers === 0 ? 0 : this.#segmentOf(packet, mtu);
    if (segment === 0) {
      return { first: lengthZero ? withLength(bytes) : bytes, rest: NOTHING };
    }
    const first = cut(bytes, segment, 0);
    if (first === null) return { first: bytes, rest: NOTHING };
    return { first, rest: segmentsAfterFirst(bytes, segment) };
  }

  /** Payload bytes of a segment; 0 where it is no more than one that has its length. */
  #segmentOf(packet: EnteringPacket, mtu: number): number {
    const { bytes, headers, protocol, lengthZero } = packet;
    const payload = bytes.length - headers;
    // Where nothing says how long its segments were, they are taken to have fitted.
    const fitting = Math.max(1, mtu - headers);
    if (protocol === UDP) return bytes.length > Math.max(LINK_BYTES_MAX, mtu) ? fitting : 0;
    const size = payload > SEGMENT_MIN ? this.#sizeOf(packet) : null;
    const segment = size ?? fitting;
    if (payload > segment) return segment;
    return lengthZero && payload > 0 ? payload : 0;
  }

  /** Of a connection: the smaller of what its ends take, less the packet's options; null: not known. */
  #sizeOf(packet: EnteringPacket): number | null {
    const there = this.#sizes.get(endOf(packet, false));
    const here = this.#sizes.get(endOf(packet, true));
    if (there === undefined && here === undefined) return null;
    const options = packet.headers - packet.transport - TCP_HEADER;
    return Math.max(SEGMENT_MIN, Math.min(there ?? Infinity, here ?? Infinity) - options);
  }

  #note(packet: EnteringPacket): void {
    const key = endOf(packet, true);
    const size = announcedSize(packet);
    this.#sizes.delete(key);
    if (size === null) return;
    this.#sizes.set(key, size);
    if (this.#sizes.size <= ENDS_MAX) return;
    const [oldest] = this.#sizes.keys();
    this.#sizes.delete(oldest);
  }
}

/** One end of a connection and the other: the sender's first, or the receiver's. */
function endOf({ bytes, transport }: EnteringPacket, sender: boolean): string {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const text = (at: number, size: number) => view.toString('latin1', at, at + size);
  const [at, size] = bytes[0] >>> 4 === 4 ? [12, 4] : [8, 16];
  const source = text(at, size) + text(transport, 2);
  const destination = text(at + size, size) + text(transport + 2, 2);
  return sender ? source + destination : destination + source;
}

/** The MSS option of a SYN; null without one. */
function announcedSize({ bytes, transport, headers }: EnteringPacket): number | null {
  let at = transport + TCP_HEADER;
  while (at + 1 < headers) {
    const kind = bytes[at];
    if (kind === OPTION_END) return null;
    if (kind === OPTION_NOP) {
      at += 1;
      continue;
    }
    const length = bytes[at + 1];
    if (kind === OPTION_MSS && length === 4 && at + 4 <= headers) {
      return (bytes[at + 2] << 8) | bytes[at + 3];
    }
    at += Math.max(2, length);
  }
  return null;
}

function cut(bytes: Uint8Array, segment: number, k: number): Uint8Array | null {
  const out = new Uint8Array(Math.min(bytes.length, IP_BYTES_MAX));
  const length = binding.cutPacket(bytes, segment, k, out);
  return length === 0 ? null : out.subarray(0, length);
}

function* segmentsAfterFirst(bytes: Uint8Array, segment: number): Generator<Uint8Array> {
  for (let k = 1; ; k += 1) {
    const next = cut(bytes, segment, k);
    if (next === null) return;
    yield next;
  }
}

/** Of a packet that cannot be cut: the IP header says its length, where it can. */
function withLength(bytes: Uint8Array): Uint8Array {
  const version = bytes[0] >>> 4;
  const length = version === 4 ? bytes.length : bytes.length - 40;
  if (length > IP_BYTES_MAX) return bytes;
  const out = Uint8Array.from(bytes);
  out[version === 4 ? 2 : 4] = length >>> 8;
  out[version === 4 ? 3 : 5] = length & 0xff;
  return out;
}
