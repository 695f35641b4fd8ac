/** Captures made here, for replays whose every line is known beforehand. */
import {
  PcapWriter,
  type ReplayLine,
  type ReplayOptions,
  replay,
  tuplePacket,
} from '../../src/index.js';

export const SYN = 0x02;
export const ACK = 0x10;
export const FIN = 0x01;
export const RST = 0x04;

export interface Frame {
  /** Seconds after the first second of 2026. */
  at: number;
  bytes: Uint8Array;
  /** Bytes on the wire, where the capture has fewer. */
  length?: number;
}

const START_NS = 1_767_225_600_000_000_000n;

/** A pcap file of these frames. */
export function captureOf(frames: readonly Frame[], link = 101): Uint8Array {
  const pieces: Uint8Array[] = [];
  const writer = new PcapWriter((bytes) => pieces.push(bytes.slice()), { link });
  for (const { at, bytes, length } of frames) {
    writer.write(bytes, START_NS + BigInt(Math.round(at * 1e9)), length ?? bytes.length);
  }
  return Buffer.concat(pieces);
}

export const CLIENT = '203.0.113.9';
export const SERVER = '10.0.2.10';

/** A TCP packet from the client, or to it. */
export function tcp(flags: number, clientPort = 40_000, toClient = false): Uint8Array {
  const ends = [`${CLIENT}:${clientPort}`, `${SERVER}:443`];
  const [source, destination] = toClient ? ends.reverse() : ends;
  return tuplePacket({ protocol: 'tcp', source, destination }, flags);
}

export function udp(clientPort = 40_000, size = 0): Uint8Array {
  const flow = { protocol: 'udp', source: `${CLIENT}:${clientPort}`, destination: `${SERVER}:53` };
  return tuplePacket(flow, undefined, new Uint8Array(size).fill(0x5a));
}

/** The packet, with Don't Fragment: one that is too long then cannot go on in pieces. */
export function uncut(packet: Uint8Array): Uint8Array {
  const changed = packet.slice();
  changed[6] |= 0x40;
  return changed;
}

/** All lines of a replay of frames. */
export function linesOf(
  frames: readonly Frame[] | Uint8Array,
  options: Omit<ReplayOptions, 'capture'> = {},
): ReplayLine[] {
  const capture = frames instanceof Uint8Array ? frames : captureOf(frames);
  return [...replay({ capture, ...options })];
}

/** The ingress lines in short: `1 forward 10.0.1.10`, `2 drop tcp_not_syn`. */
export function fates(lines: readonly ReplayLine[]): string[] {
  return lines
    .filter(({ direction }) => direction === 'ingress')
    .map(({ flow, verdict, target, reason }) =>
      [flow?.id ?? '-', flow?.new ? 'new' : '', verdict, target ?? reason].join(' '),
    );
}
