/**
 * The npm package as its user gets it: packed, installed without scripts and without the optional
 * packages into an empty folder elsewhere, loaded from the prebuild. The registry is not asked.
 *
 * The prebuild is the addon this tree built; with GWLB_PREBUILDS=1 (as .ci/run does after
 * `npm run prebuild`) the ones in prebuilds/ are taken.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const platform = `${process.platform}-${process.arch}`;
const { name, version, optionalDependencies } = JSON.parse(
  readFileSync(join(root, 'package.json'), 'utf8'),
);

const folder = mkdtempSync(join(tmpdir(), 'gwlb-pack-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const stage = join(folder, 'stage');
const user = join(folder, 'user');

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
  const [listed] = JSON.parse(npm(root, 'pack', '--dry-run', '--json')) as [Packed];
  const files = listed.files.map(({ path }) => path);
  for (const path of [
    'package.json',
    'README.md',
    'LICENSE',
    'CHANGELOG.md',
    'SECURITY.md',
    'binding.gyp',
    'dist/index.js',
    'dist/index.d.ts',
    'dist/cli.js',
    'src/index.ts',
    'native/base/drop_reasons.def',
    'native/gateway/gateway.cc',
  ]) {
    t.ok(files.includes(path), path);
  }
  const wanted = /^(dist|src|native|prebuilds|docs|examples)\/|^[^/]+$/;
  t.strictSame(
    files.filter((path) => !wanted.test(path)),
    [],
  );
  t.strictSame(
    files.filter((path) => /Makefile|\.stamp|tsbuildinfo|\.o$|\.test\.|^\.|\.tgz$/.test(path)),
    [],
  );

  for (const path of files.filter((path) => !path.startsWith('prebuilds/'))) {
    mkdirSync(dirname(join(stage, path)), { recursive: true });
    cpSync(join(root, path), join(stage, path));
  }
  if (process.env.GWLB_PREBUILDS === '1') {
    cpSync(join(root, 'prebuilds'), join(stage, 'prebuilds'), { recursive: true });
    t.ok(existsSync(join(stage, 'prebuilds', platform)), `prebuilds/${platform}`);
  } else {
    mkdirSync(join(stage, 'prebuilds', platform), { recursive: true });
    cpSync(
      join(root, 'build/Release/gwlb.node'),
      join(stage, 'prebuilds', platform, `${name}.node`),
    );
  }
  const [packed] = JSON.parse(npm(stage, 'pack', '--json')) as [Packed];
  tarball = join(stage, packed.filename);
});

t.test('it installs without scripts, optional packages and a compiler', async (t) => {
  mkdirSync(user);
  writeFileSync(join(user, 'package.json'), '{ "private": true }\n');
  const dependencies = ['node-addon-api', 'node-gyp-build'].map((dependency) => {
    const [packed] = JSON.parse(
      npm(join(root, 'node_modules', dependency), 'pack', '--json', '--pack-destination', folder),
    ) as [Packed];
    return join(folder, packed.filename);
  });
  npm(user, 'install', '--offline', '--omit=optional', ...dependencies, tarball);
  const installed = join(user, 'node_modules', name);
  t.equal(JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')).version, version);
  t.notOk(existsSync(join(installed, 'build')), 'nothing was built');
  for (const optional of Object.keys(optionalDependencies)) {
    t.notOk(existsSync(join(user, 'node_modules', optional)), `${optional} is left out`);
  }
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

t.test('its declarations stand on their own', async (t) => {
  writeFileSync(
    join(user, 'use.mts'),
    `import { GatewayLoadBalancer, GatewayError, TargetGroup } from '${name}';
export const listen: typeof GatewayLoadBalancer.listen = GatewayLoadBalancer.listen;
export const group: TargetGroup = new TargetGroup({ name: 'a' });
export const code = (error: GatewayError): string => error.code;
// @ts-expect-error a number is no name
export const wrong = new TargetGroup({ name: 1 });
`,
  );
  const { status, stdout } = spawnSync(
    process.execPath,
    [
      join(root, 'node_modules/typescript/bin/tsc'),
      ...['--noEmit', '--strict', '--target', 'es2023', '--module', 'nodenext'],
      ...['--lib', 'es2023,esnext.disposable', '--types', 'node'],
      ...['--typeRoots', join(root, 'node_modules/@types'), 'use.mts'],
    ],
    { cwd: user, encoding: 'utf8' },
  );
  t.equal(status, 0, stdout);
});

t.test('the command without its packages names what is missing', async (t) => {
  const { status, stderr } = spawnSync(
    join(user, 'node_modules/.bin', name),
    ['check', 'absent.yaml'],
    { cwd: user, encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '', PREBUILDS_ONLY: '1' } },
  );
  t.not(status, 0);
  t.match(stderr, new RegExp(`(${Object.keys(optionalDependencies).join('|')})`));
  t.notMatch(stderr, /\n\s+at /, 'in a sentence, not a stack');
});
