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
  /** Bytes behind the transport header. */
  readonly payload: number;
  /** ECN field of the IP header. */
  readonly ecn: number;
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
    payload: 0,
    ecn: 0,
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
  setEcn(cut, given.ecn);
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
  const payload = PAYLOAD.subarray(0, given.payload);
  const bytes = tuplePacket(
    {
      protocol: given.protocol,
      source: end(given.source, given.sourcePort),
      destination: end(given.destination, given.destinationPort),
    },
    given.flags,
    payload,
  );
  if (given.protocol === TCP) {
    const view = new DataView(bytes.buffer);
    view.setUint32(ipHeaderBytes(given) + 4, given.sequence);
    view.setUint32(ipHeaderBytes(given) + 8, given.acknowledgment);
  }
  return bytes;
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
    view.setUint16(4, id);
    view.setUint16(6, (offset >> 3) | (more ? 0x2000 : 0));
    setHeaderChecksum(bytes);
  } else {
    view.setUint16(4, bytes.length - header);
    bytes[6] = 44;
    bytes[40] = given.protocol;
    view.setUint16(42, offset | (more ? 1 : 0));
    view.setUint32(44, id);
  }
  return bytes;
}

function setEcn(bytes: Uint8Array, ecn: number): void {
  if (bytes[0] >> 4 === 4) {
    bytes[1] = (bytes[1] & 0xfc) | ecn;
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
export function internetChecksum(bytes: Uint8Array, start = 0): number {
  let sum = start;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i] << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

export function addressBytes(address: string): Uint8Array {
  const parsed = parseIp(address);
  if (parsed === null) throw new Error(`no address: ${address}`);
  return parsed.bytes;
}
