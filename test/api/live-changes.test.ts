/** A gateway that is given another group, cross-zone and another stickiness while it forwards. */
import t from 'tap';
import type { TargetGroupOptions } from '../../src/index.js';
import {
  Gateway,
  GatewayLoadBalancer,
  PacketBatch,
  REASON_NAMES,
  TargetGroup,
  tuplePacket,
} from '../../src/index.js';
import { thrown } from '../support/thrown.js';

const batch = new PacketBatch({ packets: 1 });
const LIMITS = { flows: 1024, flowsIpv6: 1024 };

function group(addresses: string[], options: TargetGroupOptions = {}): TargetGroup {
  const made = new TargetGroup({ healthCheck: false, ...options });
  made.register(...addresses.map((address) => ({ address })));
  return made;
}

t.test('what the groups and the gateway tell', async (t) => {
  const before = group(['10.0.0.1', '10.0.0.2']);
  const after = group(['10.0.0.3'], { name: 'after' });
  const gateway = new Gateway({ targetGroup: before, limits: LIMITS, midStream: 'drop' });
  t.teardown(() => gateway.close());
  const endpoint = gateway.createEndpoint();
  const udp = { protocol: 'udp', source: '203.0.113.9:5000', destination: '10.9.0.1:53' } as const;
  const send = () => {
    batch.clear();
    batch.add(tuplePacket(udp));
    gateway.toTargets(batch, endpoint, 5);
    return batch.target[0];
  };
  const slot = send();
  const [first, second] = before.targets();
  const target = slot === first.slot ? first : second;
  before.deregister(slot === first.slot ? second : first);

  const told: string[] = [];
  for (const each of [before, after]) {
    each.on('change', () => told.push(`${each.name} change`));
    each.on('health', ({ target, previous, state, reason, cause }) =>
      told.push(`${target.address} ${previous}>${state} ${reason} (${cause})`),
    );
    each.on('deregister', ({ target, cause }) => told.push(`${target.address} gone (${cause})`));
  }
  const drained = target === first ? second : first;
  after.once('health', () => {
    t.equal(gateway.targetGroup, after, 'it has changed before anybody hears of it');
    t.notOk(before.inUse);
  });
  gateway.setTargetGroup(after);
  t.same(told, [
    'after change',
    '10.0.0.3 unused>healthy null (attach)',
    ...(target === first
      ? [
          `${target.address} healthy>unused Target.NotInUse (detach)`,
          `${drained.address} draining>unused Target.NotRegistered (detach)`,
          `${drained.address} gone (detach)`,
        ]
      : [
          `${drained.address} draining>unused Target.NotRegistered (detach)`,
          `${drained.address} gone (detach)`,
          `${target.address} healthy>unused Target.NotInUse (detach)`,
        ]),
  ]);
  t.ok(after.inUse);
  t.same(before.targets(), [target], 'the one that drained has left the group');

  t.equal(send(), slot, 'the flow stays');
  const ids = gateway.targets().map(({ id, state }) => `${id} ${state}`);
  t.same(ids, ['10.0.0.1:6081 draining', '10.0.0.2:6081 draining', '10.0.0.3:6081 healthy']);
  const counters = gateway.counters().targets;
  t.equal(counters[target.id].packetsTo, 2, 'what goes to former targets is counted');
  t.equal(counters['10.0.0.3:6081'].packetsTo, 0);
  const explained = gateway.explain(udp);
  t.equal(explained.rule, 'T5', explained.text);
  t.equal(explained.target?.id, target.id);
  t.not(explained.target, target, 'its group has a target of its own again');
  t.equal(explained.chosen, after.targets()[0]);
  t.match(explained.ifTargetFails, { event: 'delay-over', fate: 'stays', rule: 'T6' });

  const elsewhere = new Gateway({ targetGroup: before, limits: LIMITS });
  t.equal(target.state, 'healthy', 'the group before is free for another gateway');
  await elsewhere.close();
  gateway.setTargetGroup(after);
  t.same(told.splice(0).length > 0 && gateway.targets().length, 3, 'the same group is no change');
  gateway.setTargetGroup(before);
  t.equal(send(), slot, 'back before the delay was over');
  t.equal(gateway.explain(udp).target, target);
  t.equal(target.slot, slot);
});

