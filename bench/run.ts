// Runs every benchmark in a process of its own and prints one table, ratios first.
//
//   npm run bench -- [--quick] [--json] [--filter TEXT]
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism, cpus } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Figure, Row } from './harness.js';

const SUITES = ['codec', 'lookup', 'boundary', 'pass', 'forwarding', 'health'];
const NOISY_PERCENT = 5;
const SUITE_TIMEOUT_MS = 10 * 60_000;

const USAGE = `npm run bench -- [options]

  --quick        under a minute in all, smaller tables: proves that everything runs
  --json         one JSON object a line instead of the table
  --filter TEXT  only cases whose name, such as "lookup ipv4 1m", has TEXT in it
  --help         this
`;

function readOptions() {
  try {
    return parseArgs({
      options: {
        quick: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        filter: { type: 'string', default: '' },
        help: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${USAGE}`);
    process.exit(2);
  }
}

function commit(): string {
  const cwd = fileURLToPath(new URL('..', import.meta.url));
  const git = (...args: string[]) => spawnSync('git', args, { cwd, encoding: 'utf8' });
  const head = git('rev-parse', '--short', 'HEAD');
  if (head.status !== 0) return 'unknown';
  const changed = git('status', '--porcelain', '--untracked-files=no').stdout !== '';
  return head.stdout.trim() + (changed ? ' with changes' : '');
}

const quoted = (arg: string) => (/[^\w-]/.test(arg) ? `'${arg}'` : arg);

function header(args: readonly string[]): string {
  const date = new Date().toISOString().slice(0, 16).replace('T', ' ');
  const machine = `${cpus()[0]?.model.trim() ?? process.arch}, ${availableParallelism()} cores`;
  const command = ['npm run bench', ...(args.length > 0 ? ['--', ...args.map(quoted)] : [])].join(
    ' ',
  );
  return `${date} UTC | ${machine} | Node ${process.version} | commit ${commit()} | ${command}`;
}

/** Runs one benchmark file; false where it failed. */
async function runSuite(suite: string, args: string[], take: (row: Row) => void): Promise<boolean> {
  const path = fileURLToPath(new URL(`./${suite}.js`, import.meta.url));
  const child = spawn(process.execPath, ['--expose-gc', path, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: SUITE_TIMEOUT_MS,
  });
  const ended = once(child, 'close') as Promise<[number | null, string | null]>;
  for await (const line of createInterface({ input: child.stdout })) {
    take(JSON.parse(line) as Row);
  }
  const [code, signal] = await ended;
  if (code === 0) return true;
  process.stderr.write(`bench: ${suite} failed (${signal ?? `exit code ${code}`})\n`);
  return false;
}

function number(value: number): string {
  if (value >= 10_000) return Math.round(value).toLocaleString('en');
  return value.toPrecision(3).replace(/e\+?\d+$/, () => '');
}

function plain(value: number): string {
  return value >= 1000 ? Math.round(value).toLocaleString('en') : number(value);
}

function noise(...figures: Figure[]): string {
  const worst = Math.max(...figures.map(({ rme }) => rme));
  return worst > NOISY_PERCENT ? `noisy ±${worst.toFixed(1)} %` : `±${worst.toFixed(1)} %`;
}

function ratioText(ratio: number, lessIsBetter: boolean): string {
  const better = lessIsBetter ? 1 / ratio : ratio;
  const word = better >= 1 ? 'better' : 'worse';
  return `${number(ratio)} (${number(Math.max(better, 1 / better))}x ${word})`;
}

/** A line for each peer; one without a ratio where there is none. */
function tableLines(row: Row): string[][] {
  const name = `${row.suite} ${row.case}`;
  const ours = `${plain(row.ours.median)} ${row.unit}`;
  const peers = Object.entries(row.peers);
  if (peers.length === 0) return [['', name, '', ours, '', noise(row.ours)]];
  return peers.map(([peer, theirs]) => [
    ratioText(row.ratios[peer], row.lessIsBetter),
    name,
    peer,
    ours,
    `${plain(theirs.median)} ${row.unit}`,
    noise(row.ours, theirs),
  ]);
}

function printTable(rows: readonly Row[]): void {
  const head = ['gwlb / peer', 'case', 'peer', 'gwlb', 'peer', 'error'];
  const lines = rows.flatMap(tableLines);
  const widths = head.map((_, i) => Math.max(...[head, ...lines].map((line) => line[i].length)));
  const text = (line: string[]) => line.map((cell, i) => cell.padEnd(widths[i])).join('  ');
  const rule = widths.map((width) => '-'.repeat(width)).join('  ');
  for (const line of [text(head), rule, ...lines.map(text)]) console.log(line.trimEnd());
  const notes = rows.filter(({ note }) => note !== undefined);
  if (notes.length > 0) console.log();
  for (const { suite, case: name, note } of notes) console.log(`${suite} ${name}: ${note}`);
  console.log('\nThe ratio is ours divided by the peer; medians of rounds that took turns.');
}

const options = readOptions();
if (options.help) {
  process.stdout.write(USAGE);
  process.exit(0);
}
const args = process.argv.slice(2);
const started = performance.now();
const rows: Row[] = [];
const failed: string[] = [];
const about = header(args);
(options.json ? console.error : console.log)(`${about}\n`);
for (const suite of SUITES) {
  if (!options.json) process.stderr.write(`bench: ${suite} …\n`);
  const ok = await runSuite(
    suite,
    [...(options.quick ? ['--quick'] : []), '--filter', options.filter],
    (row) => {
      rows.push(row);
      if (options.json) console.log(JSON.stringify(row));
    },
  );
  if (!ok) failed.push(suite);
}
if (!options.json && rows.length > 0) {
  console.log();
  printTable(rows);
  console.log(`It took ${Math.round((performance.now() - started) / 1000)} s.`);
}
if (failed.length > 0) {
  console.error(`bench: failed: ${failed.join(', ')}`);
  process.exitCode = 1;
} else if (rows.length === 0) {
  console.error(`bench: no case has "${options.filter}" in its name`);
  process.exitCode = 2;
}
