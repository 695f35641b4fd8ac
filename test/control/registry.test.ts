import t from 'tap';
import { type CheckedTarget, checkTarget } from '../../src/control/options.js';
import {
  BAD,
  check,
  FLOWS,
  NO_FLOWS,
  OK,
  POLICY,
  registry,
  slots,
  started,
  THRESHOLDS,
  target,
  thrown,
  told,
} from './registry-rig.js';

t.test('a target from registration to its end', async (t) => {
  const made = registry();
  t.same(told(made.register([target(1)], 5)), ['register 10.0.0.1 (register)']);
  const [record] = made.records();
  t.match(record.view, { state: 'unused', reason: 'Target.NotInUse', since: 5 });
  t.same(made.checked(record, OK, THRESHOLDS, 6), [], 'nobody is checked before it is in use');
  t.same(told(made.attach(10)), ['10.0.0.1 unused>initial Elb.RegistrationInProgress (attach)']);
  made.checkStarted(record);
  t.equal(record.reason, 'Elb.InitialHealthChecking');
  t.same(told(check(made, record, OK, 20)), ['10.0.0.1 initial>healthy null (health-check)']);
  t.equal(record.since, 20);
  t.same(told(check(made, record, BAD, 30)), [
    '10.0.0.1 healthy>unhealthy Target.Timeout (health-check)',
  ]);
  t.same(told(made.deregister([record], 40)), [
    '10.0.0.1 unhealthy>draining Target.DeregistrationInProgress (deregister)',
  ]);
  t.same(made.deregister([record], 41), [], 'once is enough');
  t.same(made.checked(record, OK, THRESHOLDS, 42), [], 'a draining target is not checked');
  t.equal(made.nextDeadline(43), 300_040);
  t.same(made.tick(300_039, FLOWS), []);
  t.same(told(made.tick(300_040, FLOWS)), [
    '10.0.0.1 draining>unused Target.NotRegistered (delay-expired)',
    'deregister 10.0.0.1 (delay-expired)',
  ]);
  t.same(made.targets(), [], 'no target for users');
  t.same(slots(made.records()), [0], 'but the data plane keeps it while flows are pinned to it');
  t.equal(made.nextDeadline(300_040), 301_040);
  made.tick(301_040, FLOWS);
  t.same(slots(made.records()), [0]);
  const before = made.version;
  made.tick(302_040, NO_FLOWS);
  t.same(slots(made.records()), []);
  t.ok(made.version > before);
  t.equal(made.nextDeadline(302_040), null);
});

t.test('without a load balancer there is nothing to drain', async (t) => {
  const made = registry();
  made.register([target(1)], 0);
  t.same(told(made.deregister([...made.records()], 1)), ['deregister 10.0.0.1 (deregister)']);
  t.same([...made.records()], []);
});

t.test('a delay of 0 goes through all states at once', async (t) => {
  const made = registry();
  made.setPolicy({ ...POLICY, deregistrationDelayMs: 0 }, false, 0);
  made.attach(0);
  made.register([target(1)], 0);
  t.same(told(made.deregister([...made.records()], 1)), [
    '10.0.0.1 initial>draining Target.DeregistrationInProgress (deregister)',
    '10.0.0.1 draining>unused Target.NotRegistered (deregister)',
    'deregister 10.0.0.1 (deregister)',
  ]);
});

t.test('detaching ends drains and frees what was gone', async (t) => {
  const { made, records } = started([target(1), target(2), target(3)], [0]);
  made.deregister([records[1]], 1);
  made.deregister([records[2]], 0);
  made.tick(300_000, FLOWS);
  t.same(told(made.detach(300_001)), [
    '10.0.0.1 healthy>unused Target.NotInUse (detach)',
    '10.0.0.2 draining>unused Target.NotRegistered (detach)',
    'deregister 10.0.0.2 (detach)',
  ]);
  t.same(slots(made.records()), [0]);
  t.equal(made.nextDeadline(300_001), null);
});

