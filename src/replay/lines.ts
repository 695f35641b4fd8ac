/** What a replay tells: a line a packet and direction, and a summary. */
import type { DropReason } from '../packet/names.js';

/**
 * Why a packet did not go on: a reason of the gateway, `not_ip` for a frame without an IP packet, or
 * `unknown_link` for one of a link type that is not read.
 */
export type ReplayReason = DropReason | 'not_ip' | 'unknown_link';

/**
 * `forward`: sent to the target, or out by its endpoint. `drop`. `reset`: dropped and answered with a
 * RST. `bypass`: sent on uninspected (`failOpen`).
 */
export type ReplayVerdict = 'forward' | 'drop' | 'reset' | 'bypass';

/** What becomes of a packet, in one direction. */
export interface ReplayLine {
  /** Number of the frame in the capture, from 1. */
  frame: number;
  /** Seconds since the first frame. */
  time: number;
  /** `ingress`: enters by an endpoint. `return`: comes back from the target. */
  direction: 'ingress' | 'return';
  /**
   * The packet's flow, numbered in the order flows were opened, and whether this packet opened it. `id`
   * is null where the packet has no entry in the flow table; all is null where it has no key.
   */
  flow: {
    /** From 1 on. */
    id: number | null;
    /** Canonical key, the same for both directions: `5-tuple tcp 10.0.2.10:443 203.0.113.9:52144`. */
    key: string;
    /** Whether this packet opened it. */
    new: boolean;
  } | null;
  /** Address of the target; null where the packet went to none. */
  target: string | null;
  /** 32 bits; null where the packet went to no target. */
  cookie: number | null;
  /** What becomes of it. */
  verdict: ReplayVerdict;
  /** Why it did not go on; null where it did. */
  reason: ReplayReason | null;
}

/** All lines of a replay in numbers. */
export interface ReplaySummary {
  /** Frames of the capture. */
  frames: number;
  /** Seconds from the first frame to the last. */
  seconds: number;
  /** Frames with a packet for the gateway. */
  packets: number;
  /** Bytes of these packets. */
  bytes: number;
  /** Flows opened. */
  flows: number;
  /** Ingress packets by verdict. */
  verdicts: Record<ReplayVerdict, number>;
  /** Packets that did not go on, of both directions, by reason. */
  drops: Partial<Record<ReplayReason, number>>;
  /** By address, in the order of their first packet. */
  targets: Record<
    string,
    {
      /** Flows opened on it. */
      flows: number;
      /** Packets sent to it. */
      packets: number;
      /** Bytes of them. */
      bytes: number;
    }
  >;
}

export function emptySummary(): ReplaySummary {
  return {
    frames: 0,
    seconds: 0,
    packets: 0,
    bytes: 0,
    flows: 0,
    verdicts: { forward: 0, drop: 0, reset: 0, bypass: 0 },
    drops: {},
    targets: {},
  };
}

/** Counts a line; `bytes` are those of its packet. */
export function countLine(summary: ReplaySummary, line: ReplayLine, bytes: number): void {
  const { direction, verdict, reason, target, flow } = line;
  if (reason !== null) summary.drops[reason] = (summary.drops[reason] ?? 0) + 1;
  if (direction === 'return') return;
  summary.verdicts[verdict] += 1;
  if (flow?.new) summary.flows += 1;
  if (target === null) return;
  summary.targets[target] ??= { flows: 0, packets: 0, bytes: 0 };
  const counted = summary.targets[target];
  counted.flows += flow?.new ? 1 : 0;
  counted.packets += 1;
  counted.bytes += bytes;
}