t.test('what cannot be: nothing has changed', async (t) => {
  const own = group(['10.0.0.1']);
  const gateway = new Gateway({ targetGroup: own, limits: LIMITS });
  const other = new Gateway({ targetGroup: group(['10.0.0.2']), limits: LIMITS });
  t.teardown(() => Promise.all([gateway.close(), other.close()]));
  const zones = new TargetGroup({ healthCheck: false });
  zones.register(
    ...Array.from({ length: 64 }, (_, i) => ({ address: `10.1.0.${i + 1}`, zone: `z${i}` })),
  );
  const geneve = group([], { healthCheck: { protocol: 'GENEVE' } });
  const closed = group([]);
  await closed.close();
  const cases: [unknown, string, RegExp][] = [
    [{}, 'ERR_GWLB_INVALID_ARGUMENT', /^targetGroup: expected a TargetGroup/],
    [other.targetGroup, 'ERR_GWLB_IN_USE', /^target group targets: expected a group that no/],
    [closed, 'ERR_GWLB_CLOSED', /^target group targets: it was closed/],
    [geneve, 'ERR_GWLB_INVALID_ARGUMENT', /^targetGroup.healthCheck.protocol: expected TCP/],
    [
      group([], { optionClass: 5 }),
      'ERR_GWLB_INVALID_ARGUMENT',
      /^targetGroup.optionClass: expected 264, that of the group before, received 5/,
    ],
    [
      group([], { scope: 'gateway' }),
      'ERR_GWLB_INVALID_ARGUMENT',
      /^targetGroup.scope: expected "endpoint", that of the group before, received "gateway"/,
    ],
    [zones, 'ERR_GWLB_TARGET_LIMIT', /^targets: expected targets of at most 64 zones, received 65/],
  ];
  for (const [given, code, message] of cases) {
    const error = thrown(() => gateway.setTargetGroup(given as TargetGroup));
    t.equal(error.code, code);
    t.match(error.message, message);
    t.equal(gateway.targetGroup, own);
    t.ok(own.inUse);
    t.equal(own.targets()[0].state, 'healthy');
  }
  t.notOk(geneve.inUse);
  t.equal(zones.targets()[0].state, 'unused');
  await gateway.close();
  t.equal(thrown(() => gateway.setTargetGroup(group([]))).code, 'ERR_GWLB_CLOSED');
});

t.test('a listening gateway: its own addresses are no targets', async (t) => {
  const gateway = await GatewayLoadBalancer.listen({
    address: '127.0.0.1',
    port: 16_081,
    targetGroup: group(['127.0.0.2']),
    limits: LIMITS,
    sourcePorts: { base: 36_000, count: 1 },
  });
  t.teardown(() => gateway.close());
  const own = group(['127.0.0.3', '127.0.0.1']);
  t.match(
    thrown(() => gateway.setTargetGroup(own)),
    {
      code: 'ERR_GWLB_INVALID_ARGUMENT',
      field: 'targetGroup.targets[1].address',
    },
  );
  const next = group(['127.0.0.3']);
  gateway.setTargetGroup(next);
  t.same(
    gateway.targets().map(({ id, state }) => `${id} ${state}`),
    ['127.0.0.2:6081 draining', '127.0.0.3:6081 healthy'],
  );
  await gateway.close();
  t.equal(next.targets()[0].state, 'unused');
  t.same(Object.keys(gateway.counters().targets), ['127.0.0.3:6081']);
});

