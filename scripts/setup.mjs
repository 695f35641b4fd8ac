// Makes a clone ready: packages, native addon, compiled TypeScript. `npm start` and `npm test` run
// it first, so it needs nothing but Node, says nothing when nothing is to do, and takes inputs by
// their content, so that neither a checkout nor a touched file builds anything twice.
//
//   node scripts/setup.mjs             everything
//   node scripts/setup.mjs packages    node_modules only
//   node scripts/setup.mjs native      node_modules and the addon
import { spawnSync } from 'node:child_process';
import {
  accessSync,
  constants,
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import {
  digest,
  headersPrefix,
  missingForNativeBuild,
  NATIVE_SOURCES,
  root,
} from './toolchain.mjs';

const NODE_MINIMUM = [20, 19];
const LOCK_WAIT_MS = 15 * 60_000;
const OUTPUT_TAIL_LINES = 40;

/** @param {string} text */
function say(text) {
  process.stdout.write(`setup: ${text}\n`);
}

/**
 * @param {string} text
 * @returns {never}
 */
function fail(text) {
  process.stderr.write(`setup: ${text}\n`);
  process.exit(1);
}

/**
 * Runs a command quietly; on failure prints the end of what it said and stops.
 * @param {string} what
 * @param {string} command
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} [env]
 */
function run(what, command, args, env = {}) {
  const started = Date.now();
  say(`${what} …`);
  const result = spawnSync(command, args, {
    cwd: root,
    env: { ...process.env, ...env },
    encoding: 'utf8',
    maxBuffer: 256 * 1024 * 1024,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  if (result.status === 0) {
    say(`${what}: done in ${((Date.now() - started) / 1000).toFixed(1)} s`);
    return;
  }
  const lines = `${result.stdout ?? ''}\n${result.stderr ?? ''}`.trimEnd().split('\n');
  process.stderr.write(`${lines.slice(-OUTPUT_TAIL_LINES).join('\n')}\n`);
  const how = result.error?.message ?? (result.signal || `exit code ${result.status}`);
  fail(`${what} failed (${how}): ${command} ${args.join(' ')}`);
}

/** @param {string} path */
function read(path) {
  return existsSync(join(root, path)) ? readFileSync(join(root, path), 'utf8') : '';
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > NODE_MINIMUM[0] || (major === NODE_MINIMUM[0] && minor >= NODE_MINIMUM[1])) return;
  fail(`Node ${NODE_MINIMUM.join('.')} or newer is needed; this is ${process.versions.node}.`);
}

function prebuild() {
  const folder = join(root, 'prebuilds', `${process.platform}-${process.arch}`);
  if (!existsSync(folder)) return null;
  return readdirSync(folder).find((name) => name.endsWith('.node')) ?? null;
}

/** npm needs a place for its cache; where its own cannot be written to it gets a temporary one. */
function npmCache() {
  let place = process.env.npm_config_cache ?? join(homedir(), '.npm');
  while (!existsSync(place) && dirname(place) !== place) place = dirname(place);
  try {
    accessSync(place, constants.W_OK);
    return null;
  } catch {
    return mkdtempSync(join(tmpdir(), 'gwlb-npm-'));
  }
}

function packages() {
  const stamp = 'node_modules/.gwlb-stamp';
  // The lock's digest and not its age: a checkout changes ages, and `npm ci` is slow.
  const wanted = digest(['package-lock.json'], [process.platform, process.arch]);
  // The link to the library: without it the server finds none.
  const linked = existsSync(join(root, 'node_modules/gwlb/package.json'));
  if (linked && read(stamp) === wanted) return;
  const cache = npmCache();
  const npm = process.env.npm_execpath;
  // What is there already stays, which is quick. Both take the versions that the lock names.
  const command = existsSync(join(root, 'node_modules')) ? ['install', '--no-save'] : ['ci'];
  // Scripts off: no package here needs one, and our own would build the addon twice.
  const args = [...command, '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  run(
    `installing packages (npm ${command[0]})`,
    npm ? process.execPath : 'npm',
    npm ? [npm, ...args] : args,
    cache ? { npm_config_cache: cache } : {},
  );
  if (cache) rmSync(cache, { recursive: true, force: true });
  writeFileSync(join(root, stamp), wanted);
}

function native() {
  const stamp = 'build/.gwlb-stamp';
  const wanted = digest(NATIVE_SOURCES, [
    process.version,
    process.arch,
    process.execPath,
    process.env.CXX ?? '',
  ]);
  if (read(stamp) === wanted && existsSync(join(root, 'build/Release/gwlb.node'))) return;
  const missing = missingForNativeBuild();
  if (missing.length > 0) {
    const found = prebuild();
    if (!found) fail(missing.join('\nsetup: '));
    for (const sentence of missing) say(sentence);
    say(`so the prebuild prebuilds/${process.platform}-${process.arch}/${found} is used.`);
    // A stale local build would be preferred to it.
    rmSync(join(root, 'build/Release'), { recursive: true, force: true });
    return;
  }
  run(
    'building the native addon (node-gyp)',
    process.execPath,
    [
      'node_modules/node-gyp/bin/node-gyp.js',
      'configure',
      'build',
      '-j',
      '2',
      '--release',
      '--loglevel=warn',
    ],
    { npm_package_config_node_gyp_nodedir: headersPrefix() ?? undefined },
  );
  writeFileSync(join(root, stamp), wanted);
}

/**
 * Removes outputs whose source is gone, so that they are neither imported nor packed.
 * @param {string} folder
 */
function removeStaleOutputs(folder) {
  const dist = join(root, folder, 'dist');
  if (!existsSync(dist)) return;
  for (const path of readdirSync(dist, { recursive: true }).map(String)) {
    const source = path.replace(/(\.d)?\.ts(\.map)?$|\.js(\.map)?$/, '.ts');
    if (source === path && !path.endsWith('.ts')) continue;
    if (!existsSync(join(root, folder, 'src', source))) rmSync(join(dist, path), { force: true });
  }
}

/**
 * One of the two packages. The server reads the library's declarations, so it is compiled behind it.
 * @param {string} what
 * @param {string} folder
 * @param {string} config
 * @param {string[]} inputs
 */
function typescript(what, folder, config, inputs) {
  const stamp = join(folder, 'dist/.stamp');
  const wanted = digest(
    [...inputs, 'tsconfig.json', config, 'node_modules/typescript/package.json'],
    [],
  );
  if (read(stamp) === wanted) return;
  removeStaleOutputs(folder);
  run(`compiling the ${what} (tsc)`, process.execPath, [
    'node_modules/typescript/bin/tsc',
    '-p',
    config,
  ]);
  if (folder === '') {
    // Written by hand, since tsc makes none beside an ES module.
    copyFileSync(join(root, 'src/index.d.cts'), join(root, 'dist/index.d.cts'));
  }
  writeFileSync(join(root, stamp), wanted);
}

/** @param {number} pid */
function alive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM';
  }
}

