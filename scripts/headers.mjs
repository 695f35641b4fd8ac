// Where the running Node keeps its headers, so that native builds never download any.
import { existsSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** The prefix for node-gyp's `nodedir`: `<prefix>/bin/node` and `<prefix>/include/node`; or null. */
export function headersPrefix() {
  const prefix = dirname(dirname(realpathSync(process.execPath)));
  return existsSync(join(prefix, 'include', 'node', 'node_api.h')) ? prefix : null;
}
