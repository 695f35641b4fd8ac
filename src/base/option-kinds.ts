/** Kinds of values that options have: one description gives the check, the words for its range and the schema. */
import {
  checkBoolean,
  checkInteger,
  checkNumber,
  checkOneOf,
  checkString,
  invalidArgument,
} from './errors.js';
import { NAME_LENGTH_MAX } from './limits.js';

/** A JSON schema (2020-12), as far as options need it. */
export interface JsonSchema {
  readonly [keyword: string]: unknown;
}

/** What an option's values are. `In` is what users give, `Out` what the check makes of it. */
export interface Kind<Out, In = Out> {
  /** Returns the value as it is used; throws the `GatewayError` about `field`. */
  readonly check: (field: string, value: unknown) => Out;
  /** The values in words: `1–65535`. */
  readonly range: string;
  readonly schema: JsonSchema;
  /** Of an object of options: its table, for who describes it. */
  readonly options?: Readonly<Record<string, unknown>>;
  /** Never there; holds `In`. */
  readonly given?: (value: In) => In;
}

const span = (min: number, max: number) => `${min}–${max}`;

export function integer(min: number, max: number): Kind<number> {
  return {
    check: (field, value) => checkInteger(field, value, min, max),
    range: span(min, max),
    schema: { type: 'integer', minimum: min, maximum: max },
  };
}

/** Fractions included. */
export function fraction(min: number, max: number): Kind<number> {
  return {
    check: (field, value) => checkNumber(field, value, min, max),
    range: span(min, max),
    schema: { type: 'number', minimum: min, maximum: max },
  };
}

export const flag: Kind<boolean> = {
  check: checkBoolean,
  range: 'true, false',
  schema: { type: 'boolean' },
};

export function oneOf<const T extends string | number>(...choices: T[]): Kind<T> {
  return {
    check: (field, value) => checkOneOf(field, value, choices),
    range: choices.map((choice) => `\`${choice}\``).join(', '),
    schema: { enum: choices },
  };
}

/** `expected` says in messages what `pattern` and `max`, most characters, mean. */
export function text(range: string, pattern: RegExp, max: number, expected = range): Kind<string> {
  return {
    check: (field, value) => checkString(field, value, { pattern, max, expected }),
    range,
    schema: { type: 'string', minLength: 1, maxLength: max, pattern: pattern.source },
  };
}

/** A function; what it takes and returns is the caller's word. */
export function func<F extends (...args: never[]) => unknown>(): Kind<F> {
  return {
    check: (field, value) => {
      if (typeof value === 'function') return value as F;
      throw invalidArgument(field, 'a function', value);
    },
    range: 'function',
    schema: {},
  };
}

/** A value with a check of its own. */
export function special<Out, In>(
  range: string,
  schema: JsonSchema,
  check: (field: string, value: unknown) => Out,
): Kind<Out, In> {
  return { check, range, schema };
}

/** The name of a group or gateway. */
export const nameForLogs: Kind<string> = text(
  `1–${NAME_LENGTH_MAX} letters, digits and hyphens`,
  /^[A-Za-z0-9-]+$/,
  NAME_LENGTH_MAX,
);
