/** The appliance alone; the test plays the gateway. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { Appliance, parseDropRule, tuplePacket } from '../../src/index.js';
import { until } from '../support/until.js';
import { ApplianceRig } from './appliance-rig.js';
import { settled } from './rig.js';

const APPLIANCE = '127.77.1.10';
const TCP = { protocol: 'tcp', source: '203.0.113.9:52144', destination: '10.0.2.10:443' };

/** A GatewayError about this option. */
const named = (field: string) => ({ name: 'GatewayError', field });

const rig = new ApplianceRig('127.77.1');
const listen = rig.listen.bind(rig);
const gatewayFor = rig.gatewayFor.bind(rig);

t.test('it returns what it received, from the port it came from', async (t) => {
  const appliance = await listen(t);
  const { answers, send } = await gatewayFor(t);
  const sent = send(tuplePacket(TCP));
  await until(() => answers.length === 1, 'an answer');
  t.equal(answers[0].bytes.toString('hex'), sent.toString('hex'));
  t.match(answers[0].from, { address: APPLIANCE, port: 32800 });
  const counters = await settled(
    () => appliance.counters(),
    ({ packetsReturned }) => packetsReturned === 1,
  );
  t.match(counters, {
    packetsReceived: 1,
    bytesReceived: 40,
    packetsReturned: 1,
    bytesReturned: 40,
    drops: { geneve_truncated: 0 },
  });
});

t.test('drop rules need no inspector', async (t) => {
  const appliance = await listen(t, {
    drop: [
      parseDropRule('tcp port 23'),
      { host: '10.9.0.0/16', protocol: 'udp' },
      { protocol: 'icmp6' },
      { host: '2001:db8::/32' },
    ],
  });
  const { answers, send } = await gatewayFor(t);
  send(tuplePacket({ ...TCP, destination: '10.0.2.10:23' }));
  send(tuplePacket({ protocol: 'udp', source: '10.9.3.4:1', destination: '10.0.0.1:1' }));
  send(tuplePacket({ protocol: 'icmp', source: '::1', destination: '::2' }));
  send(tuplePacket({ protocol: 'udp', source: '[::1]:1', destination: '[2001:db8::1]:1' }));
  const passes = [
    tuplePacket({ protocol: 'udp', source: '10.0.0.2:23', destination: '10.0.0.1:1' }),
    tuplePacket({ protocol: 'tcp', source: '10.9.3.4:1', destination: '10.0.0.1:1' }),
    tuplePacket({ protocol: 'udp', source: '[::1]:1', destination: '[2001:db9::1]:1' }),
  ].map((packet) => send(packet));
  await until(() => answers.length === 3, 'three answers');
  await until(() => appliance.counters().packetsReceived === 7, 'seven packets');
  t.strictSame(
    answers.map(({ bytes }) => bytes.toString('hex')),
    passes.map((bytes) => bytes.toString('hex')),
  );
  await until(() => appliance.counters().drops.appliance_verdict === 4, 'four drops');
});

t.test('an asynchronous inspector keeps its batches, and packets their order', async (t) => {
  const appliance = await listen(t);
  const { answers, send } = await gatewayFor(t);
  const order: number[] = [];
  appliance.inspect(async (packets) => {
    const first = order.length === 0;
    for (const packet of packets) order.push(packet.cookie);
    // The first batch takes longest.
    await delay(first ? 150 : 1);
    for (const packet of packets) if (packet.cookie === 2) packet.drop();
  });
  for (let i = 0; i < 5; i += 1) {
    send(tuplePacket({ ...TCP, source: `203.0.113.9:${1000 + i}` }));
    await delay(20);
  }
  await until(() => answers.length === 4, 'four answers');
  t.strictSame(order, [1, 2, 3, 4, 5]);
  t.strictSame(
    answers.map(({ bytes }) => bytes.readUInt32BE(36)),
    [1, 3, 4, 5],
  );
  t.equal(appliance.counters().drops.appliance_verdict, 1);
});

t.test('an inspector that is there from the first packet on', async (t) => {
  const { answers, send } = await gatewayFor(t);
  const packet = tuplePacket(TCP);
  // Before anybody listens, and all the while.
  let sent = 0;
  const flood = setInterval(() => {
    for (let i = 0; i < 20; i += 1) send(packet);
    sent += 20;
  }, 1);
  t.teardown(() => clearInterval(flood));
  for (let i = 0; i < 4; i += 1) {
    const appliance = await listen(t, { inspector: (packets) => packets.dropAll() });
    const seen = sent;
    await until(() => sent > seen + 200, 'more packets');
    await until(() => appliance.counters().packetsInspected > 100, 'it sees them');
    await appliance.close();
  }
  t.equal(answers.length, 0, 'not one was returned unseen');
  const appliance = await listen(t, { inspector: (packets) => packets.dropAll() });
  appliance.inspect(null);
  await until(() => answers.length > 0, 'nobody sees packets any more');
});

