/** The examples that are programs run, and their own tests pass. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { ROOT } from '../support/places.js';

const folder = join(ROOT, 'examples/inspector');

t.test('an inspector and its unit test', async (t) => {
  const { NODE_OPTIONS: _, ...env } = process.env;
  const test = [`${folder}/inspector.test.mjs`];
  const { status, stdout } = spawnSync(process.execPath, test, { env, encoding: 'utf8' });
  t.equal(status, 0, stdout);
  t.match(stdout, /pass 1\b/);
});
