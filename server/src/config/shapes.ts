/**
 * What a part of a configuration has to be: mappings of keys, lists, values. A shape finds every mistake of
 * its part; options of the library are judged by the library.
 */
import {
  describeOptions,
  GatewayError,
  type OptionDescription,
  type OptionsKind,
  optionProblems,
} from 'gwlb';
import { detailOf } from '../errors.js';
import type { Found, Path } from './types.js';

/** Finds what is wrong with the value at a place. */
export type Shape = (value: unknown, path: Path) => Found[];

/** The value of a mapping; nothing of what is none. */
export function mappingOf(value: unknown): Readonly<Record<string, unknown>> {
  return isMapping(value) ? value : {};
}

function isMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function wrong(path: Path, expected: string, value: unknown): Found[] {
  return [{ path, message: detailOf(GatewayError.invalidArgument('', expected, value)) }];
}

/** A value that `check` throws a `GatewayError` about. */
export function value(check: (value: unknown) => unknown): Shape {
  return (value, path) => {
    try {
      check(value);
      return [];
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error;
      return [{ path, message: detailOf(error) }];
    }
  };
}

/** One of these words. */
export function oneOf(words: readonly string[]): Shape {
  const shown = words.map((word) => `"${word}"`);
  const expected = `${shown.slice(0, -1).join(', ')} or ${shown.at(-1)}`;
  return (value, path) => (words.includes(value as string) ? [] : wrong(path, expected, value));
}

/** A mapping with these keys and no others; each shape says what it makes of a key that is absent. */
export function mapping(keys: Readonly<Record<string, Shape>>): Shape {
  return (value, path) => {
    if (!isMapping(value)) return wrong(path, 'a mapping of keys', value);
    const known = Object.keys(keys);
    const unknown = Object.keys(value).filter((key) => !Object.hasOwn(keys, key));
    return [
      ...unknown.map((key) => unknownKey([...path, key], known)),
      ...known.flatMap((key) => keys[key](value[key], [...path, key])),
    ];
  };
}

/** A list of things of one shape. */
export function list(of: Shape): Shape {
  return (value, path) =>
    Array.isArray(value)
      ? value.flatMap((one, i) => of(one, [...path, i]))
      : wrong(path, 'a list', value);
}

/** It may be absent. */
export function optional(shape: Shape): Shape {
  return (value, path) => (value === undefined ? [] : shape(value, path));
}

/** It may be absent or null. */
export function nullable(shape: Shape): Shape {
  return (value, path) => (value === undefined || value === null ? [] : shape(value, path));
}

/** What a configuration's mapping has otherwise than the library's options of that kind. */
interface OptionsRules {
  /** Options that only a program can give. */
  readonly without?: readonly string[];
  /** Keys of another shape than the option, or of none. */
  readonly own?: Readonly<Record<string, Shape>>;
  /** What the library needs besides. */
  readonly beside?: Readonly<Record<string, unknown>>;
}

/** A mapping of the library's options of a kind. */
export function options(kind: OptionsKind, rules: OptionsRules = {}): Shape {
  const { without = [], own = {}, beside = {} } = rules;
  const described = describeOptions(kind);
  const optionKeys = Object.keys(described).filter((key) => !without.includes(key));
  const known = [...new Set([...optionKeys, ...Object.keys(own)])];
  return (value, path) => {
    if (!isMapping(value)) return wrong(path, 'a mapping of keys', value);
    const given = Object.entries(value);
    const unknown = given.filter(([key]) => !known.includes(key));
    const others = given.filter(([key]) => known.includes(key) && !Object.hasOwn(own, key));
    const judged = { ...Object.fromEntries(others), ...beside };
    return [
      ...unknown.map(([key]) => unknownKey([...path, key], known)),
      ...Object.entries(own).flatMap(([key, shape]) => shape(value[key], [...path, key])),
      ...optionProblems(kind, judged).map((error) => foundOf(error, path, described)),
    ];
  };
}

/** What the library says, in the words of a file. */
function foundOf(
  error: GatewayError,
  path: Path,
  described: Readonly<Record<string, OptionDescription>>,
): Found {
  const [, ...keys] = error.path;
  const place = [...path, ...keys];
  let around: typeof described | null = described;
  for (const key of keys) {
    // Below an option that is none of options the place is the error's.
    if (around === null) break;
    if (!Object.hasOwn(around, key)) return unknownKey(place, Object.keys(around));
    around = around[key].options;
  }
  return { path: place, message: detailOf(error) };
}

function unknownKey(path: Path, known: readonly string[]): Found {
  const key = String(path.at(-1));
  const nearest = known
    .map((name) => ({ name, distance: distance(key.toLowerCase(), name.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance)[0];
  const close = nearest && nearest.distance <= Math.max(1, Math.floor(key.length / 3));
  const hint = close ? ` (did you mean ${nearest.name}?)` : '';
  const message = `expected one of the keys ${known.join(', ')}, received an unknown key${hint}`;
  return { path, message };
}

/** Insertions, deletions and replacements between two words (Levenshtein). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const replaced = row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, replaced);
    }
    row = next;
  }
  return row[b.length];
}
