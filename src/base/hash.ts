/**
 * FNV-1a, 64 bits, over the UTF-8 bytes of a text. What a target's rendezvous scores and its place
 * in the health-check interval are computed from: it must stay the same across releases, machines
 * and restarts, or flows move. Its weak mixing does not matter, since both users hash it again.
 */
export function fnv1a64(text: string): bigint {
  // In two halves: numbers are some ten times as fast as bigints. The prime is 2^40 + 0x1b3.
  let high = 0xcbf29ce4;
  let low = 0x84222325;
  for (const byte of Buffer.from(text, 'utf8')) {
    low = (low ^ byte) >>> 0;
    const product = low * 0x1b3;
    high = (high * 0x1b3 + Math.floor(product / 2 ** 32) + low * 0x100) % 2 ** 32;
    low = product % 2 ** 32;
  }
  return (BigInt(high) << 32n) | BigInt(low);
}
