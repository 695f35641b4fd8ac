/**
 * Flap damping in the shape of RFC 2439: every failure of a target adds a penalty that decays by half
 * in each half-life. A target whose penalty has reached `SUPPRESS_POINTS` stays out of service until
 * less than `REUSE_POINTS` are left, however well it does in between.
 *
 * Within a half-life the penalty falls along a line, not along the exponential (at most 6 % above
 * it): products and one division of integers give the same answer on every machine, and the end of a
 * suppression can be said in advance, to the millisecond.
 */

/** What every failure adds. */
export const FLAP_POINTS = 1000;

/** From so many points on a target is suppressed. */
export const SUPPRESS_POINTS = 2500;

/** With less than so many points left it is not suppressed any more. */
export const REUSE_POINTS = 1000;

/** No penalty is higher, so that no suppression outlasts the last failure by more than 4 half-lives. */
export const POINTS_MAX = REUSE_POINTS * 2 ** 4;

export interface Penalty {
  /** An integer, as it was when the last failure was added. */
  readonly points: number;
  /** When that was, in milliseconds. */
  readonly at: number;
  /** `SUPPRESS_POINTS` were reached, and since then it was never below `REUSE_POINTS`. */
  readonly suppressed: boolean;
}

/** Points that are left of a penalty. A clock that went back leaves all of them. */
export function pointsLeft(penalty: Penalty, now: number, halfLifeMs: number): number {
  const elapsed = Math.max(0, Math.floor(now - penalty.at));
  const halvings = Math.floor(elapsed / halfLifeMs);
  const left = penalty.points * (2 * halfLifeMs - (elapsed % halfLifeMs));
  return Math.floor(left / (2 * halfLifeMs * 2 ** halvings));
}

/** The penalty after one more failure. */
export function penalize(before: Penalty | null, now: number, halfLifeMs: number): Penalty {
  const left = before ? pointsLeft(before, now, halfLifeMs) : 0;
  const points = Math.min(left + FLAP_POINTS, POINTS_MAX);
  const still = before?.suppressed === true && left >= REUSE_POINTS;
  return { points, at: now, suppressed: still || points >= SUPPRESS_POINTS };
}

/** The first millisecond in which the target is not suppressed any more; null where it is not now. */
export function suppressedUntil(
  penalty: Penalty | null,
  now: number,
  halfLifeMs: number,
): number | null {
  if (!penalty?.suppressed) return null;
  const { points, at } = penalty;
  let halvings = 0;
  while (points >= REUSE_POINTS * 2 ** (halvings + 1)) halvings += 1;
  const least = Math.ceil((2 * halfLifeMs * REUSE_POINTS * 2 ** halvings) / points);
  const until = Math.ceil(at) + halvings * halfLifeMs + 2 * halfLifeMs - least + 1;
  return now < until ? until : null;
}
