/** What the benchmark command takes, and how it judges what it measured. */
import t from 'tap';
import { BARS, barsOf } from '../../bench/bars.js';
import { compare, type InstructionRecord, sameCompiler } from '../../bench/instructions.js';
import { readOptions, UsageError } from '../../bench/options.js';
import { type Row, rowProblem } from '../../bench/row.js';
import { LIMIT_SUITES, SUITES } from '../../bench/suites.js';
import { linesOf, spreadPercent, tableText } from '../../bench/table.js';
import { filesBelow, textOf } from '../tidy/tree.js';

t.test('options', async (t) => {
  const plain = { mode: 'run', quick: false, json: false, filter: '', update: false };
  t.strictSame(readOptions([]), plain);
  t.strictSame(readOptions(['--quick', '--json', '--filter', 'hash ipv4']), {
    ...plain,
    quick: true,
    json: true,
    filter: 'hash ipv4',
  });
  t.strictSame(readOptions(['--limits']), { ...plain, mode: 'limits' });
  t.strictSame(readOptions(['--list', '--help']), { ...plain, mode: 'help' });
  t.strictSame(readOptions(['--instructions', '--update']), {
    ...plain,
    mode: 'instructions',
    update: true,
  });
});

t.test('wrong options are named', async (t) => {
  for (const [args, named] of [
    [['--fast'], "'--fast'"],
    [['lookup'], "'lookup'"],
    [['--filter'], '--filter'],
    [['--quick=yes'], '--quick'],
    [['--list', '--limits'], '--list, --limits'],
    [['--update'], '--instructions'],
    [['--limits', '--update'], '--instructions'],
    [['--list', '--update', '--filter', 'hash'], '--filter'],
  ] as const) {
    try {
      readOptions(args);
      t.fail(`${args.join(' ')} was taken`);
    } catch (error) {
      t.ok(error instanceof UsageError, args.join(' '));
      t.ok((error as Error).message.includes(named), (error as Error).message);
    }
  }
});

const figure = (median: number) => ({ median, p10: median * 0.9, p90: median * 1.2 });

const ROW: Row = {
  suite: 'lookup',
  case: 'lookup ipv4 1m',
  unit: 'ns',
  ours: figure(26),
  peers: { rte_hash: figure(50), boost: figure(40) },
  limit: figure(10),
  ratios: { limit: 2.6, rte_hash: 0.52, boost: 0.65 },
  lessIsBetter: true,
  missing: { absl: 'libabsl-dev' },
};

t.test('every figure stands beside its bar', async (t) => {
  const bars = { limit: 3, boost: 0.6, absl: 0.5 };
  const of = (row: Row, judged = true) =>
    linesOf(row, bars, judged).map(({ other, ratio, bar, verdict }) => [
      other,
      ratio,
      bar,
      verdict,
    ]);
  t.strictSame(of(ROW), [
    ['limit', 2.6, 3, 'reached'],
    ['rte_hash', 0.52, null, 'no bar'],
    ['boost', 0.65, 0.6, 'not reached'],
    ['absl', null, 0.5, 'missing'],
  ]);
  t.strictSame(
    of({ ...ROW, lessIsBetter: false }).map(([, , , verdict]) => verdict),
    ['not reached', 'no bar', 'reached', 'missing'],
    'rates must be at least what is asked',
  );
  t.strictSame(
    of(ROW, false).map(([, , , verdict]) => verdict),
    ['not judged', 'no bar', 'not judged', 'missing'],
    'quick figures are no results',
  );
});

t.test('a figure of ours alone has a line where it has a bar or nothing else', async (t) => {
  const alone: Row = { ...ROW, peers: {}, limit: null, ratios: {}, missing: {} };
  const [line] = linesOf(alone, { ours: 26 });
  t.match(line, { other: '', ratio: null, bar: 26, verdict: 'reached' });
  t.equal(linesOf(alone, { ours: 25.9 })[0]?.verdict, 'not reached');
  t.match(linesOf(alone), [{ other: '', verdict: 'no bar' }]);
  t.equal(linesOf(ROW, { ours: 1 }).length, 5);
});

