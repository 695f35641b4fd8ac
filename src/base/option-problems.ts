/** What programs want of options that people write: every mistake at once, and what holds where nothing is said. */
import { GatewayError, readObject, unknownOption } from './errors.js';
import { isPlaced, type OptionTable, presetOf, readOne, type Settings } from './option-table.js';

type Check = (field: string, value: unknown) => unknown;

/**
 * Every mistake in single options, in the order of the table, then unknown keys; where there is none, what
 * `check` says to the whole.
 */
export function problemsOf(
  table: OptionTable,
  field: string,
  value: unknown,
  check: Check,
): GatewayError[] {
  const problems: GatewayError[] = [];
  if (isObject(value)) attempt(problems, () => problems.push(...ofKeys(table, field, value)));
  if (problems.length === 0) attempt(problems, () => check(field, value));
  return problems;
}

function ofKeys(table: OptionTable, field: string, value: object): GatewayError[] {
  const keys = Object.keys(table);
  const { known, unknown } = readObject(field, value, keys);
  const settings: Record<string, unknown> = {};
  const problems = keys.flatMap((key) => ofOne(table[key], key, field, known[key], settings));
  return [...problems, ...unknown.map((key) => unknownOption(field, key, keys))];
}

/** Of one option; what is right is written into `settings`, for those behind it that depend on it. */
function ofOne(
  option: OptionTable[string],
  key: string,
  field: string,
  value: unknown,
  settings: Record<string, unknown>,
): GatewayError[] {
  const name = `${field}.${key}`;
  const isGiven = value !== undefined && value !== null;
  const preset = isGiven ? undefined : presetOf(option, settings);
  if (preset !== undefined) {
    settings[key] = preset;
    return [];
  }
  // Where what it depends on is wrong, nobody knows whether it belongs there.
  const isUnsure = option.only !== undefined && !(option.only.key in settings);
  const asked = isUnsure ? { ...option, only: undefined } : option;
  const check: Check = (name, value) => {
    settings[key] = readOne(asked, name, value, settings);
  };
  const options = option.kind.options as OptionTable | undefined;
  if (options && isPlaced(asked, settings)) return problemsOf(options, name, value, check);
  const problems: GatewayError[] = [];
  attempt(problems, () => check(name, value));
  return problems;
}

/** Whether keys can be asked for; an array has none. */
function isObject(value: unknown): value is object {
  try {
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

function attempt(problems: GatewayError[], action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    problems.push(error);
  }
}

/**
 * Correct options with every default that could be given, in the form in which they are given. What is made
 * anew each time, what depends on more than these options, and what has no place beside them is left out.
 */
export function completed(
  table: OptionTable,
  field: string,
  value: unknown,
): Record<string, unknown> {
  const { known } = readObject(field, value, Object.keys(table));
  const complete: Record<string, unknown> = {};
  for (const [key, option] of Object.entries(table)) {
    const name = `${field}.${key}`;
    const found = inForceOf(option, name, known[key] ?? undefined, complete);
    if (found !== undefined) complete[key] = found;
  }
  return complete;
}

function inForceOf(
  option: OptionTable[string],
  field: string,
  given: unknown,
  before: Settings,
): unknown {
  const options = option.kind.options as OptionTable | undefined;
  if (options && isObject(given)) return completed(options, field, given);
  if (given !== undefined) return given;
  if (option.fresh || !isPlaced(option, before)) return undefined;
  if (option.given !== undefined) return option.given;
  const preset = presetOf(option, before);
  if (options) return isObject(preset) ? completed(options, field, {}) : undefined;
  // What only words can say.
  const isWords = option.presetText !== undefined && typeof option.preset !== 'function';
  return isWords ? undefined : preset;
}
