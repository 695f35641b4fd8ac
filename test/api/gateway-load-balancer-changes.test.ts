/** What takes long in an engine is done on another thread, one thing after the other. */
import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, open, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import t, { type Test } from 'tap';
import {
  Appliance,
  type Endpoint,
  GatewayLoadBalancer,
  type ListenOptions,
  TargetGroup,
} from '../../src/index.js';
import { randomFrom } from '../appliance/filter-model.js';
import type { Teardown } from '../support/teardown.js';

const GATEWAY = '127.77.61.5';
const PEER = '127.77.61.9';
const LIMITS = { flows: 1024, flowsIpv6: 1024 };
const ID = 'vpce-0123456789abcdef0';

function fleet(): TargetGroup {
  const group = new TargetGroup({ name: 'firewalls', healthCheck: false });
  group.register({ address: '127.77.61.10', zone: 'a' });
  return group;
}

async function listen(t: Teardown, options: Partial<ListenOptions> = {}) {
  const targetGroup = fleet();
  const gateway = await GatewayLoadBalancer.listen({
    address: GATEWAY,
    targetGroup,
    limits: LIMITS,
    ...options,
  });
  t.teardown(() => gateway.close());
  return gateway;
}

/** Keeps every thread of libuv's pool waiting until it is called. */
async function occupyPool(): Promise<() => Promise<void>> {
  const folder = mkdtempSync(join(tmpdir(), 'gwlb-pool-'));
  const fifo = join(folder, 'fifo');
  execFileSync('mkfifo', [fifo]);
  const threads = Number(process.env.UV_THREADPOOL_SIZE ?? 4);
  // Each waits for somebody who writes.
  const waiting = Array.from(
    { length: threads },
    () =>
      new Promise<void>((resolve, reject) => {
        open(fifo, 'r', (error, file) => {
          if (error) return reject(error);
          closeSync(file);
          resolve();
        });
      }),
  );
  return async () => {
    let writer = -1;
    while (writer < 0) {
      try {
        writer = openSync(fifo, constants.O_WRONLY | constants.O_NONBLOCK);
      } catch {
        await turn(); // ENXIO: no thread has come so far
      }
    }
    await Promise.all(waiting);
    closeSync(writer);
    rmSync(folder, { recursive: true });
  };
}

/** Calls it while no thread is free: the event loop turns, and nothing has come of the call. */
async function elsewhere<T>(t: Test, what: string, call: () => Promise<T>): Promise<T> {
  const letGo = await occupyPool();
  let settled = false;
  const pending = call();
  const noted = pending.then(
    () => {
      settled = true;
    },
    () => {
      settled = true;
    },
  );
  for (let i = 0; i < 20; i += 1) await turn();
  t.equal(settled, false, `${what}: the event loop turns meanwhile`);
  await letGo();
  await noted;
  return pending;
}

t.test('the event loop turns while engines start, change and stop', async (t) => {
  const gateway = await elsewhere(t, 'listen', () => listen(t));
  const geneve = { peer: PEER, vni: 7 };
  const endpoint = await elsewhere(t, 'createEndpoint', () => gateway.createEndpoint({ geneve }));
  await elsewhere(t, 'createEndpoint of a device', () =>
    gateway.createEndpoint({ tun: 'gwlbtest', netns: 'no-such-namespace' }).then(
      () => t.fail('there is no such namespace'),
      (error) => t.match(error, { field: 'endpoint.netns' }),
    ),
  );
  await elsewhere(t, 'removeEndpoint', () => gateway.removeEndpoint(endpoint));
  await elsewhere(t, 'close', () => gateway.close());
  const appliance = await elsewhere(t, 'Appliance.listen', () =>
    Appliance.listen({ address: '127.77.61.10', healthCheck: false }),
  );
  await elsewhere(t, 'Appliance.close', () => appliance.close());
});

