// The native programs that suites run.
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Where the program of this name is built. */
export const programPath = (program: string): string =>
  fileURLToPath(new URL(`../build-native/bench/${program}`, import.meta.url));

/** Builds targets of native/Makefile with the addon's own objects: what is measured is what is shipped. */
export function make(root: string, ...targets: readonly string[]): SpawnSyncReturns<string> {
  const objects = join(root, 'build/Release/obj.target/gwlb/native');
  // Where the addon is a prebuild there are none, and they are compiled anew.
  const shipped = existsSync(objects) ? [`release_OBJECTS=${objects}`] : [];
  const how = ['-s', `-j${availableParallelism()}`, '-C', join(root, 'native')];
  return spawnSync('make', [...how, ...shipped, ...targets], { encoding: 'utf8' });
}
