/** A gateway in simulated time, whose appliances return every packet at once. */

import type { Endpoint } from '../gateway/endpoint.js';
import type { Gateway } from '../gateway/gateway.js';
import type { TargetGroup } from '../gateway/target-group.js';
import { formatIpv4 } from '../packet/address.js';
import { PacketBatch } from '../packet/batch.js';
import { type DropReason, REASON_NAMES, Verdict } from '../packet/names.js';
import type { SimulatedClock } from './clock.js';
import { FlowNumbers, type ReplayFlow } from './flows.js';
import type { ReplayLine, ReplayReason } from './lines.js';

/** A packet on its way in. */
export interface Arrival {
  frame: number;
  /** Seconds since the first frame, as its line says it. */
  time: number;
  /** From its IP header on; of many segments that were captured as one the first. */
  bytes: Uint8Array;
  /** The other segments. */
  rest: Iterable<Uint8Array>;
  /** Bytes of what was captured as one. */
  size: number;
  endpoint: Endpoint;
}

interface Held extends Arrival {
  deadlineNs: bigint;
}

export interface SimulationParts {
  group: TargetGroup;
  gateway: Gateway;
  clock: SimulatedClock;
  /** Gets every line, and how many bytes its packet had. */
  emit(line: ReplayLine, bytes: number): void;
  /** Gets every packet sent to a target, from its outer header on; `timeNs` since the first frame. */
  sent: ((packet: Uint8Array, timeNs: bigint) => void) | null;
}

/** The gateway holds a later fragment that comes before its first one for so long (rule F2). */
const HOLD_NS = 50_000_000n;
/** TCP flows that were closed or reset are kept for at most so long (rules C5 and C6). */
const CLOSED_MS = 15_000;
/** Fewer flows than the gateway has room for events, so that none is lost when all of them end. */
const SWEEP_FLOWS = 8_192;
const SWEEP_POSITIONS = 4_096;
const FLOW_IS_NEW = 1;
const NOTHING = { target: null, cookie: null } as const;

const milliseconds = (ns: bigint): number => Number(ns / 1_000_000n);

export class Simulation {
  readonly #parts: SimulationParts;
  readonly #flows: FlowNumbers;
  readonly #out = new PacketBatch({ packets: 1 });
  readonly #back = new PacketBatch({ packets: 1 });
  readonly #positions: number;
  #held: Held[] = [];
  #nowNs = 0n;
  #nowMs = 0;
  #sweptMs = 0;
  #lastPacketMs = 0;

  /** `flowsMax`: places in the larger one of the gateway's flow tables. */
  constructor(parts: SimulationParts, flowsMax: number) {
    this.#parts = parts;
    this.#flows = new FlowNumbers(parts.gateway);
    // The tables have up to half as many places again as flows.
    this.#positions = flowsMax * 2;
  }

  /** Nanoseconds since the first frame. */
  get nowNs(): bigint {
    return this.#nowNs;
  }

  /**
   * Lets time pass: timers run, held fragments go on, idle flows end. Flows are looked at at the last
   * whole second before `toNs`, and where all of them must be over.
   */
  advance(toNs: bigint): void {
    const toMs = milliseconds(toNs);
    const { tcpSeconds, otherSeconds } = this.#parts.gateway.idleTimeout;
    const longestMs = Math.max(tcpSeconds * 1000, otherSeconds * 1000, CLOSED_MS);
    const overMs = Math.ceil((this.#lastPacketMs + longestMs) / 1000) * 1000;
    if (overMs < toMs) this.#sweepAt(overMs);
    this.#sweepAt(Math.floor(toMs / 1000) * 1000);
    this.#run(toNs);
  }

  /** Lets those fragments go on that still wait. */
  finish(): void {
    for (let last = this.#held.at(-1); last; last = this.#held.at(-1)) this.#run(last.deadlineNs);
  }

  /** A packet enters, now. */
  enter(arrival: Arrival): void {
    const { bytes, endpoint } = arrival;
    this.#lastPacketMs = this.#nowMs;
    if (bytes.length > this.#out.packetBytesMax) {
      this.#refuse(arrival, 'inner_too_big');
      return;
    }
    this.#out.clear();
    this.#out.add(bytes);
    this.#parts.gateway.toTargets(this.#out, endpoint, this.#nowMs);
    this.#settle(arrival);
    this.#release();
  }

  #refuse({ frame, time, size }: Arrival, reason: ReplayReason): void {
    const told = { ...NOTHING, verdict: 'drop', reason } as const;
    this.#parts.emit({ frame, time, direction: 'ingress', flow: null, ...told }, size);
  }

  #run(toNs: bigint): void {
    for (let first = this.#held[0]; first && first.deadlineNs <= toNs; first = this.#held[0]) {
      this.#setTime(first.deadlineNs);
      this.#release();
    }
    this.#setTime(toNs);
  }

  #setTime(toNs: bigint): void {
    if (toNs > this.#nowNs) {
      this.#nowNs = toNs;
      this.#nowMs = milliseconds(toNs);
    }
    this.#parts.clock.advance(this.#nowMs);
  }