t.test('an inspector that fails', async (t) => {
  const { answers, send } = await gatewayFor(t);
  for (const failOpen of [false, true]) {
    const appliance = await listen(t, { failOpen });
    const errors: unknown[] = [];
    appliance.on('error', (error) => errors.push(error));
    appliance.inspect(() => {
      throw new Error('synchronous');
    });
    send(tuplePacket(TCP));
    await until(() => errors.length === 1, 'an error');
    appliance.inspect(async () => {
      throw new Error('asynchronous');
    });
    send(tuplePacket(TCP));
    await until(() => errors.length === 2, 'another error');
    t.match(errors, [{ message: 'synchronous' }, { message: 'asynchronous' }]);
    await until(() => appliance.counters().packetsReceived === 2, 'two packets');
    if (failOpen) await until(() => answers.length === 2, 'two answers');
    const { drops, packetsReturned } = await settled(
      () => appliance.counters(),
      (counters) => counters.packetsReturned + counters.drops.appliance_verdict === 2,
    );
    t.equal(drops.appliance_verdict, failOpen ? 0 : 2);
    t.equal(packetsReturned, failOpen ? 2 : 0);
    await appliance.close();
  }
});

t.test('closing while the inspector still thinks', async (t) => {
  const appliance = await listen(t);
  const { answers, send } = await gatewayFor(t);
  let go: () => void = () => {};
  let begun = 0;
  let closed = 0;
  appliance.on('close', () => {
    closed += 1;
  });
  appliance.inspect((packets) => {
    begun += packets.count;
    return new Promise((resolve) => {
      go = resolve;
    });
  });
  send(tuplePacket(TCP));
  await until(() => begun === 1, 'a packet with the inspector');
  await Promise.all([appliance.close(), appliance.close()]);
  go();
  await delay(50);
  t.equal(closed, 1);
  t.equal(answers.length, 0);
  t.equal(appliance.closed, true);
  const { packetsReceived, packetsReturned, drops } = appliance.counters();
  t.equal(packetsReceived, 1);
  t.equal(packetsReturned + Object.values(drops).reduce((a, b) => a + b, 0), 1);
  t.throws(() => appliance.inspect(null), { code: 'ERR_GWLB_CLOSED' });
});

t.test('health checks are answered', async (t) => {
  const healthCheck = { port: 8077, path: '/health' };
  const appliance = await listen(t, { healthCheck });
  t.strictSame(appliance.healthCheck, { protocol: 'HTTP', ...healthCheck });
  const url = `http://${APPLIANCE}:8077`;
  t.equal((await fetch(`${url}/health`)).status, 200);
  t.equal((await fetch(`${url}/`)).status, 404);
  await appliance.setHealth('unhealthy', 'rules are loading');
  const answer = await fetch(`${url}/health`);
  t.strictSame([answer.status, await answer.text()], [503, 'rules are loading\n']);
  await appliance.setHealth('healthy');
  t.equal((await fetch(`${url}/health`)).status, 200);
  await t.rejects(appliance.setHealth('ill' as never), named('state'));
  await t.rejects(appliance.setHealth('unhealthy', ''), named('reason'));
  await appliance.close();
  await t.rejects(fetch(`${url}/health`));
  await t.rejects(appliance.setHealth('healthy'), { code: 'ERR_GWLB_CLOSED' });
});

t.test('an appliance that answers no health checks has nothing to tell', async (t) => {
  const appliance = await listen(t);
  await t.rejects(appliance.setHealth('healthy'), named('state'));
});

