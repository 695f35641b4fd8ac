// What every benchmark shares: options, rounds that take turns, figures, rows.
import assert from 'node:assert/strict';
import Benchmark from 'benchmark';

export interface Figure {
  median: number;
  p10: number;
  p90: number;
  /** Relative margin of error of the mean, in percent, 95 % confidence. */
  rme: number;
  samples: number;
}

/** One line of `--json`. */
export interface Row {
  suite: string;
  case: string;
  unit: string;
  ours: Figure;
  peers: Record<string, Figure>;
  /** Ours divided by the other. */
  ratios: Record<string, number>;
  /** Whether less is better: times and shares, not rates. */
  lessIsBetter: boolean;
  note?: string;
}

/** A contender whose loop is JavaScript; benchmark.js decides how often `run` is called. */
export interface Loop {
  name: string;
  run: () => void;
}

/** A contender that measures itself: one sample in the unit of the row. */
export interface Sampler {
  name: string;
  sample: () => number;
}

const args = process.argv.slice(2);
export const quick = args.includes('--quick');
const filterAt = args.indexOf('--filter');
const filter = filterAt < 0 ? '' : (args[filterAt + 1] ?? '');

/** Whether the user wants this case. */
export function wanted(suite: string, name: string): boolean {
  return `${suite} ${name}`.includes(filter);
}

/** The input is right, or this benchmark ends with an error instead of a figure. */
export function prove(what: string, actual: unknown, expected: unknown): void {
  assert.deepEqual(actual, expected, `proof of input failed: ${what}`);
}

export function figure(values: readonly number[]): Figure {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.round(share * (sorted.length - 1))];
  const mean = sorted.reduce((sum, value) => sum + value, 0) / sorted.length;
  const squares = sorted.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const error = Math.sqrt(squares / Math.max(sorted.length - 1, 1) / sorted.length);
  // Student's t for 95 %; few samples make a wide margin, as they should.
  const t = [0, 12.71, 4.3, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26][sorted.length - 1] ?? 2;
  const rme = sorted.length > 1 ? (100 * t * error) / mean : 100;
  return { median: at(0.5), p10: at(0.1), p90: at(0.9), rme, samples: sorted.length };
}

interface Case {
  suite: string;
  name: string;
  unit: string;
  note?: string;
  lessIsBetter?: boolean;
}

/** Prints a row; `samples` holds ours first. */
export function report(about: Case, samples: ReadonlyMap<string, readonly number[]>): void {
  const [[, own], ...others] = [...samples];
  const ours = figure(own);
  const peers = Object.fromEntries(others.map(([name, values]) => [name, figure(values)]));
  const ratios = Object.fromEntries(
    Object.entries(peers).map(([name, { median }]) => [name, ours.median / median]),
  );
  const { suite, name, unit, note, lessIsBetter = true } = about;
  const row: Row = {
    suite,
    case: name,
    unit,
    ours,
    peers,
    ratios,
    lessIsBetter,
    ...(note === undefined ? {} : { note }),
  };
  process.stdout.write(`${JSON.stringify(row)}\n`);
}

function collectGarbage(): void {
  (globalThis as { gc?: () => void }).gc?.();
}

/** Nanoseconds of each of benchmark.js's samples of one `run`. */
function benchmark({ name, run }: Loop): number[] {
  const options = quick
    ? { minTime: 0.005, maxTime: 0.04, minSamples: 5 }
    : { minTime: 0.02, maxTime: 0.3, minSamples: 8 };
  // Called through a wrapper, since benchmark.js compiles the source of what it is given anew.
  const timed = new Benchmark(name, () => run(), options);
  timed.run({ async: false });
  if ((timed as { error?: unknown }).error) throw (timed as { error?: unknown }).error;
  const { sample } = timed.stats as { sample: number[] };
  return sample.map((seconds) => seconds * 1e9);
}

function takeTurns<C extends { name: string }>(
  contenders: readonly C[],
  rounds: number,
  measure: (contender: C, round: number) => number[],
): Map<string, number[]> {
  const samples = new Map(contenders.map(({ name }): [string, number[]] => [name, []]));
  for (let round = 0; round < rounds; round += 1) {
    for (const contender of contenders) {
      collectGarbage();
      samples.get(contender.name)!.push(...measure(contender, round));
    }
  }
  return samples;
}

/** Runs JavaScript loops in turn, ours first; each call of `run` handles `perRun` units. */
export function compareLoops(about: Case, perRun: number, loops: readonly Loop[]): void {
  for (const loop of loops) benchmark(loop);
  const samples = takeTurns(loops, quick ? 2 : 5, (loop) =>
    benchmark(loop).map((time) => time / perRun),
  );
  report(about, samples);
}

/** Runs contenders that time themselves in turn, ours first. */
export function compareSamplers(about: Case, samplers: readonly Sampler[]): void {
  const eachRound = quick ? 5 : 12;
  const warm = quick ? 5 : 15;
  for (const { sample } of samplers) for (let i = 0; i < warm; i += 1) sample();
  const samples = takeTurns(samplers, quick ? 3 : 7, ({ sample }) =>
    Array.from({ length: eachRound }, () => sample()),
  );
  report(about, samples);
}

/** Nanoseconds that `work` takes. */
export function timeNs(work: () => void): number {
  const started = process.hrtime.bigint();
  work();
  return Number(process.hrtime.bigint() - started);
}