t.test('of two at once the second is refused though the first is under way', async (t) => {
  const gateway = await listen(t);
  const first = gateway.createEndpoint({ id: ID, geneve: { peer: PEER, vni: 1 } });
  t.strictSame(gateway.endpoints(), [], 'it is not there yet');
  await t.rejects(gateway.createEndpoint({ id: ID, geneve: { peer: PEER, vni: 2 } }), {
    code: 'ERR_GWLB_DUPLICATE_ENDPOINT',
    field: 'endpoint.id',
  });
  await t.rejects(gateway.createEndpoint({ geneve: { peer: PEER, vni: 1 } }), {
    code: 'ERR_GWLB_DUPLICATE_ENDPOINT',
    field: 'endpoint.geneve',
    message: new RegExp(`those of ${ID}$`),
  });
  t.throws(() => gateway.targetGroup.register({ address: PEER }), {
    code: 'ERR_GWLB_INVALID_ARGUMENT',
    message: new RegExp(`the peer of ${ID}$`),
  });
  const endpoint = await first;
  const removal = gateway.removeEndpoint(endpoint);
  t.strictSame(gateway.endpoints(), [], 'it is not there any more');
  await t.rejects(gateway.removeEndpoint(ID), { code: 'ERR_GWLB_UNKNOWN_ENDPOINT' });
  await t.rejects(gateway.restoreDevice(endpoint), { code: 'ERR_GWLB_UNKNOWN_ENDPOINT' });
  await t.rejects(gateway.createEndpoint({ id: ID, geneve: { peer: PEER, vni: 1 } }), {
    code: 'ERR_GWLB_DUPLICATE_ENDPOINT',
  });
  await removal;
  await gateway.createEndpoint({ id: ID, geneve: { peer: PEER, vni: 1 } });
});

t.test('an endpoint that could not be made gives back id, index, peer and zone', async (t) => {
  const gateway = await listen(t);
  for (let i = 0; i < 70; i += 1) {
    await t.rejects(
      gateway.createEndpoint({
        id: ID,
        zone: `z${i}`,
        tun: 'gwlbtest',
        netns: 'no-such-namespace',
      }),
      { code: 'ERR_GWLB_UNKNOWN_NAMESPACE' },
    );
  }
  const endpoint = await gateway.createEndpoint({ id: ID, zone: 'z', geneve: { peer: PEER } });
  t.equal(endpoint.index, 0);
  gateway.targetGroup.register({ address: '127.77.61.11', zone: 'b' });
});

t.test('closing while something is under way', async (t) => {
  const gateway = await listen(t);
  const endpoint = await gateway.createEndpoint({ geneve: { peer: PEER, vni: 1 } });
  const outcomes = Promise.allSettled([
    gateway.createEndpoint({ geneve: { peer: PEER, vni: 2 } }),
    gateway.removeEndpoint(endpoint),
    gateway.createEndpoint({ geneve: { peer: PEER, vni: 3 } }),
    gateway.restoreDevice(gateway.endpoints()[0] ?? ID),
    gateway.close(),
    gateway.createEndpoint({ geneve: { peer: PEER, vni: 4 } }),
    gateway.removeEndpoint(endpoint),
  ]);
  gateway.counters();
  const codes = (await outcomes).map((one) =>
    one.status === 'fulfilled' ? null : (one.reason as { code: string }).code,
  );
  const closed = 'ERR_GWLB_CLOSED';
  t.strictSame(codes, [closed, null, closed, 'ERR_GWLB_UNKNOWN_ENDPOINT', null, closed, closed]);
  t.strictSame(gateway.endpoints(), []);
  t.equal(gateway.targetGroup.inUse, false);
  await listen(t);
});

t.test('an AbortSignal while it is being opened', async (t) => {
  for (const turns of [0, 1, 2, 4]) {
    const abort = new AbortController();
    const targetGroup = fleet();
    const pending = listen(t, { targetGroup, signal: abort.signal });
    const refused = t.rejects(pending, { message: 'enough' });
    for (let i = 0; i < turns; i += 1) await turn();
    abort.abort(new Error('enough'));
    // By then it may have been there already; then it is closed.
    const gateway = await pending.catch(() => null);
    if (gateway === null) await refused;
    else await gateway.close();
    t.equal(targetGroup.inUse, false);

    const other = new AbortController();
    const opening = Appliance.listen({
      address: '127.77.61.10',
      healthCheck: false,
      signal: other.signal,
    });
    for (let i = 0; i < turns; i += 1) await turn();
    other.abort(new Error('enough'));
    const appliance = await opening.catch((error) => {
      t.equal(error.message, 'enough');
    });
    await appliance?.close();
  }
  await (await listen(t)).close();
});

