// Runs every benchmark in a process of its own and prints one table, ratios first. options.ts says
// what it takes, suites.ts what there is.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism, cpus, loadavg, release } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { barsOf } from './bars.js';
import {
  type CaseRecord,
  casesOf,
  changedCases,
  readCases,
  titleOf,
  UPDATE_CASES,
  writeCases,
} from './cases.js';
import { instructions } from './instructions.js';
import { type Options, readOptions, USAGE, UsageError } from './options.js';
import { make } from './programs.js';
import { type ListedCase, type Row, rowProblem } from './row.js';
import { LIMIT_SUITES, programsOf, SUITES, type Suite } from './suites.js';
import { limitsText, linesOf, tableText } from './table.js';

const SUITE_TIMEOUT_MS = 20 * 60_000;
const root = fileURLToPath(new URL('..', import.meta.url));

function commit(): string {
  const git = (...args: string[]) => spawnSync('git', args, { cwd: root, encoding: 'utf8' });
  const head = git('rev-parse', '--short', 'HEAD');
  if (head.status !== 0) return 'unknown';
  const changed = git('status', '--porcelain', '--untracked-files=no').stdout !== '';
  return head.stdout.trim() + (changed ? ' with changes' : '');
}

const quoted = (arg: string) => (/[^\w-]/.test(arg) ? `'${arg}'` : arg);

/** The circumstances of a run, which belong beside every figure of it. */
function circumstances(args: readonly string[]) {
  return {
    date: `${new Date().toISOString().slice(0, 16)}Z`,
    machine: `${cpus()[0]?.model.trim() ?? process.arch}, ${availableParallelism()} cores`,
    kernel: `Linux ${release()}`,
    node: process.version,
    commit: commit(),
    command: ['npm run bench', ...(args.length > 0 ? ['--', ...args.map(quoted)] : [])].join(' '),
    load: loadavg()[0].toFixed(1),
  };
}

type Circumstances = ReturnType<typeof circumstances>;

function headerText(run: Circumstances): string {
  const { date, machine, kernel, node, commit: at, command, load } = run;
  return `${date} | ${machine}, load ${load} | ${kernel} | Node ${node} | commit ${at}\n${command}`;
}

const say = (text: string) => process.stderr.write(`bench: ${text}\n`);

/** Builds what the suites run; false where that failed. */
function buildPrograms(suites: readonly Suite[]): boolean {
  const programs = [...new Set(suites.flatMap(programsOf))];
  if (programs.length === 0) return true;
  const started = performance.now();
  say(`building ${programs.join(', ')}`);
  const targets = programs.map((name) => `../build-native/bench/${name}`);
  const { status, stdout, stderr } = make(root, ...targets);
  if (status !== 0) {
    process.stderr.write(
      `${stdout ?? ''}${stderr ?? ''}bench: the native programs were not built\n`,
    );
    return false;
  }
  say(`built: ${((performance.now() - started) / 1000).toFixed(1)} s`);
  return true;
}

function commandOf(suite: Suite): string[] {
  if (suite.language === 'native') return [`${root}build-native/bench/${suite.name}`];
  const program = [process.execPath, '--expose-gc', `${root}build-bench/${suite.name}.js`];
  if (!suite.pinned) return program;
  return ['taskset', '-c', `${lastCore()}`, ...program];
}

/** The last core this process may use; the native harness takes the same one. */
function lastCore(): number {
  const { stdout } = spawnSync('taskset', ['-pc', `${process.pid}`], { encoding: 'utf8' });
  return Number(/(\d+)\s*$/.exec(stdout ?? '')?.[1] ?? 0);
}

/** Runs one suite; false where it failed or printed what is no row. */
async function runSuite(
  suite: Suite,
  args: readonly string[],
  take: (line: unknown) => void,
): Promise<boolean> {
  const [program, ...before] = commandOf(suite);
  const own = [...before, ...(suite.language === 'native' ? ['--json'] : []), ...args];
  const child = spawn(program, own, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: SUITE_TIMEOUT_MS,
  });
  const ended = once(child, 'close') as Promise<[number | null, string | null]>;
  let problem: string | null = null;
  try {
    for await (const line of createInterface({ input: child.stdout })) take(JSON.parse(line));
  } catch (error) {
    problem = (error as Error).message;
    child.kill();
  }
  const [code, signal] = await ended.catch((error: Error) => [null, error.message]);
  if (code === 0 && problem === null) return true;
  const reason = problem ?? signal ?? `exit code ${code}`;
  process.stderr.write(`bench: ${suite.language} ${suite.name} failed (${reason})\n`);
  return false;
}