t.test('detaching: slots are as new, and old failures are forgotten', async (t) => {
  const { made, records } = started([target(1), target(2)], [0, 1], { failover: 'rebalance' });
  check(made, records[0], BAD);
  made.settle(false, 1);
  made.detach(2);
  made.deregister([records[1]], 3);
  made.register([target(3)], 4);
  t.equal(made.get('10.0.0.3').slot, 1);
  made.attach(5);
  check(made, made.get('10.0.0.3'), OK);
  made.settle(false, 6);
  t.equal(records[0].generation, 0);
});

t.test('registering a draining target again cancels the drain, in its slot', async (t) => {
  const { made, records } = started([target(1), target(2)], [0, 1]);
  made.deregister([records[0]], 1);
  t.same(told(made.register([target(1, { weight: 7 })], 2)), [
    'register 10.0.0.1 (register)',
    '10.0.0.1 draining>initial Elb.RegistrationInProgress (register)',
  ]);
  t.match(records[0], { slot: 0, weight: 7, generation: 0 });
  made.tick(900_000, FLOWS);
  t.equal(made.targets().length, 2);
  made.deregister([records[0]], 1_000_000);
  made.tick(2_000_000, FLOWS);
  t.equal(made.targets().length, 1);
});

t.test('registering the address of a target that is gone is another machine', async (t) => {
  const { made, records } = started([target(1), target(2)], [0, 1], { failover: 'rebalance' });
  const [former] = records;
  made.deregister([former], 0);
  made.tick(300_000, FLOWS);
  made.settle(false, 300_000);
  t.equal(former.generation, 1, 'its flows were told to leave');
  made.register([target(1)], 300_001);
  const made1 = made.get('10.0.0.1');
  t.match(made1, { slot: 2, generation: 0, phase: 'active' });
  made.settle(false, 300_001);
  t.match(former, { slot: 0, generation: 1, phase: 'gone' }, 'and still are');
  t.same([...made.records()].map(({ slot }) => slot).sort(), [0, 1, 2]);
  t.same([...made.clone().records()].map(({ slot }) => slot).sort(), [0, 1, 2]);
  made.tick(330_000, FLOWS);
  t.same([...made.records()].map(({ slot }) => slot).sort(), [1, 2], 'the former one alone ends');
  t.equal(made.get('10.0.0.1'), made1);
});

t.test(
  'registering such an address again and again takes slots, and gives them back',
  async (t) => {
    const { made } = started([target(1), target(2)], [0, 1]);
    for (let i = 1; i <= 3; i++) {
      made.deregister([made.get('10.0.0.1')], i * 1_000_000);
      made.tick(i * 1_000_000 + 300_000, FLOWS);
      made.register([target(1)], i * 1_000_000 + 300_001);
      t.equal([...made.records()].length, 2 + i);
    }
    made.tick(5_000_000, NO_FLOWS);
    t.equal([...made.records()].length, 2);
  },
);

t.test('who takes new flows', async (t) => {
  const two = [target(1), target(2)];
  const zones = [target(1, { zone: 'a' }), target(2, { zone: 'b' }), target(3, { zone: 'b' })];
  const weights = [target(1, { weight: 0 }), target(2), target(3)];
  const cases: [string, CheckedTarget[], number[], number[], boolean, number[]][] = [
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
    const { made, records } = started(targets, healthy);
    made.deregister(
      drained.map((i) => records[i]),
      1,
    );
    t.same(slots(made.settle(crossZone, 2)).sort(), expected, name);
  }
});

t.test('no_rebalance never moves flows', async (t) => {
  const { made, records } = started([target(1), target(2)], [0, 1]);
  check(made, records[0], BAD);
  made.settle(false, 1);
  made.deregister([records[0]], 2);
  made.tick(400_000, FLOWS);
  made.settle(false, 400_001);
  t.equal(records[0].generation, 0);
});

