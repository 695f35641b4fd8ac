/** The npm packages as they are packed, without the registry: what they need is taken from this tree. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t from 'tap';
import { ROOT } from '../support/places.js';

export const platform = `${process.platform}-${process.arch}`;

export interface Manifest {
  name: string;
  version: string;
  dependencies: Record<string, string>;
}

export function manifestOf(folder: string): Manifest {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest;
}

export const library = manifestOf(ROOT);

/** Everything of the test file is in it. */
export const folder = mkdtempSync(join(tmpdir(), 'gwlb-pack-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

function npm(cwd: string, ...args: string[]): string {
  const cli = process.env.npm_execpath;
  const all = [...args, '--ignore-scripts', '--loglevel=error', '--no-audit', '--no-fund'];
  return execFileSync(cli ? process.execPath : 'npm', cli ? [cli, ...all] : all, {
    cwd,
    encoding: 'utf8',
    env: { ...process.env, npm_config_cache: join(folder, 'cache') },
  });
}

interface Packed {
  filename: string;
  files: { path: string }[];
}

/** Packs the package in a folder; its tarball, and the files in it. */
export function pack(from: string): { tarball: string; files: string[] } {
  const [packed] = JSON.parse(npm(from, 'pack', '--json', '--pack-destination', folder)) as [
    Packed,
  ];
  return { tarball: join(folder, packed.filename), files: packed.files.map(({ path }) => path) };
}

/**
 * Packs the library with a prebuild for this platform: the addon that this tree built, or, with
 * GWLB_PREBUILDS=1 (as .ci/run does after `npm run prebuild`), what is in prebuilds/.
 */
export function packLibrary(): { tarball: string; files: string[] } {
  const stage = join(folder, 'stage');
  const [listed] = JSON.parse(npm(ROOT, 'pack', '--dry-run', '--json')) as [Packed];
  const files = listed.files.map(({ path }) => path);
  for (const path of files.filter((path) => !path.startsWith('prebuilds/'))) {
    mkdirSync(dirname(join(stage, path)), { recursive: true });
    cpSync(join(ROOT, path), join(stage, path));
  }
  if (process.env.GWLB_PREBUILDS === '1') {
    cpSync(join(ROOT, 'prebuilds', platform), join(stage, 'prebuilds', platform), {
      recursive: true,
    });
  } else {
    mkdirSync(join(stage, 'prebuilds', platform), { recursive: true });
    cpSync(
      join(ROOT, 'build/Release/gwlb.node'),
      join(stage, 'prebuilds', platform, `${library.name}.node`),
    );
  }
  return { tarball: pack(stage).tarball, files };
}

/** Installs tarballs into a new folder; the packages that they need are packed from this tree. */
export function install(into: string, needs: Iterable<string>, ...tarballs: string[]): void {
  mkdirSync(into);
  writeFileSync(join(into, 'package.json'), '{ "private": true }\n');
  const folders = [...needs].map((name) => join(ROOT, 'node_modules', name));
  npm(into, 'install', '--offline', '--install-links', ...folders, ...tarballs);
}
