import { inspect } from 'node:util';
import t from 'tap';
import { invalidArgument } from '../../src/base/errors.js';
import { TARGETS_MAX, ZONES_MAX } from '../../src/base/limits.js';
import type { TargetSpec } from '../../src/gateway/group-options.js';
import { TargetGroup } from '../../src/gateway/target-group.js';
import { attach, BAD, detach, HEALTH, ids, setup, table, thrown } from './group-rig.js';

t.test('the life of a target, in order, with causes', async (t) => {
  const { world, group, said } = setup();
  let flows = 1;
  const [target] = group.register({ address: '10.0.0.1' });
  t.same(said(), ['change', 'register 10.0.0.1']);
  t.match(target, { id: '10.0.0.1:6081', slot: 0, state: 'unused', reason: 'Target.NotInUse' });
  world.advance(60_000);
  t.same(world.asked, [], 'nobody asks before it is in use');

  attach(group, { netns: 'gw', flowsActive: () => flows });
  t.same(said(), ['change', '10.0.0.1 unused>initial Elb.RegistrationInProgress (attach)']);
  t.equal(target.since, world.time);
  world.advance(0);
  t.equal(target.reason, 'Elb.InitialHealthChecking');
  world.advance(1);
  t.same(said(), ['probe 10.0.0.1 true']);
  world.advance(20_000);
  t.same(said().slice(0, 3), [
    'change',
    'probe 10.0.0.1 true',
    '10.0.0.1 initial>healthy null (health-check)',
  ]);

  world.answers = () => BAD;
  world.advance(20_000);
  t.same(said(), [
    'probe 10.0.0.1 false',
    'change',
    'probe 10.0.0.1 false',
    '10.0.0.1 healthy>unhealthy Target.ResponseCodeMismatch (health-check)',
  ]);
  t.equal(target.description, 'Health checks failed: answered 503.');

  group.deregister('10.0.0.1');
  t.same(said(), [
    'change',
    '10.0.0.1 unhealthy>draining Target.DeregistrationInProgress (deregister)',
  ]);
  world.advance(299_999);
  t.same(said(), [], 'a draining target is not checked');
  t.same(ids(group), ['10.0.0.1:6081']);
  world.advance(1);
  t.same(said(), [
    'change',
    '10.0.0.1 draining>unused Target.NotRegistered (delay-expired)',
    'deregister 10.0.0.1 (delay-expired)',
  ]);
  t.same(ids(group), []);

  const known = () => table(group).targets.length;
  world.advance(10_000);
  t.equal(known(), 1, 'the data plane knows it while it has flows');
  t.same(group.targetInSlot(0), target);
  flows = 0;
  world.advance(1_000);
  t.equal(known(), 0);
  t.equal(group.targetInSlot(0), undefined);
  t.same(said(), ['change']);
  t.equal(world.timers.size, 0);
});

t.test('what a check asks, and when', async (t) => {
  const { world, group } = setup({
    healthCheck: {
      protocol: 'HTTPS',
      port: 8443,
      path: '/x',
      intervalSeconds: 10,
      timeoutSeconds: 3,
      matcher: '204',
    },
  });
  group.register({ address: '10.0.0.1' }, { address: '10.0.0.2' });
  attach(group, { netns: 'gw' });
  const start = world.time;
  world.advance(65_000);
  const first = world.asked.filter(({ address }) => address === '10.0.0.1');
  t.match(first[0], {
    protocol: 'HTTPS',
    port: 8443,
    path: '/x',
    matcher: { text: '204' },
    timeoutMs: 3000,
    netns: 'gw',
  });
  const times = first.map(({ at }) => at - start);
  t.equal(times[0], 0, 'at once');
  t.ok(times[1] >= 5_000 && times[1] < 15_000, `${times[1]}`);
  for (let i = 2; i < times.length; i++) t.equal(times[i] - times[i - 1], 10_000);
  t.equal(world.asked[1].at - start, 1, 'and the second target right after');
  const second = world.asked.filter(({ address }) => address === '10.0.0.2');
  t.not((second[1].at - first[1].at) % 10_000, 0, 'each at its own place');
});

t.test(
  'the fast profile checks twice a second, and fractions of a millisecond are rounded',
  async (t) => {
    const { world, group } = setup({ healthCheck: { profile: 'fast' } });
    group.register({ address: '10.0.0.1' });
    attach(group);
    const start = world.time;
    world.advance(10_000);
    t.equal(world.asked[0].timeoutMs, 400);
    for (let i = 2; i < world.asked.length; i++) {
      t.equal(world.asked[i].at - world.asked[i - 1].at, 500);
    }
    world.answers = () => BAD;
    const failed = new Promise((resolve) => group.once('health', ({ at }) => resolve(at - start)));
    world.advance(1_500);
    const at = Number(await failed);
    t.ok(at > 10_500 && at <= 11_002, `${at}`);
    group.update({
      healthCheck: { profile: 'fast', intervalSeconds: 0.1234, timeoutSeconds: 0.0506 },
    });
    world.asked.length = 0;
    world.advance(1_000);
    t.equal(world.asked[0].timeoutMs, 51);
    t.equal(world.asked[3].at - world.asked[2].at, 123);
  },
);

