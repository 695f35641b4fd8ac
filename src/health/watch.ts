/**
 * Looks at the traffic of targets between their health checks. A target under suspicion is checked
 * three times at once; only if all of these checks fail, it has failed.
 */

import type { HealthCheck } from './options.js';
import type { CancelProbe, ProbeCallback } from './probe-callback.js';
import type { ProbeHost } from './probe-host.js';
import type { Runtime } from './runtime.js';
import {
  SILENCE_MS,
  type Suspected,
  type Suspicion,
  sampled,
  unreachable,
  unsuspected,
} from './suspicion.js';
import type { FailedProbe } from './thresholds.js';

export interface WatchedTarget {
  readonly id: string;
  readonly address: string;
  /** `address` as a number. */
  readonly number: number;
  /** On which it receives GENEVE. */
  readonly port: number;
  readonly slot: number;
}

export interface WatchEvents {
  /** Whether a suspicion would make a difference. */
  isHealthy(id: string): boolean;
  /** Begins a check that is beyond the usual ones. */
  check(target: WatchedTarget, timeoutMs: number, callback: ProbeCallback): CancelProbe;
  /** All checks that a suspicion caused have failed, the last one in this way. */
  confirmed(id: string, evidence: string, result: FailedProbe): void;
}

const CHECKS = 3;
const CHECKS_APART_MS = 100;

/** Samples within the time that a silence has to last. */
const SAMPLES = 4;

/**
 * A target that usually answers faster than a quarter of this is expected to within it; a slower one
 * within four times its usual time, and no later than the check's timeout.
 */
const PATIENCE_MS = 300;
const PATIENCE_TIMES = 4;

interface Watched {
  readonly target: WatchedTarget;
  suspicion: Suspicion;
  /** How long its last successful check took. */
  usualMs: number;
  burst: Burst | null;
}

export class Watch {
  readonly #check: HealthCheck;
  readonly #host: ProbeHost;
  readonly #runtime: Runtime;
  readonly #events: WatchEvents;
  readonly #watched = new Map<string, Watched>();
  #timer: unknown = null;

  constructor(check: HealthCheck, host: ProbeHost, runtime: Runtime, events: WatchEvents) {
    this.#check = check;
    this.#host = host;
    this.#runtime = runtime;
    this.#events = events;
  }

  add(target: WatchedTarget): void {
    const suspicion = unsuspected(this.#check.profile);
    this.#watched.set(target.id, { target, suspicion, usualMs: 0, burst: null });
    if (this.#timer === null) this.#arm();
  }

  remove(id: string): void {
    this.#watched.get(id)?.burst?.cancel();
    this.#watched.delete(id);
    if (this.#watched.size === 0) this.#disarm();
  }

  /** A usual check has succeeded. */
  succeeded(id: string, durationMs: number): void {
    const watched = this.#watched.get(id);
    if (watched) watched.usualMs = durationMs;
  }

  close(): void {
    for (const id of [...this.#watched.keys()]) this.remove(id);
  }

  #arm(): void {
    const delayMs = SILENCE_MS[this.#check.profile] / SAMPLES;
    this.#timer = this.#runtime.setTimer(() => this.#sample(), delayMs);
  }

  #disarm(): void {
    this.#runtime.clearTimer(this.#timer);
    this.#timer = null;
  }

  #sample(): void {
    this.#arm();
    const now = this.#runtime.now();
    const refusing = new Set(this.#host.unreachable?.());
    for (const watched of [...this.#watched.values()]) {
      const { target } = watched;
      if (watched.burst || !this.#events.isHealthy(target.id)) continue;
      const traffic = this.#host.traffic?.(target.slot);
      const isRefusing = refusing.has(target.number * 2 ** 16 + target.port);
      const evidence =
        (traffic && hold(watched, sampled(watched.suspicion, traffic, this.#check.profile, now))) ||
        (isRefusing ? hold(watched, unreachable(watched.suspicion, now)) : null);
      if (evidence) this.#suspect(watched, evidence);
    }
  }

  #suspect(watched: Watched, evidence: string): void {
    const { target, usualMs } = watched;
    const longest = Math.round(this.#check.timeoutSeconds * 1000);
    const timeoutMs = Math.min(longest, Math.max(PATIENCE_MS, Math.ceil(usualMs * PATIENCE_TIMES)));
    watched.burst = new Burst(
      this.#runtime,
      (callback) => this.#events.check(target, timeoutMs, callback),
      (failed) => {
        watched.burst = null;
        if (failed) this.#events.confirmed(target.id, evidence, failed);
      },
    );
  }
}

function hold(watched: Watched, { suspicion, evidence }: Suspected): string | null {
  watched.suspicion = suspicion;
  return evidence;
}

/** Some checks shortly after each other; the first success ends it. */
class Burst {
  readonly #timers: unknown[] = [];
  readonly #probes = new Set<CancelProbe>();
  readonly #runtime: Runtime;
  readonly #done: (failed: FailedProbe | null) => void;
  #left = CHECKS;

  constructor(
    runtime: Runtime,
    check: (callback: ProbeCallback) => CancelProbe,
    done: (failed: FailedProbe | null) => void,
  ) {
    this.#runtime = runtime;
    this.#done = done;
    for (let i = 0; i < CHECKS; i++) {
      this.#timers.push(runtime.setTimer(() => this.#start(check), i * CHECKS_APART_MS));
    }
  }

  cancel(): void {
    for (const timer of this.#timers) this.#runtime.clearTimer(timer);
    for (const cancel of this.#probes) cancel();
    this.#probes.clear();
  }

  #start(check: (callback: ProbeCallback) => CancelProbe): void {
    const cancel = check((result) => {
      this.#probes.delete(cancel);
      this.#left -= 1;
      // A check that could not be made says nothing against the target.
      const failed = result.ok || result.failure === 'internal' ? null : result;
      if (failed && this.#left > 0) return;
      this.cancel();
      this.#done(failed);
    });
    this.#probes.add(cancel);
  }
}
