/**
 * Keeps the health checks of a group going: the first check of a target at once, then each at its
 * own place in the interval. One timer and at most one check in flight per target.
 */
import { fnv1a64 } from './hash.js';
import { nextCheckAt, type ProbeResult } from './health.js';
import type { HealthCheck } from './health-options.js';
import { type CancelProbe, startProbe } from './probes.js';

/** The outer world of the control plane; the tests have their own. */
export interface Runtime {
  /** Milliseconds since 1970, never going back. */
  now(): number;
  setTimer(callback: () => void, delayMs: number): unknown;
  clearTimer(timer: unknown): void;
  startProbe: typeof startProbe;
}

/** The process's clock, timers that do not keep it alive, and sockets. */
export const SYSTEM_RUNTIME: Runtime = {
  now: () => Math.round(performance.timeOrigin + performance.now()),
  setTimer: (callback, delayMs) => setTimeout(callback, delayMs).unref(),
  clearTimer: (timer) => clearTimeout(timer as NodeJS.Timeout),
  startProbe,
};

export interface ProberEvents {
  started(id: string): void;
  finished(id: string, result: ProbeResult, durationMs: number): void;
}

interface Schedule {
  readonly id: string;
  readonly address: string;
  readonly phase: bigint;
  timer: unknown;
  cancel: CancelProbe | null;
}

/** First checks of targets that are added together begin this far from each other. */
const FIRST_CHECK_GAP_MS = 1;

export class Prober {
  readonly #events: ProberEvents;
  readonly #runtime: Runtime;
  readonly #schedules = new Map<string, Schedule>();
  #check: HealthCheck;
  #netns: string;
  #lastFirst = 0;

  constructor(check: HealthCheck, netns: string, events: ProberEvents, runtime: Runtime) {
    this.#check = check;
    this.#netns = netns;
    this.#events = events;
    this.#runtime = runtime;
  }

  /** Checks exactly these targets, addresses by id; those checked already keep their place. */
  setTargets(targets: ReadonlyMap<string, string>): void {
    for (const id of [...this.#schedules.keys()]) if (!targets.has(id)) this.#remove(id);
    for (const [id, address] of targets) if (!this.#schedules.has(id)) this.#add(id, address);
  }

  #add(id: string, address: string): void {
    const now = this.#runtime.now();
    this.#lastFirst = Math.max(now, this.#lastFirst + FIRST_CHECK_GAP_MS);
    const schedule: Schedule = { id, address, phase: fnv1a64(id), timer: null, cancel: null };
    this.#schedules.set(id, schedule);
    this.#arm(schedule, this.#lastFirst - now);
  }

  #remove(id: string): void {
    const schedule = this.#schedules.get(id);
    if (!schedule) return;
    this.#schedules.delete(id);
    this.#halt(schedule);
  }

  /** Checks in another way from now on; checks in flight are dropped. */
  configure(check: HealthCheck): void {
    this.#check = check;
    const now = this.#runtime.now();
    for (const schedule of this.#schedules.values()) {
      this.#halt(schedule);
      this.#arm(schedule, this.#next(schedule, now - this.#intervalMs() / 2) - now);
    }
  }

  close(): void {
    for (const schedule of this.#schedules.values()) this.#halt(schedule);
    this.#schedules.clear();
  }

  #halt(schedule: Schedule): void {
    this.#runtime.clearTimer(schedule.timer);
    schedule.cancel?.();
    schedule.cancel = null;
  }

  #arm(schedule: Schedule, delayMs: number): void {
    schedule.timer = this.#runtime.setTimer(() => this.#run(schedule), Math.max(0, delayMs));
  }

  #run(schedule: Schedule): void {
    const startedAt = this.#runtime.now();
    const { protocol, port, path, matcher, timeoutSeconds } = this.#check;
    this.#events.started(schedule.id);
    schedule.cancel = this.#runtime.startProbe(
      {
        protocol,
        address: schedule.address,
        port,
        path,
        matcher,
        timeoutMs: Math.round(timeoutSeconds * 1000),
        netns: this.#netns,
      },
      (result, durationMs) => {
        schedule.cancel = null;
        this.#arm(schedule, this.#next(schedule, startedAt) - this.#runtime.now());
        this.#events.finished(schedule.id, result, durationMs);
      },
    );
  }

  #next(schedule: Schedule, last: number): number {
    return nextCheckAt(last, this.#intervalMs(), schedule.phase);
  }

  #intervalMs(): number {
    return Math.round(this.#check.intervalSeconds * 1000);
  }
}