t.test('a check that takes longer than the interval is not overtaken', async (t) => {
  const { world, group } = setup();
  world.answers = () => undefined;
  group.register({ address: '10.0.0.1' });
  attach(group);
  world.advance(100_000);
  t.equal(world.asked.length, 1);
});

t.test('detaching stops checks, also those in flight, and says why', async (t) => {
  const { world, group, said } = setup();
  world.answers = () => undefined;
  group.register({ address: '10.0.0.1' });
  attach(group);
  world.advance(1);
  said();
  detach(group);
  t.equal(world.cancelled, 1);
  t.same(said(), ['10.0.0.1 initial>unused Target.NotInUse (detach)']);
  t.equal(world.timers.size, 0);
  t.equal(group.inUse, false);
  detach(group);
  t.same(said(), []);
  attach(group);
  t.equal(group.target('10.0.0.1')?.state, 'initial');
});

t.test('deregistering a target stops its check and no other', async (t) => {
  const { world, group } = setup();
  group.register({ address: '10.0.0.1' }, { address: '10.0.0.2' });
  attach(group);
  world.advance(20_000);
  group.deregister('10.0.0.1');
  world.asked.length = 0;
  world.advance(60_000);
  t.same(new Set(world.asked.map(({ address }) => address)), new Set(['10.0.0.2']));
  group.register({ address: '10.0.0.1' });
  const start = world.time;
  world.asked.length = 0;
  world.advance(5);
  t.match(
    world.asked.find(({ address }) => address === '10.0.0.1'),
    { at: start },
    'asked at once',
  );
});

t.test('without checks targets are healthy at once', async (t) => {
  const { world, group, said } = setup({ healthCheck: false });
  attach(group);
  said();
  group.register({ address: '10.0.0.1' });
  t.same(said(), ['change', 'register 10.0.0.1', '10.0.0.1 unused>healthy null (register)']);
  t.equal(group.target('10.0.0.1')?.description, 'Health checks are turned off.');
  world.advance(100_000);
  t.same(world.asked, []);
  t.equal(group.healthCheck, false);
  group.update({ healthCheck: HEALTH });
  world.answers = () => BAD;
  world.advance(60_000);
  t.equal(group.target('10.0.0.1')?.state, 'unhealthy');
  group.update({ healthCheck: false });
  t.equal(group.target('10.0.0.1')?.state, 'healthy');
  world.asked.length = 0;
  world.advance(100_000);
  t.same(world.asked, []);
});

t.test('setTargets does what is necessary and no more', async (t) => {
  const { group, said } = setup({ healthCheck: false });
  attach(group);
  group.register(
    { address: '10.0.0.1' },
    { address: '10.0.0.2', zone: 'a' },
    { address: '10.0.0.3' },
  );
  const second = group.target('10.0.0.2');
  said();
  const list: TargetSpec[] = [
    { address: '10.0.0.4' },
    { address: '10.0.0.2', zone: 'b', weight: 9 },
    { address: '10.0.0.3' },
  ];
  t.same(
    group.setTargets(list).map(({ id }) => id),
    ['10.0.0.4:6081', '10.0.0.2:6081', '10.0.0.3:6081'],
  );
  t.same(said(), [
    'change',
    '10.0.0.1 healthy>draining Target.DeregistrationInProgress (deregister)',
    'register 10.0.0.4',
    '10.0.0.4 unused>healthy null (register)',
    '10.0.0.2 weighs 9 (set-weight)',
  ]);
  t.match(second, { zone: 'b', weight: 9, state: 'healthy', slot: 1 });
  group.setTargets(list);
  t.same(said(), [], 'the same list again');
  group.setTargets([...list, { address: '10.0.0.1' }]);
  t.equal(group.target('10.0.0.1')?.state, 'healthy', 'the draining one is back');
  said();
  const wrong: [TargetSpec[], string, string][] = [
    [
      [{ address: '10.0.0.9' }, { address: 'x' }],
      'ERR_GWLB_INVALID_ARGUMENT',
      'targets[1].address: expected a unicast IPv4 address, received "x"',
    ],
    [
      [{ address: '10.0.0.2' }, { address: '10.0.0.2', port: 6081 }],
      'ERR_GWLB_DUPLICATE_TARGET',
      'targets[1]: expected each target once, received "10.0.0.2:6081" again',
    ],
    [
      '10.0.0.1' as unknown as TargetSpec[],
      'ERR_GWLB_INVALID_ARGUMENT',
      'targets: expected an array, received "10.0.0.1"',
    ],
    [
      Array.from({ length: ZONES_MAX + 1 }, (_, i) => ({
        address: '10.0.0.2',
        port: i + 1,
        zone: `z${i}`,
      })),
      'ERR_GWLB_TARGET_LIMIT',
      'targets: expected targets of at most',
    ],
  ];
  const before = JSON.stringify(group.targets());
  for (const [targets, code, message] of wrong) {
    const error = thrown(() => group.setTargets(targets));
    t.equal(error.code, code);
    t.ok(error.message.startsWith(message), error.message);
  }
  t.equal(JSON.stringify(group.targets()), before);
  t.same(said(), []);
});