t.test('another stickiness: flows are found anew, and TCP need not begin again', async (t) => {
  const targets = group(['10.0.0.1', '10.0.0.2', '10.0.0.3']);
  const gateway = new Gateway({ targetGroup: targets, limits: LIMITS, midStream: 'drop' });
  t.teardown(() => gateway.close());
  const endpoint = gateway.createEndpoint();
  const tcp = (port: number) =>
    ({ protocol: 'tcp', source: `203.0.113.9:${port}`, destination: '10.9.0.1:80' }) as const;
  const send = (port: number, flags: number) => {
    batch.clear();
    batch.add(tuplePacket(tcp(port), flags));
    gateway.toTargets(batch, endpoint, 5);
    return REASON_NAMES[batch.reason[0]] === 'none' ? batch.target[0] : -1;
  };
  const ports = Array.from({ length: 40 }, (_, i) => 5000 + i);
  const first = ports.map((port) => send(port, 0x02));
  t.equal(new Set(first).size, 3, 'by 5-tuples they are spread');
  t.equal(send(6000, 0x10), -1, 'what is not known has to begin');
  targets.modifyAttributes({
    'stickiness.enabled': 'true',
    'stickiness.type': 'source_ip_dest_ip',
  });
  const together = new Set(ports.map((port) => send(port, 0x10)));
  t.equal(together.size, 1, 'all between the two are one flow');
  t.notOk(together.has(-1), 'in the middle of a connection');
  t.match(gateway.explain(tcp(5000)), { pinned: true, key: /^2-tuple/ });
  targets.modifyAttributes({ 'stickiness.enabled': 'false' });
  t.same(
    ports.map((port) => send(port, 0x10)),
    first,
    'entries of before end when they are idle',
  );
});

t.test('stickiness and the idle timeout of TCP', async (t) => {
  const targets = group(['10.0.0.1']);
  const gateway = new Gateway({
    targetGroup: targets,
    limits: LIMITS,
    idleTimeout: { tcpSeconds: 600 },
  });
  t.teardown(() => gateway.close());
  const refused = {
    code: 'ERR_GWLB_ATTRIBUTES',
    message:
      "stickiness.type: expected no other stickiness than 5-tuple while the gateway's tcpSeconds is " +
      '600 (others need 350), received 3-tuple',
  };
  const attributes = {
    'stickiness.enabled': 'true',
    'stickiness.type': 'source_ip_dest_ip_proto',
  } as const;
  t.match(
    thrown(() => targets.modifyAttributes(attributes)),
    refused,
  );
  t.equal(targets.stickiness, '5-tuple');
  const other = group(['10.0.0.2'], { stickiness: '3-tuple' });
  t.match(
    thrown(() => gateway.setTargetGroup(other)),
    refused,
  );
  gateway.createEndpoint();
  gateway.setIdleTimeout({ tcpSeconds: 350 });
  gateway.setTargetGroup(other);
  const tuple = { protocol: 'tcp', source: '203.0.113.9:5', destination: '10.9.0.1:80' } as const;
  t.match(gateway.explain(tuple), { key: /^3-tuple/ });
});

t.test('cross-zone turned on and off', async (t) => {
  const targets = new TargetGroup({ healthCheck: false, failover: 'rebalance' });
  targets.register({ address: '10.0.0.1', zone: 'a' }, { address: '10.0.0.2', zone: 'b' });
  const gateway = new Gateway({ targetGroup: targets, limits: LIMITS });
  t.teardown(() => gateway.close());
  gateway.createEndpoint({ zone: 'a' });
  const shares = () => [...gateway.shares().values()];
  t.same([gateway.crossZone, shares()], [false, [1, 1]]);
  let changes = 0;
  targets.on('change', () => changes++);
  gateway.setCrossZone(true);
  t.equal(gateway.crossZone, true);
  t.equal(changes, 1);
  const [one, two] = shares();
  t.ok(one > 0.4 && two > 0.4 && one + two === 1, `${one} ${two}`);
  gateway.setCrossZone(true);
  t.equal(changes, 1, 'the same again is no change');
  gateway.setCrossZone(false);
  t.same([gateway.crossZone, shares()], [false, [1, 1]]);
  t.match(
    thrown(() => gateway.setCrossZone(1 as never)),
    {
      code: 'ERR_GWLB_INVALID_ARGUMENT',
      message: 'crossZone: expected true or false, received 1',
    },
  );
});
