/** A load balancer that goes on where another one stopped, over real sockets on 127.0.0.0/8. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import t from 'tap';
import {
  type GatewayError,
  GatewayLoadBalancer,
  type GatewayState,
  type ListenOptions,
  TargetGroup,
  tuplePacket,
} from '../../src/index.js';
import type { Teardown } from '../support/teardown.js';
import { until } from '../support/until.js';
import { Peer, settled } from './rig.js';

const GATEWAY = '127.76.0.5';
const TARGETS = ['127.76.0.10', '127.76.0.11', '127.76.0.12'];
const LIMITS = { flows: 1024, flowsIpv6: 1024 };
const KEYS = { hashKey: new Uint8Array(16).fill(1), cookieKey: new Uint8Array(16).fill(2) };
const ID = (n: number) => `vpce-0000000000000000${n}`;
const FLOW = { protocol: 'udp', source: '203.0.113.9:5000', destination: '10.0.2.10:53' };

function groupOf(...addresses: string[]): TargetGroup {
  const group = new TargetGroup({ name: 'firewalls', healthCheck: false });
  group.register(...addresses.map((address) => ({ address })));
  return group;
}

async function listen(
  t: Teardown,
  targetGroup: TargetGroup,
  options: Partial<ListenOptions> = {},
): Promise<GatewayLoadBalancer> {
  const gateway = await GatewayLoadBalancer.listen({
    ...{ address: GATEWAY, limits: LIMITS, sourcePorts: { count: 4 }, ...KEYS, targetGroup },
    ...options,
  });
  t.teardown(() => gateway.close());
  return gateway;
}

/** As another process reads it. */
const read = (state: GatewayState): GatewayState => JSON.parse(JSON.stringify(state));

interface Open {
  resolve: () => void;
  reject: (error: Error) => void;
}

/** Promises that the test keeps. */
class Saves {
  readonly states: GatewayState[] = [];
  readonly #open: Open[] = [];

