/** What the demo promises, and whether it held. */
import type { Report } from './report.js';

export interface Promised {
  promise: string;
  held: boolean;
  detail: string;
}

export class Promises {
  readonly #report: Report;
  readonly #all: Promised[] = [];

  constructor(report: Report) {
    this.#report = report;
  }

  /** Notes whether a promise held; a broken one is said at once. */
  check(promise: string, held: boolean, detail: string): void {
    this.#all.push({ promise, held, detail });
    const { red } = this.#report.style;
    const lines = held ? [] : [red(`✗ broken promise: ${promise} (${detail})`)];
    this.#report.event('promise', { promise, held, detail }, ...lines);
  }

  get broken(): readonly Promised[] {
    return this.#all.filter(({ held }) => !held);
  }

  get all(): readonly Promised[] {
    return this.#all;
  }
}
