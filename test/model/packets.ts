/** Packets as data, and the bytes of them: what the tests send, and what the model looks at. */
import { parseIp } from '../../src/packet/address.js';
import { hasPorts } from '../../src/packet/names.js';
import { tuplePacket } from '../../src/packet/tuple.js';

export const TCP = 6;
export const UDP = 17;
export const GRE = 47;
export const FIN = 0x01;
export const SYN = 0x02;
export const RST = 0x04;
export const ACK = 0x10;

/** A piece of a datagram. Offsets and lengths count the bytes behind the IP header. */
export interface Fragment {
  readonly id: number;
  /** A multiple of 8. */
  readonly offset: number;
  readonly length: number;
  /** More fragments follow. */
  readonly more: boolean;
}

export interface Packet {
  readonly version: 4 | 6;
  readonly source: string;
  readonly destination: string;
  /** The transport's; of an ICMP error 1 or 58. */
  readonly protocol: number;
  /** 0 where the protocol has none. */
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** The rest: TCP only. */
  readonly flags: number;
  readonly sequence: number;
  readonly acknowledgment: number;
  /** Words of four bytes behind the TCP header's first 20 bytes. */
  readonly options: readonly number[];
  /** Bytes behind the transport header. */
  readonly payload: number;
  /** ECN field of the IP header. */
  readonly ecn: number;
  /** IPv4: it must not be cut on the way. */
  readonly dontFragment: boolean;
  /** IPv4: the name of the fragments that the whole packet may be cut into. */
  readonly id: number;
  readonly fragment: Fragment | null;
  /** Of an ICMP error: the packet it is about, and how many bytes of it are there. */
  readonly quote: Packet | null;
  readonly quoted: number;
}

/** A packet of a protocol between two addresses; what is not said is 0. */
export function packet(
  fields: Pick<Packet, 'source' | 'destination' | 'protocol'> & Partial<Packet>,
): Packet {
  return {
    version: fields.source.includes(':') ? 6 : 4,
    sourcePort: 0,
    destinationPort: 0,
    flags: 0,
    sequence: 0,
    acknowledgment: 0,
    options: [],
    payload: 0,
    ecn: 0,
    dontFragment: false,
    id: 0,
    fragment: null,
    quote: null,
    quoted: 0,
    ...fields,
  };
}

/** The ends changed places. */
export function reversed(sent: Packet): Packet {
  return {
    ...sent,
    source: sent.destination,
    destination: sent.source,
    sourcePort: sent.destinationPort,
    destinationPort: sent.sourcePort,
  };
}

/** An error of a router about the first bytes of a packet: destination unreachable. */
export function errorAbout(quote: Packet, router: string, quoted: number): Packet {
  const protocol = quote.version === 4 ? 1 : 58;
  return packet({ source: router, destination: quote.source, protocol, quote, quoted });
}

/** A fragment that is not the first one of its datagram. */
export function isLater(given: Packet): boolean {
  return given.fragment !== null && given.fragment.offset > 0;
}

/** The transport header is not all there is behind the IP header: a fragment, but no atomic one. */
export function isFragment(given: Packet): boolean {
  return given.fragment !== null && (given.fragment.offset > 0 || given.fragment.more);
}

/** Of the TCP header of one that has one. */
export const tcpHeaderBytes = (given: Packet) => 20 + given.options.length;

export const ipHeaderBytes = (given: Packet) => (given.version === 4 ? 20 : 40);

const made = new WeakMap<Packet, Uint8Array>();

/** The packet's bytes; not to be written to. */
export function bytesOf(given: Packet): Uint8Array {
  const known = made.get(given);
  if (known !== undefined) return known;
  const bytes = makeBytes(given);
  made.set(given, bytes);
  return bytes;
}

function makeBytes(given: Packet): Uint8Array {
  const whole = given.quote === null ? datagram(given) : errorBytes(given, given.quote);
  const cut = given.fragment === null ? whole : fragmentBytes(whole, given);
  setIpFields(cut, given);
  return cut;
}

