/** What an argument of the addon must be, and values that it is not. */
import { types } from 'node:util';

export interface Kind {
  /** Whether a value is of this kind: then it is no wrong argument. */
  accepts(value: unknown): boolean;
  /** The kinds of an object's fields; of an array's elements under '0'. */
  fields?: Record<string, Kind>;
}

export function integer(min: number, max: number): Kind {
  return {
    accepts: (value) => Number.isInteger(value) && Number(value) >= min && Number(value) <= max,
  };
}

export const boolean: Kind = { accepts: (value) => typeof value === 'boolean' };

export const bigint: Kind = {
  accepts: (value) => typeof value === 'bigint' && BigInt.asUintN(64, value) === value,
};

export function text(bytesMax: number): Kind {
  return {
    accepts: (value) =>
      typeof value === 'string' && Buffer.byteLength(value) <= bytesMax && !value.includes('\0'),
  };
}

/** One of these names. */
export function choice(names: readonly string[]): Kind {
  return { accepts: (value) => names.includes(value as string) };
}

const unshared = (value: ArrayBufferView) => value.buffer instanceof ArrayBuffer;

export function bytes(length?: number): Kind {
  return {
    accepts: (value) =>
      types.isUint8Array(value) &&
      unshared(value) &&
      (length === undefined || value.length === length),
  };
}

export function words(min: number, max = Number.POSITIVE_INFINITY): Kind {
  return {
    accepts: (value) =>
      types.isUint32Array(value) && unshared(value) && value.length >= min && value.length <= max,
  };
}

export const callback: Kind = { accepts: (value) => typeof value === 'function' };

/** Only the value that is there. */
export const native: Kind = { accepts: () => false };

/** The fields are tried one by one; nothing is known to be a whole object of this kind. */
export function object(fields: Record<string, Kind>): Kind {
  return { accepts: () => false, fields };
}

export function list(element: Kind): Kind {
  return { accepts: (value) => Array.isArray(value) && value.length === 0, fields: { 0: element } };
}

/** Also absent. */
export function optional(kind: Kind): Kind {
  return {
    accepts: (value) => value === undefined || value === null || kind.accepts(value),
    ...(kind.fields && { fields: kind.fields }),
  };
}

const detached = new Uint8Array(16);
structuredClone(detached.buffer, { transfer: [detached.buffer] });

/** One of everything that JavaScript can hand over. */
export const EVERYTHING: readonly (readonly [string, unknown])[] = [
  ['undefined', undefined],
  ['null', null],
  ['true', true],
  ['0', 0],
  ['-1', -1],
  ['4', 4],
  ['1.5', 1.5],
  ['2^32', 2 ** 32],
  ['2^53', 2 ** 53],
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['5n', 5n],
  ['-5n', -5n],
  ['2n ** 64n', 2n ** 64n],
  ["''", ''],
  ["'x'", 'x'],
  ['text with NUL', 'a\0b'],
  ['long text', 'x'.repeat(10_000)],
  ['symbol', Symbol('s')],
  ['function', () => {}],
  ['class', class {}],
  ['{}', {}],
  ['[]', []],
  ['array with a hole', new Array(1)],
  ['[{}]', [{}]],
  ['huge array', new Array(2 ** 20)],
  ['Date', new Date(0)],
  ['Map', new Map()],
  ['Proxy', new Proxy({}, {})],
  ['Proxy of bytes', new Proxy(new Uint8Array(16), {})],
  ['object without prototype', Object.create(null)],
  ['Uint8Array(3)', new Uint8Array(3)],
  ['Uint8Array(0)', new Uint8Array(0)],
  ['detached Uint8Array', detached],
  ['Int8Array', new Int8Array(16)],
  ['Uint8ClampedArray', new Uint8ClampedArray(16)],
  ['Uint16Array', new Uint16Array(16)],
  ['Uint32Array(1)', new Uint32Array(1)],
  ['Float64Array', new Float64Array(16)],
  ['BigUint64Array', new BigUint64Array(16)],
  ['ArrayBuffer', new ArrayBuffer(64)],
  ['SharedArrayBuffer', new SharedArrayBuffer(64)],
  ['shared bytes', new Uint8Array(new SharedArrayBuffer(16))],
  ['shared words', new Uint32Array(new SharedArrayBuffer(64))],
  ['DataView', new DataView(new ArrayBuffer(64))],
];

/** Each list of arguments that differs from `good` in one place, and what the place is called. */
export function* wrongArguments(
  good: unknown[],
  kinds: readonly Kind[],
  more: readonly (readonly [string, unknown])[],
): Generator<[string, unknown[]]> {
  for (const [i, kind] of kinds.entries()) {
    for (const [where, value] of wrongValues(`argument ${i}`, good[i], kind, more)) {
      yield [where, good.with(i, value)];
    }
  }
}

function* wrongValues(
  where: string,
  good: unknown,
  kind: Kind,
  more: readonly (readonly [string, unknown])[],
): Generator<[string, unknown]> {
  for (const [name, value] of [...EVERYTHING, ...more]) {
    if (!kind.accepts(value) && value !== good) yield [`${where} = ${name}`, value];
  }
  for (const [key, field] of Object.entries(kind.fields ?? {})) {
    const whole = good as Record<string, unknown>;
    for (const [deeper, value] of wrongValues(`${where}.${key}`, whole[key], field, more)) {
      const copy: Record<string, unknown> | unknown[] = Array.isArray(good)
        ? [...good]
        : { ...whole };
      (copy as Record<string, unknown>)[key] = value;
      yield [deeper, copy];
    }
  }
}
