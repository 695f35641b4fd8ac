// What builds of the addon share: its sources, what they need of the machine, and where the running
// Node keeps its headers, so that nothing is downloaded.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** The prefix for node-gyp's `nodedir`: `<prefix>/bin/node` and `<prefix>/include/node`; or null. */
export function headersPrefix() {
  const prefix = dirname(dirname(realpathSync(process.execPath)));
  return existsSync(join(prefix, 'include', 'node', 'node_api.h')) ? prefix : null;
}

/** What decides about the addon's bytes, besides compiler and Node. */
export const NATIVE_SOURCES = [
  'native',
  'binding.gyp',
  'package.json',
  'node_modules/node-addon-api/package.json',
];

/**
 * Digest of files and of everything below folders, with the words that also decide the result.
 * @param {string[]} paths
 * @param {string[]} words
 */
export function digest(paths, words = []) {
  const hash = createHash('sha256');
  for (const word of words) hash.update(`${word}\n`);
  /** @param {string} path */
  const add = (path) => {
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat?.isDirectory()) {
      for (const name of readdirSync(path).sort()) add(join(path, name));
    } else if (stat) {
      hash.update(`${relative(root, path)} ${stat.size}\n`).update(readFileSync(path));
    }
  };
  for (const path of paths) add(join(root, path));
  return hash.digest('hex');
}

/** @param {string} command */
function runs(command) {
  return spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;
}

/** Sentences for what a native build lacks on this machine. */
export function missingForNativeBuild() {
  const missing = [];
  if (!runs(process.env.CXX || 'g++')) {
    missing.push('The C++ compiler g++ is missing (Debian, Ubuntu: apt-get install g++).');
  }
  if (!runs('make')) missing.push('make is missing (Debian, Ubuntu: apt-get install make).');
  if (!runs('python3')) {
    missing.push('python3 is missing (Debian, Ubuntu: apt-get install python3).');
  }
  if (!headersPrefix()) {
    missing.push(
      `Node's headers are not beside node (looked for include/node/node_api.h next to the bin ` +
        `folder of ${process.execPath}); install the package that brings them, or a Node that does.`,
    );
  }
  return missing;
}
