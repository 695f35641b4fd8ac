/** What of a target group changes while it runs. */
import t from 'tap';
import type { TargetGroupPolicy } from '../../src/gateway/group-options.js';
import { TargetGroup } from '../../src/gateway/target-group.js';
import { attach, detach, HEALTH, OK, setup, thrown } from './group-rig.js';

t.test('update checks everything before it changes anything', async (t) => {
  const { group, said } = setup();
  const before = group.attributes;
  const wrong = {
    failover: 'rebalance',
    failOpen: true,
    healthCheck: { intervalSeconds: 2 },
  } as const;
  t.match(
    thrown(() => group.update(wrong)),
    {
      code: 'ERR_GWLB_OUT_OF_RANGE',
      field: 'targetGroup.healthCheck.intervalSeconds',
      message: 'targetGroup.healthCheck.intervalSeconds: expected 5–300, received 2',
    },
  );
  t.same(group.attributes, before);
  t.equal(group.failOpen, false);
  t.same(said(), []);
  group.update({ failover: 'rebalance', failOpen: true, deregistrationDelaySeconds: 7 });
  t.match(group, { failover: 'rebalance', failOpen: true, deregistrationDelaySeconds: 7 });
  t.same(said(), ['change']);
  group.update({ failOpen: false });
  t.same(said(), ['change'], 'the load balancer must hear of it');
  group.update({ failOpen: false });
  group.update({});
  t.same(said(), [], 'what is the same changes nothing');
});

t.test('other checks begin at the next place in the interval; the same go on', async (t) => {
  const { world, group } = setup();
  group.register({ address: '10.0.0.1' });
  attach(group);
  world.advance(31_000);
  const last = world.asked.at(-1)?.at ?? 0;
  group.update({ healthCheck: { ...HEALTH, port: 80 } });
  world.advance(10_000);
  t.equal(world.asked.at(-1)?.at, last + 10_000);
  world.answers = () => undefined;
  world.advance(10_000);
  const cancelled = world.cancelled;
  group.update({ healthCheck: HEALTH, failover: 'rebalance' });
  t.equal(world.cancelled, cancelled);
  group.update({ healthCheck: { ...HEALTH, port: 81, intervalSeconds: 20 } });
  t.equal(world.cancelled, cancelled + 1);
  t.equal(group.target('10.0.0.1')?.state, 'healthy', 'the state stays');
  world.asked.length = 0;
  world.answers = () => OK;
  world.advance(20_000);
  t.same(
    world.asked.map(({ port }) => port),
    [81],
  );
});

