/**
 * Runs the operator's program when a device appears or goes. Packets do not wait for it, and one device's
 * program not for another's.
 */
import type { Logger } from '../observe/log.js';
import { runProgram } from './programs.js';

export type DeviceChange = 'create' | 'destroy';

/** What the program is told of a device. */
export interface ToldDevice {
  readonly name: string;
  readonly out: string | null;
  readonly endpoint: string | null;
  readonly netns: string | null;
}

interface Waiting {
  change: DeviceChange;
  device: ToldDevice;
}

/** By device: one runs, and at most one waits. */
interface Turn {
  running: DeviceChange;
  next: Waiting | null;
  over: Promise<void>;
}

export class DeviceProgram {
  readonly #program: string;
  readonly #timeoutMs: number;
  readonly #log: Logger;
  readonly #turns = new Map<string, Turn>();
  readonly #stop = new AbortController();
  /** Runs that failed. */
  failures = 0;

  constructor(program: string, timeoutMs: number, log: Logger) {
    this.#program = program;
    this.#timeoutMs = timeoutMs;
    this.#log = log;
  }

  /** Runs it, behind what runs for this device; what a later change makes pointless is left out. */
  changed(change: DeviceChange, device: ToldDevice): void {
    if (this.#stop.signal.aborted) return;
    const key = `${device.netns ?? ''} ${device.name}`;
    const turn = this.#turns.get(key);
    if (!turn) {
      const started: Turn = { running: change, next: null, over: Promise.resolve() };
      this.#turns.set(key, started);
      started.over = this.#go(key, started, { change, device });
    } else if (turn.running === change && turn.next !== null) {
      // It went and came again, or the reverse, while the program ran: all is as it was told.
      turn.next = null;
    } else {
      turn.next = { change, device };
    }
  }

  /** Resolves when nothing runs and nothing waits any more. */
  async settled(): Promise<void> {
    while (this.#turns.size > 0) await Promise.all([...this.#turns.values()].map((t) => t.over));
  }

  /** Ends what runs; nothing is begun any more. */
  stop(): void {
    for (const turn of this.#turns.values()) turn.next = null;
    this.#stop.abort();
  }

  async #go(key: string, turn: Turn, first: Waiting): Promise<void> {
    for (let now: Waiting | null = first; now !== null; now = turn.next) {
      turn.next = null;
      turn.running = now.change;
      await this.#run(now);
    }
    this.#turns.delete(key);
  }

  async #run({ change, device }: Waiting): Promise<void> {
    const { name, out, endpoint, netns } = device;
    const argv = [this.#program, change, name, out ?? name, endpoint ?? ''];
    const fields = { program: this.#program, change, device: name, endpoint };
    const { ok, problem } = await runProgram({
      argv,
      env: {
        GWLB_CHANGE: change,
        GWLB_DEVICE: name,
        GWLB_DEVICE_OUT: out ?? name,
        GWLB_ENDPOINT: endpoint ?? '',
        GWLB_NETNS: netns ?? '',
      },
      timeoutMs: this.#timeoutMs,
      signal: this.#stop.signal,
      onLine: (line) => this.#log.info({ event: 'device_program_said', ...fields }, line),
    });
    if (ok) {
      this.#log.info({ event: 'device_program', ...fields }, 'program for a device is done');
      return;
    }
    this.failures += 1;
    this.#log.error({ event: 'device_program_failed', ...fields, error: problem }, problem);
  }
}
