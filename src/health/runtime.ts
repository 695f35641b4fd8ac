/** Clock, timers and checks. */
import { startProbe } from './probes.js';

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
