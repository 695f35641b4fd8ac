/**
 * Has what changed saved before packets are decided by it. One save at a time: what changes meanwhile is in
 * the next one.
 */
import { GatewayError } from '../base/errors.js';
import type { Runtime } from '../health/runtime.js';

/** How long packets wait for a change that is being saved: a failed target matters more. */
export const SAVE_MS = 1_000;

/** A save of all that is now. */
export interface Save {
  readonly start: () => Promise<void>;
  /** Has packets decided by what is saved. */
  readonly pass: () => void;
}

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class SaveGate {
  readonly #begin: () => Save;
  readonly #runtime: Runtime;
  #waiting: Waiting[] = [];
  #running = false;
  /** A save took too long, and has not come to its end: until then packets wait for nothing. */
  #overdue = false;
  #closed = false;

  constructor(begin: () => Save, runtime: Runtime) {
    this.#begin = begin;
    this.#runtime = runtime;
  }

  /**
   * Resolves when what is now is saved, and packets are decided by it. Where it cannot be saved, or not in
   * `SAVE_MS`, packets are decided by it all the same, and this rejects.
   */
  request(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      if (!this.#running) void this.#run();
    });
  }

  /** Nothing is saved any more. */
  close(): void {
    this.#closed = true;
    for (const { resolve } of this.#waiting.splice(0)) resolve();
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#waiting.length > 0) {
      const waiting = this.#waiting.splice(0);
      const { start, pass } = this.#begin();
      const failure = this.#overdue ? tooLate() : await this.#inTime(start());
      try {
        if (!this.#closed) pass();
      } catch (error) {
        // A listener's: as if it had been called by a timer.
        setImmediate(() => {
          throw error;
        });
      }
      for (const { resolve, reject } of waiting) failure === null ? resolve() : reject(failure);
    }
    this.#running = false;
  }

  /** Why it is not saved; null where it is. */
  #inTime(saved: Promise<void>): Promise<unknown> {
    return new Promise((resolve) => {
      const timer = this.#runtime.setTimer(() => {
        this.#overdue = true;
        resolve(tooLate());
      }, SAVE_MS);
      const end = (failure: unknown) => {
        this.#runtime.clearTimer(timer);
        resolve(failure);
        if (!this.#overdue) return;
        this.#overdue = false;
        // What has changed meanwhile. Who saves it knows why it failed.
        if (!this.#closed) this.request().catch(() => {});
      };
      saved.then(
        () => end(null),
        (error) => end(error ?? new GatewayError('ERR_GWLB_SYSTEM', 'the state was not saved')),
      );
    });
  }
}

function tooLate(): GatewayError {
  return new GatewayError('ERR_GWLB_SYSTEM', `the state was not saved within ${SAVE_MS} ms`);
}
