/** What describes options says the same as what checks them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import {
  checkOptionsOf,
  describeOptions,
  GatewayError,
  type OptionDescription,
  optionsSchema,
  TargetGroup,
} from '../../src/index.js';
import { ROOT } from '../support/places.js';

const KINDS = ['listen', 'targetGroup', 'target', 'endpoint', 'tun', 'geneve'] as const;

/** Faultless others of each kind. */
const OTHERS: Record<string, Record<string, unknown>> = {
  listen: { address: '192.0.2.1', targetGroup: new TargetGroup() },
  target: { address: '192.0.2.1' },
  tun: { name: 'gwlb0' },
  geneve: { peer: '192.0.2.1' },
};

interface Schema {
  type?: string;
  minimum?: number;
  maximum?: number;
  enum?: unknown[];
  properties?: Record<string, Schema>;
  required?: string[];
  anyOf?: Schema[];
  description?: string;
  default?: unknown;
}

function isTaken(kind: (typeof KINDS)[number], path: readonly string[], value: unknown): boolean {
  const nested = path.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value);
  try {
    checkOptionsOf(kind, { ...OTHERS[kind], ...(nested as object) });
    return true;
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    return false;
  }
}

/** Every option that is no object, with its path. */
function leaves(
  options: Readonly<Record<string, OptionDescription>>,
  schema: Schema,
  path: string[] = [],
): { path: string[]; option: OptionDescription; schema: Schema }[] {
  return Object.entries(options).flatMap(([key, option]) => {
    const own = schema.properties?.[key] as Schema;
    const inner = own.properties ? own : own.anyOf?.find(({ properties }) => properties);
    return option.options && inner
      ? leaves(option.options, inner, [...path, key])
      : [{ path: [...path, key], option, schema: own }];
  });
}

for (const kind of KINDS) {
  t.test(`${kind}: schema, description and check agree`, async (t) => {
    const schema = optionsSchema(kind) as Schema;
    const all = leaves(describeOptions(kind), schema);
    t.ok(all.length >= 3);
    for (const { path, option, schema } of all) {
      const name = path.join('.');
      t.equal(schema.description, option.meaning, name);
      t.ok(option.meaning.length > 5 && option.defaultText !== '', `${name} is described`);
      if (schema.type === 'integer') {
        t.equal(option.range, `${schema.minimum}–${schema.maximum}`, name);
        t.notOk(isTaken(kind, path, (schema.minimum as number) - 1), `${name}: below`);
        t.notOk(isTaken(kind, path, (schema.maximum as number) + 1), `${name}: above`);
        t.notOk(isTaken(kind, path, '5'), `${name}: text`);
      }
      for (const word of schema.enum ?? []) {
        const needs = kind === 'targetGroup' && word === 'ethernet';
        if (!needs) t.ok(isTaken(kind, path, word), `${name}: ${word}`);
      }
      if (schema.enum) t.notOk(isTaken(kind, path, 'other'), `${name}: another word`);
      if (option.default !== null) {
        const only = /\b(source|destination|path|matcher)$/.test(name);
        if (!only) t.ok(isTaken(kind, path, option.default), `${name}: its default`);
      }
    }
  });
}

t.test('what is required is required', async (t) => {
  for (const kind of KINDS) {
    for (const key of (optionsSchema(kind) as Schema).required ?? []) {
      t.equal(describeOptions(kind)[key].defaultText, 'required', `${kind}.${key}`);
      const { [key]: _, ...others } = OTHERS[kind];
      t.throws(() => checkOptionsOf(kind, others), new RegExp(`${kind}\\.${key}: expected`));
    }
  }
});

t.test('a group has the defaults of its description', async (t) => {
  const group = new TargetGroup() as unknown as Record<string, unknown>;
  for (const [key, option] of Object.entries(describeOptions('targetGroup'))) {
    if (option.options === null) t.equal(group[key], option.default, key);
  }
  const check = new TargetGroup().healthCheck as unknown as Record<string, unknown>;
  const described = describeOptions('targetGroup').healthCheck.options ?? {};
  for (const key of Object.keys(check)) {
    t.equal(String(check[key]), described[key].defaultText, key);
  }
  const fast = new TargetGroup({ healthCheck: { profile: 'fast' } })
    .healthCheck as unknown as Record<string, unknown>;
  for (const [key, { variant }] of Object.entries(described)) {
    if (variant?.when[0] === 'profile') t.equal(String(fast[key]), variant.defaultText, key);
  }
});

t.test('update takes what is live, and nothing else', async (t) => {
  const group = new TargetGroup();
  const given: Record<string, unknown> = { sendTcpReset: {}, healthCheck: {} };
  for (const [key, option] of Object.entries(describeOptions('targetGroup'))) {
    const change = { [key]: given[key] ?? option.default };
    if (option.live) t.doesNotThrow(() => group.update(change), key);
    else t.throws(() => group.update(change), new RegExp(`targetGroup\\.${key}: expected`));
  }
});

const CONFIGURATION = readFileSync(join(ROOT, 'docs/configuration.md'), 'utf8');

/** `| key | meaning | range | default | change |` by key. */
const rows = new Map(
  [...CONFIGURATION.matchAll(/^\| `(?:….)?([\w.[\]]+)`(?:, `\.?(\w+)`)? \|(.*)\|$/gm)].map(
    (match) => [
      match[1],
      { also: match[2], cells: (match[3] ?? '').split('|').map((cell) => cell.trim()) },
    ],
  ),
);

t.test('docs/configuration.md says the range, default and change of every option', async (t) => {
  const roots = { gateway: 'listen', targetGroup: 'targetGroup' } as const;
  // Only the library has these.
  const without = new Set(['targetGroup', 'signal', 'flowCounters', 'attachmentId']);
  for (const [root, kind] of Object.entries(roots)) {
    const all = leaves(describeOptions(kind), optionsSchema(kind) as Schema);
    for (const { path, option } of all) {
      if (kind === 'listen' && without.has(path[0])) continue;
      const [last] = path.slice(-1);
      const key = path[0] === 'healthCheck' ? path.join('.') : [root, ...path].join('.');
      const before = [...key.split('.').slice(0, -1)].join('.');
      const shared = [...rows].find(
        ([name, { also }]) => also === last && name.startsWith(`${before}.`),
      );
      const row = rows.get(key) ?? shared?.[1];
      if (!row) {
        t.fail(`${key} has no row`);
        continue;
      }
      const [, range = '', preset = '', change] = row.cells;
      t.equal(change, option.live ? 'reload' : 'restart', `${key}: change`);
      if (/^\d+–\d+$/.test(option.range)) t.ok(range.includes(option.range), `${key}: ${range}`);
      if (option.range.startsWith('`')) t.equal(words(range), words(option.range), key);
      const shown = preset.replaceAll('`', '');
      const isSame =
        Number(shown) === option.default || shown.includes(option.defaultText.replaceAll('`', ''));
      t.ok(isSame, `${key}: default ${shown}`);
      const { variant } = option;
      if (variant?.when[0] === 'profile') {
        t.ok(shown.includes(`[${variant.defaultText}]`), `${key}: [${variant.defaultText}]`);
        if (variant.range !== option.range) t.ok(range.includes(`[${variant.range}]`), key);
      }
    }
  }
});

const words = (cell: string): string => cell.replaceAll('`', '').replace(/ \([^)]*\)/g, '');
