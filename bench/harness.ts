// What every benchmark in JavaScript shares: options, rounds that take turns, figures, rows. Loops are
// charged for the CPU time of their thread, as native ones are: what else the machine does is not theirs.
import assert from 'node:assert/strict';
import WallClockBenchmark from 'benchmark';
import { addon } from './addon.js';
import type { Figure, Row } from './row.js';

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
const list = args.includes('--list');
const filterAt = args.indexOf('--filter');
const filter = filterAt < 0 ? '' : (args[filterAt + 1] ?? '');

/**
 * Whether to run this case; every case asks before it prepares anything. With `--list` none runs, and
 * its name is printed instead.
 */
export function wanted(suite: string, name: string): boolean {
  if (!`${suite} ${name}`.includes(filter)) return false;
  if (list) process.stdout.write(`${JSON.stringify({ suite, case: name })}\n`);
  return !list;
}

/** The input is right, or this benchmark ends with an error instead of a figure. */
export function prove(what: string, actual: unknown, expected: unknown): void {
  assert.deepEqual(actual, expected, `proof of input failed: ${what}`);
}

export function figure(values: readonly number[]): Figure {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.round(share * (sorted.length - 1))];
  return { median: at(0.5), p10: at(0.1), p90: at(0.9) };
}

export interface Case {
  suite: string;
  /** Unique over all suites; bench/bars.ts and `--filter` go by it. */
  name: string;
  unit: string;
  note?: string;
  /** Whether less is better; default true. False for rates. */
  lessIsBetter?: boolean;
  /** Peers that are not installed, by name, with the Debian package that brings them. */
  missing?: Readonly<Record<string, string>>;
}

/** Prints a row; `samples` holds ours first. One that is named `limit` is no peer but the limit. */
export function report(about: Case, samples: ReadonlyMap<string, readonly number[]>): void {
  const [[, own], ...others] = [...samples];
  const ours = figure(own);
  const figures = Object.fromEntries(others.map(([name, values]) => [name, figure(values)]));
  const ratios = Object.fromEntries(
    Object.entries(figures).map(([name, { median }]) => [name, ours.median / median]),
  );
  const { limit = null, ...peers } = figures;
  const { suite, name, unit, note, lessIsBetter = true, missing } = about;
  const row: Row = {
    ...{ suite, case: name, unit, ours, peers, limit, ratios, lessIsBetter },
    ...(missing && Object.keys(missing).length > 0 ? { missing } : {}),
    ...(note === undefined ? {} : { note }),
  };
  process.stdout.write(`${JSON.stringify(row)}\n`);
}

/** `process.hrtime` of the CPU time of this thread. */
function cpuTime(since: readonly [number, number] = [0, 0]): [number, number] {
  const ns = addon.cpuNs() - since[0] * 1e9 - since[1];
  return [Math.floor(ns / 1e9), ns % 1e9];
}

/** Benchmark.js with that clock. */
const Benchmark = WallClockBenchmark.runInContext({
  process: { ...process, hrtime: cpuTime },
}) as typeof WallClockBenchmark;

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

function timed(work: () => void): number {
  const started = addon.cpuNs();
  work();
  return addon.cpuNs() - started;
}

/** What reading the clock takes, which is not the work's. */
const clockNs = figure(Array.from({ length: 2000 }, () => timed(() => {}))).median;

/** Nanoseconds of CPU time that `work` takes. */
export function timeNs(work: () => void): number {
  return Math.max(timed(work) - clockNs, 0);
}
