/** Reads what the gateway says to a sender, and compares it with what the model wants said. */
import { addressBytes, internetChecksum, transportChecksum } from '../model/packets.js';
import type { Reply } from '../model/replies.js';

/** What is wrong with the answer to `sent`, or null. */
export function checkReply(reply: Reply, bytes: Uint8Array, sent: Uint8Array): string | null {
  const version = sent[0] >> 4;
  if (bytes[0] >> 4 !== version) return 'IP version';
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const header = version === 4 ? 20 : 40;
  const length = version === 4 ? view.getUint16(2) : view.getUint16(4) + 40;
  if (length !== bytes.length) return 'IP length';
  if (version === 4 && internetChecksum(bytes.subarray(0, 20)) !== 0) return 'IP checksum';
  const at = version === 4 ? 12 : 8;
  const size = version === 4 ? 4 : 16;
  const from = typeof reply.from === 'string' ? reply.from : reply.from[0];
  const to = typeof reply.to === 'string' ? reply.to : reply.to[0];
  if (!equal(bytes.subarray(at, at + size), addressBytes(from))) return 'source';
  if (!equal(bytes.subarray(at + size, at + 2 * size), addressBytes(to))) return 'destination';
  if (bytes[version === 4 ? 8 : 7] < 32) return 'TTL';
  const protocol = bytes[version === 4 ? 9 : 6];
  if (!transportChecksumIsGood(bytes, header, protocol)) return 'transport checksum';
  return reply.type === 'reset'
    ? checkReset(reply, view, header, protocol)
    : checkTooBig(reply, bytes, header, protocol, sent);
}

function checkReset(
  reply: Extract<Reply, { type: 'reset' }>,
  view: DataView,
  at: number,
  protocol: number,
): string | null {
  if (protocol !== 6 || view.byteLength !== at + 20) return 'no bare TCP header';
  if (view.getUint16(at) !== reply.from[1]) return 'source port';
  if (view.getUint16(at + 2) !== reply.to[1]) return 'destination port';
  if (view.getUint32(at + 4) !== reply.sequence) return 'sequence number';
  if (view.getUint32(at + 8) !== (reply.acknowledgment ?? 0)) return 'acknowledgment number';
  const flags = reply.acknowledgment === null ? 0x04 : 0x14;
  return view.getUint8(at + 13) === flags ? null : 'flags';
}

function checkTooBig(
  reply: Extract<Reply, { type: 'too-big' }>,
  bytes: Uint8Array,
  at: number,
  protocol: number,
  sent: Uint8Array,
): string | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const is4 = at === 20;
  if (protocol !== (is4 ? 1 : 58)) return 'protocol';
  if (view.getUint16(at) !== (is4 ? 0x0304 : 0x0200)) return 'type and code';
  const mtu = is4 ? view.getUint16(at + 6) : view.getUint32(at + 4);
  if (mtu !== reply.mtu) return 'MTU';
  if (is4 && view.getUint16(at + 4) !== 0) return 'unused field';
  const quote = bytes.subarray(at + 8);
  return equal(quote, sent.subarray(0, reply.quoted)) ? null : 'quote';
}

function transportChecksumIsGood(bytes: Uint8Array, at: number, protocol: number): boolean {
  if (protocol === 1) return internetChecksum(bytes.subarray(at)) === 0;
  return transportChecksum(bytes, at, protocol) === 0;
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.from(a).equals(b);
}