  readonly save = (state: GatewayState): Promise<void> => {
    this.states.push(read(state));
    return new Promise((resolve, reject) => this.#open.push({ resolve, reject }));
  };

  async next(error?: Error): Promise<void> {
    await until(() => this.#open.length > 0, 'a state to save');
    const open = this.#open.shift();
    if (error) open?.reject(error);
    else open?.resolve();
  }
}

t.test('slots, indices, health and cookies are those of before', async (t) => {
  const peer = await Peer.open(t, '127.76.0.9', GATEWAY);
  const group = groupOf(...TARGETS);
  const former = await listen(t, group);
  group.deregister(TARGETS[0]);
  group.setHealth(TARGETS[1], 'unhealthy', 'Said so.');
  await former.createEndpoint({ id: ID(1), geneve: { peer: '127.76.0.8' } });
  await former.createEndpoint({ id: ID(2), geneve: { peer: '127.76.0.9', vni: 7 } });
  const before = former.targets().map((target) => target.toJSON());
  const state = read(former.state());

  // An appliance that holds a packet until the gateway that sent it is gone.
  const appliance = createSocket('udp4').bind(6081, TARGETS[2]);
  t.teardown(() => appliance.close());
  peer.send(tuplePacket(FLOW));
  const [held] = (await once(appliance, 'message')) as [Buffer];
  await former.close();

  const next = await listen(t, groupOf(TARGETS[1], TARGETS[2]), { state });
  t.strictSame(
    next.targets().map((target) => target.toJSON()),
    before,
    'the one that drained goes on draining',
  );
  t.equal(next.targetGroup.target(TARGETS[2])?.slot, 2, 'it is the object of the group, too');
  const endpoint = await next.createEndpoint({ id: ID(2), geneve: { peer: '127.76.0.9', vni: 7 } });
  t.equal(endpoint.index, 1);
  appliance.send(held, 6081, GATEWAY);
  await peer.until(1);
  const counters = await settled(
    () => next.counters(),
    ({ packetsOut }) => packetsOut === 1,
  );
  t.equal(counters.targets[`${TARGETS[2]}:6081`].packetsFrom, 1, 'counted where it belongs');
});

t.test('packets know of a change when it is saved', async (t) => {
  const saves = new Saves();
  const group = groupOf(TARGETS[0]);
  const listening = listen(t, group, { saveState: saves.save });
  await saves.next();
  const gateway = await listening;
  t.equal(saves.states[0].targets[0].slot, 0);

  const heard: string[] = [];
  group.on('change', () => heard.push('change'));
  group.on('register', ({ target }) => heard.push(target.address));
  const making = gateway.createEndpoint({ id: ID(1), geneve: { peer: '127.76.0.9', vni: 7 } });
  let made = false;
  void making.then(() => {
    made = true;
  });
  await saves.next();
  await making;
  t.ok(made);

  const shares = () => [...gateway.shares().values()];
  group.register({ address: TARGETS[1] });
  group.register({ address: TARGETS[2] });
  t.strictSame(shares(), [1, 0, 0], 'packets do not know yet');
  t.strictSame(heard, [], 'nor does anybody else');
  t.equal(gateway.explain(FLOW).target?.address, TARGETS[0]);
  await saves.next();
  await until(() => heard.length > 0, 'the first');
  t.match(shares(), [Number, Number, 0], 'what is saved, and no more');
  await saves.next();
  await until(() => heard.length > 3, 'the second');
  t.strictSame(heard, ['change', TARGETS[1], 'change', TARGETS[2]]);
  t.equal(shares().filter((share) => share > 0).length, 3);
  t.equal(saves.states.at(-1)?.targets.length, 3);
});

t.test('what cannot be saved', async (t) => {
  const full = new Error('the disk is full');
  const saves = new Saves();
  const starting = listen(t, groupOf(TARGETS[0]), { saveState: saves.save });
  await saves.next(full);
  await t.rejects(starting, full, 'it does not start');

  const group = groupOf(TARGETS[0]);
  const listening = listen(t, group, { saveState: saves.save });
  await saves.next();
  const gateway = await listening;
  const making = gateway.createEndpoint({ id: ID(1), geneve: { peer: '127.76.0.9' } });
  await saves.next(full);
  await t.rejects(making, full, 'no endpoint is made');
  t.strictSame(gateway.endpoints(), []);

  group.setWeight(TARGETS[0], 0);
  await saves.next(full);
  await until(() => [...gateway.shares().values()][0] === 0, 'packets to go on by the change');

  group.setWeight(TARGETS[0], 1);
  await until(() => [...gateway.shares().values()][0] === 1, 'packets not to wait for ever');
  group.setWeight(TARGETS[0], 0);
  await until(() => [...gateway.shares().values()][0] === 0, 'nor again');
  group.setWeight(TARGETS[0], 7);
  const { length } = saves.states;
  await until(() => [...gateway.shares().values()][0] === 1, 'nor then');
  t.equal(saves.states.length, length, 'one call at a time');
  await saves.next();
  await saves.next();
  t.equal(saves.states.at(-1)?.targets[0].weight, 7, 'what has changed meanwhile comes after it');
  await gateway.close();
  t.equal(group.targets()[0].state, 'unused');
});

t.test('a change that waits when it is closed is told all the same, and not saved', async (t) => {
  const saves = new Saves();
  const group = groupOf(TARGETS[0]);
  const listening = listen(t, group, { saveState: saves.save });
  await saves.next();
  const gateway = await listening;
  const heard: string[] = [];
  group.on('register', ({ target }) => heard.push(target.address));
  group.register({ address: TARGETS[1] });
  await gateway.close();
  t.strictSame(heard, [TARGETS[1]]);
  await saves.next();
  t.equal(saves.states.length, 2);
  t.throws(() => gateway.state(), { code: 'ERR_GWLB_CLOSED' });
});

t.test('options', async (t) => {
  const base = { address: GATEWAY, targetGroup: groupOf(TARGETS[0]) };
  const refused = async (options: object) => {
    const error = await GatewayLoadBalancer.listen({ ...base, ...options }).then(
      () => null,
      (error: GatewayError) => error,
    );
    return `${error?.code} ${error?.field}`;
  };
  t.equal(await refused({ state: 5 }), 'ERR_GWLB_INVALID_ARGUMENT options.state');
  t.equal(await refused({ state: {} }), 'ERR_GWLB_INVALID_ARGUMENT options.state.version');
  t.equal(await refused({ saveState: 5 }), 'ERR_GWLB_INVALID_ARGUMENT options.saveState');
});
