/** Tests wait for states. How long at most is for those that never come, and ends no test that is slow. */
import { availableParallelism, loadavg } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';

/** On a machine that has nothing else to do; elsewhere as much longer as it has more to do than cores. */
const PATIENCE_MS = 40_000;
const PAUSE_MS = 10;

/** How many times longer than alone things take now. */
function slowness(): number {
  return Math.max(1, loadavg()[0] / availableParallelism());
}

async function answer<T>(
  ask: () => Promise<T> | T,
  isEnough: (answer: T) => boolean,
  what: string,
): Promise<T> {
  let left = PATIENCE_MS;
  for (let before = performance.now(); ; ) {
    const last = await ask();
    if (isEnough(last)) return last;
    if (left < 0) throw new Error(`${what}: never, last ${JSON.stringify(last)}`);
    await delay(PAUSE_MS);
    const now = performance.now();
    left -= (now - before) / slowness();
    before = now;
  }
}

/** Waits for something to come true. */
export function until(isTrue: () => boolean, what: string): Promise<boolean>;
/** Asks again and again until the answer will do. */
export function until<T>(
  ask: () => Promise<T> | T,
  isEnough: (answer: T) => boolean,
  what: string,
): Promise<T>;
export function until<T>(
  ask: () => Promise<T> | T,
  ...more: [string] | [(answer: T) => boolean, string]
): Promise<T> {
  return more.length === 1 ? answer(ask, Boolean, more[0]) : answer(ask, ...more);
}
