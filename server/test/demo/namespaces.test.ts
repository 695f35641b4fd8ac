/** The demo in network namespaces, to its end, and cut short. */
import t from 'tap';
import { whyNoNamespaces } from '../../src/lab/sandbox.js';
import { startDemo } from './demo-run.js';
import { checkStory } from './story.js';

const obstacle = whyNoNamespaces();
const skip = obstacle ?? false;

t.test('tells its story and keeps every promise', { skip }, async (t) => {
  const run = startDemo();
  t.teardown(() => run.child.kill('SIGKILL'));
  await checkStory(t, run, 'namespaces');
  t.same(await run.left(), [], 'no process is left');
});

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  t.test(`${signal} ends it in order`, { skip }, async (t) => {
    const run = startDemo();
    t.teardown(() => run.child.kill('SIGKILL'));
    t.ok(await run.told('started'), run.stderr());
    run.child.kill(signal);
    t.equal(await run.ended, 0, run.stderr());
    t.equal(run.events.at(-1)?.event, 'gone');
    t.same(await run.left(), [], 'no process is left');
  });
}

t.test('SIGKILL leaves nothing behind either', { skip }, async (t) => {
  const run = startDemo();
  t.teardown(() => run.child.kill('SIGKILL'));
  t.ok(await run.told('started'), run.stderr());
  run.child.kill('SIGKILL');
  t.equal(await run.ended, 'SIGKILL');
  t.same(await run.left(), [], 'no process is left');
});
