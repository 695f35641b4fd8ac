/** AWS attributes: options under other names, all values text. */
import { GatewayError, mismatch, show } from '../base/errors.js';
import type { Kind } from '../base/option-kinds.js';
import type { Option, OptionTable } from '../base/option-table.js';

/** One attribute of a thing with `S` for its settings. */
export interface Attribute<S> {
  readonly option: Option<string, string>;
  /** The value for a thing; undefined where the attribute has none. */
  readonly read: (settings: S) => string | undefined;
}

export type Attributes<S> = Readonly<Record<string, Attribute<S>>>;

/** Text that `accepts` takes, in words `expected`. */
export function attributeText(
  expected: string,
  schema: Kind<string>['schema'],
  accepts: (text: string) => boolean,
): Kind<string> {
  return {
    check: (field, value) => {
      if (typeof value === 'string' && accepts(value)) return value;
      throw mismatch('ERR_GWLB_ATTRIBUTES', [field], expected, show(value));
    },
    range: expected,
    schema: { type: 'string', ...schema },
  };
}

/** One of these words. */
export function attributeWords(...words: string[]): Kind<string> {
  const expected = words.map((word) => show(word)).join(' or ');
  return attributeText(expected, { enum: words }, (text) => words.includes(text));
}

/** The attribute that is another name for an option whose values are whole numbers, words, or yes and no. */
export function attributeOf<S, Out>(
  option: Option<Out, Out>,
  read: (settings: S) => Out,
): Attribute<S> {
  const { kind, preset, says, unit, live } = option;
  const text = { says, kind: textOf(kind), preset: String(preset), ...(unit && { unit }) };
  return { option: { ...text, live }, read: (settings) => String(read(settings)) };
}

function textOf({ schema }: Pick<Kind<unknown>, 'schema'>): Kind<string> {
  if (schema.type === 'boolean') return attributeWords('true', 'false');
  if (Array.isArray(schema.enum)) return attributeWords(...schema.enum);
  const [min, max] = [Number(schema.minimum), Number(schema.maximum)];
  return attributeText(`"${min}"–"${max}"`, { pattern: '^\\d+$' }, (text) => {
    return /^(?:0|[1-9]\d{0,9})$/.test(text) && Number(text) >= min && Number(text) <= max;
  });
}

/** The table of them. */
export function attributeTable<S>(attributes: Attributes<S>): OptionTable {
  return Object.fromEntries(Object.entries(attributes).map(([key, { option }]) => [key, option]));
}

/** Every attribute that has a value, in their order. */
export function attributeValues<S>(attributes: Attributes<S>, settings: S): Record<string, string> {
  const values = Object.entries(attributes).flatMap(([key, { read }]) => {
    const value = read(settings);
    return value === undefined ? [] : [[key, value]];
  });
  return Object.fromEntries(values);
}

/** What is at hand instead of an attribute that there is not. */
export type Elsewhere = ReadonlyMap<string, string>;

/** The changes, where all names and values are right; `kind` is what has the attributes. */
export function checkAttributes<S>(
  attributes: Attributes<S>,
  kind: string,
  changes: Readonly<Record<string, unknown>>,
  elsewhere: Elsewhere = new Map(),
): Readonly<Record<string, string>> {
  const checked = Object.entries(changes).map(([key, value]) => {
    if (Object.hasOwn(attributes, key)) return [key, attributes[key].option.kind.check(key, value)];
    const hint = elsewhere.get(key) ?? `: it has ${Object.keys(attributes).join(', ')}`;
    throw new GatewayError('ERR_GWLB_ATTRIBUTES', `${key} is not an attribute of ${kind}${hint}`, {
      field: [key],
    });
  });
  return Object.fromEntries(checked);
}
