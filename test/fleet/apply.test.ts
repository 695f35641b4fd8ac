import t from 'tap';
import { nextInstant, slotsAwaited } from '../../src/fleet/instants.js';
import { GENERATIONS, type RegisteredTarget } from '../../src/fleet/state.js';
import { BAD, EVERY_SLOT, group, OK, Played, slots, spec, started, thrown, told } from './rig.js';

t.test('a target from registration to its end', async (t) => {
  const alone = new Played({}, false);
  t.same(told(alone.register([spec(1)], 5)), ['register 10.0.0.1 (register)']);
  t.match(alone.get('10.0.0.1'), { state: 'unused', reason: 'Target.NotInUse', since: 5 });
  const target = '10.0.0.1:6081';
  t.same(alone.do({ type: 'checked', target, result: OK }, 6), [], 'not checked before it is used');

  const played = new Played();
  t.same(told(played.do({ type: 'useGroup', group: group([spec(1)]) }, 10)), [
    '10.0.0.1 unused>initial Elb.RegistrationInProgress (attach)',
  ]);
  const record = played.get('10.0.0.1');
  played.do({ type: 'checkStarted', target });
  t.equal(record.reason, 'Elb.InitialHealthChecking');
  t.same(told(played.check(record, OK, 20)), ['10.0.0.1 initial>healthy null (health-check)']);
  t.equal(record.since, 20);
  t.same(told(played.check(record, BAD, 30)), [
    '10.0.0.1 healthy>unhealthy Target.Timeout (health-check)',
  ]);
  t.same(told(played.deregister([record], 40)), [
    '10.0.0.1 unhealthy>draining Target.DeregistrationInProgress (deregister)',
  ]);
  t.same(played.deregister([record], 41), [], 'once is enough');
  t.same(played.check(record, OK, 42), [], 'a draining target is not checked');
  t.equal(nextInstant(played.fleet), 300_040);
  t.same(played.tick(300_039), []);
  t.same(told(played.tick(300_040)), [
    '10.0.0.1 draining>unused Target.NotRegistered (delay-expired)',
    'deregister 10.0.0.1 (delay-expired)',
  ]);
  t.same(played.members(), [], 'no target for users');
  t.same(slots(played.every()), [0], 'but the data plane keeps it while flows are pinned to it');
  t.equal(nextInstant(played.fleet), 301_040);
  t.same(slotsAwaited(played.fleet, 301_040), [0]);
  played.tick(301_040);
  t.same(slots(played.every()), [0]);
  t.equal(nextInstant(played.fleet), 302_040);
  const before = played.fleet.revision;
  played.tick(302_040, [0]);
  t.same(slots(played.every()), []);
  t.ok(played.fleet.revision > before);
  t.equal(nextInstant(played.fleet), null);
});

t.test('without a load balancer there is nothing to drain', async (t) => {
  const alone = new Played({}, false);
  alone.register([spec(1)], 0);
  t.same(told(alone.deregister(['10.0.0.1'], 1)), ['deregister 10.0.0.1 (deregister)']);
  t.same(alone.every(), []);
  alone.register([spec(2)], 2);
  t.equal(alone.get('10.0.0.2').slot, 0, 'no flow was ever pinned to its slot');
});

t.test('a delay of 0 goes through all states at once', async (t) => {
  const played = new Played({ deregistrationDelayMs: 0 });
  played.register([spec(1)], 0);
  t.same(told(played.deregister(['10.0.0.1'], 1)), [
    '10.0.0.1 initial>draining Target.DeregistrationInProgress (deregister)',
    '10.0.0.1 draining>unused Target.NotRegistered (deregister)',
    'deregister 10.0.0.1 (deregister)',
  ]);
});