t.test('setTargets: zones are limited also for targets that only change theirs', async (t) => {
  const { group } = setup();
  const list = Array.from({ length: ZONES_MAX }, (_, i) => ({
    address: `10.0.0.${i + 1}`,
    zone: `z${i}`,
  }));
  group.setTargets(list);
  t.match(
    thrown(() => group.setTargets(list.with(0, { address: '10.0.0.1', zone: 'new' }))),
    {
      code: 'ERR_GWLB_TARGET_LIMIT',
    },
  );
  t.equal(group.target('10.0.0.1')?.zone, 'z0');
});

t.test('weights', async (t) => {
  const { group, said } = setup();
  const [target] = group.register({ address: '10.0.0.1' });
  said();
  group.setWeight(target, 0);
  t.equal(target.weight, 0);
  t.same(said(), ['change', '10.0.0.1 weighs 0 (set-weight)']);
  group.setWeight('10.0.0.1:6081', 0);
  t.same(said(), []);
  t.match(
    thrown(() => group.setWeight(target, 1001)).message,
    'weight: expected 0–1000, received 1001',
  );
  t.match(thrown(() => group.setWeight('10.0.0.7', 1)).code, 'ERR_GWLB_UNKNOWN_TARGET');
});

t.test('a group belongs to one load balancer', async (t) => {
  const { group } = setup({ name: 'firewalls' });
  attach(group);
  t.match(
    thrown(() => attach(group)),
    {
      code: 'ERR_GWLB_IN_USE',
      message: /^target group firewalls: expected a group that no load balancer uses/,
    },
  );
  await t.rejects(group.close(), {
    code: 'ERR_GWLB_IN_USE',
    message: /close the load balancer first/,
  });
  group.register({ address: '10.0.0.1' });
  detach(group);
  await group.close();
  await group.close();
  await group[Symbol.asyncDispose]();
  for (const call of [
    () => group.register({ address: '10.0.0.2' }),
    () => group.deregister('10.0.0.1'),
    () => group.setTargets([]),
    () => group.setWeight('10.0.0.1', 2),
    () => group.update({}),
    () => group.setHealth('10.0.0.1', 'healthy'),
    () => attach(group),
    () => {
      group.modifyAttributes({});
    },
  ]) {
    t.match(thrown(call), {
      code: 'ERR_GWLB_CLOSED',
      message: 'target group firewalls: it was closed',
    });
  }
  t.same(ids(group), ['10.0.0.1:6081'], 'what it was stays readable');
});

t.test('registering: 4,096 targets and no more; what the load balancer cannot have', async (t) => {
  const { group, said } = setup({ healthCheck: false });
  const many = Array.from({ length: TARGETS_MAX + 1 }, (_, i) => ({
    address: `10.1.${i >> 8}.${i & 255}`,
  }));
  t.match(
    thrown(() => group.register(...many)),
    {
      code: 'ERR_GWLB_TARGET_LIMIT',
      message: 'targets: expected at most 4096 targets, draining ones included, received 4097',
    },
  );
  t.same(ids(group), []);
  t.same(said(), []);
  const refused = (address: string, field: string) => {
    if (address === '10.0.0.9') throw invalidArgument(field, 'another address', address);
  };
  const fleet = attach(group, { checkTarget: refused });
  for (let i = 0; i < ZONES_MAX; i++) {
    fleet.apply({ type: 'addEndpoint', id: `e${i}`, zone: `z${i}` });
  }
  said();
  t.match(
    thrown(() =>
      group.register({ address: '10.0.0.1', zone: 'z1' }, { address: '10.0.0.9', zone: 'z1' }),
    ),
    {
      code: 'ERR_GWLB_INVALID_ARGUMENT',
      message: 'targets[1].address: expected another address, received "10.0.0.9"',
    },
  );
  t.match(
    thrown(() => group.register({ address: '10.0.0.1', zone: 'new' })),
    { code: 'ERR_GWLB_ENDPOINT_LIMIT' },
  );
  t.match(
    thrown(() => group.register([{ address: '10.0.0.1' }] as never)),
    {
      message: 'targets[0]: expected an object, received an array of 1',
    },
  );
  t.match(
    thrown(() => group.deregister('10.0.0.1')),
    { code: 'ERR_GWLB_UNKNOWN_TARGET' },
  );
  t.same(ids(group), []);
  t.same(said(), []);
  t.equal(
    group.register(...many.slice(1).map((target) => ({ ...target, zone: 'z1' }))).length,
    TARGETS_MAX,
  );
});

