/** Health checks that this host could not make: what is told of them, once for many targets. */
import type { ProbeEvent } from 'gwlb';
import type { Logger } from './log.js';

export class ImpededChecks {
  readonly #log: Logger;
  readonly #targets = new Set<string>();

  constructor(log: Logger) {
    this.#log = log;
  }

  seen({ target: { id, state }, failure, detail }: ProbeEvent): void {
    if (failure !== 'internal') {
      this.forget(id);
      return;
    }
    const first = this.#targets.size === 0;
    this.#targets.add(id);
    if (!first) return;
    const message = 'health checks cannot be made: targets keep the states they had';
    this.#log.warn({ event: 'health_checks_impeded', target: id, state, detail }, message);
  }

  /** It was checked, or is a target no more. */
  forget(id: string): void {
    if (!this.#targets.delete(id) || this.#targets.size > 0) return;
    this.#log.info({ event: 'health_checks_made_again' }, 'health checks are made again');
  }
}
