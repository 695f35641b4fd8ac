/** Batches of packets: native memory, seen from JavaScript through typed arrays. */

import { checkBytesToCopy, native } from '../base/checks.js';
import { checkInteger, mismatch, outOfRange } from '../base/errors.js';
import { BATCH_PACKETS_MAX, SLOT_STRIDE_JUMBO, SLOT_STRIDE_STANDARD } from '../base/limits.js';
import { flag, integer } from '../base/option-kinds.js';
import { readOptions, type TableOf } from '../base/option-table.js';
import { binding } from '../native/binding.js';
import type { BatchField, NativeBatch, NativePacketBatch } from '../native/binding-codec.js';
import { checkIpv4 } from './address.js';
import { type BatchView, Packet } from './packet.js';

/** An iterator that hands out one object again and again: a loop over a batch makes no garbage. */
class Walk<P extends Packet> implements IterableIterator<P> {
  readonly #result: { done: boolean; value: P };
  readonly #count: number;
  readonly #giveBack: () => void;
  #next = 0;

  constructor(cursor: P, count: number, giveBack: () => void) {
    this.#result = { done: false, value: cursor };
    this.#count = count;
    this.#giveBack = giveBack;
  }

  next(): IteratorResult<P> {
    if (this.#next < this.#count) this.#result.value.place(this.#next++);
    else this.#end();
    return this.#result as IteratorResult<P>;
  }

  return(): IteratorResult<P> {
    this.#end();
    return this.#result as IteratorResult<P>;
  }

  [Symbol.iterator](): this {
    return this;
  }

  #end(): void {
    if (this.#result.done) return;
    this.#result.done = true;
    this.#giveBack();
  }
}

/**
 * The typed arrays over a native batch, and iteration with one reused cursor. `PacketBatch` and the
 * appliance's `InspectedBatch` are such batches.
 */
export abstract class Batch<P extends Packet> implements BatchView, Iterable<P> {
  /** The whole block of memory: descriptors and packets. */
  readonly block: Uint8Array;
  /** First byte of packet i in `block`. */
  readonly offset: Uint32Array;
  /** Bytes of packet i. */
  readonly length: Uint32Array;
  /**
   * Outer IPv4 peer of packet i, host order: where a datagram came from, and after a decision where
   * to send it.
   */
  readonly address: Uint32Array;
  /** Outer UDP port of that peer. */
  readonly port: Uint16Array;
  /**
   * Which outer UDP source port to send from: an index, the same for every packet of a flow in both
   * directions; take it modulo the ports you have (or see `Gateway.sourcePort`).
   */
  readonly sourcePort: Uint16Array;
  /** Slot of packet i's target, 0xffff for none. */
  readonly target: Uint16Array;
  /** Index of packet i's endpoint (`Endpoint.index`), 0xffff for none. */
  readonly endpoint: Uint16Array;
  /** What became of packet i; see `Verdict`. */
  readonly verdict: Uint8Array;
  /** Why packet i is dropped: a code, named by `REASON_NAMES`; 0 where it is not. */
  readonly reason: Uint8Array;
  /** Keyed hash of packet i's flow key. */
  readonly hash: BigUint64Array;
  /** Flow cookie of packet i, 0 where it has no flow. */
  readonly cookie: Uint32Array;
  /** Outer IPv4 TOS byte of packet i as received (DSCP and ECN). */
  readonly tos: Uint8Array;
  /** Bit 0: packet i opened its flow; bit 1: it moved its flow to another target. */
  readonly flags: Uint8Array;

  /** @internal */
  readonly native: NativeBatch;
  readonly #memory: Uint8Array;
  #cursor: P | null = null;

  protected constructor(native: NativeBatch) {
    this.native = native;
    const { block, capacity } = native;
    const at = (field: BatchField): [ArrayBuffer, number, number] => [
      block,
      native.layout[field],
      capacity,
    ];
    this.block = new Uint8Array(block);
    this.#memory = this.block;
    this.offset = new Uint32Array(...at('offset'));
    this.length = new Uint32Array(...at('length'));
    this.address = new Uint32Array(...at('address'));
    this.port = new Uint16Array(...at('port'));
    this.sourcePort = new Uint16Array(...at('source_port'));
    this.target = new Uint16Array(...at('target'));
    this.endpoint = new Uint16Array(...at('endpoint'));
    this.verdict = new Uint8Array(...at('verdict'));
    this.reason = new Uint8Array(...at('reason'));
    this.hash = new BigUint64Array(...at('hash'));
    this.cookie = new Uint32Array(...at('cookie'));
    this.tos = new Uint8Array(...at('tos'));
    this.flags = new Uint8Array(...at('flags'));
  }

  /** Packets the batch has room for. */
  get capacity(): number {
    return this.native.capacity;
  }

  /** Packets in the batch: positions 0 to count - 1. */
  abstract get count(): number;

