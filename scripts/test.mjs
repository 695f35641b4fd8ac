// Runs tests: `node scripts/test.mjs [options of tap] [test/x/y.test.ts …]`; without files all of both
// packages. They are compiled first, and run by tap as JavaScript: its own compiler would take longer
// for most files than their tests.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { compiledPath, compileTests, testSources } from './compile-tests.mjs';
import { root } from './toolchain.mjs';

const USAGE = `node scripts/test.mjs [options] [test/x/y.test.ts ...]

Compiles the tests that changed, and runs those that are named, or all of both packages. \`npm test -- ...\`
does the same after it has built what is stale. GWLB_WIDE=1 adds what needs outside judges or takes long.

  --reporter=NAME   base (default), terse, tap, ...: how results are shown
  --grep=PATTERN    only tests whose name matches
  --jobs=N          so many files at once (default 2)
  --help            this

All other options are tap's: node_modules/.bin/tap --help
`;

/** What takes longest starts first, so that nothing long runs alone at the end. */
const LONGEST = [
  'test/property/',
  'test/e2e/',
  'server/test/demo/',
  'server/test/recipes/',
  'test/wide/',
];

/** @param {string} path */
function rank(path) {
  const found = LONGEST.findIndex((folder) => path.startsWith(folder));
  return found < 0 ? LONGEST.length : found;
}

/** @param {string} argument */
function isSource(argument) {
  return argument.endsWith('.ts') && !argument.startsWith('-');
}

/**
 * A test as it was named, from the root.
 * @param {string} argument
 */
function sourceOf(argument) {
  return relative(root, resolve(process.env.INIT_CWD ?? process.cwd(), argument));
}

/** @param {string[]} wrong */
function stop(wrong) {
  for (const line of wrong) process.stderr.write(`test: ${line}\n`);
  process.exit(1);
}

const given = process.argv.slice(2);
if (given.includes('--help') || given.includes('-h')) {
  process.stdout.write(USAGE);
  process.exit(0);
}
const wrong = await compileTests();
if (wrong.length > 0) stop(wrong);
const named = given.filter(isSource).map(sourceOf);
const missing = named.filter((path) => !existsSync(join(root, compiledPath(path))));
if (missing.length > 0) stop(missing.map((path) => `${path} is no test of this project`));
const all = testSources()
  .filter((path) => path.endsWith('.test.ts') && !path.startsWith('bench/'))
  .sort((a, b) => rank(a) - rank(b));
const tests = named.length > 0 ? named : all;
const options = given.filter((argument) => !isSource(argument));
const { status, signal, error } = spawnSync(
  process.execPath,
  [
    join(root, 'node_modules/tap/dist/esm/run.mjs'),
    // Nothing is left for tap's compiler to do, and loading it is most of a small test's time.
    '--test-env=TAP_TYPE_STRIP_ONLY=1',
    ...options,
    ...tests.map(compiledPath),
  ],
  { cwd: root, stdio: 'inherit' },
);
if (error) stop([error.message]);
if (signal !== null) process.kill(process.pid, signal);
process.exitCode = status ?? 1;