t.test('events come in order, also those that listeners cause, whatever one throws', async (t) => {
  const { group } = setup({ healthCheck: false });
  attach(group);
  const heard: string[] = [];
  group.on('register', ({ target }) => {
    if (target.address === '10.0.0.1') group.deregister('10.0.0.2');
  });
  group.on('health', ({ target, previous, state }) => {
    heard.push(`${target.address} ${previous}>${state}`);
    if (heard.length === 1) throw new Error('a listener failed');
  });
  t.throws(() => group.register({ address: '10.0.0.1' }, { address: '10.0.0.2' }), {
    message: 'a listener failed',
  });
  const all = ['10.0.0.1 unused>healthy', '10.0.0.2 unused>healthy', '10.0.0.2 healthy>draining'];
  t.same(heard, all);
});

t.test('every listener hears the same order', async (t) => {
  const { group } = setup({ healthCheck: false });
  attach(group);
  const first: string[] = [];
  const second: string[] = [];
  group.on('health', ({ target, state }) => {
    first.push(`${target.address} ${state}`);
    if (first.length === 1) group.deregister('10.0.0.2');
  });
  group.on('health', ({ target, state }) => second.push(`${target.address} ${state}`));
  group.register({ address: '10.0.0.1' }, { address: '10.0.0.2' });
  t.same(first, ['10.0.0.1 healthy', '10.0.0.2 healthy', '10.0.0.2 draining']);
  t.same(second, first);
});

t.test('a snapshot is published before anyone hears why', async (t) => {
  const { group } = setup({ healthCheck: false });
  attach(group);
  let published: boolean[] = [];
  group.on('change', () => {
    published = table(group).targets.map(({ eligible }) => eligible);
  });
  group.on('register', () => t.same(published, [true]));
  group.register({ address: '10.0.0.1' });
  t.same(published, [true]);
});

t.test('a target shows itself', async (t) => {
  const { world, group } = setup();
  const [target] = group.register({ address: '10.0.0.1', zone: 'a', weight: 5, port: 7000 });
  const shown = {
    id: '10.0.0.1:7000',
    address: '10.0.0.1',
    port: 7000,
    zone: 'a',
    weight: 5,
    effectiveWeight: 5,
    slot: 0,
    state: 'unused',
    reason: 'Target.NotInUse',
    description: 'No load balancer uses the target group.',
    impeded: null,
    since: world.time,
  };
  t.same(JSON.parse(JSON.stringify(target)), shown);
  t.match(inspect(target), /state: 'unused'/);
  t.throws(() => Object.assign(target, { state: 'healthy' }), TypeError);
});

t.test('options can be read back', async (t) => {
  const ethernet = {
    name: 'fw',
    port: 7000,
    inner: 'ethernet',
    sourceMac: '02:00:00:00:00:01',
    destinationMac: '02:00:00:00:00:02',
    optionClass: 0x0167,
    stickiness: '3-tuple',
    scope: 'gateway',
    failover: 'rebalance',
    deregistrationDelaySeconds: 1,
    failOpen: true,
    healthCheck: {
      profile: 'aws',
      protocol: 'HTTP',
      port: 81,
      path: '/x',
      intervalSeconds: 20,
      timeoutSeconds: 6,
      healthyThreshold: 3,
      unhealthyThreshold: 4,
      matcher: '200',
      flapDamping: true,
      suspicion: false,
    },
  } as const;
  const group = new TargetGroup(ethernet);
  for (const key of Object.keys(ethernet) as (keyof typeof ethernet)[])
    t.same(group[key], ethernet[key], key);
});

t.test('timers and checks do not keep the process alive', async (t) => {
  const alive = () =>
    process.getActiveResourcesInfo().filter((name) => /Timeout|TCP/.test(name)).length;
  const before = alive();
  const group = new TargetGroup({ deregistrationDelaySeconds: 3600 });
  group.register({ address: '127.0.0.1' }, { address: '127.0.0.2' });
  attach(group);
  group.deregister('127.0.0.2');
  t.equal(alive(), before);
  const probed = new Promise((resolve) => group.once('probe', resolve));
  const wait = setTimeout(() => {}, 5_000);
  t.match(await probed, { target: { address: '127.0.0.1' } }, 'and they are real');
  clearTimeout(wait);
  detach(group);
  await group.close();
});