  /** @internal Throws where its memory was moved out of it (`ArrayBuffer.prototype.transfer`). */
  checkHere(): void {
    // Another thread may have it, and change it while native code reads it.
    if (this.#memory.length !== 0) return;
    throw mismatch(
      'ERR_GWLB_INVALID_ARGUMENT',
      'batch',
      'one that has its memory',
      'one whose block was transferred',
    );
  }

  /** A view of packet i's bytes; valid until the batch is filled again. */
  bytes(i: number): Uint8Array {
    const { count } = this;
    if (count === 0) throw outOfRange('i', 'a packet of the batch, which has none', i);
    const at = this.offset[checkInteger('i', i, 0, count - 1)];
    this.checkHere();
    return this.block.subarray(at, at + this.length[i]);
  }

  /**
   * Goes over the packets that are in the batch when the loop begins, with one cursor for the whole
   * loop (see `Packet`) and nothing allocated per packet. Loops may be nested.
   */
  [Symbol.iterator](): IterableIterator<P> {
    const cursor = this.#cursor ?? this.makeCursor();
    this.#cursor = null;
    return new Walk(cursor, this.count, () => {
      this.#cursor = cursor;
    });
  }

  /** @internal */
  protected abstract makeCursor(): P;
}

/** No target, no endpoint. */
const NONE = 0xffff;

/** Options of a `PacketBatch`. */
export interface PacketBatchOptions {
  /** Packets the batch has room for, 1–256. Default 256. */
  packets?: number;
  /**
   * Whether packets up to 8,500 bytes fit (9,152 bytes of memory each), or only those of an ordinary
   * MTU (2,240 bytes each, packets up to 2,112 bytes). Default true.
   */
  jumbo?: boolean;
}

/** The options of a `PacketBatch`. */
export const PACKET_BATCH = {
  packets: {
    says: 'packets the batch has room for',
    kind: integer(1, BATCH_PACKETS_MAX),
    preset: BATCH_PACKETS_MAX,
  },
  jumbo: { says: 'whether packets up to 8,500 bytes fit', kind: flag, preset: true },
} as const satisfies TableOf<PacketBatchOptions>;

/**
 * A batch for embedders: fill it from your own source, hand it to a `Gateway`, send what the
 * descriptors say. Encapsulation and decapsulation happen in place: they move `offset` and `length`.
 */
export class PacketBatch extends Batch<Packet> {
  /** Bytes of the largest packet that fits. */
  readonly packetBytesMax: number;
  /** @internal */
  declare readonly native: NativePacketBatch;
  #count = 0;

  constructor(options: PacketBatchOptions = {}) {
    const { packets, jumbo } = readOptions(PACKET_BATCH, 'options', options);
    const stride = jumbo ? SLOT_STRIDE_JUMBO : SLOT_STRIDE_STANDARD;
    super(native(() => new binding.PacketBatch(packets, stride), 'make a batch'));
    this.packetBytesMax = stride - this.native.headroom;
  }

  /** @internal Whether it is one of this copy of the package, whatever a proxy says. */
  static is(value: unknown): value is PacketBatch {
    return typeof value === 'object' && value !== null && #count in value;
  }

  /**
   * Copies a packet into the next free place and returns its position. `address` is the outer IPv4
   * source of a datagram that came from a target, as text or as a number in host order; packets of an
   * endpoint need none. Throws `ERR_GWLB_OUT_OF_RANGE` where the batch is full or the packet too large.
   */
  add(bytes: Uint8Array, address: string | number = 0): number {
    const length = checkBytesToCopy('bytes', bytes);
    const peer = checkIpv4('address', address);
    const i = this.#take(length);
    this.block.set(bytes, this.offset[i]);
    this.address[i] = peer;
    return i;
  }

  /**
   * Takes the next free place for a packet of `length` bytes, to be written through `bytes(i)`, and
   * returns its position. The bytes are what was there before. Throws as `add` does.
   */
  reserve(length: number): number {
    return this.#take(checkInteger('length', length, 0, this.packetBytesMax));
  }

  #take(length: number): number {
    const i = this.#count;
    checkInteger('length', length, 0, this.packetBytesMax);
    this.checkHere();
    if (i >= this.capacity) {
      throw mismatch(
        'ERR_GWLB_OUT_OF_RANGE',
        'batch',
        'room for one more packet',
        `packet ${i + 1} of ${this.capacity}`,
      );
    }
    const { slots, stride, headroom } = this.native;
    this.offset[i] = slots + i * stride + headroom;
    this.length[i] = length;
    this.hash[i] = 0n;
    this.address[i] = 0;
    this.cookie[i] = 0;
    this.port[i] = 0;
    this.sourcePort[i] = 0;
    this.target[i] = NONE;
    this.endpoint[i] = NONE;
    this.verdict[i] = 0;
    this.reason[i] = 0;
    this.tos[i] = 0;
    this.flags[i] = 0;
    this.#count = i + 1;
    return i;
  }

  /** Whether `add` has no room left. */
  get full(): boolean {
    return this.count >= this.capacity;
  }

  /** Takes all packets out; the memory stays. */
  clear(): void {
    this.#count = 0;
  }

  /** Packets in the batch: positions 0 to count - 1. */
  override get count(): number {
    return this.#count;
  }

  /** @internal Says how many packets native code has filled in. */
  filled(count: number): void {
    this.#count = count;
  }

  protected override makeCursor(): Packet {
    return Packet.over(this);
  }
}
