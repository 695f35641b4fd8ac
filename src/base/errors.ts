/**
 * Every error this package throws on purpose is a `GatewayError` with a stable `code`. Match on
 * `error.code`, not on `instanceof`: two copies of a package may be loaded, and messages may change.
 * `docs/errors.md` has a heading for each code; a test compares.
 */
import { types } from 'node:util';
import { ERROR_CODES, type GatewayErrorCode } from './error-codes.js';
import { explainSystemError } from './system-errors.js';

export { ERROR_CODES, type GatewayErrorCode } from './error-codes.js';

/** Keys and positions, from the outside in: `['targets', 3, 'weight']`. */
export type ErrorPath = readonly (string | number)[];

/** What a `GatewayError` says besides its code and message. */
export interface GatewayErrorOptions {
  /**
   * The argument or configuration key that the error is about, as a path or its text:
   * `targetGroup.healthCheck.port`.
   */
  field?: string | ErrorPath | undefined;
  /** What would have been right, as the message says it. */
  expected?: string | undefined;
  /** What was there instead, as the message shows it. */
  received?: string | undefined;
  /** The message without the field, where that is not `expected …, received …`. Default the message. */
  detail?: string | undefined;
  /** The error below this one. */
  cause?: unknown;
}

/**
 * Every error that this package throws, rejects with or emits; `code` says its kind. See docs/errors.md.
 */
export class GatewayError extends Error {
  /** Always `'GatewayError'`. */
  override readonly name = 'GatewayError';
  /** Stable; one of `ERROR_CODES`. */
  readonly code: GatewayErrorCode;
  /** The argument or configuration key that was wrong, where the error is about one; `path` as text. */
  declare readonly field?: string;
  /** What was expected there, as the message says it: `5–300`. */
  declare readonly expected?: string;
  /** What was received, as the message shows it: short, and never a secret. */
  declare readonly received?: string;

  readonly #path: ErrorPath;
  readonly #detail: string;

  constructor(code: GatewayErrorCode, message: string, options: GatewayErrorOptions = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    this.code = code;
    const { field, expected, received } = options;
    if (field !== undefined) this.field = typeof field === 'string' ? field : pathText(field);
    if (expected !== undefined) this.expected = expected;
    if (received !== undefined) this.received = received;
    this.#path = typeof field === 'string' ? parsePath(field) : Object.freeze([...(field ?? [])]);
    const told = expected === undefined ? message : `expected ${expected}, received ${received}`;
    this.#detail = options.detail ?? told;
  }

  /** `field` as data: `['targetGroup', 'targets', 3, 'weight']`; empty where the error is about none. */
  get path(): ErrorPath {
    return this.#path;
  }

  /** The message without the field: `expected 5–300, received 2`. */
  get detail(): string {
    return this.#detail;
  }

  /**
   * An `ERR_GWLB_INVALID_ARGUMENT` in the words of this package, for programs with options of their own:
   * `targetGroup.name: expected a string, received 5`
   */
  static invalidArgument(
    field: string | ErrorPath,
    expected: string,
    received: unknown,
  ): GatewayError {
    return invalidArgument(checkPath(field), checkText('expected', expected), received);
  }

  /** The same with any code, and with what was received in words: `received one of 4,000 bytes`. */
  static mismatch(
    code: GatewayErrorCode,
    field: string | ErrorPath,
    expected: string,
    received: string,
    cause?: unknown,
  ): GatewayError {
    if (typeof code !== 'string' || !Object.hasOwn(ERROR_CODES, code)) {
      throw invalidArgument('code', 'one of ERROR_CODES', code);
    }
    const texts = [checkText('expected', expected), checkText('received', received)] as const;
    return mismatch(code, checkPath(field), ...texts, cause);
  }

  /**
   * The error for one of the operating system, which says what to do about it. `action` completes
   * "cannot …": `listen on 10.0.0.1:6081`. A `GatewayError` is returned as it is.
   */
  static fromSystemError(error: unknown, action: string): GatewayError {
    const told = checkText('action', action);
    try {
      return fromSystemError(error, told);
    } catch {
      throw invalidArgument('error', 'an error of the operating system', error);
    }
  }

