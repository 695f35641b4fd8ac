/** The headers of the packets that entered last, as worker threads keep them. */
import { endianness } from 'node:os';
import { binding } from '../native/binding.js';
import type { Endpoint } from './endpoint.js';

/** Memory for recorded packets, of all workers together. */
export const RECORDING_BYTES = 64 << 20;

const RECORD = binding.recordedLayout;
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
    return this.#packets.length / RECORD.bytes;
  }

  *[Symbol.iterator](): Generator<RecordedPacket, void, undefined> {
    const { buffer, byteOffset, byteLength } = this.#packets;
    const view = new DataView(buffer, byteOffset, byteLength);
    const timeAt = (i: number) =>
      Number(view.getBigUint64(i * RECORD.bytes + RECORD.nowMs, LITTLE));
    for (const i of inOrder(this.count, timeAt)) {
      const at = i * RECORD.bytes;
      const captured = view.getUint16(at + RECORD.captured, LITTLE);
      const bytesAt = at + RECORD.packet;
      yield {
        timeMs: timeAt(i) + this.offsetMs,
        endpoint: this.#endpointAt(view.getUint16(at + RECORD.endpoint, LITTLE)) ?? null,
        length: view.getUint32(at + RECORD.length, LITTLE),
        bytes: this.#packets.subarray(bytesAt, bytesAt + captured),
      };
    }
  }
}

/**
 * Positions by time, equal ones as they stand. Each worker's packets are in order, one worker behind the
 * other: they are merged as they are asked for, so that the first one is there at once.
 */
function* inOrder(
  count: number,
  timeAt: (i: number) => number,
): Generator<number, void, undefined> {
  const runs: { at: number; end: number; time: number }[] = [];
  let before = Number.POSITIVE_INFINITY;
  for (let i = 0; i < count; i += 1) {
    const time = timeAt(i);
    if (time < before) runs.push({ at: i, end: i, time });
    runs[runs.length - 1].end = i + 1;
    before = time;
  }
  while (runs.length > 0) {
    let first = 0;
    for (let k = 1; k < runs.length; k += 1) if (runs[k].time < runs[first].time) first = k;
    const run = runs[first];
    yield run.at;
    run.at += 1;
    if (run.at === run.end) runs.splice(first, 1);
    else run.time = timeAt(run.at);
  }
}
