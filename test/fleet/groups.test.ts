/** Another group for the same load balancer, while the flows of the one before run out. */
import t from 'tap';
import { nextInstant } from '../../src/fleet/instants.js';
import { membersOf } from '../../src/fleet/state.js';
import { tableOf } from '../../src/fleet/table.js';
import { BAD, EVERY_SLOT, group, OK, Played, slots, spec, thrown, told } from './rig.js';

const use = (played: Played, members: ReturnType<typeof group>, now: number) =>
  played.do({ type: 'useGroup', group: members }, now);

t.test('targets of the group before drain by its policy, and lose their slots last', async (t) => {
  const played = new Played({ deregistrationDelayMs: 10_000 });
  played.register([spec(1), spec(2)]);
  for (const target of played.every()) played.check(target, OK);
  t.same(told(use(played, group([spec(3)], { rule: null }, 'other'), 1_000)), [
    '10.0.0.1 healthy>draining Target.DeregistrationInProgress (detach)',
    '10.0.0.2 healthy>draining Target.DeregistrationInProgress (detach)',
    '10.0.0.3 unused>healthy null (attach)',
  ]);
  t.same(slots(played.every()), [0, 1, 2], 'slots belong to the load balancer');
  t.same(slots(membersOf(played.fleet)), [2]);
  t.same(played.eligible(), [2]);
  t.equal(played.find('10.0.0.1'), null, 'nobody registers, weighs or deregisters it');
  t.equal(thrown(() => played.deregister(['10.0.0.1'])).code, 'ERR_GWLB_UNKNOWN_TARGET');
  const { length } = Object.keys(played.fleet.groups);
  t.equal(length, 2);
  t.equal(nextInstant(played.fleet), 11_000);
  played.tick(11_000);
  t.same(
    tableOf(played.fleet).targets.map(({ gone }) => gone),
    [true, true, false],
  );
  played.tick(12_000, EVERY_SLOT);
  t.same(slots(played.every()), [2]);
  t.same(Object.values(played.fleet.groups), [
    { name: 'other', policy: group([], { rule: null }).policy, targets: 1 },
  ]);
});

t.test('each group goes on by its own policy', async (t) => {
  const rebalance = { failover: 'rebalance', deregistrationDelayMs: 10_000 } as const;
  for (const [former, moved, reset] of [
    [rebalance, true, false],
    [{ deregistrationDelayMs: 10_000 }, false, false],
    [{ deregistrationDelayMs: 10_000, resetOnDeregistration: true }, false, true],
  ] as const) {
    const played = new Played(former);
    played.register([spec(1)]);
    const [one] = played.every();
    use(played, group([spec(2)], { rule: null }), 0);
    played.setPolicy({ failover: 'no_rebalance', rule: null }, false, 1);
    t.equal(one.generation, 0, 'it drains first');
    played.tick(10_000);
    t.equal(one.generation, moved ? 1 : 0);
    t.equal(played.resets(one), reset);
  }
});

t.test('a target of both groups stays, with its flows', async (t) => {
  const played = new Played({ failover: 'rebalance' });
  played.register([spec(1), spec(2)]);
  const [one, two] = played.every();
  for (const target of [one, two]) played.check(target, OK);
  played.check(two, BAD);
  t.equal(two.generation, 1);
  t.same(told(use(played, group([spec(2, { weight: 5 })]), 5)), [
    '10.0.0.1 healthy>draining Target.DeregistrationInProgress (detach)',
    '10.0.0.2 unused>initial Elb.RegistrationInProgress (attach)',
  ]);
  t.match(two, { slot: 1, generation: 0, weight: 5, state: 'initial', phase: 'active' });
  t.same(
    Object.values(played.fleet.groups).map(({ targets }) => targets),
    [1, 1],
  );
  use(played, group([spec(1)]), 6);
  t.match(one, { slot: 0, phase: 'active' }, 'back before its delay was over');
  t.match(two, { phase: 'draining' });
  t.equal(Object.keys(played.fleet.groups).length, 2);
});

t.test('a group that has no room changes nothing', async (t) => {
  const played = new Played();
  played.register([1, 2, 3, 4, 5].map((n) => spec(n)));
  const before = JSON.stringify(played.fleet);
  const many = [11, 12, 13, 14].map((n) => spec(n));
  t.match(
    thrown(() => use(played, group(many), 1)),
    {
      code: 'ERR_GWLB_TARGET_LIMIT',
      message: 'targets: expected at most 8 targets, draining ones included, received 9',
    },
  );
  const zones = [spec(1, { zone: 'a' }), spec(2, { zone: 'b' })];
  t.equal(thrown(() => use(played, group(zones), 1)).code, 'ERR_GWLB_TARGET_LIMIT');
  t.equal(JSON.stringify(played.fleet), before);
});

t.test('cross-zone turned on and off while targets fail', async (t) => {
  const played = new Played({ failover: 'rebalance' });
  played.register([spec(1, { zone: 'a' }), spec(2, { zone: 'b' })]);
  const [one, two] = played.every();
  played.check(two, OK);
  played.check(one, BAD);
  t.same(played.eligible(), [0, 1], 'each zone for itself');
  t.equal(one.generation, 0);
  const { revision } = played.fleet;
  played.do({ type: 'setCrossZone', crossZone: true }, 1);
  t.ok(played.fleet.revision > revision);
  t.same(played.eligible(), [1]);
  t.equal(one.generation, 1, 'its flows find a healthy one now');
  played.do({ type: 'setCrossZone', crossZone: true }, 2);
  played.do({ type: 'setCrossZone', crossZone: false }, 2);
  t.same(played.eligible(), [0, 1]);
  t.equal(one.generation, 0, 'and those that sent nothing meanwhile stay');
});
