// The benchmarks' own addon, bench/native/addon.cc; bench/run.ts builds it.
import { createRequire } from 'node:module';
import { programPath } from './programs.js';

interface Addon {
  /** CPU time of this thread, nanoseconds. */
  cpuNs: () => number;
  // Functions that do nothing but be called.
  nothing: () => undefined;
  number: (value: number) => number;
  bytes: (array: Uint8Array) => number;
}

export const addon = createRequire(import.meta.url)(programPath('addon.node')) as Addon;