  /**
   * The same error about another field, for who knows what was wrong by another name: all but `field`,
   * `path` and the beginning of the message stays; where it had no cause, it is one. An empty path: about none.
   */
  at(field: string | ErrorPath): GatewayError {
    const path = checkPath(field);
    const text = typeof path === 'string' ? path : pathText(path);
    const { code, detail, expected, received } = this;
    return new GatewayError(code, text === '' ? detail : `${text}: ${detail}`, {
      field: text === '' ? undefined : path,
      expected,
      received,
      detail,
      cause: this.cause ?? this,
    });
  }
}

/** Far more than any has. */
const PATH_MAX = 64;

/** What others give for a path. */
function checkPath(field: unknown): string | ErrorPath {
  if (typeof field === 'string') return field;
  try {
    if (Array.isArray(field) && field.length <= PATH_MAX) {
      const parts: unknown[] = [...field];
      if (parts.every((part) => typeof part === 'string' || typeof part === 'number')) {
        return parts as ErrorPath;
      }
    }
  } catch {
    // A proxy: told below.
  }
  throw invalidArgument('field', 'a text, or an array of keys and positions', field);
}

function checkText(name: string, value: unknown): string {
  if (typeof value === 'string') return value;
  throw invalidArgument(name, 'a text', value);
}

/** A key that can stand in a path's text as it is. */
const PLAIN_KEY = /^[\w$.-]{1,80}$/;

function pathText(path: ErrorPath): string {
  return path
    .map((part, i) => {
      if (typeof part === 'number') return `[${part}]`;
      if (i > 0 && !PLAIN_KEY.test(part)) return `[${show(part)}]`;
      return i === 0 ? part : `.${part}`;
    })
    .join('');
}

/** The path of a field's name, as code writes it. */
export function parsePath(text: string): ErrorPath {
  const parts = text.match(/[^.[\]]+/g) ?? [];
  return Object.freeze(parts.map((part) => (/^\d+$/.test(part) ? Number(part) : part)));
}

const SHOWN_MAX = 80;

/** A value as messages show it: short, unambiguous, one line. */
export function show(value: unknown): string {
  switch (typeof value) {
    case 'string': {
      const text = JSON.stringify(value.slice(0, SHOWN_MAX));
      return value.length + 2 > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}…` : text;
    }
    case 'bigint': {
      const text = `${value}n`;
      return text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}…` : text;
    }
    case 'function':
      return 'a function';
    case 'symbol':
      return 'a symbol';
    case 'object':
      return value === null ? 'null' : showObject(value);
    default:
      return String(value);
  }
}

function showObject(value: object): string {
  if (types.isDate(value)) return 'a Date';
  if (types.isUint8Array(value)) return `a Uint8Array of ${value.length} bytes`;
  try {
    return Array.isArray(value) ? `an array of ${value.length}` : 'an object';
  } catch {
    return 'an object';
  }
}

/** `field: expected …, received …` with what was received in words. */
export function mismatch(
  code: GatewayErrorCode,
  field: string | ErrorPath,
  expected: string,
  received: string,
  cause?: unknown,
): GatewayError {
  const name = typeof field === 'string' ? field : pathText(field);
  const message = `${name}: expected ${expected}, received ${received}`;
  const options = { field, expected, received };
  return new GatewayError(code, message, cause === undefined ? options : { ...options, cause });
}

/** `targetGroup.name: expected a string, received 5` */
export function invalidArgument(
  field: string | ErrorPath,
  expected: string,
  received: unknown,
): GatewayError {
  return mismatch('ERR_GWLB_INVALID_ARGUMENT', field, expected, show(received));
}

/** `targetGroup.healthCheck.intervalSeconds: expected 5–300, received 2` */
export function outOfRange(field: string, expected: string, received: unknown): GatewayError {
  return mismatch('ERR_GWLB_OUT_OF_RANGE', field, expected, show(received));
}

/** Returns `value` if it is an integer in min..max. */
export function checkInteger(field: string, value: unknown, min: number, max: number): number {
  if (typeof value !== 'number' || !Number.isInteger(value)) {
    throw invalidArgument(field, `an integer ${min}–${max}`, value);
  }
  if (value < min || value > max) throw outOfRange(field, `${min}–${max}`, value);
  return value;
}

