/** The time of a replay: nothing passes but what the capture and the events say. */
import type { Runtime } from '../health/runtime.js';

interface Timer {
  readonly atMs: number;
  readonly order: number;
  readonly callback: () => void;
}

/**
 * The outer world of a target group in a replay: a clock that is set, timers that run when it is, and
 * checks that never answer.
 */
export class SimulatedClock implements Runtime {
  readonly #timers = new Set<Timer>();
  #nowMs = 0;
  #order = 0;

  /** Milliseconds since the replay began. */
  now(): number {
    return this.#nowMs;
  }

  setTimer(callback: () => void, delayMs: number): Timer {
    const timer = { atMs: this.#nowMs + delayMs, order: this.#order++, callback };
    this.#timers.add(timer);
    return timer;
  }

  clearTimer(timer: unknown): void {
    this.#timers.delete(timer as Timer);
  }

  startProbe(): () => void {
    return () => {};
  }

  /** Runs what is due up to then, each timer at its own time, equal ones in the order they were set. */
  advance(toMs: number): void {
    for (let next = this.#next(); next && next.atMs <= toMs; next = this.#next()) {
      this.#timers.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.callback();
    }
    this.#nowMs = Math.max(this.#nowMs, toMs);
  }

  #next(): Timer | null {
    let first: Timer | null = null;
    for (const timer of this.#timers) {
      if (!first || timer.atMs < first.atMs) first = timer;
    }
    return first;
  }
}
