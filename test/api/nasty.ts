/** Values that nobody should give, each made anew: what looking at one does may change it. */
import { inspect } from 'node:util';
import fc from 'fast-check';
import { Gateway, PacketBatch, TargetGroup } from '../../src/index.js';

/** What a getter or a trap of theirs throws: nothing of the package may let it through as it is. */
export class Trap extends Error {}

function trap(): never {
  throw new Trap('sprung');
}

const TRAPS: ProxyHandler<object> = {
  get: trap,
  has: trap,
  set: trap,
  ownKeys: trap,
  getPrototypeOf: trap,
  getOwnPropertyDescriptor: trap,
};

function revoked(target: object): object {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy;
}

/** An object whose every likely property throws when it is read. */
function trapped(keys: readonly string[]): object {
  const value = {};
  for (const key of keys) Object.defineProperty(value, key, { enumerable: true, get: trap });
  return value;
}

class Liar extends Uint8Array {
  override get length(): number {
    return 2 ** 31;
  }
  override get buffer(): ArrayBuffer {
    return trap();
  }
  override [Symbol.iterator](): ReturnType<Uint8Array[typeof Symbol.iterator]> {
    return trap();
  }
}

function detached(bytes: number): Uint8Array {
  const array = new Uint8Array(bytes);
  structuredClone(array, { transfer: [array.buffer] });
  return array;
}

type Resizable = new (
  bytes: number,
  options: { maxByteLength: number },
) => ArrayBuffer & {
  resize(bytes: number): void;
};

/** A view that its buffer has shrunk below, or as long as that whatever it is. */
function resized(bytes: number, fixed: boolean): Uint8Array {
  const buffer = new (ArrayBuffer as unknown as Resizable)(bytes, { maxByteLength: 4096 });
  const view = fixed ? new Uint8Array(buffer, 8, bytes - 8) : new Uint8Array(buffer);
  buffer.resize(fixed ? 4 : bytes * 2);
  return view;
}

function sparse(length: number): unknown[] {
  const array: unknown[] = [];
  array.length = length;
  return array;
}

function movedBatch(): PacketBatch {
  const batch = new PacketBatch({ packets: 1 });
  const { buffer } = batch.block;
  // Where it cannot be moved the batch is an ordinary one.
  (buffer as ArrayBuffer & { transfer?: () => ArrayBuffer }).transfer?.();
  return batch;
}

const NUMBERS = [
  NaN,
  Infinity,
  -1,
  -0,
  0,
  0.5,
  1,
  4,
  6,
  255,
  256,
  5000,
  65_536,
  1e9,
  2 ** 31,
  2 ** 32,
];
const LARGE = [2 ** 40, 2 ** 53 - 1, 2 ** 53, 1e300, -(2 ** 63)];
const TEXTS = ['', '0', '-1', 'tcp', '10.0.1.10', '10.0.1.10:6081', '[::1]:5', '\0', '\ud800'];
const MORE_TEXTS = ['constructor', '__proto__', 'vpce-0ffffffffffffffff', '/', '5-tuple', '((((('];
const BIGINTS = [0n, -1n, 2n ** 64n, 2n ** 4096n];

/** Makes a value; `label` tells which in a report. */
export type Maker = (() => unknown) & { label?: string };

const MAKERS: Maker[] = [
  ...[undefined, null, true, false, ...NUMBERS, ...LARGE, ...TEXTS, ...MORE_TEXTS, ...BIGINTS].map(
    (value) => Object.assign(() => value, { label: inspect(value).slice(0, 60) }),
  ),
  () => 'x'.repeat(1_000_001),
  () => '('.repeat(100_000),
  () => Symbol('s'),
  () => Symbol.iterator,
  () => () => {},
  () => ({}),
  () => Object.create(null),
  () => [],
  () => [undefined],
  () => [[[]]],
  () => sparse(2 ** 32 - 1),
  () => sparse(70_000),
  () => new Date(Number.NaN),
  () => new Map([['a', 1]]),
  () => Promise.resolve(5),
  () => new URL('http://127.0.0.1/'),
  () => new Proxy({}, TRAPS),
  () => new Proxy([], TRAPS),
  () => new Proxy(() => {}, TRAPS),
  () => new Proxy([1, 2, 3], { get: trap }),
  () => new Proxy(new Uint8Array(20), TRAPS),
  () => new Proxy(new PacketBatch({ packets: 1 }), {}),
  () => new Proxy(new TargetGroup(), {}),
  () => new Proxy(new AbortController().signal, {}),
  () => revoked({}),
  () => revoked([]),
  () => ({ toString: trap, valueOf: trap, [Symbol.toPrimitive]: trap, toJSON: trap }),
  () => Object.defineProperty([], 0, { enumerable: true, get: trap }),
  () => new Liar(20),
  () => detached(20),
  () => resized(64, true),
  () => resized(64, false),
  () => new Uint8Array(0),
  () => new Uint8Array(16).fill(0x45),
  () => new Uint8Array(40),
  () => new Uint8Array(2 ** 21),
  () => new Uint8Array(new SharedArrayBuffer(40)),
  () => new Uint32Array(new SharedArrayBuffer(40)),
  () => Buffer.alloc(9000, 0x60),
  () => new Uint8ClampedArray(16),
  () => new Uint32Array(0),
  () => new DataView(new ArrayBuffer(16)),
  () => new ArrayBuffer(16),
  () => new SharedArrayBuffer(16),
  () => new PacketBatch({ packets: 1 }),
  movedBatch,
  () => new TargetGroup({ name: 'other' }),
  () => new TargetGroup({ healthCheck: false }).register({ address: '10.9.9.9' })[0],
  () => {
    const targetGroup = new TargetGroup({ healthCheck: false });
    return new Gateway({ targetGroup, limits: { flows: 1024 } }).createEndpoint();
  },
];

/** One of them; `keys` are those that a hostile object has. */
export function nasty(keys: readonly string[] = []): fc.Arbitrary<Maker> {
  const more = keys.length > 0 ? [() => trapped(keys)] : [];
  return fc.constantFrom(...MAKERS, ...more);
}

/** An object of options: some as they should be, one or more nasty; or something else altogether. */
export function nastyOptions(
  valid: Readonly<Record<string, unknown>>,
): fc.Arbitrary<() => unknown> {
  const keys = Object.keys(valid);
  const one = fc.tuple(fc.constantFrom(...keys), nasty(keys));
  const spoilt = fc.tuple(fc.subarray(keys), fc.array(one, { minLength: 1, maxLength: 2 }));
  const object = spoilt.map(([kept, wrong]): Maker => {
    const make = () => {
      const good = kept.map((key): [string, unknown] => [key, valid[key]]);
      return Object.fromEntries([...good, ...wrong.map(([key, bad]) => [key, bad()])]);
    };
    const told = wrong.map(([key, bad]) => `${key}: ${labelOf(bad)}`);
    return Object.assign(make, { label: `{ ${[...kept, ...told].join(', ')} }` });
  });
  return fc.oneof({ weight: 4, arbitrary: object }, { weight: 1, arbitrary: nasty(keys) });
}

export function labelOf(make: { label?: string }): string {
  return make.label ?? String(make);
}