t.test('registering a draining target again cancels the drain, in its slot', async (t) => {
  const { played, records } = started([spec(1), spec(2)], [0, 1]);
  played.deregister([records[0]], 1);
  t.same(told(played.register([spec(1, { weight: 7 })], 2)), [
    'register 10.0.0.1 (register)',
    '10.0.0.1 draining>initial Elb.RegistrationInProgress (register)',
  ]);
  t.match(records[0], { slot: 0, weight: 7, generation: 0 });
  played.tick(900_000);
  t.equal(played.members().length, 2);
  played.deregister([records[0]], 1_000_000);
  played.tick(2_000_000);
  t.equal(played.members().length, 1);
});

t.test('registering the address of a target that is gone is another machine', async (t) => {
  const { played, records } = started([spec(1), spec(2)], [0, 1], { failover: 'rebalance' });
  const [former] = records;
  played.deregister([former], 0);
  played.tick(300_000);
  t.equal(former.generation, 1, 'its flows were told to leave');
  played.register([spec(1)], 300_001);
  const made1 = played.get('10.0.0.1');
  t.match(made1, { slot: 2, generation: 0, phase: 'active' });
  t.match(former, { slot: 0, generation: 1, phase: 'gone' }, 'and still are');
  t.same(slots(played.every()).sort(), [0, 1, 2]);
  played.tick(330_000);
  t.same(slots(played.every()).sort(), [1, 2], 'the former one alone ends');
  t.equal(played.get('10.0.0.1'), made1);
});

t.test(
  'registering such an address again and again takes slots, and gives them back',
  async (t) => {
    const { played } = started([spec(1), spec(2)], [0, 1]);
    for (let i = 1; i <= 3; i++) {
      played.deregister([played.get('10.0.0.1')], i * 1_000_000);
      played.tick(i * 1_000_000 + 300_000);
      played.register([spec(1)], i * 1_000_000 + 300_001);
      t.equal(played.every().length, 2 + i);
    }
    played.tick(5_000_000, EVERY_SLOT);
    t.equal(played.every().length, 2);
  },
);

t.test('who takes new flows', async (t) => {
  const two = [spec(1), spec(2)];
  const zones = [spec(1, { zone: 'a' }), spec(2, { zone: 'b' }), spec(3, { zone: 'b' })];
  const weights = [spec(1, { weight: 0 }), spec(2), spec(3)];
  const cases: [string, RegisteredTarget[], number[], number[], boolean, number[]][] = [
    ['the healthy', two, [0], [], false, [0]],
    ['none healthy: all, initial ones included', two, [], [], false, [0, 1]],
    ['draining ones never', two, [0, 1], [0], false, [1]],
    ['not even as the last', two, [0], [0, 1], false, []],
    ['a healthy one that drains leaves the others', two, [0], [0], false, [1]],
    ['each zone for itself', zones, [1], [], false, [0, 1]],
    ['all zones as one with cross-zone', zones, [1], [], true, [1]],
    ['weight 0 takes none', weights, [0, 1], [], false, [1]],
    ['and does not keep unchecked ones from helping', weights, [0], [], false, [1, 2]],
  ];
  for (const [name, targets, healthy, drained, crossZone, expected] of cases) {
    const { played, records } = started(targets, healthy);
    played.deregister(
      drained.map((i) => records[i]),
      1,
    );
    played.do({ type: 'setCrossZone', crossZone }, 2);
    t.same(played.eligible().sort(), expected, name);
  }
});

t.test('no_rebalance never moves flows', async (t) => {
  const { played, records } = started([spec(1), spec(2)], [0, 1]);
  played.check(records[0], BAD);
  played.deregister([records[0]], 2);
  played.tick(400_000);
  t.equal(records[0].generation, 0);
});

t.test(
  'rebalance moves the flows of a target that fails, once, where others can take them',
  async (t) => {
    const { played, records } = started([spec(1), spec(2)], [0, 1], { failover: 'rebalance' });
    played.check(records[0], BAD);
    t.equal(records[0].generation, 1);
    played.check(records[0], BAD);
    t.equal(records[0].generation, 1, 'further failures move nothing again');
    played.check(records[1], BAD);
    t.same(
      records.map((record) => record.generation),
      [0, 0],
      'with none healthy flows stay, those of before too',
    );
    played.check(records[0], OK);
    t.same(
      records.map((record) => record.generation),
      [0, 1],
      'until one is',
    );
  },
);