  /** Ends the flows that are idle then, or now where that is over. */
  #sweepAt(atMs: number): void {
    const { gateway } = this.#parts;
    if (atMs <= this.#sweptMs || gateway.flows === 0) return;
    this.#sweptMs = atMs;
    this.#run(BigInt(atMs) * 1_000_000n);
    const nowMs = this.#nowMs;
    const step = gateway.flows <= SWEEP_FLOWS ? this.#positions : SWEEP_POSITIONS;
    for (let left = this.#positions; left > 0; left -= step) {
      gateway.sweep(nowMs, step);
      this.#flows.update();
    }
  }

  /** Lets those held fragments go on whose first one has come, or has not come for too long. */
  #release(): void {
    const { gateway } = this.#parts;
    const nowMs = this.#nowMs;
    while (this.#held.length > 0 && gateway.takeHeld(this.#out, nowMs) > 0) {
      const bytes = this.#out.bytes(0);
      const at = this.#held.findIndex(
        (held) =>
          held.endpoint.index === this.#out.endpoint[0] && Buffer.compare(held.bytes, bytes) === 0,
      );
      const [arrival] = this.#held.splice(at, 1);
      gateway.toTargets(this.#out, null, nowMs);
      this.#settle({ ...arrival, time: Number(this.#nowNs) / 1e9 });
    }
  }

  /** What became of the packet in the batch. */
  #settle(arrival: Arrival): void {
    const { frame, time, size } = arrival;
    const batch = this.#out;
    const verdict = batch.verdict[0];
    if (verdict === Verdict.held) {
      this.#held.push({ ...arrival, deadlineNs: this.#nowNs + HOLD_NS });
      return;
    }
    const forwarded = verdict === Verdict.forward;
    const isNew = (batch.flags[0] & FLOW_IS_NEW) !== 0;
    // The events of what this packet did, before anything else happens.
    if (isNew) this.#flows.update();
    const flow = this.#flowOf(arrival, isNew);
    const told = {
      frame,
      time,
      flow,
      target: forwarded ? formatIpv4(batch.address[0]) : null,
      cookie: forwarded ? batch.cookie[0] : null,
    };
    const reason = reasonOf(batch);
    this.#parts.emit({ direction: 'ingress', ...told, verdict: verdictOf(batch), reason }, size);
    if (!forwarded) return;
    const back = this.#return();
    const line = { ...told, flow: flow && { ...flow, new: false }, direction: 'return' } as const;
    this.#parts.emit({ ...line, verdict: verdictOf(back), reason: reasonOf(back) }, size);
    for (const segment of arrival.rest) this.#carry(segment, arrival.endpoint);
  }

  /** A segment after the first: it goes where that went. */
  #carry(segment: Uint8Array, endpoint: Endpoint): void {
    this.#out.clear();
    this.#out.add(segment);
    this.#parts.gateway.toTargets(this.#out, endpoint, this.#nowMs);
    if (this.#out.verdict[0] === Verdict.forward) this.#return();
  }

  #flowOf({ bytes, endpoint }: Arrival, isNew: boolean): ReplayLine['flow'] {
    const hash = this.#out.hash[0];
    const cookie = this.#out.cookie[0];
    const known = isNew ? null : this.#flows.find(hash);
    if (known) {
      if (cookie !== 0) this.#flows.move(known, cookie);
      return { id: known.id, key: known.key, new: false };
    }
    if (hash === 0n) return null;
    const key = this.#flows.keyOf(bytes, endpoint);
    if (key === null) return null;
    const opened: ReplayFlow | null = isNew ? this.#flows.open(hash, key, cookie) : null;
    return { id: opened?.id ?? null, key, new: isNew };
  }

  /** The target sends the packet back as it came; the batch that it came back in. */
  #return(): PacketBatch {
    const { gateway, sent } = this.#parts;
    const packet = this.#out.bytes(0);
    sent?.(packet, this.#nowNs);
    const back = this.#back;
    back.clear();
    back.add(packet);
    // Source and destination change places, which leaves the checksums as they are.
    const at = back.offset[0];
    back.block.set(packet.subarray(16, 20), at + 12);
    back.block.set(packet.subarray(12, 16), at + 16);
    gateway.fromTargets(back, this.#nowMs);
    return back;
  }
}

function reasonOf(batch: PacketBatch): DropReason | null {
  const reason = REASON_NAMES[batch.reason[0]];
  return reason === 'none' ? null : reason;
}

/** An ICMP error of the gateway's own is a drop that the sender hears of. */
function verdictOf(batch: PacketBatch): ReplayLine['verdict'] {
  switch (batch.verdict[0]) {
    case Verdict.forward:
      return 'forward';
    case Verdict.bypass:
      return 'bypass';
    case Verdict.reply:
      return reasonOf(batch) === 'inner_too_big' ? 'drop' : 'reset';
    default:
      return 'drop';
  }
}