t.test('what a group has for life says so', async (t) => {
  const { group } = setup();
  const update = (policy: object) => thrown(() => group.update(policy as TargetGroupPolicy));
  t.match(update({ failOpen: true, scope: 'gateway' }), {
    code: 'ERR_GWLB_INVALID_ARGUMENT',
    field: 'targetGroup.scope',
    message: /expected one of the options that can change \(stickiness, failover, /,
  });
  t.match(update({ port: 6082 }), { field: 'targetGroup.port', message: /make another group/ });
  t.match(update({ ports: 6082 }), { message: /received an unknown option$/ });
  t.equal(group.failOpen, false);
});

t.test('attributes are the same settings', async (t) => {
  const { group, said } = setup();
  group.modifyAttributes({
    'deregistration_delay.timeout_seconds': '60',
    'target_failover.on_deregistration': 'rebalance',
    'target_failover.on_unhealthy': 'rebalance',
    'stickiness.enabled': 'true',
    'stickiness.type': 'source_ip_dest_ip',
  });
  t.match(group, { deregistrationDelaySeconds: 60, failover: 'rebalance', stickiness: '2-tuple' });
  t.equal(group.attributes['stickiness.type'], 'source_ip_dest_ip');
  attach(group);
  said();
  group.modifyAttributes({ 'stickiness.enabled': 'false' });
  t.equal(group.stickiness, '5-tuple');
  t.same(said(), ['change'], 'packets are told apart by it');
  group.modifyAttributes({
    'stickiness.enabled': 'true',
    'stickiness.type': 'source_ip_dest_ip_proto',
    'deregistration_delay.timeout_seconds': '1',
  });
  t.match(group, { stickiness: '3-tuple', deregistrationDelaySeconds: 1 });
});

t.test('sendTcpReset and rebalance exclude each other, whichever comes second', async (t) => {
  const { group, said } = setup();
  const both = { onUnhealthy: true, onDeregistration: true };
  group.update({ sendTcpReset: both });
  t.same(said(), ['change']);
  t.same(group.sendTcpReset, both);
  t.equal(group.attributes['send_tcp_reset.on_deregistration.enabled'], 'true');
  const refused = {
    code: 'ERR_GWLB_ATTRIBUTES',
    field: 'targetGroup.sendTcpReset.onUnhealthy',
  };
  t.match(
    thrown(() => group.update({ failOpen: true, failover: 'rebalance' })),
    refused,
  );
  t.match(
    thrown(() => {
      group.modifyAttributes({
        'deregistration_delay.timeout_seconds': '5',
        'target_failover.on_deregistration': 'rebalance',
        'target_failover.on_unhealthy': 'rebalance',
      });
    }),
    { code: 'ERR_GWLB_ATTRIBUTES', message: /on_unhealthy.enabled can only be "true" when/ },
  );
  t.match(group, { failover: 'no_rebalance', failOpen: false, deregistrationDelaySeconds: 300 });
  t.same(said(), [], 'all or none');
  group.update({ failover: 'rebalance', sendTcpReset: {} });
  t.match(group, {
    failover: 'rebalance',
    sendTcpReset: { onUnhealthy: false, onDeregistration: false },
  });
  t.match(
    thrown(() => group.update({ sendTcpReset: { onUnhealthy: true } })),
    refused,
  );
  const sticky = new TargetGroup({ stickiness: '3-tuple' });
  t.match(
    thrown(() => sticky.update({ sendTcpReset: { onUnhealthy: true } })),
    refused,
  );
});

t.test('setHealth says how targets are that nobody checks', async (t) => {
  const { world, group, said } = setup({ healthCheck: false, failover: 'rebalance' });
  const [first, second] = group.register({ address: '10.0.0.1' }, { address: '10.0.0.2' });
  group.setHealth(second, 'unhealthy', 'Its port is down.');
  t.equal(second.state, 'unused', 'nobody uses it yet');
  attach(group);
  said();
  t.match(second, {
    state: 'unhealthy',
    reason: 'Target.FailedHealthChecks',
    description: 'Its port is down.',
  });
  t.match(first, { state: 'healthy', reason: null, description: 'Health checks are turned off.' });

  world.advance(5);
  group.setHealth('10.0.0.2', 'healthy');
  t.same(said(), ['change', '10.0.0.2 unhealthy>healthy null (set-health)']);
  t.match(second, { state: 'healthy', description: 'Set to healthy.', since: world.time });
  group.setHealth(second, 'healthy', 'Still up.');
  t.same(said(), [], 'no transition, no event');
  t.equal(second.description, 'Still up.');
  group.setHealth(first, 'unhealthy');
  t.same(said(), ['change', '10.0.0.1 healthy>unhealthy Target.FailedHealthChecks (set-health)']);

  group.update({ failOpen: true, healthCheck: false });
  t.equal(first.state, 'unhealthy', 'another change does not change it');
  group.deregister(second);
  said();
  group.setHealth(second, 'unhealthy');
  t.same(said(), [], 'a draining target stays as it is');
  group.register({ address: '10.0.0.2' });
  t.equal(second.state, 'healthy', 'registered again, it is as new');
  detach(group);
  attach(group);
  t.equal(first.state, 'unhealthy', 'what was said holds for the next load balancer');

  group.update({ healthCheck: HEALTH });
  t.equal(first.state, 'unhealthy', 'checks find out themselves');
  t.match(
    thrown(() => group.setHealth(first, 'healthy')),
    {
      code: 'ERR_GWLB_INVALID_ARGUMENT',
      field: 'healthCheck',
      message: 'healthCheck: expected false for setHealth, received an object',
    },
  );
  group.update({ healthCheck: false });
  t.equal(first.state, 'healthy', 'what was said before the checks is over');
});

t.test('setHealth: every wrong argument', async (t) => {
  const { group } = setup({ healthCheck: false });
  group.register({ address: '10.0.0.1' });
  const cases: [unknown[], string][] = [
    [['10.0.0.2', 'healthy'], 'target: expected a registered target, received "10.0.0.2"'],
    [['10.0.0.1', 'ill'], 'state: expected "healthy" or "unhealthy", received "ill"'],
    [
      ['10.0.0.1', 'healthy', ''],
      'description: expected a string of 1–200 characters, received ""',
    ],
    [['10.0.0.1', 'healthy', 5], 'description: expected a string of 1–200 characters, received 5'],
  ];
  for (const [given, message] of cases) {
    const error = thrown(() => group.setHealth(...(given as Parameters<typeof group.setHealth>)));
    t.equal(error.message, message);
  }
});
