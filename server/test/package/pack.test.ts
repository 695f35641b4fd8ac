/** The npm package as an operator gets it: its command runs from the tarballs of both packages. */
import { spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t from 'tap';
import {
  folder,
  install,
  library,
  manifestOf,
  pack,
  packLibrary,
} from '../../../test/package/rig.js';
import { ROOT } from '../../../test/support/places.js';
import { WIDE } from '../../../test/support/wide.js';

const place = join(ROOT, 'server');
const server = manifestOf(place);
const operator = join(folder, 'operator');

/** Every package that one needs, directly or not, but the library. */
function needsOf(
  dependencies: Record<string, string> = {},
  found = new Set<string>(),
): Set<string> {
  for (const name of Object.keys(dependencies)) {
    if (name === library.name || found.has(name)) continue;
    found.add(name);
    needsOf(manifestOf(join(ROOT, 'node_modules', name)).dependencies, found);
  }
  return found;
}

t.test('the package holds the command and nothing else', async (t) => {
  const { files, tarball } = pack(place);
  const unit = 'systemd/gwlb-appliance.service';
  for (const path of [
    'LICENSE',
    'README.md',
    'dist/cli.js',
    'dist/demo/role.js',
    'src/cli.ts',
    unit,
  ]) {
    t.ok(files.includes(path), path);
  }
  t.strictSame(
    files.filter(
      (path) => !/^(dist|src|systemd)\/|^(LICENSE|README\.md|package\.json)$/.test(path),
    ),
    [],
  );
  t.strictSame(
    files.filter((path) => /\.stamp|tsbuildinfo|\.test\.|\.tgz$/.test(path)),
    [],
  );
  const needs = [...needsOf(server.dependencies), ...needsOf(library.dependencies)];
  install(operator, needs, packLibrary().tarball, tarball);
});

function run(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync('npx', ['--offline', 'gwlb-server', ...args], {
    cwd: operator,
    encoding: 'utf8',
    timeout: 100_000,
    env: {
      ...process.env,
      NODE_OPTIONS: '',
      PREBUILDS_ONLY: '1',
      npm_config_cache: join(folder, 'cache'),
    },
  });
}

t.test('npx gwlb-server runs the command', async (t) => {
  const { status, stdout, stderr } = run('--version');
  t.equal(stdout, `${server.version}\n`, stderr);
  t.equal(status, 0);
});

t.test('the installed demo comes up, and goes when it is told to', async (t) => {
  const args = ['demo', '--json', '--loopback'];
  const child = spawn(join(operator, 'node_modules/.bin/gwlb'), args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, PREBUILDS_ONLY: '1' },
  });
  const events: { event: string; exitCode?: number }[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    events.push(JSON.parse(line));
    if (events.length === 5) child.kill('SIGTERM');
  }
  t.match(
    events.find(({ event }) => event === 'end'),
    { exitCode: 0, told: false },
  );
  t.equal(events.at(-1)?.event, 'gone');
});

// Half a minute for what the tests of the demo tell of the sources.
t.test('npx gwlb-server demo tells all', { skip: WIDE ? false : 'GWLB_WIDE=1' }, async (t) => {
  const { status, stdout, stderr } = run('demo', '--once', '--loopback');
  t.match(stdout, /all \w+ promises held/, stderr);
  t.equal(status, 0);
});
