/** The flow cookie: slot 12 bits, incarnation 4, tag 16 (rule W1). */
import { siphash13 } from './siphash.js';

export interface CookieParts {
  readonly slot: number;
  readonly incarnation: number;
  readonly tag: number;
}

export interface CookieInput {
  readonly endpointId: bigint;
  readonly attachmentId: bigint;
  /** Of the flow's key. */
  readonly hash: bigint;
  readonly slot: number;
  readonly incarnation: number;
}

export function cookieOf(key: Uint8Array, input: CookieInput): number {
  const words = new BigUint64Array([
    input.endpointId,
    input.attachmentId,
    input.hash,
    BigInt((input.slot << 8) | input.incarnation),
  ]);
  const tag = Number(siphash13(key, new Uint8Array(words.buffer)) & 0xffffn);
  return joined({ slot: input.slot, incarnation: input.incarnation, tag });
}

export function joined({ slot, incarnation, tag }: CookieParts): number {
  return ((slot << 20) | (incarnation << 16) | tag) >>> 0;
}

export function parted(cookie: number): CookieParts {
  return { slot: cookie >>> 20, incarnation: (cookie >>> 16) & 0xf, tag: cookie & 0xffff };
}
