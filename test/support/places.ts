/** Where things are, for tests, which run compiled in a folder of their own (`build-test/`). */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

function findRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'binding.gyp'))) folder = dirname(folder);
  return folder;
}

/** The top of the project's tree. */
export const ROOT = findRoot();

/** The command `gwlb` as it is built. */
export const CLI = join(ROOT, 'server/dist/cli.js');

/** Captures to judge by; tests that need them skip themselves where the folder is absent. */
export const CORPUS = process.env.GWLB_CORPUS ?? join(ROOT, '..', 'shared', 'corpus');
