/** The examples that are programs run, and their own tests pass. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const folder = fileURLToPath(new URL('../../examples/inspector', import.meta.url));

t.test('an inspector and its unit test', async (t) => {
  const { NODE_OPTIONS: _, ...env } = process.env;
  const test = [`${folder}/inspector.test.mjs`];
  const { status, stdout } = spawnSync(process.execPath, test, { env, encoding: 'utf8' });
  t.equal(status, 0, stdout);
  t.match(stdout, /pass 1\b/);
});
