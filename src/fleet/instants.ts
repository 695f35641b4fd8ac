/** When time alone changes something. */
import { nextStepAt } from './life.js';
import { everyTarget, type Fleet } from './state.js';

/** When a `tick` has something to do next; null where only commands change anything. */
export function nextInstant(fleet: Fleet): number | null {
  let next = Number.POSITIVE_INFINITY;
  for (const target of everyTarget(fleet)) {
    const { phase, drainUntil, freeAt, lookAt } = target;
    if (phase === 'draining') next = Math.min(next, drainUntil);
    if (phase === 'gone') next = Math.min(next, freeAt ?? lookAt);
    next = Math.min(next, nextStepAt(fleet, target) ?? next);
  }
  return next === Number.POSITIVE_INFINITY ? null : next;
}

/** Slots whose number of flows a `tick` at `now` depends on: see its `idle`. */
export function slotsAwaited(fleet: Fleet, now: number): number[] {
  return everyTarget(fleet)
    .filter(({ phase, drainUntil, freeAt }) =>
      phase === 'draining' ? drainUntil <= now : phase === 'gone' && freeAt === null,
    )
    .map(({ slot }) => slot);
}