/** Returns `value` if it is a number in min..max, fractions included. */
export function checkNumber(field: string, value: unknown, min: number, max: number): number {
  if (typeof value !== 'number' || Number.isNaN(value)) {
    throw invalidArgument(field, `a number ${min}–${max}`, value);
  }
  if (value < min || value > max) throw outOfRange(field, `${min}–${max}`, value);
  return value;
}

export interface StringRule {
  /** Least and most characters; default 1 and unlimited. */
  min?: number;
  max?: number;
  pattern?: RegExp;
  /** What the message says was expected; default describes the lengths. */
  expected?: string;
}

/** Returns `value` if it is a string that follows the rule. */
export function checkString(field: string, value: unknown, rule: StringRule = {}): string {
  const min = rule.min ?? 1;
  const max = rule.max ?? Number.POSITIVE_INFINITY;
  const lengths = max === Number.POSITIVE_INFINITY ? '' : ` of ${min}–${max} characters`;
  const expected =
    rule.expected ?? (min > 0 && !lengths ? 'a non-empty string' : `a string${lengths}`);
  if (typeof value !== 'string' || value.length < min || value.length > max) {
    throw invalidArgument(field, expected, value);
  }
  if (rule.pattern && !rule.pattern.test(value)) throw invalidArgument(field, expected, value);
  return value;
}

export function checkBoolean(field: string, value: unknown): boolean {
  if (typeof value !== 'boolean') throw invalidArgument(field, 'true or false', value);
  return value;
}

/** Returns `value` if it is one of `choices`. */
export function checkOneOf<T extends string | number>(
  field: string,
  value: unknown,
  choices: readonly T[],
): T {
  const found = choices.find((choice) => choice === value);
  if (found === undefined) {
    throw invalidArgument(field, alternatives(choices.map((choice) => show(choice))), value);
  }
  return found;
}

/**
 * The options in `value`, read once, if it is an object with no other keys of its own than `keys`: a
 * misspelled option is an error, not a default.
 */
export function checkOptions<K extends string>(
  field: string,
  value: unknown,
  keys: readonly K[],
): Partial<Record<K, unknown>> {
  const { known, unknown } = readObject(field, value, keys);
  const [first] = unknown;
  if (first === undefined) return known;
  throw unknownOption(field, first, keys);
}

/** An option that there is not. */
export function unknownOption(field: string, key: string, keys: readonly string[]): GatewayError {
  const expected = `one of the options ${keys.join(', ')}`;
  const path = [...parsePath(field), key];
  return mismatch('ERR_GWLB_INVALID_ARGUMENT', path, expected, 'an unknown option');
}

/** The values of `keys` in an object that have one, read once, and keys of its own that are none of them. */
export function readObject<K extends string>(
  field: string,
  value: unknown,
  keys: readonly K[],
): { known: Partial<Record<K, unknown>>; unknown: string[] } {
  const known: Partial<Record<K, unknown>> = {};
  try {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw invalidArgument(field, 'an object', value);
    }
    const unknown = Object.keys(value).filter((key) => !keys.includes(key as K));
    for (const key of keys) if (key in value) known[key] = (value as typeof known)[key];
    return { known, unknown };
  } catch (cause) {
    if (cause instanceof GatewayError) throw cause;
    const received = 'one that throws when it is read';
    throw mismatch('ERR_GWLB_INVALID_ARGUMENT', field, 'an object', received, cause);
  }
}

function alternatives(shown: readonly string[]): string {
  if (shown.length < 2) return shown.join('');
  return `${shown.slice(0, -1).join(', ')} or ${shown.at(-1)}`;
}

/**
 * The `GatewayError` for an error of the operating system (or of native code, which has the same
 * properties). `action` completes "cannot …": `listen on 10.0.0.1:6081`. A `GatewayError` is returned
 * as it is.
 */
export function fromSystemError(error: unknown, action: string): GatewayError {
  if (error instanceof GatewayError) return error;
  const { code, sentence } = explainSystemError(error, action);
  return new GatewayError(code, `cannot ${action}: ${sentence}`, { cause: error });
}
