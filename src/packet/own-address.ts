/** Addresses that sockets of ours are bound to. */
import { invalidArgument } from '../base/errors.js';
import { formatIpv4, formatIpv6, isUnicastIpv4, parseIpv4, parseIpv6 } from './address.js';

/** One address of this host, or all of them. */
export interface OwnAddress {
  /** Host order; 0 for all IPv4 addresses. */
  ipv4: number;
  /** Instead of it; all zero for all addresses of either version. */
  ipv6: Uint8Array | null;
  /** Canonical. */
  text: string;
}

/**
 * The one IPv4 address of a gateway, in host order: appliances answer to the address that packets come
 * from, and it is how they know the gateway.
 */
export function checkGatewayAddress(field: string, value: unknown): number {
  const address = parseIpv4(value);
  if (address === 0) {
    const expected =
      'one IPv4 address of this host, not all of them (appliances answer to the address that packets ' +
      'come from)';
    throw invalidArgument(field, expected, value);
  }
  if (address === null || !isUnicastIpv4(address)) {
    throw invalidArgument(field, 'a unicast IPv4 address of this host', value);
  }
  return address;
}

/** An appliance's: one address, or `0.0.0.0` or `::` for all; what is sent to one is answered from it. */
export function checkApplianceAddress(field: string, value: unknown): OwnAddress {
  const ipv4 = parseIpv4(value);
  if (ipv4 !== null && (ipv4 === 0 || isUnicastIpv4(ipv4))) {
    return { ipv4, ipv6: null, text: formatIpv4(ipv4) };
  }
  const ipv6 = parseIpv6(value);
  if (ipv6 === null || !isOwnIpv6(ipv6)) {
    const expected =
      'a unicast address of this host (IPv6 neither link-local nor an IPv4 address mapped into it), ' +
      '"0.0.0.0" or "::"';
    throw invalidArgument(field, expected, value);
  }
  return { ipv4: 0, ipv6, text: formatIpv6(ipv6) };
}

/** Not multicast (RFC 4291 §2.7), link-local (§2.5.6, needs an interface) or mapped IPv4 (§2.5.5.2). */
function isOwnIpv6(bytes: Uint8Array): boolean {
  const isMulticast = bytes[0] === 0xff;
  const isLinkLocal = bytes[0] === 0xfe && (bytes[1] & 0xc0) === 0x80;
  const isMapped =
    bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff;
  return !isMulticast && !isLinkLocal && !isMapped;
}

/** As in front of a port: IPv6 in brackets. */
export function hostText(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}
