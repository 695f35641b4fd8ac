/**
 * Checks of what has more to it than its type: memory, arrays, objects of this package. Whatever a
 * value does when it is looked at (a proxy or a getter that throws, a buffer that was transferred), what comes out is
 * the value or a `GatewayError`.
 */
import { types } from 'node:util';
import { fromSystemError, GatewayError, invalidArgument, mismatch, outOfRange } from './errors.js';

function typedArrayGetter<T>(name: string): (this: ArrayBufferView) => T {
  const prototype = Object.getPrototypeOf(Uint8Array.prototype);
  return Object.getOwnPropertyDescriptor(prototype, name)?.get as (this: ArrayBufferView) => T;
}

// Those of a subclass may say anything; native code and typed arrays go by these.
const lengthOf = typedArrayGetter<number>('length');
const bufferOf = typedArrayGetter<ArrayBufferLike>('buffer');

function isGone(view: Uint8Array | Uint32Array): boolean {
  try {
    // Throws where the buffer was detached, or shrunk below the view.
    Uint8Array.prototype.at.call(view, 0);
    return false;
  } catch {
    return true;
  }
}

const GONE = 'one whose buffer was transferred, or shrunk below it';

function gone(field: string, expected: string): GatewayError {
  return mismatch('ERR_GWLB_INVALID_ARGUMENT', field, expected, GONE);
}

/** Returns the bytes and how many they are, whatever a subclass says; they may be shared between threads. */
export function checkBytesToCopy(field: string, value: unknown): number {
  if (!types.isUint8Array(value)) throw invalidArgument(field, 'a Uint8Array', value);
  const length = lengthOf.call(value);
  if (length === 0 && isGone(value)) throw gone(field, 'a Uint8Array');
  return length;
}

function checkUnshared(field: string, value: Uint8Array | Uint32Array, expected: string): void {
  if (types.isSharedArrayBuffer(bufferOf.call(value))) {
    const unshared = `${expected} that no other thread can change meanwhile`;
    throw mismatch('ERR_GWLB_INVALID_ARGUMENT', field, unshared, 'one over a SharedArrayBuffer');
  }
}

/** Returns `value` if it is bytes that native code can read: not gone, and not shared between threads. */
export function checkBytes(field: string, value: unknown): Uint8Array {
  checkBytesToCopy(field, value);
  checkUnshared(field, value as Uint8Array, 'a Uint8Array');
  return value as Uint8Array;
}

/** The same as a copy, an ordinary array. */
export function copyOfBytes(field: string, value: unknown): Uint8Array {
  const copy = new Uint8Array(checkBytesToCopy(field, value));
  copy.set(value as Uint8Array);
  return copy;
}

/** The same with a certain number of bytes. */
export function checkBytesOf(field: string, value: unknown, bytes: number, hint = ''): Uint8Array {
  const expected = `a Uint8Array of ${bytes} bytes${hint}`;
  if (!types.isUint8Array(value)) throw invalidArgument(field, expected, value);
  if (lengthOf.call(value) !== bytes) throw invalidArgument(field, expected, value);
  checkUnshared(field, value, 'a Uint8Array');
  return value;
}

/** Returns `value` if it is a Uint32Array that native code can write. */
export function checkWords(field: string, value: unknown): Uint32Array {
  if (!types.isUint32Array(value)) throw invalidArgument(field, 'a Uint32Array', value);
  if (lengthOf.call(value) === 0 && isGone(value)) throw gone(field, 'a Uint32Array');
  checkUnshared(field, value, 'a Uint32Array');
  return value;
}

/** The elements of an array, at most `max`, read once. */
export function checkArray(
  field: string,
  value: unknown,
  expected: string,
  max: number,
): unknown[] {
  let length: number;
  try {
    if (!Array.isArray(value)) throw invalidArgument(field, expected, value);
    length = value.length;
    if (length <= max) return Array.from({ length }, (_, i) => value[i]);
  } catch (cause) {
    if (cause instanceof GatewayError) throw cause;
    throw unreadable(field, expected, cause);
  }
  throw outOfRange(field, `at most ${max} elements`, length);
}

/** What an iterable object has, at most `max`, read once. */
export function checkIterable(
  field: string,
  value: unknown,
  expected: string,
  max: number,
): unknown[] {
  const list: unknown[] = [];
  try {
    const isList = typeof value === 'object' && value !== null && Symbol.iterator in value;
    if (!isList || types.isUint8Array(value)) throw invalidArgument(field, expected, value);
    for (const one of value as Iterable<unknown>) {
      list.push(one);
      if (list.length > max) throw outOfRange(`${field}.length`, `at most ${max}`, list.length);
    }
  } catch (cause) {
    if (cause instanceof GatewayError) throw cause;
    throw unreadable(field, expected, cause);
  }
  return list;
}

/** Its own keys with their values, read once, if it is an object. */
export function checkRecord(field: string, value: unknown): Record<string, unknown> {
  try {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      return Object.fromEntries(Object.entries(value));
    }
  } catch (cause) {
    throw unreadable(field, 'an object', cause);
  }
  throw invalidArgument(field, 'an object', value);
}

/** What was given cannot even be read. */
function unreadable(field: string, expected: string, cause: unknown): GatewayError {
  const received = 'an object that throws when it is read';
  return mismatch('ERR_GWLB_INVALID_ARGUMENT', field, expected, received, cause);
}

/** `invalidArgument` for an object of a class of this package; another copy of it has another class. */
export function wrongObject(
  field: string,
  name: string,
  value: unknown,
  expected = `${/^[AEIOU]/.test(name) ? 'an' : 'a'} ${name}`,
): GatewayError {
  if (classOf(value) !== name) return invalidArgument(field, expected, value);
  const received =
    `the ${name} of another copy of gwlb: the package is loaded twice (npm ls gwlb shows where ` +
    'from); install it once for all that use it';
  return mismatch('ERR_GWLB_INVALID_ARGUMENT', field, expected, received);
}

function classOf(value: unknown): unknown {
  try {
    return typeof value === 'object' && value !== null && value.constructor?.name;
  } catch {
    return undefined;
  }
}

/** The `GatewayError` for what native code throws, which has checked everything before it did anything. */
export function nativeError(error: unknown, action = 'go on'): GatewayError {
  if (error instanceof GatewayError) return error;
  const { message, code } = error as { message: string; code?: unknown };
  if (code === 'ERR_STOPPED' || code === 'ERR_NOT_LENT') {
    return new GatewayError('ERR_GWLB_CLOSED', message, { cause: error });
  }
  if (code !== undefined) return fromSystemError(error, action);
  // The form in which it says what is wrong with an argument.
  const told = /^([\w.[\]]+): expected (.+), received (.+)$/s.exec(message);
  const [, field, expected, received] = told ?? [];
  const options = { field, expected, received, cause: error };
  if (error instanceof TypeError) {
    return new GatewayError('ERR_GWLB_INVALID_ARGUMENT', message, options);
  }
  if (!(error instanceof RangeError)) return fromSystemError(error, action);
  if (told) return new GatewayError('ERR_GWLB_OUT_OF_RANGE', message, options);
  // What V8 says of an ArrayBuffer that it cannot make.
  return new GatewayError('ERR_GWLB_OUT_OF_MEMORY', `cannot ${action}: ${message}`, {
    cause: error,
  });
}

/** Calls native code; what it throws becomes a `GatewayError`. `action` completes "cannot …". */
export function native<T>(call: () => T, action?: string): T {
  try {
    return call();
  } catch (error) {
    throw nativeError(error, action);
  }
}