t.test('what is wrong is named, and nothing is left behind', async (t) => {
  const wrong = async (options: object, expected: object): Promise<void> => {
    await t.rejects(Appliance.listen({ address: APPLIANCE, healthCheck: false, ...options }), {
      name: 'GatewayError',
      ...expected,
    });
  };
  await wrong({ address: '::ffff:127.0.0.1' }, named('options.address'));
  await wrong({ port: 70_000 }, named('options.port'));
  await wrong({ healthCheck: { port: 0 } }, named('options.healthCheck.port'));
  await wrong({ healthCheck: { path: 'x' } }, named('options.healthCheck.path'));
  await wrong({ healthCheck: { protocol: 'UDP' } }, named('options.healthCheck.protocol'));
  const pathOverTcp = { protocol: 'TCP', path: '/' };
  await wrong({ healthCheck: pathOverTcp }, named('options.healthCheck.path'));
  await wrong({ healthCheck: {}, netns: 'x' }, named('options.healthCheck'));
  await wrong({ drop: [{}] }, named('options.drop[0]'));
  await wrong({ drop: [{ protocol: 'x' }] }, named('options.drop[0].protocol'));
  await wrong({ drop: [{ protocol: 'icmp', port: 5 }] }, named('options.drop[0].port'));
  await wrong({ drop: [{ host: 'x' }] }, named('options.drop[0].host'));
  await wrong({ drop: 'tcp' }, named('options.drop'));
  await wrong({ inspector: {} }, named('options.inspector'));
  await wrong({ inspectors: () => {} }, named('options.inspectors'));
  await wrong({ failOpen: 1 }, named('options.failOpen'));
  await wrong(
    { netns: 'gwlb-no-such-namespace' },
    { ...named('options.netns'), code: 'ERR_GWLB_UNKNOWN_NAMESPACE' },
  );
  const server = createServer();
  server.listen(8078, APPLIANCE);
  await once(server, 'listening');
  t.teardown(() => server.close());
  const inUse = { ...named('options.address'), code: 'ERR_GWLB_ADDRESS_IN_USE' };
  await wrong({ healthCheck: { port: 8078 } }, { ...inUse, message: /127\.77\.1\.10:8078/ });
  const appliance = await listen(t);
  await wrong({ healthCheck: { port: 8079 } }, { ...inUse, message: /127\.77\.1\.10:6081/ });
  await t.rejects(fetch(`http://${APPLIANCE}:8079/`), 'the health check was closed again');
  t.throws(() => appliance.inspect('x' as never), named('inspector'));
  t.throws(() => new (Appliance as unknown as new () => unknown)(), {
    message: /Appliance\.listen/,
  });
});

t.test('an AbortSignal closes', async (t) => {
  const controller = new AbortController();
  const appliance = await listen(t, { signal: controller.signal });
  const closed = once(appliance, 'close');
  controller.abort();
  await closed;
  await t.rejects(listen(t, { signal: controller.signal }), { name: 'AbortError' });
  const again = await listen(t);
  await again[Symbol.asyncDispose]();
  t.equal(again.closed, true);
});

t.test('drop rules as text', async (t) => {
  const good: [string, object][] = [
    ['tcp port 23', { protocol: 'tcp', port: 23 }],
    ['host 10.0.0.1', { host: '10.0.0.1' }],
    ['udp port 53 host 10.1.0.0/16', { protocol: 'udp', port: 53, host: '10.1.0.0/16' }],
    ['  PORT 80\tTCP ', { protocol: 'tcp', port: 80 }],
    ['host 2001:db8::/32', { host: '2001:db8::/32' }],
    ['icmpv6', { protocol: 'icmp6' }],
    ['proto 47', { protocol: 47 }],
    ['port 7', { port: 7 }],
  ];
  for (const [text, rule] of good) t.strictSame(parseDropRule(text), rule, text);
  const bad: [string, number, RegExp][] = [
    ['', 1, /expected a protocol, "port" or "host", received the end/],
    ['tpc port 23', 1, /received "tpc"/],
    ['tcp prot 23', 5, /received "prot"/],
    ['tcp port', 9, /expected a port 1–65535, received the end/],
    ['tcp port 0', 10, /received "0"/],
    ['tcp port 65536', 10, /received "65536"/],
    ['tcp udp', 5, /no second protocol/],
    ['port 1 port 2', 8, /no second port/],
    ['host 10.0.0.1 host 10.0.0.2', 15, /no second host/],
    ['host 10.0.0.256', 6, /received "10\.0\.0\.256"/],
    ['icmp port 5', 6, /no port with protocol icmp/],
    ['port 5 icmp', 8, /no port with protocol icmp/],
    ['proto 0', 7, /protocol number 1–255/],
    ['proto', 6, /received the end/],
  ];
  for (const [text, position, told] of bad) {
    const message = new RegExp(`position ${position}: .*${told.source}`);
    t.throws(() => parseDropRule(text), { code: 'ERR_GWLB_INVALID_ARGUMENT', message }, text);
  }
  t.throws(() => parseDropRule(5 as never), named('drop'));
});
