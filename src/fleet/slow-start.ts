/**
 * Slow start: a target that turns healthy takes a tenth of its weight at first, then 32.5 %, 55 %, 77.5 %
 * and all of it, a quarter of `slowStartSeconds` apart. With weighted rendezvous a rising weight only
 * pulls rows to the target.
 */

/** What a weight of 1 is to the data plane, which has tenths for slow start. */
export const WEIGHT_UNIT = 10;

/** The step that takes the whole weight; the first is 0. */
export const LAST_STEP = 4;

/** The weight that the data plane has in a step, in its own units. */
export function weightIn(step: number, weight: number): number {
  // A tenth and `step` times 22.5 %, in fortieths.
  return Math.round((weight * WEIGHT_UNIT * (4 + 9 * step)) / 40);
}

/** The step `elapsed` milliseconds after the target turned healthy. */
export function stepAfter(elapsed: number, slowStartMs: number): number {
  if (elapsed >= slowStartMs) return LAST_STEP;
  return Math.floor((elapsed * LAST_STEP) / slowStartMs);
}

/** When a step begins, milliseconds after the target turned healthy. */
export function beginOf(step: number, slowStartMs: number): number {
  return Math.ceil((step * slowStartMs) / LAST_STEP);
}
