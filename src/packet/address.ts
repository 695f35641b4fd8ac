/**
 * Addresses and identifiers: text as people write it, numbers and bytes as packets carry them.
 * `parse…` functions return null for text they do not accept, so that each caller can name the field
 * in its own error; `format…` functions give the one canonical text.
 */
import { isIPv4, isIPv6 } from 'node:net';
import { checkInteger, invalidArgument } from '../base/errors.js';

/** An address as bytes, with its IP version. */
export interface IpAddress {
  version: 4 | 6;
  /** 4 or 16 bytes, network order. */
  bytes: Uint8Array;
}

/** An address with a port; `port` is null where the text had none. */
export interface SocketAddress extends IpAddress {
  port: number | null;
}

/** A CIDR block; host bits are kept as written. */
export interface IpPrefix extends IpAddress {
  prefix: number;
}

const DECIMAL = /^(0|[1-9][0-9]{0,9})$/;

/** Dotted IPv4 text to an unsigned 32-bit number in host order (10.0.0.1 is 0x0a000001). */
export function parseIpv4(text: unknown): number | null {
  if (typeof text !== 'string' || !isIPv4(text)) return null;
  const [a, b, c, d] = text.split('.').map(Number);
  return ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;
}

/** Not "this network" (RFC 791), multicast (RFC 5771) or reserved (RFC 1112). */
export function isUnicastIpv4(address: number): boolean {
  const first = address >>> 24;
  return first !== 0 && first < 224;
}

/** An IPv4 address as a number or as text, as a number. */
export function checkIpv4(field: string, value: unknown): number {
  if (typeof value === 'number') return checkInteger(field, value, 0, 0xffffffff);
  const address = parseIpv4(value);
  if (address !== null) return address;
  const expected = 'an IPv4 address as text ("10.0.1.10") or as a number in host order';
  throw invalidArgument(field, expected, value);
}

/** Unsigned 32-bit number in host order to dotted text. Throws where it is none. */
export function formatIpv4(address: number): string {
  checkInteger('address', address, 0, 0xffffffff);
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;
}

/** IPv6 text (RFC 4291 §2.2, without a zone id) to 16 bytes. */
export function parseIpv6(text: unknown): Uint8Array | null {
  if (typeof text !== 'string' || text.includes('%') || !isIPv6(text)) return null;
  const bytes = new Uint8Array(16);
  const [head, tail] = text.split('::');
  const front = groups(head);
  const back = tail === undefined ? [] : groups(tail);
  front.forEach((value, i) => {
    put16(bytes, i, value);
  });
  back.forEach((value, i) => {
    put16(bytes, 8 - back.length + i, value);
  });
  return bytes;
}

function put16(bytes: Uint8Array, group: number, value: number): void {
  bytes[2 * group] = value >>> 8;
  bytes[2 * group + 1] = value & 255;
}

function groups(text: string): number[] {
  if (text === '') return [];
  return text.split(':').flatMap((part) => {
    if (!part.includes('.')) return [Number.parseInt(part, 16)];
    const address = parseIpv4(part) ?? 0;
    return [address >>> 16, address & 0xffff];
  });
}

/**
 * 16 bytes to canonical text (RFC 5952): lower case, no leading zeros, the first longest run of at
 * least two zero groups is `::`. IPv4-mapped addresses end in dotted text (RFC 5952 §5).
 */
export function formatIpv6(bytes: Uint8Array, at = 0): string {
  const words: number[] = [];
  for (let i = 0; i < 16; i += 2) words.push((bytes[at + i] << 8) | bytes[at + i + 1]);
  if (words.slice(0, 5).every((word) => word === 0) && words[5] === 0xffff) {
    return `::ffff:${formatIpv4(((words[6] << 16) | words[7]) >>> 0)}`;
  }
  let start = -1;
  let length = 1;
  for (let i = 0; i < 8; i += 1) {
    let end = i;
    while (end < 8 && words[end] === 0) end += 1;
    if (end - i > length) {
      start = i;
      length = end - i;
    }
    if (end > i) i = end;
  }
  const hex = words.map((word) => word.toString(16));
  if (start < 0) return hex.join(':');
  return `${hex.slice(0, start).join(':')}::${hex.slice(start + length).join(':')}`;
}

