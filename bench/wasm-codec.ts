// The careful parser of js-codec.ts as WebAssembly, written down instruction by instruction: a peer
// that needs no compiler to be there. It reads headers out of its own memory; what is elsewhere has to
// be copied into it first.
import { type GeneveFields, OPTION_CLASS } from './js-codec.js';

/** What is used of it; its types belong to the DOM's. */
declare const WebAssembly: {
  Module: new (bytes: Uint8Array<ArrayBuffer>) => object;
  Instance: new (
    module: object,
  ) => {
    exports: { memory: { buffer: ArrayBuffer }; parse: (at: number, length: number) => number };
  };
};

type Code = readonly (number | Code)[];

const flat = (code: Code): number[] =>
  code.flatMap((part) => (typeof part === 'number' ? [part] : flat(part)));

/** LEB128 without sign. */
function unsigned(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)];
}

/** LEB128 with sign. */
function signed(value: number): number[] {
  const rest = value >> 7;
  const last = (rest === 0 && (value & 0x40) === 0) || (rest === -1 && (value & 0x40) !== 0);
  return last ? [value & 0x7f] : [(value & 0x7f) | 0x80, ...signed(rest)];
}

const sized = (bytes: readonly number[]): number[] => [...unsigned(bytes.length), ...bytes];
const list = (items: readonly (readonly number[])[]): number[] => [
  ...unsigned(items.length),
  ...items.flat(),
];
const section = (id: number, content: readonly number[]): number[] => [id, ...sized(content)];
const text = (value: string): number[] => sized([...new TextEncoder().encode(value)]);

const I32 = 0x7f;
const get = (local: number): Code => [0x20, local];
const set = (local: number): Code => [0x21, local];
const tee = (local: number): Code => [0x22, local];
const number = (value: number): Code => [0x41, signed(value)];
const load8 = (offset = 0): Code => [0x2d, 0, unsigned(offset)];
const load32 = (offset = 0): Code => [0x28, 0, unsigned(offset)];
const store32 = (offset = 0): Code => [0x36, 0, unsigned(offset)];
const [EQ, NE, LT, GT, GE] = [0x46, 0x47, 0x49, 0x4b, 0x4f];
const [ADD, SUB, AND, OR, SHL, SHR, ROTL, ROTR] = [0x6a, 0x6b, 0x71, 0x72, 0x74, 0x76, 0x77, 0x78];
const [BLOCK, LOOP, IF, END, RETURN, SELECT] = [0x02, 0x03, 0x04, 0x0b, 0x0f, 0x1b];
const VOID = 0x40;
const branch = (depth: number): Code => [0x0c, depth];
const branchIf = (depth: number): Code => [0x0d, depth];
/** Ends the function with 0 where the value on the stack is not 0. */
const refuseIf: Code = [IF, VOID, number(0), RETURN, END];
const BIG_32 = 0;
const big32 = (address: Code): Code => [address, 0x10, BIG_32];

/** (address) -> 32 bits, big endian */
const big32Body: Code = [
  [get(0), load32(), number(8), ROTL, number(0x00ff00ff), AND],
  [get(0), load32(), number(8), ROTR, number(0xff00ff00 | 0), AND, OR],
];

/** Where results lie, as GeneveFields lists them but the two first; headers lie behind. */
const FIELDS = 32;
const [AT, LENGTH, HEADER, OPTION, SEEN, TYPE, BYTES, DATA, LAST] = [0, 1, 2, 3, 4, 5, 6, 7, 8];

/** (at, length) -> whether it is a header of a gateway load balancer */
const parseBody: Code = [
  [get(LENGTH), number(8), LT, refuseIf],
  [get(AT), load8(), number(6), SHR, get(AT), load8(1), number(0x80), AND, OR, refuseIf],
  [get(AT), load8(), number(0x3f), AND, number(2), SHL, number(8), ADD, tee(HEADER)],
  [get(LENGTH), GT, refuseIf],
  [number(0), get(HEADER), store32(0)],
  [number(0), get(AT), load8(2), number(8), SHL, get(AT), load8(3), OR, store32(4)],
  [number(0), big32([get(AT), number(4), ADD]), number(8), SHR, store32(8)],
  [get(AT), number(8), ADD, set(OPTION), get(AT), get(HEADER), ADD, set(LAST)],
  [BLOCK, VOID, LOOP, VOID],
  [get(OPTION), get(LAST), GE, branchIf(1)],
  [get(LAST), get(OPTION), SUB, number(4), LT, refuseIf],
  [get(OPTION), load8(2), set(TYPE)],
  [get(OPTION), load8(3), number(0x1f), AND, number(2), SHL, set(BYTES)],
  [get(OPTION), number(4), ADD, tee(DATA), get(BYTES), ADD, get(LAST), GT, refuseIf],
  [get(OPTION), load8(), number(8), SHL, get(OPTION), load8(1), OR, number(OPTION_CLASS), NE],
  [get(TYPE), number(1), SUB, number(2), GT, OR],
  [get(DATA), get(BYTES), ADD, set(OPTION)],
  [IF, VOID, get(TYPE), number(0x80), AND, refuseIf, branch(1), END],
  [get(BYTES), number(4), number(8), get(TYPE), number(3), EQ, SELECT, NE],
  [get(SEEN), get(TYPE), SHR, number(1), AND, OR, refuseIf],
  [number(1), get(TYPE), SHL, get(SEEN), OR, set(SEEN)],
  // 12 for the endpoint's id, 20 for the attachment's, 28 for the cookie.
  [get(TYPE), number(3), SHL, big32(get(DATA)), store32(4)],
  [get(BYTES), number(8), EQ, IF, VOID],
  [get(TYPE), number(3), SHL, big32([get(DATA), number(4), ADD]), store32(8), END],
  [branch(0), END, END],
  [get(SEEN), number(0b1110), EQ],
];

function moduleBytes(): Uint8Array<ArrayBuffer> {
  const body = (locals: number, code: Code) =>
    sized([...(locals > 0 ? [1, locals, I32] : [0]), ...flat(code), END]);
  return new Uint8Array([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(
      1,
      list([
        [0x60, ...list([[I32]]), ...list([[I32]])],
        [0x60, ...list([[I32], [I32]]), ...list([[I32]])],
      ]),
    ),
    ...section(3, list([[0], [1]])),
    // Pages of 64 KiB.
    ...section(5, list([[0, 2]])),
    ...section(
      7,
      list([
        [...text('memory'), 2, 0],
        [...text('parse'), 0, 1],
      ]),
    ),
    ...section(10, list([body(0, big32Body), body(7, parseBody)])),
  ]);
}

export class WasmParser {
  /** Parses `length` bytes of its memory. */
  readonly parse: (at: number, length: number) => number;
  readonly memory: Uint8Array;
  /** headerLength, protocolType, vni, endpoint high and low, attachment high and low, cookie */
  readonly fields: Uint32Array;
  /** First byte that headers may lie at. */
  readonly start = FIELDS;

  constructor() {
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(moduleBytes()));
    const { buffer } = exports.memory;
    this.parse = exports.parse;
    this.memory = new Uint8Array(buffer);
    this.fields = new Uint32Array(buffer, 0, 8);
  }

  /** The last findings as the careful parser's. */
  found(): GeneveFields {
    const [headerLength, protocolType, vni, endpointHigh, endpointLow] = this.fields;
    const [attachmentHigh, attachmentLow, cookie] = this.fields.subarray(5);
    return {
      ...{ headerLength, protocolType, vni, endpointHigh, endpointLow },
      ...{ attachmentHigh, attachmentLow, cookie },
    };
  }
}
