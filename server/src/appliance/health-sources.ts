/** What can say that an appliance is not healthy, and how each finds out. */
import { stat } from 'node:fs/promises';
import type { HealthSource } from './health.js';
import { runProgram } from './programs.js';

export interface CommandCheck {
  readonly argv: readonly string[];
  readonly intervalMs: number;
  readonly timeoutMs: number;
}

/** Healthy is what a command says that ends with exit code 0; nothing before it has ended once. */
export class CommandSource implements HealthSource {
  readonly name = 'command';
  problem: string | null = 'the health command has not ended yet';
  readonly #stop = new AbortController();
  readonly #over: Promise<void>;

  /** `looked` is called when a run is over. */
  constructor(check: CommandCheck, looked: () => void) {
    this.#over = this.#repeat(check, looked);
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#over;
  }

  async #repeat({ argv, intervalMs, timeoutMs }: CommandCheck, looked: () => void) {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const begun = performance.now();
      const { ok, problem } = await runProgram({ argv, timeoutMs, signal });
      if (signal.aborted) return;
      this.problem = ok ? null : `${argv[0]}: ${problem}`;
      looked();
      await pause(Math.max(0, intervalMs - (performance.now() - begun)), signal);
    }
  }
}

/** Healthy as long as a file is there. */
export class FileSource implements HealthSource {
  readonly name = 'file';
  problem: string | null;
  readonly #path: string;
  #looking = false;

  constructor(path: string) {
    this.#path = path;
    this.problem = `it is not known yet whether ${path} is there`;
  }

  async look(): Promise<void> {
    // A file system that hangs is asked once.
    if (this.#looking) return;
    this.#looking = true;
    this.problem = await stat(this.#path).then(
      () => null,
      ({ code }: NodeJS.ErrnoException) =>
        code === 'ENOENT' ? `${this.#path} is not there` : `${this.#path}: ${code}`,
    );
    this.#looking = false;
  }
}

/** Packets since the start. */
export interface PacketFlow {
  readonly entered: number;
  readonly returned: number;
}

/**
 * Not healthy when packets have entered for so long and none has returned. A gateway then sends no new flows, so
 * that after the same time without any it is tried again.
 */
export class FlowSource implements HealthSource {
  readonly name = 'flow';
  problem: string | null = null;
  readonly #limitMs: number;
  #last: PacketFlow | null = null;
  /** When the first packet entered that nothing has come back since. */
  #silentSince: number | null = null;
  #enteredAt = 0;

  constructor(limitMs: number) {
    this.#limitMs = limitMs;
  }

  /** `now` is in milliseconds of any clock that does not go back. */
  look(flow: PacketFlow, now: number): void {
    const last = this.#last ?? flow;
    this.#last = flow;
    const entered = flow.entered > last.entered;
    if (entered) this.#enteredAt = now;
    if (flow.returned > last.returned) this.#silentSince = null;
    else if (entered) this.#silentSince ??= now;
    else if (now - this.#enteredAt >= this.#limitMs) this.#silentSince = null;
    const silent = this.#silentSince !== null && now - this.#silentSince >= this.#limitMs;
    const seconds = this.#limitMs / 1000;
    this.problem = silent ? `packets have entered for ${seconds} s, and none has returned` : null;
  }
}

/** Resolves after so long, or when it is aborted. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done, { once: true });
  });
}