t.test('one group for two that are being opened', async (t) => {
  const targetGroup = fleet();
  const first = listen(t, { targetGroup });
  await t.rejects(listen(t, { targetGroup, address: '127.77.61.6' }), { code: 'ERR_GWLB_IN_USE' });
  await (await first).close();
  // What is registered meanwhile is looked at, too.
  const second = listen(t, { targetGroup });
  targetGroup.register({ address: GATEWAY });
  await t.rejects(second, { name: 'GatewayError', field: 'options.address' });
  t.equal(targetGroup.inUse, false);
});

/** What may come of a call that others cross. */
t.test('a large table is built elsewhere, and the newest comes after it', async (t) => {
  const gateway = await listen(t);
  const { targetGroup } = gateway;
  const [first] = targetGroup.targets();
  const share = (id: string) => gateway.shares().get(id);
  targetGroup.register({ address: '127.77.61.11', zone: 'a' });
  t.equal((share(first.id) ?? 0) + (share('127.77.61.11:6081') ?? 0), 1, 'a small one is at once');
  const free = await occupyPool();
  const many = Array.from({ length: 150 }, (_, i) => `127.77.62.${i + 1}`);
  targetGroup.register(...many.map((address) => ({ address, zone: 'a' })));
  t.equal(targetGroup.targets().length, 152);
  // Packets are decided by what there was.
  t.equal(share('127.77.62.1:6081'), 0);
  targetGroup.setWeight(first, 0);
  await turn();
  t.ok((share(first.id) ?? 0) > 0.4, 'a change after it waits for it');
  const settled = gateway.settled();
  await free();
  await settled;
  t.equal(share(first.id), 0);
  t.ok((share('127.77.62.1:6081') ?? 0) > 0);
  t.ok([...gateway.shares().values()].reduce((sum, one) => sum + one, 0) > 0.999);
});

t.test('closed while a large table is built', async (t) => {
  const gateway = await listen(t);
  const free = await occupyPool();
  const many = Array.from({ length: 150 }, (_, i) => `127.77.62.${i + 1}`);
  gateway.targetGroup.register(...many.map((address) => ({ address, zone: 'a' })));
  const settled = gateway.settled();
  const closing = gateway.close();
  await free();
  await Promise.all([settled, closing]);
  t.notOk(gateway.targetGroup.inUse);
});

const CODES = [
  'ERR_GWLB_CLOSED',
  'ERR_GWLB_DUPLICATE_ENDPOINT',
  'ERR_GWLB_UNKNOWN_ENDPOINT',
  'ERR_GWLB_UNKNOWN_NAMESPACE',
];

t.test('any calls at once, in any order', async (t) => {
  for (let seed = 1; seed <= 12; seed += 1) {
    const random = randomFrom(seed);
    const gateway = await listen(t);
    const pending: Promise<unknown>[] = [];
    const refused = (error: { code: string }) => t.ok(CODES.includes(error.code), error.code);
    const made: Endpoint[] = [];
    const one = () => made[random(Math.max(1, made.length))] ?? ID;
    const calls: (() => unknown)[] = [
      () => {
        const geneve = { peer: PEER, vni: random(6) };
        return gateway.createEndpoint({ geneve }).then((endpoint) => made.push(endpoint));
      },
      () => gateway.createEndpoint({ tun: 'gwlbtest', zone: 'x', netns: 'no-such-namespace' }),
      () => gateway.removeEndpoint(one()),
      () => gateway.restoreDevice(one()),
      () => gateway.setIdleTimeout({ tcpSeconds: 60 + random(100) }),
      () => gateway.setTcpReset({ onIdleTimeout: random(2) === 1 }),
      () => gateway.counters(),
      () => gateway.shares(),
      () => gateway.rotateCookieKey(),
      () => gateway.record(random(2)),
      () => gateway.targetGroup.register({ address: `127.77.61.${20 + random(200)}` }),
      () => gateway.settled(),
      () => turn(),
    ];
    for (let i = 0; i < 60; i += 1) {
      try {
        const result = calls[random(calls.length)]();
        if (result instanceof Promise) pending.push(result.catch(refused));
      } catch (error) {
        t.match(error, { code: /^ERR_GWLB_(DUPLICATE_TARGET|UNKNOWN_ENDPOINT)$/ });
      }
      if (random(4) === 0) await turn();
    }
    await gateway.close();
    await Promise.all(pending);
    t.equal(gateway.targetGroup.inUse, false, `seed ${seed}`);
  }
});