t.test(
  'rebalance moves the flows of a target that fails, once, where others can take them',
  async (t) => {
    const { made, records } = started([target(1), target(2)], [0, 1], { failover: 'rebalance' });
    made.settle(false, 0);
    check(made, records[0], BAD);
    made.settle(false, 1);
    t.equal(records[0].generation, 1);
    made.settle(false, 2);
    check(made, records[0], BAD);
    made.settle(false, 3);
    t.equal(records[0].generation, 1, 'further failures move nothing again');
    check(made, records[1], BAD);
    made.settle(false, 4);
    t.same(
      records.map((record) => record.generation),
      [0, 0],
      'with none healthy flows stay, those of before too',
    );
    check(made, records[0], OK);
    made.settle(false, 5);
    t.same(
      records.map((record) => record.generation),
      [0, 1],
      'until one is',
    );
  },
);

t.test('flows that a failed target took while none was healthy move too', async (t) => {
  const { made, records } = started([target(1), target(2)], [0, 1], { failover: 'rebalance' });
  check(made, records[0], BAD);
  made.settle(false, 1);
  check(made, records[1], BAD);
  t.equal(made.settle(false, 2).size, 2, 'both take new flows');
  check(made, records[1], OK);
  made.settle(false, 3);
  t.equal(records[0].generation, 1, 'all of them, those of before too');
});

t.test('a failed target that recovers before anyone heard of it keeps its flows', async (t) => {
  const { made, records } = started([target(1), target(2)], [0, 1], { failover: 'rebalance' });
  check(made, records[0], BAD);
  check(made, records[0], OK);
  made.settle(false, 1);
  t.equal(records[0].generation, 0);
});

t.test('rebalance: another zone helps only with cross-zone', async (t) => {
  const targets = [target(1, { zone: 'a' }), target(2, { zone: 'b' })];
  const { made, records } = started(targets, [0, 1], { failover: 'rebalance' });
  check(made, records[0], BAD);
  made.settle(false, 1);
  t.equal(records[0].generation, 0);
  made.settle(true, 2);
  t.equal(records[0].generation, 1);
});

t.test('rebalance: a target that left is known for 30 s more, for late returns', async (t) => {
  const { made, records } = started([target(1), target(2)], [0, 1], { failover: 'rebalance' });
  made.deregister([records[0]], 0);
  made.settle(false, 1);
  t.equal(records[0].generation, 0, 'it keeps its flows while it drains');
  made.tick(300_000, FLOWS);
  made.settle(false, 300_000);
  t.equal(records[0].generation, 1);
  t.equal(made.nextDeadline(300_000), 330_000);
  made.tick(329_999, NO_FLOWS);
  t.equal([...made.records()].length, 2);
  made.tick(330_000, FLOWS);
  t.equal([...made.records()].length, 1);
});

t.test('rebalance: late returns of a target that failed first', async (t) => {
  const { made, records } = started([target(1), target(2)], [0, 1], { failover: 'rebalance' });
  check(made, records[0], BAD);
  made.settle(false, 0);
  made.deregister([records[0]], 0);
  made.tick(300_000, FLOWS);
  made.settle(false, 300_000);
  t.equal(records[0].generation, 1, 'its flows have moved already');
  t.equal(made.nextDeadline(300_000), 330_000);
});

t.test('rebalance: a target that came back can fail again', async (t) => {
  const { made, records } = started([target(1), target(2)], [0, 1], { failover: 'rebalance' });
  check(made, records[0], BAD);
  made.settle(false, 0);
  made.deregister([records[0]], 0);
  made.register([target(1)], 1);
  check(made, records[1], BAD);
  t.equal(made.settle(false, 2).size, 2, 'takes new flows, for none is healthy');
  check(made, records[1], OK);
  made.settle(false, 3);
  check(made, records[0], BAD);
  made.settle(false, 4);
  t.equal(records[0].generation, 1);
});

t.test('rebalance: a target that left keeps its flows while nobody else is healthy', async (t) => {
  const { made, records } = started([target(1), target(2)], [0], { failover: 'rebalance' });
  made.deregister([records[0]], 0);
  made.tick(300_000, FLOWS);
  made.settle(false, 300_000);
  t.equal(records[0].generation, 0);
  check(made, records[1], OK, 400_000);
  made.settle(false, 400_000);
  t.equal(records[0].generation, 1);
  t.equal(made.nextDeadline(400_000), 430_000);
});

