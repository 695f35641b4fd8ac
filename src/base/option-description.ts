/** Tables of options as data: descriptions, schemas, and an object of options as one of another's. */
import type { JsonSchema, Kind } from './option-kinds.js';
import { type OptionTable, readOptions, type SettingsOf } from './option-table.js';

/** An object of options as one option. */
export function object<T extends OptionTable, In>(table: T): Kind<SettingsOf<T>, In> {
  return {
    check: (field, value) => Object.freeze(readOptions(table, field, value)),
    range: '',
    schema: schemaOf(table),
    options: table,
  };
}

/** An object of options, or false for none of it. */
export function objectOrFalse<Out, In>(
  table: OptionTable,
  check: (field: string, value: unknown) => Out,
): Kind<Out | false, In | false> {
  return {
    check: (field, value) => value !== false && check(field, value),
    range: '',
    schema: { anyOf: [{ const: false }, schemaOf(table)] },
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
function givenDefault({ preset, given, presetText }: OptionTable[string]): unknown {
  if (given !== undefined) return given;
  const isWords = presetText !== undefined || typeof preset === 'function';
  return isWords || preset === undefined ? null : preset;
}

const wordsOf = ({ given, preset }: { given?: unknown; preset?: unknown }): string =>
  given === undefined && preset === undefined ? 'required' : String(given ?? preset ?? 'none');

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

/** Whether it has to be given. */
export const isRequired = (option: OptionTable[string]): boolean =>
  !('preset' in option) && !('fresh' in option);

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
  const required = Object.keys(table).filter((key) => isRequired(table[key]));
  return {
    type: 'object',
    properties: Object.fromEntries(properties),
    ...(required.length > 0 && { required }),
    additionalProperties: false,
  };
}
