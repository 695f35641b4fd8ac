/** Random histories of a whole load balancer, each from a number; see README.md. */
import t from 'tap';
import { type Done, play, report, shorten } from './play.js';

const wide = process.env.GWLB_WIDE === '1';
const steps = Number(process.env.GWLB_STEPS ?? 400);
const given = process.env.GWLB_SEED;
const seeds =
  given === undefined ? Array.from({ length: wide ? 250 : 20 }, (_, i) => i + 1) : [Number(given)];

t.test('random histories', async (t) => {
  const done: Done = { forwarded: 0, returned: 0, moved: 0, refused: 0, events: 0, restarts: 0 };
  for (const seed of seeds) {
    const failure = play(seed, steps, undefined, done);
    if (failure === null) continue;
    t.comment(report(shorten(failure), steps));
    t.fail(`seed ${seed}: ${failure.problem}`);
  }
  t.comment(`${seeds.length * steps} steps: ${JSON.stringify(done)}`);
  if (given !== undefined) return;
  for (const [what, count] of Object.entries(done)) t.ok(count > 0, `${what}: ${count}`);
});
