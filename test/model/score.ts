/**
 * Weighted rendezvous hashing in integers, as native/select/score.h specifies it: which target a row
 * belongs to.
 */

const U32 = (1n << 32n) - 1n;
const U64 = (1n << 64n) - 1n;
/** Rows of a table with at most 100 registered targets a zone. */
export const ROWS = 65_536;

function mix64(value: bigint): bigint {
  let x = value;
  x = ((x ^ (x >> 30n)) * 0xbf58476d1ce4e5b9n) & U64;
  x = ((x ^ (x >> 27n)) * 0x94d049bb133111ebn) & U64;
  return x ^ (x >> 31n);
}

export function targetKey(seed: bigint, identity: bigint): bigint {
  return mix64((identity + mix64((seed + 0x9e3779b97f4a7c15n) & U64)) & U64);
}

export function rowHash(key: bigint, row: number): bigint {
  let x = BigInt(row) ^ (key & U32);
  x = ((x ^ (x >> 17n)) * 0xed5ad4bbn) & U32;
  x ^= key >> 32n;
  x = ((x ^ (x >> 11n)) * 0xac4c1b51n) & U32;
  x = ((x ^ (x >> 15n)) * 0x31848babn) & U32;
  return x ^ (x >> 14n);
}

/** floor(log2(1 + i / 4096) * 2^31), by squaring, one bit at a time. */
function log2Entry(i: number): bigint {
  if (i === 4096) return 1n << 31n;
  let m = BigInt(4096 + i) << 51n;
  let value = 0n;
  for (let bit = 0; bit < 31; bit++) {
    m = (m * m) >> 63n;
    value *= 2n;
    if (m >> 64n) {
      value += 1n;
      m >>= 1n;
    }
  }
  return value;
}

const LOG2: (bigint | undefined)[] = [];

function log2Table(i: number): bigint {
  LOG2[i] ??= log2Entry(i);
  return LOG2[i];
}

/** -log2((u + 1) / 2^32) with 26 bits of fraction. */
export function negLog2(u: bigint): bigint {
  const x = u + 1n;
  const k = BigInt(x.toString(2).length - 1);
  const f = (x << (32n - k)) - (1n << 32n);
  const i = Number(f >> 20n);
  const rest = f & 0xfffffn;
  // At a power of two there is no next entry to lean towards.
  const slope = rest === 0n ? 0n : log2Table(i + 1) - log2Table(i);
  const log = log2Table(i) + ((slope * rest) >> 20n);
  return ((32n - k) << 26n) - ((log + 16n) >> 5n);
}

export function score(seed: bigint, identity: bigint, row: number, weight: number): bigint {
  return (negLog2(rowHash(targetKey(seed, identity), row)) << 24n) / BigInt(weight);
}

/** FNV-1a, 64 bits, of a target's id such as `10.0.1.10:6081`. */
export function targetIdentity(id: string): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(id)) {
    hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & U64;
  }
  return hash;
}

export interface Candidate {
  readonly slot: number;
  readonly identity: bigint;
  readonly weight: number;
}

/** The row's best target: lowest score, then identity, then slot. Null where there is none. */
export function bestOf<T extends Candidate>(candidates: readonly T[], row: number): T | null {
  const seed = 0n;
  const ranked = candidates
    .map((target) => ({ target, score: score(seed, target.identity, row, target.weight) }))
    .sort(
      (a, b) =>
        order(a.score, b.score) ||
        order(a.target.identity, b.target.identity) ||
        a.target.slot - b.target.slot,
    );
  return ranked[0]?.target ?? null;
}

function order(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
