/** The demo without namespaces: generated conversations over 127.0.0.0/8. */
import t from 'tap';
import { startDemo } from './demo-run.js';
import { checkStory } from './story.js';

t.test('tells the same story over the loopback network', async (t) => {
  const run = startDemo('--loopback');
  t.teardown(() => run.child.kill('SIGKILL'));
  await checkStory(t, run, 'loopback');
  t.same(await run.left(), [], 'no process is left');
});

t.test('wrong arguments are refused with exit code 2', async (t) => {
  const run = startDemo('--nonsense');
  t.equal(await run.ended, 2);
  t.match(run.stderr(), /--nonsense/);
});
