/** The documentation's tables of options say what the tables in the code say: every option, and no other. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { FLOW_CONTEXTS } from '../../src/appliance/flow-contexts.js';
import { APPLIANCE_TUN } from '../../src/appliance/tun-options.js';
import { describeTable } from '../../src/base/option-description.js';
import { type DescribedKind, describeOptions, type OptionDescription } from '../../src/index.js';
import { ROOT } from '../support/places.js';

type Tap = typeof t;
type Descriptions = Readonly<Record<string, OptionDescription>>;
type Options = readonly (readonly [key: string, option: OptionDescription])[];

/** Objects of options that can be something else as well have a row of their own. */
const OWN_ROW = new Set(['healthCheck', 'tun', 'geneve']);

/** Each option that has a row, by its key. */
function rowsOf(options: Descriptions, path = ''): Options {
  return Object.entries(options).flatMap(([key, option]) => {
    const name = `${path}${key}`;
    const inner = option.options ? rowsOf(option.options, `${name}.`) : [];
    return !option.options || OWN_ROW.has(key) ? [[name, option] as const, ...inner] : inner;
  });
}

const of = (kind: DescribedKind): Options => rowsOf(describeOptions(kind));

interface Row {
  readonly meaning: string;
  readonly range: string;
  readonly preset: string;
  readonly change: string;
}

/** The first table below a line, by its first column. */
function tableBelow(page: string, line: string): Map<string, Row> {
  const text = readFileSync(join(ROOT, 'docs', page), 'utf8');
  const from = text.indexOf(`\n${line}`);
  if (from < 0) throw new Error(`${page} has no line ${line}`);
  const [table = ''] = /^\|.*?(?=\n\n|$(?![\s\S]))/ms.exec(text.slice(from)) ?? [];
  const rows = [...table.matchAll(/^\| `([^`]+)` \|(.*)\|$/gm)].map(([, key = '', rest = '']) => {
    const [meaning = '', range = '', preset = '', change = ''] = rest
      .split('|')
      .map((cell) => cell.trim());
    return [key, { meaning, range, preset, change }] as const;
  });
  return new Map(rows);
}

/** Without what only typography needs; hexadecimal numbers as decimal ones. */
const plain = (cell: string): string =>
  cell.replaceAll('`', '').replace(/\b0x[0-9a-f]+\b/g, (text) => String(Number(text)));

/** What a row has to say of an option. */
function expectedOf(option: OptionDescription): Pick<Row, 'range' | 'preset'> {
  const { variant, unit } = option;
  let { range, defaultText: preset } = option;
  if (variant?.when[0] === 'profile') {
    if (variant.range !== range) range += ` [${variant.range}]`;
    preset += ` [${variant.defaultText}]`;
  }
  if (variant?.when[0] === 'protocol') preset += `; ${variant.defaultText}`;
  if (unit) range += ` ${unit}`;
  return { range: plain(range), preset: plain(preset) };
}

/** Compares rows with options; `change` is what the last column says of one. */
function compare(
  t: Pick<Tap, 'strictSame' | 'ok'>,
  rows: ReadonlyMap<string, Row>,
  options: Options,
  change: (option: OptionDescription, key: string) => string,
  others: Readonly<Record<string, Partial<Row>>> = {},
): void {
  t.strictSame([...rows.keys()].sort(), options.map(([key]) => key).sort(), 'a row for each');
  for (const [key, option] of options) {
    const row = rows.get(key);
    if (!row) continue;
    const expected = { ...expectedOf(option), change: change(option, key), ...others[key] };
    const { range, preset } = row;
    const told = { range: plain(range), preset: plain(preset), change: row.change };
    t.strictSame(told, expected, key);
    t.ok(row.meaning.length > 4, `${key} has a meaning`);
  }
}

const inUse = ({ live }: OptionDescription): string => (live ? 'can change' : '');
const health = ([key]: Options[number]): boolean => key.startsWith('healthCheck.');
const group = of('targetGroup');
const listen = of('listen');
const GATEWAY = 'api/gateway-load-balancer.md';
const GROUP = 'api/target-group.md';

const PAGES: readonly [page: string, line: string, options: Options][] = [
  [GATEWAY, '## GatewayLoadBalancer.listen(options)', listen],
  [GATEWAY, '## createEndpoint(options)', of('endpoint')],
  [GATEWAY, '## modifyListenerAttributes(changes)', of('listenerAttributes')],
  ['api/gateway.md', '## new Gateway(options)', of('gateway').slice(0, 3)],
  [GROUP, '## new TargetGroup(options?)', group.filter((one) => !health(one))],
  [
    GROUP,
    '`healthCheck`; what is in brackets',
    group.filter(health).map(([key, option]) => [key.slice('healthCheck.'.length), option]),
  ],
  [GROUP, '## update(policy), modifyAttributes', of('targetGroupAttributes')],
  ['api/appliance.md', '## Appliance.listen(options)', of('appliance')],
  ['api/appliance-tun.md', '## appliance.attachTun(options)', rowsOf(describeTable(APPLIANCE_TUN))],
  ['api/flow-contexts.md', '## new FlowContexts', rowsOf(describeTable(FLOW_CONTEXTS))],
];

for (const [page, line, options] of PAGES) {
  t.test(`docs/${page}, ${line}`, async (t) => {
    compare(t, tableBelow(page, line), options, inUse);
  });
}

t.test('a Gateway has the options of listen besides its own, as its page says', async (t) => {
  const named = new Set(of('gateway').map(([key]) => key));
  const without = [
    'name',
    'netns',
    'workers',
    'udpChecksum',
    'offloads',
    'signal',
    'state',
    'saveState',
  ];
  const missing = listen.map(([key]) => key).filter((key) => !named.has(key));
  t.strictSame(missing, without);
  const text = readFileSync(join(ROOT, 'docs/api/gateway.md'), 'utf8');
  for (const key of without) t.match(text, `\`${key}\``);
});

/** Keys of the file that are none of the library's options. */
const OWN_KEYS = [
  'targetGroup.targets',
  'endpoints',
  'metrics.listen',
  'control.socket',
  'flowLog.path',
  'log.level',
];

/** Options of `listen` that a file has not. */
const NOT_IN_FILES = new Set([
  'targetGroup',
  'signal',
  'state',
  'saveState',
  'flowCounters',
  'attachmentId',
]);
const SECRET = { range: '32 hex digits, or file: with them' };

t.test('docs/configuration.md', async (t) => {
  const below = (prefix: string, options: Options): Options =>
    options.map(([key, option]) => [`${prefix}.${key}`, option]);
  const options = [
    ...below(
      'gateway',
      listen.filter(([key]) => !NOT_IN_FILES.has(key)),
    ),
    ...below('targetGroup', group),
    ...below('targetGroup.targets[]', of('target')),
    ...below('endpoints[]', of('endpoint')),
    ...below('flowLog', of('flowReports')),
  ];
  const rows = tableBelow('configuration.md', '| key |');
  for (const key of OWN_KEYS) t.ok(rows.delete(key), key);
  // What of the list of targets changes is another list.
  const change = ({ live }: OptionDescription, key: string) =>
    live || key.startsWith('targetGroup.targets[]') ? 'reload' : 'restart';
  compare(t, rows, options, change, {
    'gateway.hashKey': SECRET,
    'gateway.cookieKey': SECRET,
    'endpoints[].id': { preset: 'required' },
    // Another default than the library's.
    'endpoints[].tun.persistent': { preset: 'true' },
  });
});
