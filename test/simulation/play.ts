/** A simulation from its seed, and the shortest history that goes wrong as it did. */
import { REAL, type Seams } from './seams.js';
import { type Setting, type Step, settingOf, stepsOf } from './steps.js';
import { type Done, World } from './world.js';

export type { Done } from './world.js';

export interface Failure {
  readonly seed: number;
  readonly problem: string;
  readonly steps: readonly Step[];
}

/** What goes wrong in a history; null where nothing does. */
function problemOf(
  setting: Setting,
  steps: readonly Step[],
  seams: Seams,
  done?: Done,
): [string, number] | null {
  const world = new World(setting, seams);
  try {
    for (const [i, step] of steps.entries()) {
      const problem = world.run(step);
      if (problem !== null) return [problem, i + 1];
    }
    const problem = world.finish();
    return problem === null ? null : [problem, steps.length];
  } finally {
    if (done)
      for (const what of Object.keys(done) as (keyof Done)[]) done[what] += world.done[what];
    world.close();
  }
}

/**
 * Plays `count` random steps; null where all is well. `seams` makes them anew for each play; what was
 * done is added to `done`.
 */
export function play(
  seed: number,
  count: number,
  seams: () => Seams = () => REAL,
  done?: Done,
): Failure | null {
  const setting = settingOf(seed);
  const steps = stepsOf(seed, count);
  const found = problemOf(setting, steps, seams(), done);
  if (found === null) return null;
  const [problem, length] = found;
  return { seed, problem, steps: steps.slice(0, length) };
}

/** What of a problem is of its kind: all but its numbers. */
function kindOf(problem: string): string {
  return problem.replace(/[\d.]+/g, '#');
}

/** Takes steps away, first many at a time, as long as the same goes wrong. */
export function shorten(failure: Failure, seams: () => Seams = () => REAL): Failure {
  const setting = settingOf(failure.seed);
  const kind = kindOf(failure.problem);
  let best = failure;
  for (let size = Math.ceil(best.steps.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let at = 0; at < best.steps.length; ) {
      const steps = [...best.steps.slice(0, at), ...best.steps.slice(at + size)];
      const found = problemOf(setting, steps, seams());
      if (found !== null && kindOf(found[0]) === kind) {
        best = { ...best, problem: found[0], steps: steps.slice(0, found[1]) };
      } else {
        at += size;
      }
    }
  }
  return best;
}

/** For people: what went wrong, the history, and how to see it again. */
export function report({ seed, problem, steps }: Failure, count: number): string {
  return [
    `seed ${seed}: ${problem}`,
    ...steps.map((step) => `  ${JSON.stringify(step)}`),
    `again: GWLB_SEED=${seed} GWLB_STEPS=${count} npm test -- test/simulation/simulation.test.ts`,
  ].join('\n');
}
