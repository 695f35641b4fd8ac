/** One property as a test: how often, from which seed, and what is printed when it fails. */
import fc from 'fast-check';
import type { Test } from 'tap';
import { WIDE } from '../support/wide.js';

const SEED = Number(process.env.GWLB_SEED ?? 20_261_123);

export interface HoldOptions<T> {
  /** Cases of an ordinary run; four times as many with GWLB_WIDE=1. */
  readonly runs: number;
  /** The failing case for people. */
  readonly show: (failing: T) => readonly string[];
}

export function hold<T>(
  t: Pick<Test, 'test'>,
  name: string,
  cases: fc.Arbitrary<T>,
  run: (given: T) => void,
  { runs, show }: HoldOptions<T>,
): void {
  const numRuns = Number(process.env.GWLB_RUNS ?? (WIDE ? 4 * runs : runs));
  t.test(name, async (t) => {
    const { failed, counterexample, counterexamplePath, errorInstance } = fc.check(
      fc.property(cases, run),
      { numRuns, seed: SEED },
    );
    if (!failed) return void t.pass(`${numRuns} cases from seed ${SEED}`);
    const lines = counterexample === null ? [] : show(counterexample[0]);
    t.fail(`${errorInstance}`, { seed: SEED, path: counterexamplePath, case: lines });
  });
}