/** IPv4 or IPv6 text to bytes. */
export function parseIp(text: unknown): IpAddress | null {
  const v4 = parseIpv4(text);
  if (v4 !== null) return { version: 4, bytes: ipv4Bytes(v4) };
  const v6 = parseIpv6(text);
  return v6 === null ? null : { version: 6, bytes: v6 };
}

/** 4 bytes, network order. */
function ipv4Bytes(address: number): Uint8Array {
  return Uint8Array.of(
    address >>> 24,
    (address >>> 16) & 255,
    (address >>> 8) & 255,
    address & 255,
  );
}

/** 4 or 16 bytes to canonical text. */
export function formatIp(bytes: Uint8Array): string {
  return bytes.length === 4 ? `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}` : formatIpv6(bytes);
}

/** `10.0.0.0/8`, `2001:db8::/32`, or an address alone (prefix 32 or 128). */
export function parsePrefix(text: unknown): IpPrefix | null {
  if (typeof text !== 'string') return null;
  const slash = text.indexOf('/');
  const address = parseIp(slash < 0 ? text : text.slice(0, slash));
  if (address === null) return null;
  const bits = address.bytes.length * 8;
  const prefix = slash < 0 ? bits : parseDecimal(text.slice(slash + 1), bits);
  return prefix === null ? null : { ...address, prefix };
}

/** Decimal digits without sign or leading zeros, 0..max. */
export function parseDecimal(text: string, max: number): number | null {
  if (!DECIMAL.test(text)) return null;
  const value = Number(text);
  return value <= max ? value : null;
}

/** `10.0.0.1:443`, `[2001:db8::1]:443`, or an address alone; ports 0..65535. */
export function parseSocketAddress(text: unknown): SocketAddress | null {
  if (typeof text !== 'string') return null;
  const bare = parseIp(text);
  if (bare !== null) return { ...bare, port: null };
  const match = /^(?:\[([^\]]*)\]|([^:]*))(?::([0-9]+))?$/.exec(text);
  if (match === null) return null;
  const address = match[1] === undefined ? parseIp(match[2]) : withVersion(6, parseIpv6(match[1]));
  if (address === null) return null;
  if (match[3] === undefined) return { ...address, port: null };
  const port = parseDecimal(match[3], 65_535);
  return port === null ? null : { ...address, port };
}

function withVersion(version: 4 | 6, bytes: Uint8Array | null): IpAddress | null {
  return bytes === null ? null : { version, bytes };
}

/** `10.0.0.1:443` or `[2001:db8::1]:443`. */
export function formatSocketAddress(bytes: Uint8Array, port: number): string {
  return bytes.length === 4 ? `${formatIp(bytes)}:${port}` : `[${formatIp(bytes)}]:${port}`;
}

/** `02:00:00:00:00:01` (either case, `:` or `-`) to 6 bytes. */
export function parseMac(text: unknown): Uint8Array | null {
  if (typeof text !== 'string') return null;
  if (!/^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$|^[0-9a-f]{2}(?:-[0-9a-f]{2}){5}$/i.test(text)) return null;
  return Uint8Array.from(text.split(/[:-]/), (part) => Number.parseInt(part, 16));
}

/** 6 bytes to `02:00:00:00:00:01`. */
export function formatMac(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}

const ENDPOINT_ID = /^vpce-(?:0([0-9a-f]{16})|([0-9a-f]{8}))$/;

/**
 * An endpoint's id to the 64-bit number that option type 1 carries: `vpce-` and 17 lower-case hex
 * digits of which the first is 0, or the legacy form with 8 digits. 0 is no id.
 */
export function parseEndpointId(text: unknown): bigint | null {
  if (typeof text !== 'string') return null;
  const match = ENDPOINT_ID.exec(text);
  if (match === null) return null;
  const id = BigInt(`0x${match[1] ?? match[2]}`);
  return id === 0n ? null : id;
}

/**
 * The 64-bit number of option type 1 to `vpce-` and 17 hex digits. The legacy 8-digit form cannot be
 * told from a small number and is printed long too.
 */
export function formatEndpointId(id: bigint): string {
  if (typeof id !== 'bigint' || BigInt.asUintN(64, id) !== id) {
    throw invalidArgument('id', 'a bigint of 64 bits', id);
  }
  return `vpce-${id.toString(16).padStart(17, '0')}`;
}
