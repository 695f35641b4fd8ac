/** Checks of the options of an endpoint that is a GENEVE peer. */

import { checkInteger, checkOptions, invalidArgument } from '../base/errors.js';
import type { NativeEndpoint } from '../native/binding.js';
import { formatMac, isUnicastIpv4, parseIpv4, parseMac } from '../packet/address.js';

/** The options of a GENEVE peer, checked. */
export function checkGeneve(field: string, value: unknown): NonNullable<NativeEndpoint['geneve']> {
  const keys = ['peer', 'port', 'vni', 'inner', 'sourceMac', 'destinationMac'] as const;
  const given = checkOptions(field, value, keys);
  const peer = parseIpv4(given.peer);
  if (peer === null || !isUnicastIpv4(peer)) {
    throw invalidArgument(`${field}.peer`, 'a unicast IPv4 address', given.peer);
  }
  const inner = given.inner ?? 'ip';
  if (inner !== 'ip' && inner !== 'ethernet') {
    throw invalidArgument(`${field}.inner`, '"ip" or "ethernet"', inner);
  }
  const mac = (key: 'sourceMac' | 'destinationMac'): Uint8Array => {
    if (given[key] === undefined) return new Uint8Array(6);
    if (inner === 'ip') {
      throw invalidArgument(`${field}.${key}`, "nothing unless inner is 'ethernet'", given[key]);
    }
    const bytes = parseMac(given[key]);
    if (bytes === null || formatMac(bytes) === '00:00:00:00:00:00') {
      const expected = 'a MAC address such as "02:00:00:00:00:01"';
      throw invalidArgument(`${field}.${key}`, expected, given[key]);
    }
    return bytes;
  };
  return {
    peer,
    port: checkInteger(`${field}.port`, given.port ?? 6081, 1, 65_535),
    vni: checkInteger(`${field}.vni`, given.vni ?? 0, 0, 0xffffff),
    ethernet: inner === 'ethernet',
    sourceMac: mac('sourceMac'),
    destinationMac: mac('destinationMac'),
  };
}
