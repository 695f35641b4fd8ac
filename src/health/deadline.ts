/**
 * When a check has waited long enough, and whether it was this process that waited: timers that fire
 * late mean that nothing was read or sent meanwhile, so that silence says nothing about the other end.
 */

/** How often the time is looked at, up to the deadline. */
const LOOKS = 4;

/** From this part of the time on that was lost, the deadline says nothing; less than 50 ms is usual. */
const LOST_PART = 0.5;
const LOST_MS = 50;

export class Deadline {
  readonly #timeoutMs: number;
  readonly #passed: (lostMs: number) => void;
  readonly #startedAt = performance.now();
  #lostMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #immediate: NodeJS.Immediate | undefined;

  /**
   * `passed` is called once, after whatever has come by then was read. `lostMs`: how much of the time
   * this process did something else, where that was too much to tell anything; else 0.
   */
  constructor(timeoutMs: number, passed: (lostMs: number) => void) {
    this.#timeoutMs = timeoutMs;
    this.#passed = passed;
    this.#arm();
  }

  clear(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#immediate);
  }

  #arm(): void {
    const begun = performance.now();
    const leftMs = this.#startedAt + this.#timeoutMs - begun;
    if (leftMs <= 0) {
      this.#immediate = setImmediate(() => this.#passed(this.lostMs()));
      return;
    }
    // Timers fire up to a millisecond early.
    const delayMs = Math.ceil(Math.min(leftMs, this.#timeoutMs / LOOKS));
    this.#timer = setTimeout(() => {
      this.#lostMs += Math.max(0, performance.now() - begun - delayMs);
      this.#arm();
    }, delayMs).unref();
  }

  /** As `passed` is told it, so far. */
  lostMs(): number {
    const tooMuch = Math.max(LOST_MS, this.#timeoutMs * LOST_PART);
    return this.#lostMs >= tooMuch ? Math.round(this.#lostMs) : 0;
  }
}

/** What is said of a check that had too little of this process's time. */
export function lostText(lostMs: number): string {
  return `this process was busy for ${lostMs} ms of the check`;
}
