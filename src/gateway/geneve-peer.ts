/** The options of an endpoint that is a GENEVE peer, and the check of them. */

import { invalidArgument } from '../base/errors.js';
import { integer, type Kind, oneOf, special } from '../base/option-kinds.js';
import { readOptions, type TableOf } from '../base/option-table.js';
import type { NativeEndpoint } from '../native/binding.js';
import { formatMac, parseIpv4, parseMac } from '../packet/address.js';
import { portNumber, unicastIpv4 } from '../packet/option-kinds.js';

/** A remote GENEVE peer, as an endpoint is made of it. */
export interface GenevePeerOptions {
  /** IPv4 address of the peer; it must not be a target's. */
  peer: string;
  /** UDP port that the peer receives on. Default 6081. */
  port?: number;
  /** 0–0xffffff. Default 0. */
  vni?: number;
  /** IP packets, or Ethernet frames. Default `'ip'`. */
  inner?: 'ip' | 'ethernet';
  /**
   * Source address of frames to the peer, with `inner: 'ethernet'`. Default: the destination of the
   * last frame it sent.
   */
  sourceMac?: string;
  /** Destination address likewise. Default: the source of the last frame it sent. */
  destinationMac?: string;
}

const mac: Kind<Uint8Array, string> = special('MAC address', { type: 'string' }, (field, value) => {
  const bytes = parseMac(value);
  if (bytes && formatMac(bytes) !== '00:00:00:00:00:00') return bytes;
  throw invalidArgument(field, 'a MAC address such as "02:00:00:00:00:01"', value);
});
const frames = {
  kind: mac,
  preset: new Uint8Array(6),
  presetText: 'as in the last frame of the peer',
  only: {
    key: 'inner',
    values: ['ethernet'],
    otherwise: () => "nothing unless inner is 'ethernet'",
  },
};

/** The options of a GENEVE peer. */
export const GENEVE_PEER = {
  peer: { says: 'IPv4 address of the peer; never that of a target', kind: unicastIpv4 },
  port: { says: 'UDP port that it receives on', kind: portNumber, preset: 6081 },
  vni: { says: 'VNI of its packets', kind: integer(0, 0xffffff), preset: 0 },
  inner: { says: 'what it exchanges', kind: oneOf('ip', 'ethernet'), preset: 'ip' },
  sourceMac: { says: 'source address of frames to it, with `inner: ethernet`', ...frames },
  destinationMac: {
    says: 'destination address of frames to it, with `inner: ethernet`',
    ...frames,
  },
} as const satisfies TableOf<GenevePeerOptions>;

/** A peer as native code takes it. */
export type CheckedPeer = NonNullable<NativeEndpoint['geneve']>;

/** The options of a GENEVE peer, checked. */
export function checkGeneve(field: string, value: unknown): CheckedPeer {
  const { peer, inner, ...options } = readOptions(GENEVE_PEER, field, value);
  return { ...options, peer: parseIpv4(peer) as number, ethernet: inner === 'ethernet' };
}
