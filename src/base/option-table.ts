/**
 * One description of an option for all who need one: checks, defaults, what may change while it is used,
 * schemas and the tables of the documentation.
 */
import { checkOptions, invalidArgument } from './errors.js';
import type { JsonSchema, Kind } from './option-kinds.js';

type Settings = Readonly<Record<string, unknown>>;

/** One option of an object. */
export interface Option<Out, In = Out> {
  /** What it does, for people. */
  readonly says: string;
  readonly kind: Kind<Out, In>;
  /** Absent: the kind says what becomes of nothing. A function is given the options before it. */
  readonly preset?: Out | ((before: Settings) => Out);
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

function presetOf({ preset, variant }: OptionTable[string], before: Settings): unknown {
  const special = variant && before[variant.when[0]] === variant.when[1];
  const chosen = special && 'preset' in variant ? variant.preset : preset;
  return typeof chosen === 'function' ? chosen(before) : chosen;
}

function kindOf({ kind, variant }: OptionTable[string], before: Settings): Kind<unknown> {
  const special = variant && before[variant.when[0]] === variant.when[1];
  return (special && variant.kind) || kind;
}

function readOne(option: OptionTable[string], field: string, value: unknown, before: Settings) {
  const { only } = option;
  if (only && !only.values.includes(before[only.key])) {
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

/** An object of options as one option. */
export function object<T extends OptionTable, In>(table: T): Kind<SettingsOf<T>, In> {
  return {
    check: (field, value) => Object.freeze(readOptions(table, field, value)),
    range: '',
    schema: schemaOf(table),
    options: table,
  };
}

/** What is known of an option, as data. */
export interface OptionDescription {
  /** What it does. */
  readonly meaning: string;
  /** Its values in words; '' for an object of options. */
  readonly range: string;
  /** The default as a value; null where there is none, or none that is the same for all. */
  readonly default: unknown;
  /** The default in words: `'required'`, `'random'`, `'a quarter of flows'`, or the value. */
  readonly defaultText: string;
  /** Of a number. */
  readonly unit: 'seconds' | 'bytes' | 'packets' | null;
  /** Whether it may change while it is in use. */
  readonly live: boolean;
  /** The AWS attribute or parameter that is another name for it. */
  readonly attribute: string | null;
  /** Other values and another default where another option has a certain value. */
  readonly variant: {
    /** The option and its value. */
    readonly when: readonly [key: string, value: unknown];
    /** The values then. */
    readonly range: string;
    /** The default then, in words. */
    readonly defaultText: string;
  } | null;
  /** Of an object of options: those. */
  readonly options: Readonly<Record<string, OptionDescription>> | null;
}

/** The default as users would give it; what only words can say is none. */
function givenDefault({ preset, presetText }: OptionTable[string]): unknown {
  const isWords = presetText !== undefined || typeof preset === 'function';
  return isWords || preset === undefined ? null : preset;
}

const wordsOf = (of: { preset?: unknown }): string =>
  of.preset === undefined ? 'required' : String(of.preset ?? 'none');

/** A table as data. */
export function describeTable(table: OptionTable): Record<string, OptionDescription> {
  const described = Object.entries(table).map(([key, option]) => {
    const { says, kind, unit = null, live = false, attribute = null, variant } = option;
    const inner = kind.options as OptionTable | undefined;
    const description: OptionDescription = {
      meaning: says,
      range: kind.range,
      default: givenDefault(option),
      defaultText: inner ? '' : (option.presetText ?? wordsOf(option)),
      unit,
      live,
      attribute,
      variant: variant
        ? {
            when: variant.when,
            range: (variant.kind ?? kind).range,
            defaultText: variant.presetText ?? wordsOf('preset' in variant ? variant : option),
          }
        : null,
      options: inner ? describeTable(inner) : null,
    };
    return [key, description];
  });
  return Object.fromEntries(described);
}

/** A table as a JSON schema; of variants it takes all. */
export function schemaOf(table: OptionTable): JsonSchema {
  const properties = Object.entries(table).map(([key, option]) => {
    const { says, kind, variant } = option;
    const known = givenDefault(option);
    const values =
      variant?.kind && variant.kind !== kind
        ? { anyOf: [kind.schema, variant.kind.schema] }
        : kind.schema;
    const isShown = known !== null && !kind.options;
    return [key, { ...values, description: says, ...(isShown && { default: known }) }];
  });
  const required = Object.keys(table).filter((key) => !('preset' in table[key]));
  return {
    type: 'object',
    properties: Object.fromEntries(properties),
    ...(required.length > 0 && { required }),
    additionalProperties: false,
  };
}
