/** Key files: what is no regular file is not waited for, and what others may read is told. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { loadConfig, type Problem, pathText, problemLine } from '../../src/config/config.js';

const folder = mkdtempSync(join(tmpdir(), 'gwlb-keys-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const key = join(folder, 'key');
writeFileSync(key, '000102030405060708090a0b0c0d0e0f\n', { mode: 0o600 });
const fifo = join(folder, 'fifo');
spawnSync('mkfifo', [fifo]);
const link = join(folder, 'link');
symlinkSync(key, link);

function loaded(path: string) {
  const file = join(folder, 'gateway.yaml');
  writeFileSync(
    file,
    `gateway: { address: 127.0.0.1, cookieKey: { file: ${path} } }
targetGroup: { targets: [{ address: 127.0.0.2 }] }
endpoints: [{ id: vpce-00000000000000001, tun: gwlbe0 }]
`,
  );
  const result = loadConfig(file);
  const told = (problems: readonly Problem[]) => problems.map((it) => problemLine('f', it));
  if (!result.ok) return { problems: told(result.problems), warnings: [] };
  const own = result.warnings.filter(({ path }) => pathText(path) === 'gateway.cookieKey.file');
  return { problems: [], warnings: told(own) };
}

t.test('only a regular file, at once, and no link', async (t) => {
  t.strictSame(loaded(key), { problems: [], warnings: [] });
  for (const [path, what] of [
    [fifo, 'a FIFO'],
    [link, 'a symbolic link'],
    [folder, 'a directory'],
    ['/dev/zero', 'a device'],
  ]) {
    const { problems } = loaded(path);
    t.equal(problems.length, 1);
    t.match(problems[0], 'gateway.cookieKey: expected a file that can be read', path);
    t.match(problems[0], what);
  }
  t.match(loaded(join(folder, 'none')).problems[0], /\(ENOENT\)/);
});

t.test('what others may read or change is a warning', async (t) => {
  for (const [mode, warned] of [
    [0o600, false],
    [0o400, false],
    [0o640, false],
    [0o644, true],
    [0o660, true],
    [0o666, true],
    [0o602, true],
  ] as const) {
    chmodSync(key, mode);
    const { problems, warnings } = loaded(key);
    t.strictSame(problems, []);
    t.equal(warnings.length, warned ? 1 : 0, mode.toString(8));
    if (warned) t.match(warnings[0], `(mode 0${mode.toString(8)}): expected 0600`);
  }
});