/** One setup at a time in a tree: two builds at once would write the same files. */
function lock() {
  const path = join(root, '.setup-lock');
  const until = Date.now() + LOCK_WAIT_MS;
  let told = false;
  for (;;) {
    try {
      writeFileSync(path, String(process.pid), { flag: 'wx' });
      process.on('exit', () => rmSync(path, { force: true }));
      for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
        process.on(signal, () => process.exit(1));
      }
      return;
    } catch (error) {
      const { code, message } = /** @type {NodeJS.ErrnoException} */ (error);
      if (code !== 'EEXIST') fail(`cannot write to ${root}: ${message}`);
    }
    const holder = Number(read('.setup-lock'));
    if (holder > 0 && !alive(holder)) {
      rmSync(path, { force: true });
      continue;
    }
    if (Date.now() > until) {
      fail(`another setup (process ${holder}) has been at work too long; remove ${path} if not.`);
    }
    if (!told) say(`waiting for another setup (process ${holder}) …`);
    told = true;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 250);
  }
}

checkNode();
const only = process.argv[2];
if (only !== undefined && only !== 'packages' && only !== 'native') {
  fail(`expected nothing, "packages" or "native", received "${only}"`);
}
lock();
packages();
if (only !== 'packages') native();
if (only === undefined) {
  typescript('library', '', 'tsconfig.build.json', ['src']);
  typescript('server', 'server', 'server/tsconfig.json', ['src', 'server/src']);
}
