// Format, lint and types of everything: `npm run lint`; with --fix (`npm run format`) what can be
// fixed is. Each tool runs even if one before it complained, so that one run tells all.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './toolchain.mjs';

const NATIVE_FOLDERS = ['native', 'test/native', 'test/fuzz', 'bench/native'];

const fix = process.argv.includes('--fix');
let failed = false;

/**
 * @param {string} name
 * @param {string} bin
 * @param {string[]} args
 */
function run(name, bin, args) {
  const started = Date.now();
  const { status, error } = spawnSync(process.execPath, [join('node_modules', bin), ...args], {
    cwd: root,
    stdio: 'inherit',
  });
  const ok = status === 0;
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  process.stdout.write(`lint: ${name}: ${ok ? 'ok' : 'FAILED'} (${seconds} s)\n`);
  if (error) process.stderr.write(`lint: ${name}: ${error.message}\n`);
  failed ||= !ok;
}

function nativeFiles() {
  const files = [];
  for (const folder of NATIVE_FOLDERS) {
    if (!existsSync(join(root, folder))) continue;
    for (const name of readdirSync(join(root, folder), { recursive: true }).map(String)) {
      if (/\.(cc|h)$/.test(name)) files.push(`${folder}/${name}`);
    }
  }
  return files.sort();
}

run('biome', '@biomejs/biome/bin/biome', [
  'check',
  '--error-on-warnings',
  ...(fix ? ['--write'] : []),
  '.',
]);
run('clang-format', 'clang-format/index.js', [
  ...(fix ? ['-i'] : ['--dry-run', '-Werror']),
  '--style=file',
  ...nativeFiles(),
]);
if (!fix) {
  run('types', 'typescript/bin/tsc', ['-p', 'tsconfig.json']);
  const strict = '--strict --skipLibCheck --target es2023 --module nodenext --types node'.split(
    ' ',
  );
  const scripts = readdirSync(join(root, 'scripts')).map((name) => `scripts/${name}`);
  run('types of scripts', 'typescript/bin/tsc', [
    ...['--ignoreConfig', '--allowJs', '--checkJs', '--noEmit', ...strict],
    ...scripts,
  ]);
  for (const folder of ['.', 'server']) {
    run(`publint ${folder}`, 'publint/src/cli.js', [folder, '--strict', '--pack', 'npm']);
  }
}
process.exitCode = failed ? 1 : 0;
