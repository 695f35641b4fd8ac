/** The small world of the properties: few addresses and ports, so that tuples meet again. */
import { errorAbout, type Packet, packet, reversed, TCP } from '../model/packets.js';

export const ENDPOINTS = [
  { id: 0x123456789abcdef0n, text: 'vpce-0123456789abcdef0', zone: 'a', mtu: 8500 },
  { id: 0x123456789abcdef1n, text: 'vpce-0123456789abcdef1', zone: 'b', mtu: 8500 },
  { id: 0x123456789abcdef2n, text: 'vpce-0123456789abcdef2', zone: 'a', mtu: 576 },
] as const;

export const TARGETS = [
  { address: '10.0.1.10', id: '10.0.1.10:6081', zone: 'a' },
  { address: '10.0.1.11', id: '10.0.1.11:6081', zone: 'a' },
  { address: '10.0.1.12', id: '10.0.1.12:6081', zone: 'a' },
  { address: '10.0.1.13', id: '10.0.1.13:6081', zone: 'b' },
  { address: '10.0.1.14', id: '10.0.1.14:6081', zone: 'b' },
] as const;

/** Registered from the beginning. */
export const FIRST_TARGETS = [0, 1, 3];

const CLIENTS = { 4: ['203.0.113.9', '203.0.113.10'], 6: ['2001:db8::9', '2001:db8::10'] } as const;
const SERVER = { 4: '10.0.2.10', 6: '2001:db8:2::10' } as const;
const ROUTER = { 4: '192.0.2.1', 6: '2001:db8:ffff::1' } as const;
const CLIENT_PORTS = [50_000, 50_001];
const SERVER_PORT = 443;

export const PROTOCOLS = { tcp: TCP, udp: 17, gre: 47, echo: 1, sctp: 132 } as const;

/** Of a client's packets, and of the server's. */
const SEQUENCES = [0xfffffff0, 76_999];

function acknowledgment({ heard, back }: PacketSpec): number {
  return ((heard ? SEQUENCES[back ? 0 : 1] : 1_000_000) + 1) >>> 0;
}

/** A packet of the world as a command has it. */
export interface PacketSpec {
  readonly version: 4 | 6;
  readonly client: number;
  readonly port: number;
  /** From the server to the client. */
  readonly back: boolean;
  readonly protocol: keyof typeof PROTOCOLS;
  /** TCP flags. */
  readonly flags: number;
  /** Of TCP: whether it acknowledges what the other end sent, or a number of nowhere. */
  readonly heard: boolean;
  readonly payload: number;
  readonly ecn: number;
  /** Pieces of its datagram, with the id; `whole` is an atomic fragment. */
  readonly piece: null | {
    readonly id: number;
    readonly part: 'first' | 'middle' | 'last' | 'tiny' | 'attack' | 'whole';
  };
  /** Not the packet itself, but an ICMP error about it with so many bytes quoted. */
  readonly error: null | { readonly quoted: number; readonly nested: boolean };
}

export function packetOf(spec: PacketSpec): Packet {
  const { version } = spec;
  const protocol = PROTOCOLS[spec.protocol];
  const withPorts = spec.protocol === 'tcp' || spec.protocol === 'udp' || spec.protocol === 'sctp';
  const sent = packet({
    source: CLIENTS[version][spec.client],
    destination: SERVER[version],
    protocol: spec.protocol === 'echo' && version === 6 ? 58 : protocol,
    ...(withPorts && { sourcePort: CLIENT_PORTS[spec.port], destinationPort: SERVER_PORT }),
    ...(spec.protocol === 'tcp' && {
      flags: spec.flags,
      sequence: SEQUENCES[spec.back ? 1 : 0],
      acknowledgment: spec.flags & 0x10 ? acknowledgment(spec) : 0,
    }),
    payload: spec.piece === null ? spec.payload : 60,
    ecn: spec.ecn,
  });
  const directed = spec.back ? reversed(sent) : sent;
  const whole = { ...directed, fragment: fragmentOf(spec) };
  if (spec.error === null) return whole;
  const about = errorAbout(whole, ROUTER[version], spec.error.quoted);
  return spec.error.nested ? errorAbout(about, ROUTER[version], 100) : about;
}

/** One of many flows from different ports of one client. */
export function floodPacket(version: 4 | 6, protocol: 'tcp' | 'udp', port: number): Packet {
  const source = CLIENTS[version][1];
  const ends = { source, destination: SERVER[version], destinationPort: SERVER_PORT };
  const [sequence, acknowledgment] = SEQUENCES;
  const numbers = protocol === 'tcp' ? { sequence, acknowledgment } : {};
  return packet({ ...ends, ...numbers, protocol: PROTOCOLS[protocol], sourcePort: port });
}

/** The server's answer to it. */
export function floodAnswer(sent: Packet): Packet {
  const { sequence, acknowledgment } = sent;
  return { ...reversed(sent), sequence: acknowledgment, acknowledgment: sequence };
}

function fragmentOf({ piece }: PacketSpec): Packet['fragment'] {
  if (piece === null) return null;
  const { id } = piece;
  if (piece.part === 'first') return { id, offset: 0, length: 24, more: true };
  if (piece.part === 'tiny') return { id, offset: 0, length: 8, more: true };
  if (piece.part === 'attack') return { id, offset: 8, length: 16, more: true };
  if (piece.part === 'middle') return { id, offset: 24, length: 16, more: true };
  if (piece.part === 'last') return { id, offset: 40, length: 1000, more: false };
  return { id, offset: 0, length: 1000, more: false };
}