t.test('flows that a failed target took while none was healthy move too', async (t) => {
  const { played, records } = started([spec(1), spec(2)], [0, 1], { failover: 'rebalance' });
  played.check(records[0], BAD);
  played.check(records[1], BAD);
  t.equal(played.eligible().length, 2, 'both take new flows');
  played.check(records[1], OK);
  t.equal(records[0].generation, 1, 'all of them, those of before too');
});

t.test('a failed target that recovers before anyone heard of it keeps its flows', async (t) => {
  const { played, records } = started([spec(1), spec(2)], [0, 1], { failover: 'rebalance' });
  played.check(records[0], BAD);
  played.check(records[0], OK);
  t.equal(records[0].generation, 0);
});

t.test('rebalance: another zone helps only with cross-zone', async (t) => {
  const targets = [spec(1, { zone: 'a' }), spec(2, { zone: 'b' })];
  const { played, records } = started(targets, [0, 1], { failover: 'rebalance' });
  played.check(records[0], BAD);
  t.equal(records[0].generation, 0);
  played.do({ type: 'setCrossZone', crossZone: true }, 2);
  t.equal(records[0].generation, 1);
});

t.test('rebalance: a target that left is known for 30 s more, for late returns', async (t) => {
  const { played, records } = started([spec(1), spec(2)], [0, 1], { failover: 'rebalance' });
  played.deregister([records[0]], 0);
  t.equal(records[0].generation, 0, 'it keeps its flows while it drains');
  played.tick(300_000);
  t.equal(records[0].generation, 1);
  t.equal(nextInstant(played.fleet), 330_000);
  played.tick(329_999, EVERY_SLOT);
  t.equal(played.every().length, 2);
  played.tick(330_000);
  t.equal(played.every().length, 1);
});

t.test('rebalance: late returns of a target that failed first', async (t) => {
  const { played, records } = started([spec(1), spec(2)], [0, 1], { failover: 'rebalance' });
  played.check(records[0], BAD);
  played.deregister([records[0]], 0);
  played.tick(300_000);
  t.equal(records[0].generation, 1, 'its flows have moved already');
  t.equal(nextInstant(played.fleet), 330_000);
});

t.test('rebalance: a target that came back can fail again', async (t) => {
  const { played, records } = started([spec(1), spec(2)], [0, 1], { failover: 'rebalance' });
  played.check(records[0], BAD);
  played.deregister([records[0]], 0);
  played.register([spec(1)], 1);
  played.check(records[1], BAD);
  t.equal(played.eligible().length, 2, 'takes new flows, for none is healthy');
  played.check(records[1], OK);
  played.check(records[0], BAD);
  t.equal(records[0].generation, 1);
});

t.test('rebalance: a target that left keeps its flows while nobody else is healthy', async (t) => {
  const { played, records } = started([spec(1), spec(2)], [0], { failover: 'rebalance' });
  played.deregister([records[0]], 0);
  played.tick(300_000);
  t.equal(records[0].generation, 0);
  played.check(records[1], OK, 400_000);
  t.equal(records[0].generation, 1);
  t.equal(nextInstant(played.fleet), 430_000);
});

t.test('rebalance turned on moves the flows of targets that failed before', async (t) => {
  const { played, records } = started([spec(1), spec(2)], [0, 1]);
  played.check(records[0], BAD);
  played.setPolicy({ failover: 'rebalance' }, false, 2);
  t.equal(records[0].generation, 1);
});

