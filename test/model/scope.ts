/** N1: addresses that no router forwards, by their prefixes. */
import { parseIp } from '../../src/packet/address.js';
import type { Packet } from './packets.js';

type Prefix = readonly [address: string, bits: number];

/** From or to these. */
const LOCAL: readonly Prefix[] = [
  ['0.0.0.0', 8],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['::', 128],
  ['::1', 128],
  ['fe80::', 10],
];
const SOURCES: readonly Prefix[] = [
  ...LOCAL,
  ['224.0.0.0', 4],
  ['255.255.255.255', 32],
  ['ff00::', 8],
];
/** Of groups of IPv6 the low half of the second byte is the scope, its high half flags. */
const GROUPS: readonly Prefix[] = Array.from({ length: 16 }, (_, flags) =>
  [0, 1, 2].map((scope): Prefix => [`ff${flags.toString(16)}${scope}::`, 16]),
).flat();
const DESTINATIONS: readonly Prefix[] = [
  ...LOCAL,
  ['224.0.0.0', 24],
  ['255.255.255.255', 32],
  ...GROUPS,
];

export function staysOnLink({ source, destination }: Packet): boolean {
  return within(source, SOURCES) || within(destination, DESTINATIONS);
}

function within(address: string, prefixes: readonly Prefix[]): boolean {
  const bits = bitsOf(address);
  return prefixes.some(([prefix, count]) => {
    const wanted = bitsOf(prefix);
    return wanted.length === bits.length && wanted.slice(0, count) === bits.slice(0, count);
  });
}

function bitsOf(address: string): string {
  const parsed = parseIp(address);
  if (parsed === null) throw new Error(`no address: ${address}`);
  return [...parsed.bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('');
}
