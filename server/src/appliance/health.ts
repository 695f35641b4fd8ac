/**
 * Whether an appliance is healthy: as far as nothing says otherwise. What can say so are a command, a file,
 * the flow of its packets, its devices, and that it is about to stop.
 */

/** One thing that can say that it is not. */
export interface HealthSource {
  readonly name: string;
  /** Why not, as a sentence without a full stop; null while all is well. */
  readonly problem: string | null;
}

export interface HealthNow {
  readonly healthy: boolean;
  /** Of the first source that says so; null while it is healthy. */
  readonly reason: string | null;
  readonly draining: boolean;
}

const REASON = { starting: 'it is starting', draining: 'draining: it is about to stop' } as const;

export class Health {
  /** How often it changed. */
  changes = 0;
  readonly #sources: HealthSource[] = [];
  readonly #changed: (now: HealthNow) => void;
  #phase: 'starting' | 'running' | 'draining' = 'starting';
  #told: HealthNow = { healthy: false, reason: REASON.starting, draining: false };

  /** Not healthy until `started`; `changed` is told of every change after that. */
  constructor(changed: (now: HealthNow) => void) {
    this.#changed = changed;
  }

  get now(): HealthNow {
    return this.#told;
  }

  get sources(): readonly HealthSource[] {
    return this.#sources;
  }

  add(source: HealthSource): void {
    this.#sources.push(source);
  }

  /** From now on it is what its sources say. */
  started(): void {
    this.#phase = 'running';
    this.look();
  }

  /** From now on it is not healthy, whatever sources say. */
  drain(): void {
    this.#phase = 'draining';
    this.look();
  }

  /** Asks all sources again. */
  look(): void {
    const problem = this.#sources.find((source) => source.problem !== null)?.problem ?? null;
    const reason = this.#phase === 'running' ? problem : REASON[this.#phase];
    const { reason: before } = this.#told;
    this.#told = { healthy: reason === null, reason, draining: this.#phase === 'draining' };
    if (reason === before) return;
    this.changes += 1;
    this.#changed(this.#told);
  }
}