t.test(
  'generations go round, and a slot does not give its last one to the next target',
  async (t) => {
    const { played, records } = started([spec(1), spec(2)], [0, 1], { failover: 'rebalance' });
    for (let i = 0; i < GENERATIONS; i++) {
      played.check(records[0], BAD);
      played.check(records[0], OK);
    }
    t.equal(records[0].generation, 0);
    played.check(records[0], BAD);
    played.deregister([records[0]], 0);
    played.tick(300_000, EVERY_SLOT);
    played.tick(330_000, EVERY_SLOT);
    played.register(
      [3, 4, 5, 6, 7, 8].map((n) => spec(n)),
      330_000,
    );
    played.register([spec(9)], 930_000);
    const { slot, generation } = played.get('10.0.0.9');
    t.same({ slot, generation }, { slot: 0, generation: 2 });
  },
);

t.test('TCP reset: whose flows are answered, and when', async (t) => {
  const onUnhealthy = { resetOnUnhealthy: true };
  const onDeregistration = { resetOnDeregistration: true };
  const steps: [string, typeof onUnhealthy | typeof onDeregistration, string, boolean][] = [
    ['healthy', onUnhealthy, '', false],
    ['unhealthy', onUnhealthy, 'fail', true],
    ['healthy again', onUnhealthy, 'fail recover', false],
    ['draining', onUnhealthy, 'drain', false],
    ['unhealthy, then draining', onUnhealthy, 'fail drain', true],
    ['unhealthy, then gone', onUnhealthy, 'fail drain wait', true],
    ['gone', onUnhealthy, 'drain wait', false],
    ['unhealthy', onDeregistration, 'fail', false],
    ['draining', onDeregistration, 'drain', false],
    ['gone', onDeregistration, 'drain wait', true],
    ['draining, registered again', onDeregistration, 'drain register wait', false],
    ['gone, and its address registered again', onDeregistration, 'drain wait register', true],
    ['everybody unhealthy', onUnhealthy, 'fail others', false],
    ['gone, nobody else healthy', onDeregistration, 'drain wait others', false],
  ];
  for (const [name, policy, does, expected] of steps) {
    const { played, records } = started([spec(1), spec(2)], [0, 1], policy);
    const [record, other] = records;
    const actions: Record<string, () => void> = {
      fail: () => void played.check(record, BAD),
      recover: () => void played.check(record, OK),
      others: () => void played.check(other, BAD),
      drain: () => void played.deregister([record], 0),
      wait: () => void played.tick(300_000),
      register: () => void played.register([spec(1)], 300_001),
    };
    for (const action of does.split(' ').filter(Boolean)) actions[action]();
    const eligible = played.eligible();
    t.equal(played.resets(record), expected, `${name} (${Object.keys(policy)})`);
    t.notOk(played.resets(other));
    t.notOk(played.resets(record) && eligible.includes(record.slot));
    t.equal(record.generation, 0, 'no flow moves');
  }
});

t.test(
  'TCP reset: only the zone, or with cross-zone any, can take the new connections',
  async (t) => {
    const targets = [spec(1, { zone: 'a' }), spec(2, { zone: 'b' })];
    const { played, records } = started(targets, [0, 1], { resetOnUnhealthy: true });
    played.check(records[0], BAD);
    t.equal(played.resets(records[0]), false);
    played.do({ type: 'setCrossZone', crossZone: true }, 2);
    t.equal(played.resets(records[0]), true);
  },
);

t.test('TCP reset turned on is news for the data plane, and so is turning it off', async (t) => {
  const { played, records } = started([spec(1), spec(2)], [0, 1]);
  played.check(records[0], BAD);
  for (const resetOnUnhealthy of [true, false]) {
    const before = played.fleet.revision;
    played.setPolicy({ resetOnUnhealthy }, false, 1);
    t.ok(played.fleet.revision > before);
    t.equal(played.resets(records[0]), resetOnUnhealthy);
  }
  const before = played.fleet.revision;
  played.setPolicy({ resetOnDeregistration: true }, false, 1);
  t.ok(played.fleet.revision > before);
});

t.test('turning checks off makes every target healthy, turning them on keeps that', async (t) => {
  const { played, records } = started([spec(1), spec(2)], [0]);
  t.same(told(played.setPolicy({ rule: null }, true, 1)), [
    '10.0.0.2 initial>healthy null (update)',
  ]);
  t.same(played.check(records[0], BAD), [], 'a result that was on its way counts for nothing');
  t.same(played.setPolicy({}, true, 2), []);
  t.equal(records[1].state, 'healthy');
  played.check(records[1], BAD);
  t.equal(records[1].state, 'unhealthy');
});