t.test('rebalance turned on moves the flows of targets that failed before', async (t) => {
  const { made, records } = started([target(1), target(2)], [0, 1]);
  check(made, records[0], BAD);
  made.settle(false, 1);
  made.setPolicy({ ...POLICY, failover: 'rebalance' }, false, 2);
  made.settle(false, 3);
  t.equal(records[0].generation, 1);
});

t.test(
  'generations have 8 bits, and a slot does not give its last one to the next target',
  async (t) => {
    const { made, records } = started([target(1), target(2)], [0, 1], { failover: 'rebalance' });
    for (let i = 0; i < 256; i++) {
      check(made, records[0], BAD);
      made.settle(false, 0);
      check(made, records[0], OK);
    }
    t.equal(records[0].generation, 0);
    check(made, records[0], BAD);
    made.settle(false, 0);
    made.deregister([records[0]], 0);
    made.tick(300_000, NO_FLOWS);
    made.tick(330_000, NO_FLOWS);
    made.register(
      [3, 4, 5, 6, 7, 8].map((n) => target(n)),
      330_000,
    );
    made.register([target(9)], 930_000);
    const { slot, generation } = made.get('10.0.0.9');
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
    const { made, records } = started([target(1), target(2)], [0, 1], policy);
    const [record, other] = records;
    const actions: Record<string, () => void> = {
      fail: () => void check(made, record, BAD),
      recover: () => void check(made, record, OK),
      others: () => void check(made, other, BAD),
      drain: () => void made.deregister([record], 0),
      wait: () => void made.tick(300_000, FLOWS),
      register: () => void made.register([target(1)], 300_001),
    };
    for (const action of does.split(' ').filter(Boolean)) actions[action]();
    const eligible = made.settle(false, 300_001);
    t.equal(record.reset, expected, `${name} (${Object.keys(policy)})`);
    t.notOk(other.reset);
    t.notOk(record.reset && eligible.has(record));
    t.equal(record.generation, 0, 'no flow moves');
  }
});

t.test(
  'TCP reset: only the zone, or with cross-zone any, can take the new connections',
  async (t) => {
    const targets = [target(1, { zone: 'a' }), target(2, { zone: 'b' })];
    const { made, records } = started(targets, [0, 1], { resetOnUnhealthy: true });
    check(made, records[0], BAD);
    made.settle(false, 1);
    t.equal(records[0].reset, false);
    made.settle(true, 2);
    t.equal(records[0].reset, true);
  },
);

t.test('TCP reset turned on is news for the data plane, and so is turning it off', async (t) => {
  const { made, records } = started([target(1), target(2)], [0, 1]);
  check(made, records[0], BAD);
  for (const resetOnUnhealthy of [true, false]) {
    const before = made.version;
    made.setPolicy({ ...POLICY, resetOnUnhealthy }, false, 1);
    t.ok(made.version > before);
    made.settle(false, 1);
    t.equal(records[0].reset, resetOnUnhealthy);
  }
  const before = made.version;
  made.setPolicy({ ...POLICY, resetOnDeregistration: true }, false, 1);
  t.ok(made.version > before);
});

t.test('turning checks off makes every target healthy, turning them on keeps that', async (t) => {
  const { made, records } = started([target(1), target(2)], [0]);
  t.same(told(made.setPolicy({ ...POLICY, checks: false }, true, 1)), [
    '10.0.0.2 initial>healthy null (update)',
  ]);
  t.same(check(made, records[0], BAD), [], 'a result that was on its way counts for nothing');
  t.same(made.setPolicy({ ...POLICY, checks: true }, true, 2), []);
  t.equal(records[1].state, 'healthy');
  check(made, records[1], BAD);
  t.equal(records[1].state, 'unhealthy');
});

