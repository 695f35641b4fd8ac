// Makes the prebuilds that go into the npm package: prebuilds/linux-x64, and linux-arm64 where
// Debian's cross compiler is installed. That of the running processor is the addon that setup built.
// Another one is built in a copy (build-prebuild/), since objects of two processors must not meet in
// one folder. Headers are the running Node's: nothing is downloaded,
// and N-API being stable, one binary serves every Node from 20.19 on. The symbol versions printed say how
// old a system may be; libstdc++ linked in would ask for a newer glibc, not an older system.
//
//   node scripts/prebuild.mjs          the running processor, and arm64 where possible
//   node scripts/prebuild.mjs arm64    only this one
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { sourceStamp, stampPath } from './prebuilt.mjs';
import { headersPrefix, root } from './toolchain.mjs';

const OLDEST_NODE = '20.19.0';
const CROSS = { arm64: 'aarch64-linux-gnu', x64: 'x86-64-linux-gnu' };

/** @param {string} text */
function say(text) {
  process.stdout.write(`prebuild: ${text}\n`);
}

/** @param {string} arch */
function tools(arch) {
  if (arch === process.arch) return { env: {}, strip: 'strip', objdump: 'objdump' };
  const prefix = CROSS[/** @type {keyof typeof CROSS} */ (arch)];
  if (!prefix || spawnSync(`${prefix}-g++`, ['--version']).status !== 0) return null;
  return {
    env: {
      CC: `${prefix}-gcc`,
      CXX: `${prefix}-g++`,
      LINK: `${prefix}-g++`,
      AR: `${prefix}-ar`,
    },
    strip: `${prefix}-strip`,
    objdump: `${prefix}-objdump`,
  };
}

/** The newest symbol version a binary asks of a library: what the oldest usable system must have.
 * @param {string} symbols
 * @param {string} library */
function newest(symbols, library) {
  const versions = [...symbols.matchAll(new RegExp(`\\b${library}_([0-9.]+)`, 'g'))].map(
    (m) => m[1],
  );
  versions.sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  return `${library} ${versions.at(-1) ?? 'none'}`;
}

/** This tree's own addon, named as prebuildify does.
 * @param {string} folder
 * @param {string} strip */
function takeBuilt(folder, strip) {
  const report = /** @type {{ header: { glibcVersionRuntime?: string } }} */ (
    process.report.getReport()
  );
  const libc = report.header.glibcVersionRuntime ? 'glibc' : 'musl';
  const file = join(root, folder, `gwlb.${libc}.node`);
  mkdirSync(join(root, folder), { recursive: true });
  const { status } = spawnSync(strip, ['-o', file, join(root, 'build/Release/gwlb.node')]);
  if (status !== 0) throw new Error(`${strip} of build/Release/gwlb.node ended with ${status}`);
}

/** In a copy of the sources.
 * @param {string} arch
 * @param {string} folder
 * @param {NonNullable<ReturnType<typeof tools>>} found */
function crossBuild(arch, folder, found) {
  const prefix = headersPrefix();
  if (!prefix) throw new Error(`no Node headers beside ${process.execPath}`);
  const copy = join(root, 'build-prebuild', arch);
  rmSync(copy, { recursive: true, force: true });
  mkdirSync(copy, { recursive: true });
  for (const name of ['package.json', 'binding.gyp', 'native']) {
    cpSync(join(root, name), join(copy, name), { recursive: true });
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  const args = ['--napi', '--strip', '--tag-libc', '-t', OLDEST_NODE, '--arch', arch];
  const { status, stderr } = spawnSync(
    process.execPath,
    [join(root, 'node_modules/prebuildify/bin.js'), ...args, '--strip-bin', found.strip],
    {
      cwd: copy,
      env: { ...process.env, ...found.env, npm_package_config_node_gyp_nodedir: prefix, JOBS: '2' },
      encoding: 'utf8',
      maxBuffer: 256 * 1024 * 1024,
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  );
  if (status !== 0) {
    process.stderr.write(stderr ?? '');
    throw new Error(`prebuildify for ${arch} ended with ${status}`);
  }
  cpSync(join(copy, folder), join(root, folder), { recursive: true });
  rmSync(copy, { recursive: true, force: true });
}

/** @param {string} arch */
function build(arch) {
  const found = tools(arch);
  if (!found) return false;
  const stamp = sourceStamp();
  const folder = `prebuilds/linux-${arch}`;
  rmSync(join(root, folder), { recursive: true, force: true });
  if (arch === process.arch) takeBuilt(folder, found.strip);
  else crossBuild(arch, folder, found);
  for (const name of readdirSync(join(root, folder))) {
    const { stdout } = spawnSync(found.objdump, ['-T', join(root, folder, name)], {
      encoding: 'utf8',
    });
    const needs = ['GLIBC', 'GLIBCXX'].map((library) => newest(stdout ?? '', library)).join(', ');
    say(`${folder}/${name} (needs ${needs})`);
  }
  mkdirSync(join(root, 'build-prebuild'), { recursive: true });
  writeFileSync(stampPath(`linux-${arch}`), stamp);
  return true;
}

const asked = process.argv.slice(2);
const wanted = asked.length > 0 ? asked : [...new Set([process.arch, 'arm64'])];
for (const arch of wanted) {
  if (build(arch)) continue;
  const sentence = `${arch} left out: its cross compiler (apt-get install g++-aarch64-linux-gnu) is missing`;
  say(sentence);
  if (asked.length > 0) process.exitCode = 1;
}