async function runSuites(
  suites: readonly Suite[],
  options: Options,
  take: (line: unknown, suite: Suite) => void,
): Promise<string[]> {
  const args = [
    ...(options.quick ? ['--quick'] : []),
    ...(options.mode === 'list' ? ['--list'] : []),
    ...['--filter', options.filter],
  ];
  const failed: string[] = [];
  let begun = 0;
  const one = async (suite: Suite) => {
    const started = performance.now();
    const at = `${++begun} of ${suites.length}`;
    if (options.mode !== 'list') say(`${titleOf(suite)} (${at})`);
    const ok = await runSuite(suite, args, (line) => take(line, suite));
    if (!ok) failed.push(titleOf(suite));
    if (options.mode === 'list') return;
    say(`${titleOf(suite)}: ${((performance.now() - started) / 1000).toFixed(1)} s`);
  };
  const beside = (suite: Suite) => options.quick && suite.waits === true;
  const waiting = Promise.all(suites.filter(beside).map(one));
  for (const suite of suites) {
    if (!beside(suite)) await one(suite);
  }
  await waiting;
  return failed;
}

/** What the suites have: by suite, and the lines as they came. */
async function listSuites(options: Options) {
  const suites = [...SUITES, ...LIMIT_SUITES];
  const cases: CaseRecord = Object.fromEntries(suites.map((suite) => [titleOf(suite), []]));
  const lines: ListedCase[] = [];
  const failed = await runSuites(suites, options, (line, suite) => {
    const listed = line as ListedCase;
    if (lines.some((one) => one.case === listed.case)) {
      throw new Error(`two cases are named "${listed.case}"`);
    }
    lines.push(listed);
    cases[titleOf(suite)].push(listed.case);
  });
  return { cases, lines, failed };
}

async function list(options: Options): Promise<string[]> {
  if (!buildPrograms([...SUITES, ...LIMIT_SUITES])) return ['the build'];
  const { cases, lines, failed } = await listSuites(options);
  for (const line of lines) console.log(options.json ? JSON.stringify(line) : line.case);
  if (failed.length > 0 || options.filter !== '') return failed;
  // A quick run has smaller tables, which some names tell: the record has both.
  const other = await listSuites({ ...options, quick: !options.quick });
  if (other.failed.length > 0) return other.failed;
  for (const [title, names] of Object.entries(cases)) {
    cases[title] = [...new Set([...names, ...other.cases[title]])].sort();
  }
  if (options.update) writeCases(root, cases);
  const changed = changedCases(readCases(root), cases);
  for (const sentence of changed) say(`bench/cases.json is of other cases: ${sentence}`);
  return changed.length === 0 ? [] : [`the record of cases (${UPDATE_CASES})`];
}

/** Runs cases and prints them: the table with bars, or the machine's limits. */
async function measure(options: Options, args: readonly string[]): Promise<string[]> {
  const run = circumstances(args);
  const started = performance.now();
  const rows: Row[] = [];
  (options.json ? console.error : console.log)(`${headerText(run)}\n`);
  const limits = options.mode === 'limits';
  const cases = readCases(root);
  const suites = (limits ? LIMIT_SUITES : SUITES).filter(
    (suite) => casesOf(cases, suite, options.filter).length > 0,
  );
  if (!buildPrograms(suites)) return ['the build'];
  const failed = await runSuites(suites, options, (line, suite) => {
    const problem = rowProblem(line);
    if (problem !== null) throw new Error(`no row (${problem}): ${JSON.stringify(line)}`);
    const row = line as Row;
    if (!cases[titleOf(suite)].includes(row.case)) {
      throw new Error(`"${row.case}" is not in bench/cases.json: ${UPDATE_CASES}`);
    }
    rows.push(row);
    say(`  ${row.case}`);
    if (options.json) console.log(JSON.stringify({ ...row, run }));
  });
  if (!options.json && rows.length > 0) {
    const lines = rows.flatMap((row) => linesOf(row, barsOf(row.case), !options.quick));
    console.log(`\n${limits ? limitsText(rows) : tableText(lines, rows)}`);
    console.log(`It took ${Math.round((performance.now() - started) / 1000)} s.`);
  }
  if (rows.length === 0 && failed.length === 0) {
    console.error(`bench: no case has "${options.filter}" in its name`);
    process.exitCode = 2;
  }
  return failed;
}

async function main(args: readonly string[]): Promise<void> {
  const options = readOptions(args);
  if (options.mode === 'help') {
    process.stdout.write(USAGE);
    return;
  }
  if (options.mode === 'instructions') {
    process.exitCode = instructions(root, options.update);
    return;
  }
  const failed = await (options.mode === 'list' ? list(options) : measure(options, args));
  if (failed.length === 0) return;
  console.error(`bench: failed: ${failed.join(', ')}`);
  process.exitCode = 1;
}

// As `| head` leaves it.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

main(process.argv.slice(2)).catch((error: Error) => {
  const usage = error instanceof UsageError;
  process.stderr.write(`bench: ${error.message}\n${usage ? `\n${USAGE}` : ''}`);
  process.exitCode = usage ? 2 : 1;
});
