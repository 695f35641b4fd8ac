/**
 * Keeps the health checks of a group going: the first check of a target at once, then each at its
 * own place in the interval. One timer and at most one check in flight per target, besides those that
 * a suspicion causes.
 */
import { randomInt } from 'node:crypto';
import { fnv1a64 } from '../base/hash.js';
import { type DataPath, NONCE_MAX } from './geneve-probe.js';
import type { HealthCheck } from './options.js';
import type { CancelProbe, ProbeCallback } from './probe-callback.js';
import type { ProbeHost } from './probe-host.js';
import type { Runtime } from './runtime.js';
import { type FailedProbe, nextCheckAt, type ProbeResult } from './thresholds.js';
import { Watch, type WatchedTarget } from './watch.js';

export interface ProberEvents {
  started(id: string): void;
  finished(id: string, result: ProbeResult, durationMs: number): void;
  /** Whether a suspicion against it would make a difference. */
  isHealthy(id: string): boolean;
  /** A check that a suspicion caused came to its end. */
  asked(id: string, result: ProbeResult, durationMs: number): void;
  /** What packets told against a target was confirmed by checks; the last one ended like this. */
  confirmed(id: string, evidence: string, result: FailedProbe): void;
}

interface Schedule {
  readonly target: WatchedTarget;
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
  readonly #host: ProbeHost;
  #check: HealthCheck;
  #watch: Watch | null;
  #lastFirst = 0;
  /** Of the last probe; probes of an earlier prober that come back late have others. */
  #nonce = randomInt(1, NONCE_MAX);

  constructor(check: HealthCheck, host: ProbeHost, events: ProberEvents, runtime: Runtime) {
    this.#check = check;
    this.#host = host;
    this.#events = events;
    this.#runtime = runtime;
    this.#watch = this.#newWatch();
  }

  /** Checks exactly these targets, by id; those checked already keep their place. */
  setTargets(targets: ReadonlyMap<string, WatchedTarget>): void {
    for (const id of [...this.#schedules.keys()]) if (!targets.has(id)) this.#remove(id);
    for (const [id, target] of targets) if (!this.#schedules.has(id)) this.#add(target);
  }

  #add(target: WatchedTarget): void {
    const now = this.#runtime.now();
    this.#lastFirst = Math.max(now, this.#lastFirst + FIRST_CHECK_GAP_MS);
    const schedule: Schedule = { target, phase: fnv1a64(target.id), timer: null, cancel: null };
    this.#schedules.set(target.id, schedule);
    this.#watch?.add(target);
    this.#arm(schedule, this.#lastFirst - now);
  }

  #remove(id: string): void {
    const schedule = this.#schedules.get(id);
    if (!schedule) return;
    this.#schedules.delete(id);
    this.#watch?.remove(id);
    this.#halt(schedule);
  }

  /** Checks in another way from now on; checks in flight are dropped. */
  configure(check: HealthCheck): void {
    this.#check = check;
    this.#watch?.close();
    this.#watch = this.#newWatch();
    const now = this.#runtime.now();
    for (const schedule of this.#schedules.values()) {
      this.#watch?.add(schedule.target);
      this.#halt(schedule);
      this.#arm(schedule, this.#next(schedule, now - this.#intervalMs() / 2) - now);
    }
  }

  close(): void {
    this.#watch?.close();
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
    const { target } = schedule;
    const startedAt = this.#runtime.now();
    this.#events.started(target.id);
    schedule.cancel = this.#ask(target, this.#timeoutMs(), (result, durationMs) => {
      schedule.cancel = null;
      if (result.ok) this.#watch?.succeeded(target.id, durationMs);
      this.#arm(schedule, this.#next(schedule, startedAt) - this.#runtime.now());
      this.#events.finished(target.id, result, durationMs);
    });
  }

  #ask(target: WatchedTarget, timeoutMs: number, callback: ProbeCallback): CancelProbe {
    const { protocol, port, path, matcher } = this.#check;
    const { address } = target;
    const { netns } = this.#host;
    const dataPath = protocol === 'GENEVE' ? this.#dataPath(target) : undefined;
    const request = { protocol, address, port, path, matcher, timeoutMs, netns, dataPath };
    return this.#runtime.startProbe(request, callback);
  }

  #dataPath(target: WatchedTarget): DataPath {
    const { source, destination } = this.#check;
    this.#nonce = (this.#nonce % NONCE_MAX) + 1;
    return {
      source,
      destination,
      nonce: this.#nonce,
      send: (nonce, inner) => this.#host.sendProbe?.(target, nonce, inner) ?? false,
      returned: (nonce) => this.#host.probeReturned?.(target.slot, nonce) ?? false,
    };
  }

  #newWatch(): Watch | null {
    const { traffic, unreachable } = this.#host;
    if (!this.#check.suspicion || !(traffic || unreachable)) return null;
    return new Watch(this.#check, this.#host, this.#runtime, {
      isHealthy: (id) => this.#events.isHealthy(id),
      check: (target, timeoutMs, callback) =>
        this.#ask(target, timeoutMs, (result, durationMs) => {
          this.#events.asked(target.id, result, durationMs);
          callback(result, durationMs);
        }),
      confirmed: (id, evidence, result) => this.#events.confirmed(id, evidence, result),
    });
  }

  #next(schedule: Schedule, last: number): number {
    return nextCheckAt(last, this.#intervalMs(), schedule.phase);
  }

  #timeoutMs(): number {
    return Math.round(this.#check.timeoutSeconds * 1000);
  }

  #intervalMs(): number {
    return Math.round(this.#check.intervalSeconds * 1000);
  }
}