t.test('other checks count from the beginning, other policies do not', async (t) => {
  const { made, records } = started([target(1)], [0]);
  made.checked(records[0], BAD, THRESHOLDS, 0);
  made.setPolicy(POLICY, true, 0);
  made.checked(records[0], BAD, THRESHOLDS, 0);
  t.equal(records[0].state, 'healthy');
  made.setPolicy(POLICY, false, 0);
  made.checked(records[0], BAD, THRESHOLDS, 0);
  t.equal(records[0].state, 'unhealthy');
});

t.test('names of targets', async (t) => {
  const made = registry();
  made.register(
    [target(1), target(2), checkTarget({ address: '10.0.0.2', port: 7000 }, 6081, '')],
    0,
  );
  const first = made.get('10.0.0.1');
  t.equal(made.get('10.0.0.1:6081'), first);
  t.equal(made.get(first.view), first);
  t.equal(made.get('10.0.0.2:7000').port, 7000);
  t.equal(made.find('10.0.0.3'), null);
  t.match(
    thrown(() => made.get('10.0.0.3')),
    {
      code: 'ERR_GWLB_UNKNOWN_TARGET',
      message: 'target: expected a registered target, received "10.0.0.3"',
    },
  );
  t.match(
    thrown(() => made.get('10.0.0.2')),
    {
      code: 'ERR_GWLB_INVALID_ARGUMENT',
      message:
        'target: expected address and port, since 10.0.0.2:6081, 10.0.0.2:7000 are registered, received "10.0.0.2"',
    },
  );
  t.match(
    thrown(() => made.get(5 as unknown as string)),
    {
      code: 'ERR_GWLB_INVALID_ARGUMENT',
      message: 'target: expected a target or its id such as "10.0.1.10:6081", received 5',
    },
  );
});

t.test('registration is all or nothing', async (t) => {
  const made = registry();
  made.register([target(1)], 0);
  const version = made.version;
  const many = [2, 3, 4, 5, 6, 7, 8, 9].map((n) => target(n));
  const cases: [CheckedTarget[], string, string][] = [
    [
      [target(2), target(1)],
      'ERR_GWLB_DUPLICATE_TARGET',
      'targets[1]: expected a target that is not registered, received "10.0.0.1:6081"',
    ],
    [
      [target(2), target(2)],
      'ERR_GWLB_DUPLICATE_TARGET',
      'targets[1]: expected a target that is not registered, received "10.0.0.2:6081"',
    ],
    [
      many,
      'ERR_GWLB_TARGET_LIMIT',
      'targets: expected at most 8 targets, draining ones included, received 9',
    ],
    [
      [target(2, { zone: 'b' }), target(3, { zone: 'c' })],
      'ERR_GWLB_TARGET_LIMIT',
      'targets: expected targets of at most 2 zones, received 3',
    ],
  ];
  for (const [targets, code, message] of cases) {
    t.match(
      thrown(() => made.register(targets, 0)),
      { code, message },
    );
    t.same(slots(made.records()), [0]);
    t.equal(made.version, version);
  }
  made.register([target(2)], 0);
  t.equal(made.get('10.0.0.2').slot, 1, 'no slot was lost');
});

t.test('slots of targets that had flows wait; the message says so', async (t) => {
  const { made, records } = started(
    [1, 2, 3, 4, 5, 6].map((n) => target(n)),
    [],
  );
  made.settle(false, 0);
  made.deregister(records, 0);
  made.tick(300_000, NO_FLOWS);
  made.tick(300_001, NO_FLOWS);
  t.same([...made.records()], []);
  const next = [11, 12, 13].map((n) => target(n));
  t.match(
    thrown(() => made.register(next, 300_002)),
    {
      code: 'ERR_GWLB_TARGET_LIMIT',
      message:
        'targets: expected at most 2 new targets (the other slots wait until the flows of former ' +
        'targets have ended), received 3',
    },
  );
  made.register(next, 900_001);
  t.same(slots(made.records()), [6, 7, 0]);
});
