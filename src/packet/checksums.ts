/** Checksums of packets that were changed. */

import { checkBytes, native } from '../base/checks.js';
import { mismatch } from '../base/errors.js';
import { binding } from '../native/binding.js';

/**
 * Writes the checksums of an IP packet in place, and returns it: the IPv4 header's, and that of TCP, UDP,
 * ICMP or ICMPv6. Left as they are: those of a fragment (they are the whole datagram's), a UDP checksum of
 * 0 in IPv4 (it means none), and those of other protocols. Bytes behind the packet's total length do not
 * count. Throws `ERR_GWLB_INVALID_ARGUMENT` where the bytes are no IP packet.
 *
 * ```ts
 * const bytes = packet.bytes.slice();
 * bytes[8] -= 1;
 * packet.rewrite(updateChecksums(bytes));
 * ```
 */
export function updateChecksums(packet: Uint8Array): Uint8Array {
  checkBytes('packet', packet);
  if (!native(() => binding.updateChecksums(packet))) {
    throw mismatch(
      'ERR_GWLB_INVALID_ARGUMENT',
      'packet',
      'a whole IP packet',
      `${packet.length} bytes that are none`,
    );
  }
  return packet;
}
