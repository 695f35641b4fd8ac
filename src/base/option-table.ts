/**
 * One description of an option for all who need one: checks, defaults, what may change while it is used,
 * schemas and the tables of the documentation.
 */
import { checkOptions, invalidArgument } from './errors.js';
import type { Kind } from './option-kinds.js';

/** Options by their keys. */
export type Settings = Readonly<Record<string, unknown>>;

/** One option of an object. */
export interface Option<Out, In = Out> {
  /** What it does, for people. */
  readonly says: string;
  readonly kind: Kind<Out, In>;
  /** Absent: the kind says what becomes of nothing. A function is given the options before it. */
  readonly preset?: Out | ((before: Settings) => Out);
  /** The default as it would be given, where `preset` is what the check makes of it. */
  readonly given?: In;
  /** Instead of a default one that is made anew each time, and told to nobody. */
  readonly fresh?: () => Out;
  /** The default in words, where it is none that could be given. */
  readonly presetText?: string;
  readonly unit?: 'seconds' | 'bytes' | 'packets';
  /** Whether it may change while it is in use. Default false. */
  readonly live?: boolean;
  /** The AWS attribute or parameter that is another name for it. */
  readonly attribute?: string;
  /** Another kind and default where an option before it has this value. */
  readonly variant?: {
    readonly when: readonly [key: string, value: unknown];
    readonly kind?: Kind<Out, In>;
    readonly preset?: Out | ((before: Settings) => Out) | undefined;
    readonly presetText?: string;
  };
  /** Only where an option before it has one of these values; `otherwise` is what is expected elsewhere. */
  readonly only?: {
    readonly key: string;
    readonly values: readonly unknown[];
    readonly otherwise: (value: unknown) => string;
  };
}

/** The options of an object; those that others depend on come first. */
// biome-ignore lint/suspicious/noExplicitAny: of whatever kinds.
export type OptionTable = Readonly<Record<string, Option<any, any>>>;

/** A table with exactly the options of an interface, each of the kind that is declared there. */
export type TableOf<Options> = {
  // biome-ignore lint/suspicious/noExplicitAny: what a check makes of a value is the check's.
  readonly [K in keyof Required<Options>]: Option<any, Exclude<Options[K], undefined>>;
};

/** What a table's options are when they were checked. */
export type SettingsOf<T extends OptionTable> = {
  -readonly [K in keyof T]: T[K] extends Option<infer Out, infer _> ? Out : never;
};

/** The default, as the check makes it; undefined where the kind says what becomes of nothing. */
export function presetOf(option: OptionTable[string], before: Settings): unknown {
  const { preset, fresh, variant } = option;
  if (fresh) return fresh();
  const special = variant && before[variant.when[0]] === variant.when[1];
  const chosen = special && 'preset' in variant ? variant.preset : preset;
  return typeof chosen === 'function' ? chosen(before) : chosen;
}

function kindOf({ kind, variant }: OptionTable[string], before: Settings): Kind<unknown> {
  const special = variant && before[variant.when[0]] === variant.when[1];
  return (special && variant.kind) || kind;
}

/** Whether it may be given beside those before it. */
export function isPlaced({ only }: OptionTable[string], before: Settings): boolean {
  return !only || only.values.includes(before[only.key]);
}

/** Its value, checked; throws the `GatewayError` about `field`. */
export function readOne(
  option: OptionTable[string],
  field: string,
  value: unknown,
  before: Settings,
) {
  const { only } = option;
  if (only && !isPlaced(option, before)) {
    throw invalidArgument(field, only.otherwise(before[only.key]), value);
  }
  return kindOf(option, before).check(field, value);
}

/**
 * Every option of an object, checked, with defaults: those of the table, or `defaults` where they come
 * from elsewhere. null stands for the default too.
 */
export function readOptions<T extends OptionTable>(
  table: T,
  field: string,
  value: unknown,
  defaults: Settings = {},
): SettingsOf<T> {
  const given = checkOptions(field, value, Object.keys(table));
  return fillOptions(table, field, given, defaults);
}

/** The same of an object that has been read: others of its keys are somebody else's. */
export function fillOptions<T extends OptionTable>(
  table: T,
  field: string,
  given: Settings,
  defaults: Settings = {},
): SettingsOf<T> {
  const settings: Record<string, unknown> = {};
  for (const [key, option] of Object.entries(table)) {
    const preset = Object.hasOwn(defaults, key) ? defaults[key] : presetOf(option, settings);
    const chosen = given[key];
    settings[key] =
      preset === undefined || (chosen !== undefined && chosen !== null)
        ? readOne(option, `${field}.${key}`, chosen, settings)
        : preset;
  }
  return settings as SettingsOf<T>;
}

/** Those that are given, checked; the others stay as they are. */
export function readChanges<T extends OptionTable>(
  table: T,
  field: string,
  given: Settings,
): Partial<SettingsOf<T>> {
  const changes: Record<string, unknown> = {};
  for (const [key, option] of Object.entries(table)) {
    if (given[key] === undefined) continue;
    changes[key] = readOne(option, `${field}.${key}`, given[key], changes);
  }
  return changes as Partial<SettingsOf<T>>;
}
