/** Canonical flow keys and what is computed from them. */
import { hasPorts } from '../../src/packet/names.js';
import { addressBytes } from './packets.js';
import { ROWS } from './score.js';
import { siphash13 } from './siphash.js';

/** How many fields of the tuple count. */
export type Kind = 5 | 3 | 2;

/** The scope of keys that are the same for all endpoints. */
export const SCOPE_GATEWAY = 0xffff;

/** What of a packet a key is made from; `ports` null where they are not known or not there. */
export interface Ends {
  readonly version: 4 | 6;
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly ports: readonly [source: number, destination: number] | null;
}

export interface Key {
  readonly version: 4 | 6;
  readonly kind: Kind;
  /** 0 with kind 2. */
  readonly protocol: number;
  readonly low: Uint8Array;
  readonly high: Uint8Array;
  readonly lowPort: number;
  readonly highPort: number;
  readonly scope: number;
  /** The packet runs from the low end to the high one. */
  readonly forward: boolean;
  /** The same for every packet of the flow. */
  readonly text: string;
  readonly bytes: Uint8Array;
}

/** K1, K2. */
export function keyOf(ends: Ends, stickiness: Kind, scope: number): Key {
  const withPorts = stickiness === 5 && hasPorts(ends.protocol) && ends.ports !== null;
  const kind = stickiness === 5 && !withPorts ? 3 : stickiness;
  const [sourcePort, destinationPort] = (withPorts && ends.ports) || [0, 0];
  const source = end(ends.source, sourcePort);
  const destination = end(ends.destination, destinationPort);
  const forward = Buffer.compare(source, destination) <= 0;
  const [first, second] = forward ? [source, destination] : [destination, source];
  const size = source.length - 2;
  const protocol = kind === 2 ? 0 : ends.protocol;
  const bytes = Uint8Array.of(
    ...first.subarray(0, size),
    ...second.subarray(0, size),
    ...first.subarray(size),
    ...second.subarray(size),
    protocol,
    kind,
    // The only field that is not in network order.
    scope & 0xff,
    scope >> 8,
  );
  return {
    version: ends.version,
    kind,
    protocol,
    low: first.subarray(0, size),
    high: second.subarray(0, size),
    lowPort: (first[size] << 8) | first[size + 1],
    highPort: (second[size] << 8) | second[size + 1],
    scope,
    forward,
    text: Buffer.from(bytes).toString('hex'),
    bytes,
  };
}

/** Address and port, to be compared as one big number. */
function end(address: string, port: number): Uint8Array {
  return Uint8Array.of(...addressBytes(address), port >> 8, port & 0xff);
}

export function hashOf(key: Key, hashKey: Uint8Array): bigint {
  return siphash13(hashKey, key.bytes);
}

export function rowOf(hash: bigint): number {
  return Number(hash % BigInt(ROWS));
}
