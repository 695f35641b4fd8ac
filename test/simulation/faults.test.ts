/** The simulation finds faults: without that, finding none means nothing. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ROOT } from '../support/places.js';
import { FAULTS, type Fault } from './faults.js';
import { type Failure, play, report, shorten } from './play.js';

const STEPS = 400;
const SEEDS = 20;

function find({ seams }: Fault): Failure | null {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const failure = play(seed, STEPS, seams);
    if (failure !== null) return failure;
  }
  return null;
}

t.test('deliberate faults are found', async (t) => {
  const found = FAULTS.filter((fault) => {
    const failure = find(fault);
    t.equal(failure === null, fault.unfound !== undefined, fault.name);
    return failure !== null;
  });
  t.ok(found.length >= 9 && found.length >= FAULTS.length * 0.9, `${found.length} found`);
});

t.test(
  'a history is shortened to what goes wrong, and reported with the way to see it again',
  async (t) => {
    const [fault] = FAULTS;
    const failure = find(fault);
    if (failure === null) throw new Error('nothing was found');
    const shortest = shorten(failure, fault.seams);
    t.ok(shortest.steps.length <= 5, `${shortest.steps.length} of ${failure.steps.length} steps`);
    const text = report(shortest, STEPS);
    t.match(text, /left \d+ ms before its deregistration delay was over/);
    t.match(text, new RegExp(`GWLB_SEED=${failure.seed} GWLB_STEPS=${STEPS} `));
  },
);

t.test('README.md lists each of them', async (t) => {
  const readme = readFileSync(join(ROOT, 'test/simulation/README.md'), 'utf8');
  for (const { name, unfound } of FAULTS) {
    t.ok(readme.includes(`| ${name} | ${unfound ?? 'found'} |`), name);
  }
});