t.test('other checks count from the beginning, other policies do not', async (t) => {
  const { played, records } = started([spec(1)], [0]);
  played.do({ type: 'checked', target: records[0].id, result: BAD }, 0);
  played.setPolicy({}, true, 0);
  played.do({ type: 'checked', target: records[0].id, result: BAD }, 0);
  t.equal(records[0].state, 'healthy');
  played.setPolicy({}, false, 0);
  played.do({ type: 'checked', target: records[0].id, result: BAD }, 0);
  t.equal(records[0].state, 'unhealthy');
});

t.test('names of targets', async (t) => {
  const played = new Played();
  played.register([spec(1), spec(2), spec(2, { port: 7000 })], 0);
  const first = played.get('10.0.0.1');
  t.equal(played.get('10.0.0.1:6081'), first);
  t.equal(played.get('10.0.0.2:7000').port, 7000);
  t.equal(played.find('10.0.0.3'), null);
  t.match(
    thrown(() => played.get('10.0.0.3')),
    {
      code: 'ERR_GWLB_UNKNOWN_TARGET',
      message: 'target: expected a registered target, received "10.0.0.3"',
    },
  );
  t.match(
    thrown(() => played.get('10.0.0.2')),
    {
      code: 'ERR_GWLB_INVALID_ARGUMENT',
      message:
        'target: expected address and port, since 10.0.0.2:6081, 10.0.0.2:7000 are registered, received "10.0.0.2"',
    },
  );
});

t.test('registration is all or nothing', async (t) => {
  const played = new Played();
  played.register([spec(1)], 0);
  const version = played.fleet.revision;
  const many = [2, 3, 4, 5, 6, 7, 8, 9].map((n) => spec(n));
  const cases: [RegisteredTarget[], string, string][] = [
    [
      [spec(2), spec(1)],
      'ERR_GWLB_DUPLICATE_TARGET',
      'targets[1]: expected a target that is not registered, received "10.0.0.1:6081"',
    ],
    [
      [spec(2), spec(2)],
      'ERR_GWLB_DUPLICATE_TARGET',
      'targets[1]: expected a target that is not registered, received "10.0.0.2:6081"',
    ],
    [
      many,
      'ERR_GWLB_TARGET_LIMIT',
      'targets: expected at most 8 targets, draining ones included, received 9',
    ],
    [
      [spec(2, { zone: 'b' }), spec(3, { zone: 'c' })],
      'ERR_GWLB_TARGET_LIMIT',
      'targets: expected targets of at most 2 zones, received 3',
    ],
  ];
  for (const [targets, code, message] of cases) {
    t.match(
      thrown(() => played.register(targets, 0)),
      { code, message },
    );
    t.same(slots(played.every()), [0]);
    t.equal(played.fleet.revision, version);
  }
  played.register([spec(2)], 0);
  t.equal(played.get('10.0.0.2').slot, 1, 'no slot was lost');
});

t.test('slots of targets that had flows wait; the message says so', async (t) => {
  const { played, records } = started(
    [1, 2, 3, 4, 5, 6].map((n) => spec(n)),
    [],
  );
  played.deregister(records, 0);
  played.tick(300_000, EVERY_SLOT);
  played.tick(300_001, EVERY_SLOT);
  t.same([...played.every()], []);
  const next = [11, 12, 13].map((n) => spec(n));
  t.match(
    thrown(() => played.register(next, 300_002)),
    {
      code: 'ERR_GWLB_TARGET_LIMIT',
      message:
        'targets: expected at most 2 new targets (the other slots wait until the flows of former ' +
        'targets have ended), received 3',
    },
  );
  played.register(next, 900_001);
  t.same(slots(played.every()), [6, 7, 0]);
});
