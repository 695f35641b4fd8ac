/**
 * FNV-1a, 64 bits, over the UTF-8 bytes of a text. What a target's rendezvous scores and its place
 * in the health-check interval are computed from: it must stay the same across releases, machines
 * and restarts, or flows move. Its weak mixing does not matter, since both users hash it again.
 */
export function fnv1a64(text: string): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of Buffer.from(text, 'utf8')) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  }
  return hash;
}