t.test('the table names missing peers and what brings them', async (t) => {
  const text = tableText(linesOf(ROW, { limit: 3, boost: 0.6 }), [{ ...ROW, note: 'a note' }]);
  t.match(text, /^2\.60 \(2\.60x worse\) +<= 3\.00 +reached +lookup ipv4 1m +limit/m);
  t.match(text, /^0\.520 \(1\.92x better\) +no bar/m);
  t.match(text, /missing +lookup ipv4 1m +absl +26\.0 ns +not installed: libabsl-dev/);
  t.match(text, /^lookup ipv4 1m: a note$/m);
  t.match(text, /^Bars: 1 reached, 1 not reached, 1 with a peer that is missing\.$/m);
});

t.test('how far rounds lie apart', async (t) => {
  t.equal(Math.round(spreadPercent(figure(10), { median: 10, p10: 4, p90: 11 })), 60);
  t.equal(spreadPercent({ median: 0, p10: 0, p90: 0 }), 0);
});

t.test('what is no row is refused, with the field', async (t) => {
  t.equal(rowProblem(ROW), null);
  t.equal(rowProblem({ ...ROW, limit: null, ratios: { rte_hash: 1, boost: 1 } }), null);
  for (const [change, field] of [
    [{ case: '' }, /^case/],
    [{ ours: { median: 1, p10: 1 } }, /^ours/],
    [{ ours: { median: null, p10: 1, p90: 1 } }, /^ours/],
    [{ limit: undefined }, /^limit/],
    [{ peers: { boost: 3 } }, /^peers/],
    [{ ratios: { limit: 1, rte_hash: 1 } }, /^ratios\.boost/],
    [{ lessIsBetter: 1 }, /^lessIsBetter/],
  ] as const) {
    t.match(rowProblem({ ...ROW, ...change }), field);
  }
  t.type(rowProblem(null), 'string');
  t.type(rowProblem('row'), 'string');
});

t.test('every native program is a suite, every bar a positive number', async (t) => {
  const programs = filesBelow('bench/native')
    .map((path) => /^bench\/native\/(\w+)_bench\.cc$/.exec(path)?.[1])
    .filter((name) => name !== undefined);
  const native = [...SUITES, ...LIMIT_SUITES]
    .filter(({ language }) => language === 'native')
    .map(({ name }) => name);
  t.strictSame([...programs].sort(), [...native].sort());
  for (const [name, bars] of Object.entries(BARS)) {
    for (const [other, bar] of Object.entries(bars)) t.ok(bar > 0, `${name}: ${other}`);
  }
  const cases = JSON.parse(textOf('bench/cases.json')) as Record<string, string[]>;
  for (const name of cases['native kinds']) t.strictSame(barsOf(name), { 'plain packet': 6 }, name);
  t.equal(barsOf('hash ipv4'), BARS['hash ipv4']);
});

t.test('instruction counts are held against their record', async (t) => {
  const record = { compiler: '', cases: { same: 100, slower: 100, faster: 100, gone: 100 } };
  const now = { compiler: '', cases: { same: 105, slower: 105.1, faster: 94.9, other: 7 } };
  t.strictSame(compare(now, record), [
    { case: 'same', now: 105, record: 100, verdict: 'as recorded' },
    { case: 'slower', now: 105.1, record: 100, verdict: 'WORSE' },
    { case: 'faster', now: 94.9, record: 100, verdict: 'better' },
    { case: 'gone', now: null, record: 100, verdict: 'GONE' },
    { case: 'other', now: 7, record: null, verdict: 'not recorded' },
  ]);
  const debian12 = 'g++ (Debian 12.2.0-14+deb12u1) 12.2.0';
  t.equal(sameCompiler(debian12, 'g++ (Debian 12.3.0-1) 12.3.0'), true);
  t.equal(sameCompiler(debian12, 'g++ (Debian 14.2.0-19) 14.2.0'), false);
  t.equal(sameCompiler(debian12, 'clang++ version 12.2.0'), false);
  const recorded = JSON.parse(textOf('bench/instructions.json')) as InstructionRecord;
  t.match(recorded.compiler, /^g\+\+ .* \d+\.\d+\.\d+$/);
  t.ok(Object.values(recorded.cases).every((count) => count > 0));
});
