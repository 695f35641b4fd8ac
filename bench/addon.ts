// The benchmarks' own addon, bench/native/addon.cc; bench/run.ts builds it.
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

interface Addon {
  /** CPU time of this thread, nanoseconds. */
  cpuNs: () => number;
  // Functions that do nothing but be called.
  nothing: () => undefined;
  number: (value: number) => number;
  bytes: (array: Uint8Array) => number;
}

const path = fileURLToPath(new URL('../build-native/bench/addon.node', import.meta.url));

export const addon = createRequire(import.meta.url)(path) as Addon;
