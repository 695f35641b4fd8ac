/** The small world of the properties: few addresses and ports, so that tuples meet again. */
import { ACK, errorAbout, type Packet, packet, reversed, TCP } from '../model/packets.js';

export const ENDPOINTS = [
  { id: 0x123456789abcdef0n, text: 'vpce-0123456789abcdef0', zone: 'a', mtu: 8500 },
  { id: 0x123456789abcdef1n, text: 'vpce-0123456789abcdef1', zone: 'b', mtu: 8500 },
  { id: 0x123456789abcdef2n, text: 'vpce-0123456789abcdef2', zone: 'a', mtu: 576 },
] as const;

/** The endpoint with the smallest MTU. */
export const NARROW = 2;

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

/** TCP options: segment sizes of 8,940, 1,460 and 65,535, at even and odd places, and none. */
export const OPTIONS = {
  none: [],
  '8,940': [2, 4, 0x22, 0xec],
  '1,460 behind a word': [1, 2, 4, 0x05, 0xb4, 1, 1, 1],
  '65,535 and 1,460': [2, 4, 0xff, 0xff, 1, 2, 4, 0x05, 0xb4, 0, 2, 4],
  'another, and 8,940': [3, 3, 7, 2, 4, 0x22, 0xec, 1],
  'ends early': [1, 2, 4, 0x22],
} as const;

/** Pieces of a datagram of 60 bytes, and of one of 1,400 behind the transport header. */
export const PARTS = {
  first: [0, 24, true],
  tiny: [0, 8, true],
  attack: [8, 16, true],
  middle: [24, 16, true],
  last: [40, 1000, false],
  whole: [0, 1000, false],
  'long first': [0, 640, true],
  'long middle': [640, 640, true],
  'long last': [640, 2000, false],
} as const;

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
  /** IPv4: what its fragments are named by, and that there must be none. */
  readonly id: number;
  readonly dontFragment: boolean;
  /** Of TCP. */
  readonly options: keyof typeof OPTIONS;
  /** A piece of its datagram; `whole` is an atomic fragment. */
  readonly piece: null | keyof typeof PARTS;
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
      acknowledgment: spec.flags & ACK ? acknowledgment(spec) : 0,
      options: OPTIONS[spec.options],
    }),
    payload: payloadOf(spec),
    ecn: spec.ecn,
    id: spec.id,
    dontFragment: version === 4 && spec.dontFragment,
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

function payloadOf({ piece, payload }: PacketSpec): number {
  if (piece === null) return payload;
  return piece.startsWith('long') ? 1_400 : 60;
}

function fragmentOf({ piece, id }: PacketSpec): Packet['fragment'] {
  if (piece === null) return null;
  const [offset, length, more] = PARTS[piece];
  return { id, offset, length, more };
}
