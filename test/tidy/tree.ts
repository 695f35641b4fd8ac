/** The project's own files, for the tests that read them. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../support/places.js';

/** Made by builds and tools, none of it in git; by name at the top of the tree or of the server. */
const MADE =
  /^(node_modules|build|build-.*|dist|prebuilds|coverage|\.git|\.tap|\.setup-lock|.*\.tgz)$/;

/** Paths of all files below a folder, relative to the root, sorted; '' is the whole project. */
export function filesBelow(folder: string): string[] {
  const found: string[] = [];
  const walk = (path: string): void => {
    for (const entry of readdirSync(join(ROOT, path), { withFileTypes: true })) {
      if ((path === '' || path === 'server') && MADE.test(entry.name)) continue;
      const inner = path === '' ? entry.name : `${path}/${entry.name}`;
      if (entry.isDirectory()) walk(inner);
      else if (entry.isFile()) found.push(inner);
    }
  };
  if (statSync(join(ROOT, folder), { throwIfNoEntry: false })?.isDirectory()) walk(folder);
  return found.sort();
}

export function textOf(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

export function linesOf(path: string): string[] {
  return textOf(path).trimEnd().split('\n');
}
