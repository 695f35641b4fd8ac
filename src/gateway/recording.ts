/** The headers of the packets that entered last, as worker threads keep them. */
import { endianness } from 'node:os';
import type { Endpoint } from './endpoint.js';

/** Memory for recorded packets, of all workers together. */
export const RECORDING_BYTES = 64 << 20;

/** As native/engine/record_ring.h has it. */
const RECORD_BYTES = 144;
const LENGTH_AT = 8;
const ENDPOINT_AT = 12;
const CAPTURED_AT = 14;
const BYTES_AT = 16;
const LITTLE = endianness() === 'LE';

/** One packet that entered. */
export interface RecordedPacket {
  /** When, in milliseconds since 1970. */
  timeMs: number;
  /** Where; null where that endpoint was removed. */
  endpoint: Endpoint | null;
  /** Bytes of the packet. */
  length: number;
  /** Its first bytes, 128 at most. */
  bytes: Uint8Array;
}

/** What was kept when it was asked for; in order of time. */
export class Recording implements Iterable<RecordedPacket> {
  /** Packets of the time asked for that were overwritten, since memory is bounded. */
  readonly lost: number;
  /** Milliseconds since 1970 less those of CLOCK_MONOTONIC (`process.hrtime`), when it was made. */
  readonly offsetMs: number;
  readonly #packets: Uint8Array;
  readonly #endpointAt: (index: number) => Endpoint | undefined;

  /** @internal */
  constructor(
    native: { packets: Uint8Array; lost: number },
    offsetMs: number,
    endpointAt: (index: number) => Endpoint | undefined,
  ) {
    this.lost = native.lost;
    this.#packets = native.packets;
    this.offsetMs = offsetMs;
    this.#endpointAt = endpointAt;
  }

  /** How many packets there are. */
  get count(): number {
    return this.#packets.length / RECORD_BYTES;
  }

  *[Symbol.iterator](): Generator<RecordedPacket, void, undefined> {
    const { buffer, byteOffset, byteLength } = this.#packets;
    const view = new DataView(buffer, byteOffset, byteLength);
    const timeAt = (i: number) => Number(view.getBigUint64(i * RECORD_BYTES, LITTLE));
    const times = Float64Array.from({ length: this.count }, (_, i) => timeAt(i));
    // Each worker's packets are in order; sorting is stable.
    const order = Uint32Array.from({ length: this.count }, (_, i) => i);
    order.sort((a, b) => times[a] - times[b] || a - b);
    for (const i of order) {
      const at = i * RECORD_BYTES;
      const captured = view.getUint16(at + CAPTURED_AT, LITTLE);
      const bytesAt = at + BYTES_AT;
      yield {
        timeMs: times[i] + this.offsetMs,
        endpoint: this.#endpointAt(view.getUint16(at + ENDPOINT_AT, LITTLE)) ?? null,
        length: view.getUint32(at + LENGTH_AT, LITTLE),
        bytes: this.#packets.subarray(bytesAt, bytesAt + captured),
      };
    }
  }
}
