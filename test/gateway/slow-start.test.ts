/** Slow start: when its steps come, who warms up, and which rows move. */
import fc from 'fast-check';
import t from 'tap';
import { nextInstant } from '../../src/fleet/instants.js';
import { LAST_STEP, stepAfter, weightIn } from '../../src/fleet/slow-start.js';
import type { WeightEvent } from '../../src/gateway/group-events.js';
import { groupWithRuntime } from '../../src/gateway/target-group.js';
import { buildTableNow } from '../../src/gateway/target-table.js';
import { BAD, OK, spec, started } from '../fleet/rig.js';
import { attach, HEALTH, setup, table, World } from './group-rig.js';

const ROUND = [0, 1, 2, 3, 4];

t.test('a step is a share of the weight, in tenths of 1', async (t) => {
  const cases: [number, number[]][] = [
    [0, [0, 0, 0, 0, 0]],
    [1, [1, 3, 6, 8, 10]],
    [2, [2, 7, 11, 16, 20]],
    [1000, [1000, 3250, 5500, 7750, 10_000]],
  ];
  for (const [weight, expected] of cases) {
    t.same(
      ROUND.map((step) => weightIn(step, weight)),
      expected,
    );
  }
});

t.test('the steps are a quarter of the time apart', async (t) => {
  const at = [0, 249, 250, 499, 500, 749, 750, 999, 1000, 5000];
  t.same(
    at.map((elapsed) => stepAfter(elapsed, 1000)),
    [0, 0, 1, 1, 2, 2, 3, 3, 4, 4],
  );
  t.equal(stepAfter(0, 0), LAST_STEP, 'off');
});

t.test('a target that turned healthy, step by step', async (t) => {
  const { world, group, said } = setup({ healthCheck: HEALTH, slowStartSeconds: 40 });
  const [target] = group.register({ address: '10.0.0.1', weight: 2 });
  t.equal(target.effectiveWeight, 2);
  attach(group);
  world.advance(20_000);
  t.match(target, { state: 'healthy', weight: 2, effectiveWeight: 0.2 });
  said();
  const { since } = target;
  const log: [number, number][] = [];
  const follow = (event: WeightEvent) => {
    t.match(event, { target, weight: 2, cause: 'slow-start', at: world.time });
    log.push([event.at - since, event.effectiveWeight]);
  };
  group.on('weight', follow);
  world.advance(60_000);
  t.same(log, [
    [10_000, 0.7],
    [20_000, 1.1],
    [30_000, 1.6],
    [40_000, 2],
  ]);
  t.same(
    said().filter((line) => !line.startsWith('probe')),
    log.flatMap(([, weight]) => ['change', `10.0.0.1 weighs ${weight} (slow-start)`]),
    'the data plane hears of each step first',
  );
  group.off('weight', follow);
  group.setWeight(target, 5);
  t.same(said(), ['change', '10.0.0.1 weighs 5 (set-weight)']);
  group.setWeight(target, 5);
  t.same(said(), []);
});

t.test('who warms up', async (t) => {
  const { played, records } = started([spec(1), spec(2)], [0], { slowStartMs: 1000 });
  const [record] = records;
  t.equal(record.step, 0, 'after the first checks');
  t.equal(nextInstant(played.fleet), 250);
  t.same(played.tick(249), []);
  t.match(played.tick(250), [{ type: 'weight', target: record.id, cause: 'slow-start', at: 250 }]);
  t.equal(record.step, 1);
  played.do({ type: 'setWeight', target: record.id, weight: 7 }, 260);
  t.equal(record.step, 1, 'another weight does not begin anew');
  played.check(record, BAD, 300);
  t.equal(record.step, LAST_STEP, 'what is not healthy has no slow start');
  t.equal(nextInstant(played.fleet), null);
  played.check(record, OK, 400);
  t.equal(record.step, 0, 'after a recovery');
  played.tick(1300);
  t.equal(record.step, 3, 'a late tick takes several steps');
  played.deregister([record], 1310);
  t.equal(record.step, LAST_STEP);
  played.setPolicy({ slowStartMs: 1000, rule: null }, false, 1320);
  const [, other] = records;
  t.equal(other.state, 'healthy');
  t.equal(other.step, LAST_STEP, 'not one that nobody checks');
  const say = (state: 'healthy' | 'unhealthy', now: number) =>
    played.do({ type: 'setHealth', target: other.id, state }, now);
  say('unhealthy', 1330);
  say('healthy', 1340);
  t.equal(other.step, 0, 'but one that somebody said to be healthy again');
  played.setPolicy({ slowStartMs: 400 }, false, 1540);
  t.equal(other.step, 2, 'another time counts at once');
  played.setPolicy({ slowStartMs: 0 }, false, 1540);
  t.equal(other.step, LAST_STEP, 'and none ends it');
});

t.test('preview looks at the time after the slow start', async (t) => {
  const { world, group } = setup({ healthCheck: false, slowStartSeconds: 40 });
  group.register({ address: '10.0.0.1' }, { address: '10.0.0.2' });
  attach(group);
  const share = async (change: Parameters<typeof group.preview>[0]) =>
    (await group.preview(change)).zones[0].targets[0];
  group.setHealth('10.0.0.1', 'unhealthy');
  const { before, after } = await share({ recover: '10.0.0.1' });
  t.equal(before, 0);
  t.ok(Math.abs(after / 65_536 - 0.5) < 0.01);
  group.setHealth('10.0.0.1', 'healthy');
  const warm = await share({ weight: { target: '10.0.0.2', weight: 1 } });
  t.ok(Math.abs(warm.after / 65_536 - 0.1 / 1.1) < 0.01, 'one that has begun stays where it is');
  world.advance(40_000);
  t.equal((await share({ recover: '10.0.0.1' })).before, after);
});

t.test('property: each step only moves rows to the target that warms up', async (t) => {
  const weight = fc.integer({ min: 1, max: 1000 });
  const property = fc.property(fc.array(weight, { minLength: 2, maxLength: 6 }), (weights) => {
    const world = new World();
    const group = groupWithRuntime({ healthCheck: false, slowStartSeconds: 4 }, world);
    group.register(...weights.map((weight, i) => ({ address: `10.0.0.${i + 1}`, weight })));
    attach(group);
    const rows = () => buildTableNow(table(group), null).rows(0);
    const whole = rows();
    group.setHealth('10.0.0.1', 'unhealthy');
    let before = rows();
    group.setHealth('10.0.0.1', 'healthy');
    for (const step of ROUND) {
      const now = rows();
      if (now.some((slot, row) => slot !== before[row] && slot !== 0)) return false;
      before = now;
      if (step < LAST_STEP) world.advance(1000);
    }
    return Buffer.from(before.buffer).equals(Buffer.from(whole.buffer));
  });
  fc.assert(property, { numRuns: 25 });
  t.pass('held');
});