/** Bytes behind the IP header of the whole that a piece is cut from. */
export function datagramBytes(given: Packet): number {
  return bytesOf({ ...given, fragment: null }).length - ipHeaderBytes(given);
}

const PAYLOAD = Uint8Array.from({ length: 9000 }, (_, i) => i);

function datagram(given: Packet): Uint8Array {
  const end = (address: string, port: number) => {
    if (!hasPorts(given.protocol)) return address;
    return given.version === 4 ? `${address}:${port}` : `[${address}]:${port}`;
  };
  const payload = Uint8Array.of(...given.options, ...PAYLOAD.subarray(0, given.payload));
  const bytes = tuplePacket(
    {
      protocol: given.protocol,
      source: end(given.source, given.sourcePort),
      destination: end(given.destination, given.destinationPort),
    },
    given.flags,
    payload,
  );
  if (given.protocol === TCP) setTcpFields(bytes, given);
  return bytes;
}

function setTcpFields(bytes: Uint8Array, given: Packet): void {
  const at = ipHeaderBytes(given);
  const view = new DataView(bytes.buffer);
  view.setUint32(at + 4, given.sequence);
  view.setUint32(at + 8, given.acknowledgment);
  view.setUint8(at + 12, (tcpHeaderBytes(given) / 4) << 4);
  view.setUint16(at + 16, 0);
  view.setUint16(at + 16, transportChecksum(bytes, at, TCP));
}

function errorBytes(given: Packet, quote: Packet): Uint8Array {
  const quoted = bytesOf(quote).subarray(0, given.quoted);
  const error = tuplePacket(
    { protocol: given.protocol, source: given.source, destination: given.destination },
    0,
    quoted,
  );
  // Destination unreachable, in place of an echo request.
  error[ipHeaderBytes(given)] = given.version === 4 ? 3 : 1;
  return error;
}

/** The piece of the datagram, with its own header. */
function fragmentBytes(whole: Uint8Array, given: Packet): Uint8Array {
  const { id, offset, length, more } = given.fragment as Fragment;
  const header = ipHeaderBytes(given);
  const part = whole.subarray(header + offset, header + offset + length);
  const extension = given.version === 4 ? 0 : 8;
  const bytes = new Uint8Array(header + extension + part.length);
  bytes.set(whole.subarray(0, header));
  bytes.set(part, header + extension);
  const view = new DataView(bytes.buffer);
  if (given.version === 4) {
    view.setUint16(2, bytes.length);
    view.setUint16(6, (offset >> 3) | (more ? 0x2000 : 0));
  } else {
    view.setUint16(4, bytes.length - header);
    bytes[6] = 44;
    bytes[40] = given.protocol;
    view.setUint16(42, offset | (more ? 1 : 0));
    view.setUint32(44, id);
  }
  return bytes;
}

function setIpFields(bytes: Uint8Array, { ecn, dontFragment, id, fragment }: Packet): void {
  if (bytes[0] >> 4 === 4) {
    bytes[1] = (bytes[1] & 0xfc) | ecn;
    new DataView(bytes.buffer).setUint16(4, fragment?.id ?? id);
    if (dontFragment) bytes[6] |= 0x40;
    setHeaderChecksum(bytes);
  } else {
    bytes[1] = (bytes[1] & 0xcf) | (ecn << 4);
  }
}

function setHeaderChecksum(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  view.setUint16(10, 0);
  view.setUint16(10, internetChecksum(bytes.subarray(0, 20)));
}

/** RFC 1071. */
export function internetChecksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i] << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** Of TCP or UDP from `at` on, behind an IP header; 0 where the one that is in it is right. */
export function transportChecksum(bytes: Uint8Array, at: number, protocol: number): number {
  const addresses = bytes.subarray(at === 20 ? 12 : 8, at);
  const length = bytes.length - at;
  const pseudo = Uint8Array.of(...addresses, 0, protocol, length >> 8, length & 0xff);
  return internetChecksum(Uint8Array.of(...pseudo, ...bytes.subarray(at)));
}

export function addressBytes(address: string): Uint8Array {
  const parsed = parseIp(address);
  if (parsed === null) throw new Error(`no address: ${address}`);
  return parsed.bytes;
}
