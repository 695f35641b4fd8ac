/**
 * The npm packages as their users get them: packed, installed without scripts into an empty folder
 * elsewhere, loaded from the prebuild. The registry is not asked: what they depend on is taken from this
 * tree.
 *
 * The prebuild is the addon this tree built; with GWLB_PREBUILDS=1 (as .ci/run does after
 * `npm run prebuild`) the ones in prebuilds/ are taken.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ROOT } from '../support/places.js';
import { folder, install, library, packLibrary, platform } from './rig.js';

const { name, version, dependencies } = library;
const needed = Object.keys(dependencies);
const user = join(folder, 'user');

/** Runs a script in the user's folder as its own program. */
function runs(file: string, text: string): { status: number | null; out: string; err: string } {
  writeFileSync(join(user, file), text);
  const { status, stdout, stderr } = spawnSync(process.execPath, [file], {
    cwd: user,
    encoding: 'utf8',
    env: { ...process.env, NODE_OPTIONS: '', PREBUILDS_ONLY: '1' },
  });
  return { status, out: stdout, err: stderr };
}

// The same in both module systems: the addon is called, through the public API.
const USE = `
const table = new gwlb.FlowTable({ capacity: 1024 });
const header = gwlb.encodeGeneve({ protocolType: 0x0800, vni: 7, options: [] });
const decoded = gwlb.decodeGeneve(header);
console.log(JSON.stringify({ vni: decoded.header.vni, size: table.size }));
`;

let tarball = '';

t.test('the package holds what a user needs and nothing else', async (t) => {
  const { tarball: packed, files } = packLibrary();
  tarball = packed;
  for (const path of [
    'package.json',
    'README.md',
    'LICENSE',
    'CHANGELOG.md',
    'SECURITY.md',
    'binding.gyp',
    'scripts/install.mjs',
    'scripts/toolchain.mjs',
    'dist/index.js',
    'dist/index.d.ts',
    'dist/index.d.cts',
    'src/index.ts',
    'native/base/drop_reasons.def',
    'native/gateway/gateway.cc',
  ]) {
    t.ok(files.includes(path), path);
  }
  const wanted =
    /^(dist|src|native|prebuilds|docs|examples|scripts\/(install|toolchain)\.mjs$)\/?|^[^/]+$/;
  t.strictSame(
    files.filter((path) => !wanted.test(path)),
    [],
  );
  t.strictSame(
    files.filter((path) => /Makefile|\.stamp|tsbuildinfo|\.o$|\.test\.ts$|^\.|\.tgz$/.test(path)),
    [],
  );
});

