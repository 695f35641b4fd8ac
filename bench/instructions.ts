// Instructions per packet of the hot loops, counted by callgrind and held against a record. They do
// not depend on what else the machine does, so that a slow-down shows in CI.
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { make } from './programs.js';
import { aligned } from './table.js';

/** More than this above the record fails. */
export const TOLERANCE = 0.05;

export interface InstructionRecord {
  /** What the counts depend on besides the code: `g++ --version`'s first line. */
  compiler: string;
  /** Instructions an operation. */
  cases: Record<string, number>;
}

export interface Comparison {
  case: string;
  now: number | null;
  record: number | null;
  verdict: 'as recorded' | 'better' | 'WORSE' | 'not recorded' | 'GONE';
}

export function compare(now: InstructionRecord, record: InstructionRecord): Comparison[] {
  const names = [...new Set([...Object.keys(record.cases), ...Object.keys(now.cases)])];
  return names.map((name) => {
    const [here, before] = [now.cases[name] ?? null, record.cases[name] ?? null];
    return { case: name, now: here, record: before, verdict: verdictOf(here, before) };
  });
}

function verdictOf(now: number | null, record: number | null): Comparison['verdict'] {
  if (now === null) return 'GONE';
  if (record === null) return 'not recorded';
  if (now > record * (1 + TOLERANCE)) return 'WORSE';
  return now < record * (1 - TOLERANCE) ? 'better' : 'as recorded';
}

/** Other releases of a compiler make other code; the same major version is near enough. */
export function sameCompiler(a: string, b: string): boolean {
  const version = (text: string) =>
    `${text.split(' ')[0]} ${/ (\d+)\.\d+(\.\d+)?$/.exec(text)?.[1]}`;
  return version(a) === version(b);
}

function run(command: string, ...args: string[]): string {
  return outputOf(spawnSync(command, args, { encoding: 'utf8' }), command, ...args);
}

function outputOf(
  { status, error, stdout, stderr }: SpawnSyncReturns<string>,
  command: string,
  ...args: string[]
): string {
  if (status === 0) return stdout;
  const missing = (error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT';
  throw new Error(
    missing
      ? `${command} is not installed (Debian: apt-get install ${command})`
      : `${command} ${args.join(' ')} failed\n${stdout}${stderr}`,
  );
}

/** Builds the program, runs it under callgrind and reads one dump for each of its cases. */
function measure(root: string): InstructionRecord {
  const compiler = run(process.env.CXX || 'g++', '--version').split('\n')[0];
  run('valgrind', '--version');
  outputOf(make(root, 'instructions'), 'make', 'instructions');
  const folder = mkdtempSync(join(tmpdir(), 'gwlb-instructions-'));
  try {
    const printed = run(
      'valgrind',
      ...['--tool=callgrind', '--instr-atstart=no', '--collect-atstart=no', '-q'],
      `--callgrind-out-file=${join(folder, 'out')}`,
      join(root, 'build-native/bench/instructions'),
    );
    const totals = new Map<string, number>();
    for (const file of readdirSync(folder)) {
      const text = readFileSync(join(folder, file), 'utf8');
      const name = /^desc: Trigger: Client Request: (.+)$/m.exec(text)?.[1];
      const total = /^totals: (\d+)$/m.exec(text)?.[1];
      if (name && total) totals.set(name, Number(total));
    }
    const cases: Record<string, number> = {};
    for (const [, operations, name] of printed.matchAll(/^(\d+) (.+)$/gm)) {
      const total = totals.get(name);
      if (total === undefined) throw new Error(`callgrind counted nothing for "${name}"`);
      cases[name] = Math.round((total / Number(operations)) * 10) / 10;
    }
    return { compiler, cases };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const hasAvx2 = () => /\bavx2\b/.test(readFileSync('/proc/cpuinfo', 'utf8'));
const UPDATE = 'npm run bench -- --instructions --update';

function text(rows: readonly Comparison[]): string {
  const cell = (value: number | null) => (value === null ? '' : value.toFixed(1));
  const change = ({ now, record }: Comparison) =>
    now === null || record === null ? '' : `${((now / record - 1) * 100).toFixed(1)} %`;
  return aligned([
    ['case', 'instructions', 'record', 'change', ''],
    ...rows.map((row) => [row.case, cell(row.now), cell(row.record), change(row), row.verdict]),
  ]).join('\n');
}

/** `--instructions`: the exit code. */
export function instructions(root: string, update: boolean): number {
  const path = join(root, 'bench', 'instructions.json');
  if (!hasAvx2()) {
    console.error('bench: the record is of the AVX2 path, and this processor has no AVX2');
    return 1;
  }
  const now = measure(root);
  if (update) {
    writeFileSync(path, `${JSON.stringify(now, null, 2)}\n`);
    console.log(
      `bench: ${Object.keys(now.cases).length} cases recorded in bench/instructions.json`,
    );
    return 0;
  }
  const record = JSON.parse(readFileSync(path, 'utf8')) as InstructionRecord;
  const rows = compare(now, record);
  console.log(`${text(rows)}\n\nInstructions an operation (callgrind, AVX2), ${now.compiler}`);
  const found = (verdict: Comparison['verdict']) => rows.some((row) => row.verdict === verdict);
  if (!sameCompiler(now.compiler, record.compiler)) {
    console.log(`The record is of ${record.compiler}: another compiler, so nothing is judged.`);
    return 0;
  }
  if (found('WORSE') || found('GONE') || found('not recorded')) {
    console.error(
      `bench: more than ${TOLERANCE * 100} % above the record, or not the cases of the record. Where that is meant:\n  ${UPDATE}`,
    );
    return 1;
  }
  if (found('better')) console.log(`Better than the record. To keep it so: ${UPDATE}`);
  return 0;
}
