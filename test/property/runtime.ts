/** A clock and timers that move when they are told to, and targets that answer checks as told. */

import type { Runtime } from '../../src/health/runtime.js';
import type { ProbeResult } from '../../src/health/thresholds.js';

const OK: ProbeResult = { ok: true, detail: 'answered' };
const BAD: ProbeResult = { ok: false, failure: 'connection', detail: 'refused' };

export class FakeRuntime implements Runtime {
  time: number;
  /** Addresses whose checks fail. */
  readonly sick = new Set<string>();
  /** Told of every check's result, just before the group is. */
  onResult: (address: string, ok: boolean) => void = () => {};
  readonly #timers = new Map<object, { at: number; run: () => void }>();

  constructor(time: number) {
    this.time = time;
  }

  now = () => this.time;

  setTimer = (run: () => void, delayMs: number) => {
    const timer = {};
    this.#timers.set(timer, { at: this.time + delayMs, run });
    return timer;
  };

  clearTimer = (timer: unknown) => void this.#timers.delete(timer as object);

  startProbe: Runtime['startProbe'] = (request, callback) => {
    const timer = this.setTimer(() => {
      const ok = !this.sick.has(request.address);
      this.onResult(request.address, ok);
      callback(ok ? OK : BAD, 1);
    }, 1);
    return () => this.clearTimer(timer);
  };

  advance(ms: number): void {
    const end = this.time + ms;
    for (;;) {
      let next: [object, { at: number; run: () => void }] | null = null;
      for (const entry of this.#timers) {
        if (entry[1].at <= end && (next === null || entry[1].at < next[1].at)) next = entry;
      }
      if (next === null) break;
      this.#timers.delete(next[0]);
      this.time = Math.max(this.time, next[1].at);
      next[1].run();
    }
    this.time = end;
  }
}