t.test('it installs without scripts and a compiler, with two packages beside it', async (t) => {
  install(user, needed, tarball);
  const installed = join(user, 'node_modules', name);
  t.equal(JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')).version, version);
  t.notOk(existsSync(join(installed, 'build')), 'nothing was built');
  const others = readdirSync(join(user, 'node_modules')).filter((other) => !other.startsWith('.'));
  t.strictSame(others.sort(), [name, ...needed].sort());
  t.notOk(existsSync(join(user, 'node_modules/.bin/gwlb')), 'the command is the other package');
});

t.test('import and require load it from the prebuild', async (t) => {
  const expected = { vni: 7, size: 0 };
  const esm = runs('use.mjs', `import * as gwlb from '${name}';${USE}`);
  t.equal(esm.status, 0, esm.err);
  t.strictSame(JSON.parse(esm.out || 'null'), expected);
  const cjs = runs('use.cjs', `const gwlb = require('${name}');${USE}`);
  t.equal(cjs.status, 0, cjs.err);
  t.strictSame(JSON.parse(cjs.out || 'null'), expected);
});

/** What the compiler says of files of the user's under a module system, '' where it is content. */
function compiles(files: readonly string[], module: string): string {
  const { stdout } = spawnSync(
    process.execPath,
    [
      join(ROOT, 'node_modules/typescript/bin/tsc'),
      ...['--noEmit', '--strict', '--target', 'es2023', '--module', module],
      ...['--lib', 'es2023,esnext.disposable', ...files],
    ],
    { cwd: user, encoding: 'utf8' },
  );
  return stdout;
}

t.test('its declarations stand on their own', async (t) => {
  const uses = `
export const listen: typeof GatewayLoadBalancer.listen = GatewayLoadBalancer.listen;
export const options: TargetGroupOptions = { name: 'a' };
export const group: TargetGroup = new TargetGroup(options);
export const code = (error: GatewayError): string => error.code;
group.on('health', ({ state }) => {
  const text: string = state;
  return text;
});
// @ts-expect-error an event has no such field
group.on('health', ({ absent }) => absent);
// @ts-expect-error a number is no name
export const wrong = new TargetGroup({ name: 1 });
`;
  // Installed, but not named in the options, which since TypeScript 6 is as good as absent.
  mkdirSync(join(user, 'node_modules/@types'), { recursive: true });
  symlinkSync(join(ROOT, 'node_modules/@types/node'), join(user, 'node_modules/@types/node'));
  const names = 'GatewayLoadBalancer, GatewayError, TargetGroup, type TargetGroupOptions';
  writeFileSync(join(user, 'use.mts'), `import { ${names} } from '${name}';${uses}`);
  writeFileSync(
    join(user, 'use.cts'),
    `import { ${names} } from '${name}';${uses}
import gwlb = require('${name}');
export const same: TargetGroup = new gwlb.TargetGroup(options);
`,
  );
  for (const module of ['node16', 'nodenext']) {
    t.equal(compiles(['use.mts', 'use.cts'], module), '', module);
  }
});

t.test(
  'where no addon loads and none can be built, the last line says what to install',
  async (t) => {
    const broken = join(folder, 'broken');
    cpSync(join(user, 'node_modules'), join(broken, 'node_modules'), { recursive: true });
    const installed = join(broken, 'node_modules', name);
    const scripts = (env: NodeJS.ProcessEnv) => {
      const { status, stderr } = spawnSync(process.execPath, ['scripts/install.mjs'], {
        cwd: installed,
        encoding: 'utf8',
        env: { ...process.env, ...env },
      });
      return { status, last: stderr.trimEnd().split('\n').at(-1) ?? '' };
    };
    t.equal(scripts({ CXX: 'no-such-compiler' }).status, 0, 'the prebuild needs none');
    const [addon] = readdirSync(join(installed, 'prebuilds', platform));
    writeFileSync(join(installed, 'prebuilds', platform, addon), 'of another system');
    const { status, last } = scripts({ CXX: 'no-such-compiler' });
    t.equal(status, 1);
    t.match(last, /^gwlb: .*apt-get install g\+\+.*npm rebuild gwlb$/);
    const failed = scripts({ CXX: 'false-compiler', PATH: compilerThatFails() });
    t.equal(failed.status, 1);
    t.match(failed.last, /^gwlb: .*g\+\+ 12 or newer.*npm rebuild gwlb$/);
  },
);

/** A PATH whose compiler knows its version and nothing else. */
function compilerThatFails(): string {
  const bin = join(folder, 'bin');
  mkdirSync(bin, { recursive: true });
  writeFileSync(join(bin, 'false-compiler'), '#!/bin/sh\n[ "$1" = --version ]\n', { mode: 0o755 });
  return `${bin}:${join(ROOT, 'node_modules/.bin')}:${process.env.PATH}`;
}

t.test('a package without prebuilds, or with those of other sources, is not packed', async (t) => {
  const tree = join(folder, 'tree');
  for (const path of ['scripts', 'native', 'binding.gyp', 'package.json']) {
    cpSync(join(ROOT, path), join(tree, path), { recursive: true });
  }
  const prepack = () => {
    const { status, stderr } = spawnSync(process.execPath, ['scripts/prepack.mjs'], {
      cwd: tree,
      encoding: 'utf8',
    });
    return { status, stderr };
  };
  t.match(prepack(), { status: 1, stderr: /linux-x64 is missing.*npm run prebuild/ });
  mkdirSync(join(tree, 'build-prebuild'));
  const stamp = execFileSync(
    process.execPath,
    ['-e', "import('./scripts/prebuilt.mjs').then((it) => process.stdout.write(it.sourceStamp()))"],
    { cwd: tree, encoding: 'utf8' },
  );
  for (const platform of ['linux-x64', 'linux-arm64']) {
    mkdirSync(join(tree, 'prebuilds', platform), { recursive: true });
    writeFileSync(join(tree, 'prebuilds', platform, 'gwlb.node'), '');
    writeFileSync(join(tree, 'build-prebuild', `${platform}.stamp`), stamp);
  }
  t.match(prepack(), { status: 0, stderr: '' });
  writeFileSync(join(tree, 'native/base/changed.h'), '');
  t.match(prepack(), { status: 1, stderr: /linux-arm64 was built from other sources/ });
});
