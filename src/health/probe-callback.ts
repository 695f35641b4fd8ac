/** How a health check ends. */
import type { ProbeResult } from './thresholds.js';

/** Gets the result, once. */
export type ProbeCallback = (result: ProbeResult, durationMs: number) => void;

/** Stops a check; its callback will not be called any more. */
export type CancelProbe = () => void;
