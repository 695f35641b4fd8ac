/** Flow tuples as people write them, and the packet that would open such a flow. */
import { checkBytesToCopy } from '../base/checks.js';
import { checkInteger, checkOptions, invalidArgument, outOfRange } from '../base/errors.js';
import { parseSocketAddress, type SocketAddress } from './address.js';
import { hasPorts, protocolName, protocolNumber } from './names.js';

/** A flow, written down. */
export interface FlowTuple {
  /** A name such as `tcp`, `udp`, `icmp` (for IPv6 the same as `icmp6`), or an IP protocol number. */
  protocol: 'tcp' | 'udp' | 'icmp' | 'icmp6' | 'sctp' | (string & {}) | number;
  /** `203.0.113.9:52144` or `[2001:db8::9]:52144`; without a port for protocols that have none. */
  source: string;
  /** `10.0.2.10:443` or `[2001:db8::10]:443`. */
  destination: string;
}

const IPV4_HEADER = 20;
const IPV6_HEADER = 40;
/** Of an IPv4 packet, header included; of an IPv6 packet behind its header. */
const LENGTH_MAX = 65_535;
export const TCP_SYN = 0x02;
export const TCP_ACK = 0x10;

function checkEnd(field: string, value: unknown, protocol: number): SocketAddress {
  const withPort = hasPorts(protocol);
  const example = withPort
    ? 'an address with a port such as "203.0.113.9:52144" or "[2001:db8::9]:52144"'
    : `an address without a port (protocol ${protocolName(protocol)} has none)`;
  const address = parseSocketAddress(value);
  if (address === null || (address.port !== null) !== withPort) {
    throw invalidArgument(field, example, value);
  }
  return address;
}

/** A tuple with its three parts, whatever they are, read once. */
export function checkTuple(tuple: unknown): FlowTuple {
  const keys = ['protocol', 'source', 'destination'] as const;
  return checkOptions('tuple', tuple, keys) as unknown as FlowTuple;
}

/**
 * A packet of a flow: an IP header, a transport header (TCP with SYN unless `tcpFlags` says
 * otherwise, an ICMP echo request) and `payload` (default none), with correct checksums. Throws
 * `ERR_GWLB_INVALID_ARGUMENT`, naming the field, where the tuple is not one.
 */
export function tuplePacket(
  tuple: FlowTuple,
  tcpFlags: number = TCP_SYN,
  payload: Uint8Array = new Uint8Array(),
): Uint8Array {
  const given = checkTuple(tuple);
  let protocol = protocolNumber(given.protocol);
  if (protocol === null) {
    throw invalidArgument('tuple.protocol', 'tcp, udp, icmp or a number 0–255', given.protocol);
  }
  const source = checkEnd('tuple.source', given.source, protocol);
  const destination = checkEnd('tuple.destination', given.destination, protocol);
  if (source.version !== destination.version) {
    throw invalidArgument(
      'tuple.destination',
      `an IPv${source.version} address`,
      given.destination,
    );
  }
  if (source.version === 6 && protocol === 1 && given.protocol !== 1) protocol = 58;
  const ports = [source.port ?? 0, destination.port ?? 0] as const;
  checkInteger('tcpFlags', tcpFlags, 0, 0xff);
  const header = source.version === 4 ? IPV4_HEADER : IPV6_HEADER;
  const room = LENGTH_MAX - transportBytes(protocol) - (source.version === 4 ? IPV4_HEADER : 0);
  const bytes = checkBytesToCopy('payload', payload);
  if (bytes > room) throw outOfRange('payload', `at most ${room} bytes`, bytes);
  const transport = transportSegment(protocol, ports, tcpFlags, payload);
  const packet = new Uint8Array(header + transport.length);
  const view = new DataView(packet.buffer);
  packet.set(transport, header);
  if (source.version === 4) writeIpv4(view, protocol, source.bytes, destination.bytes);
  else writeIpv6(view, protocol, source.bytes, destination.bytes);
  writeTransportChecksum(packet, view, header, protocol);
  return packet;
}

function transportSegment(
  protocol: number,
  [sourcePort, destinationPort]: readonly [number, number],
  tcpFlags: number,
  payload: Uint8Array,
): Uint8Array {
  const header = transportBytes(protocol);
  const data = new Uint8Array(payload);
  const bytes = new Uint8Array(header + data.length);
  bytes.set(data, header);
  const view = new DataView(bytes.buffer);
  if (hasPorts(protocol)) {
    view.setUint16(0, sourcePort);
    view.setUint16(2, destinationPort);
  }
  if (protocol === 6) {
    view.setUint8(12, (header / 4) << 4);
    view.setUint8(13, tcpFlags);
    view.setUint16(14, 65_535);
  } else if (protocol === 17 || protocol === 136) {
    view.setUint16(4, bytes.length);
  } else if (protocol === 1) {
    view.setUint8(0, 8);
  } else if (protocol === 58) {
    view.setUint8(0, 128);
  }
  return bytes;
}

function transportBytes(protocol: number): number {
  if (protocol === 6) return 20;
  if (protocol === 132) return 12;
  return hasPorts(protocol) || protocol === 1 || protocol === 58 ? 8 : 0;
}

function writeIpv4(view: DataView, protocol: number, source: Uint8Array, destination: Uint8Array) {
  const bytes = new Uint8Array(view.buffer);
  view.setUint8(0, 0x45);
  view.setUint16(2, bytes.length);
  view.setUint8(8, 64);
  view.setUint8(9, protocol);
  bytes.set(source, 12);
  bytes.set(destination, 16);
  view.setUint16(10, fold(sum(bytes, 0, IPV4_HEADER)));
}

function writeIpv6(view: DataView, protocol: number, source: Uint8Array, destination: Uint8Array) {
  const bytes = new Uint8Array(view.buffer);
  view.setUint8(0, 0x60);
  view.setUint16(4, bytes.length - IPV6_HEADER);
  view.setUint8(6, protocol);
  view.setUint8(7, 64);
  bytes.set(source, 8);
  bytes.set(destination, 24);
}

/** RFC 1071 sum of 16-bit words; an odd last byte counts as if a 0 followed. */
function sum(bytes: Uint8Array, from: number, to: number): number {
  let total = 0;
  for (let i = from; i < to; i += 2) total += (bytes[i] << 8) | (i + 1 < to ? bytes[i + 1] : 0);
  return total;
}

function fold(total: number): number {
  let folded = total;
  while (folded > 0xffff) folded = (folded & 0xffff) + Math.floor(folded / 0x10000);
  return ~folded & 0xffff;
}

/** Where the checksum of a transport header is; SCTP has a CRC, which is left 0. */
const CHECKSUM_AT: Readonly<Record<number, number>> = { 1: 2, 6: 16, 17: 6, 58: 2, 136: 6 };

function writeTransportChecksum(packet: Uint8Array, view: DataView, at: number, protocol: number) {
  const field = CHECKSUM_AT[protocol];
  if (field === undefined) return;
  const length = packet.length - at;
  const addresses = at === IPV4_HEADER ? sum(packet, 12, 20) : sum(packet, 8, 40);
  const pseudo = protocol === 1 ? 0 : addresses + protocol + length;
  const checksum = fold(pseudo + sum(packet, at, packet.length));
  view.setUint16(at + field, checksum === 0 && field === 6 ? 0xffff : checksum);
}
