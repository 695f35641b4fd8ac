/** The load balancer and the appliance over real sockets, on 127.0.0.0/8. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import {
  Appliance,
  type FlowEvent,
  GatewayLoadBalancer,
  type ListenOptions,
  TargetGroup,
  tuplePacket,
} from '../../src/index.js';
import { ROOT } from '../support/places.js';
import type { Teardown } from '../support/teardown.js';
import { until } from '../support/until.js';
import { Peer, settled } from './rig.js';

const GATEWAY = '127.77.0.5';
const APPLIANCE = '127.77.0.10';
const PEER = '127.77.0.9';
const ID = 'vpce-0123456789abcdef0';
const LIMITS = { flows: 1024, flowsIpv6: 1024 };
const TCP = { protocol: 'tcp', source: '203.0.113.9:52144', destination: '10.0.2.10:443' };

/** A GatewayError about this option. */
const named = (field: string) => ({ name: 'GatewayError', field });

function fleet(): TargetGroup {
  const group = new TargetGroup({ name: 'firewalls', healthCheck: false });
  group.register({ address: APPLIANCE, zone: 'a' });
  return group;
}

async function listen(t: Teardown, options: Partial<ListenOptions> = {}) {
  const gateway = await GatewayLoadBalancer.listen({
    address: GATEWAY,
    targetGroup: fleet(),
    limits: LIMITS,
    ...options,
  });
  t.teardown(() => gateway.close());
  return gateway;
}

async function applianceFor(t: Teardown): Promise<Appliance> {
  const appliance = await Appliance.listen({ address: APPLIANCE, healthCheck: false });
  t.teardown(() => appliance.close());
  return appliance;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

t.test('two gateways on one address need ports of their own to send from', async (t) => {
  const address = '127.77.0.6';
  await listen(t, { address });
  await t.rejects(listen(t, { address, port: 6091 }), {
    ...named('options.sourcePorts'),
    code: 'ERR_GWLB_ADDRESS_IN_USE',
    message:
      /^options\.sourcePorts: cannot send from 127\.77\.0\.6: other sockets have all of its ports 32768–33023, /,
  });
  const second = await listen(t, { address, port: 6091, sourcePorts: { base: 33_024, count: 8 } });
  t.equal(second.sourcePorts, 8);
});

t.test('there, through the appliance, and back', async (t) => {
  const gateway = await listen(t, { name: 'inspection' });
  const appliance = await applianceFor(t);
  const peer = await Peer.open(t, PEER, GATEWAY);
  const endpoint = await gateway.createEndpoint({
    id: ID,
    zone: 'a',
    geneve: { peer: PEER, vni: 7 },
  });
  t.equal(gateway.name, 'inspection');
  t.equal(gateway.address, GATEWAY);
  t.equal(gateway.port, 6081);
  t.equal(gateway.sourcePorts, 256);
  t.strictSame(endpoint.peer, { address: PEER, port: 6081, vni: 7, inner: 'ip' });
  t.strictSame(gateway.endpoints(), [endpoint]);
  const events: FlowEvent[] = [];
  gateway.on('flow', (event) => events.push(event));
  const began = Date.now();

  const seen: object[] = [];
  appliance.inspect((packets) => {
    for (const packet of packets) {
      const { version, protocol, source, destination, sourcePort, destinationPort } = packet;
      const { endpointId, attachmentId, cookie } = packet;
      seen.push({ version, protocol, source, destination, sourcePort, destinationPort });
      t.equal(endpointId, ID);
      t.equal(attachmentId, 0n);
      t.ok(cookie > 0);
    }
  });
  const client = tuplePacket(TCP);
  peer.send(client);
  const [back] = await peer.until(1);
  t.equal(hex(back.inner), hex(client));
  t.match(back, { vni: 7, protocolType: 0x0800, from: { address: GATEWAY } });
  t.strictSame(seen, [
    {
      version: 4,
      protocol: 6,
      source: '203.0.113.9',
      destination: '10.0.2.10',
      sourcePort: 52144,
      destinationPort: 443,
    },
  ]);

  const explained = gateway.explain(TCP);
  t.equal(explained.pinned, true);
  t.equal(explained.target?.address, APPLIANCE);
  // A SYN alone is no connection yet.
  t.ok(explained.idleLeftMs !== null && explained.idleLeftMs > 100_000);
  const udp6 = tuplePacket({ protocol: 'udp', source: '[::9]:53', destination: '[::10]:53' });
  peer.send(udp6);
  t.equal(hex((await peer.until(2))[1].inner), hex(udp6));

  const counters = await settled(
    () => gateway.counters(),
    ({ packetsOut }) => packetsOut === 2,
  );
  t.match(counters, {
    packetsIn: 2,
    packetsToTargets: 2,
    packetsFromTargets: 2,
    packetsOut: 2,
    flowsActiveIpv4: 1,
    flowsActiveIpv6: 1,
    targets: { [`${APPLIANCE}:6081`]: { packetsTo: 2, packetsFrom: 2, flowsActive: 2 } },
    endpoints: { [ID]: { packetsIn: 2, packetsOut: 2 } },
  });
  const theirs = await settled(
    () => appliance.counters(),
    ({ packetsReturned }) => packetsReturned === 2,
  );
  t.match(theirs, { packetsReceived: 2, packetsRewritten: 0 });
  await until(() => events.length === 2, 'two flow events');
  t.match(events[0], { type: 'opened', protocol: 'tcp', endpoint: { id: ID } });
  t.equal(events[0].target?.address, APPLIANCE);
  const now = Date.now();
  t.ok(events[0].at >= began - 1000 && events[0].at <= now + 1000, 'the time of the day');
  const monotonic = Number(process.hrtime.bigint() / 1_000_000n);
  t.ok(events[0].nowMs <= monotonic && events[0].nowMs >= monotonic - (now - began) - 1000);

  await gateway.removeEndpoint(ID);
  peer.send(client);
  await until(() => gateway.counters().drops.unknown_source === 1, 'a drop of the former peer');
  t.strictSame(gateway.endpoints(), []);
});

t.test('an inspector drops and rewrites', async (t) => {
  const gateway = await listen(t);
  const appliance = await applianceFor(t);
  const peer = await Peer.open(t, PEER, GATEWAY);
  await gateway.createEndpoint({ zone: 'a', geneve: { peer: PEER, vni: 7 } });
  const telnet = tuplePacket({ ...TCP, destination: '10.0.2.10:23' });
  const web = tuplePacket(TCP);
  const longer = new Uint8Array(web.length + 60);
  appliance.inspect((packets) => {
    for (const packet of packets) {
      if (packet.destinationPort === 23) {
        packet.drop();
        t.equal(packet.dropped, true);
        continue;
      }
      longer.set(packet.bytes);
      longer[2] = longer.length >>> 8;
      longer[3] = longer.length & 255;
      t.throws(() => packet.rewrite(Uint8Array.of(1, 2, 3)), named('bytes'));
      t.throws(() => packet.rewrite(new Uint8Array(10_000)), named('bytes'));
      packet.rewrite(longer);
      t.equal(packet.length, longer.length);
      t.equal(packet.destinationPort, 443);
    }
  });
  peer.send(telnet);
  peer.send(web);
  const [only] = await peer.until(1);
  t.equal(hex(only.inner), hex(longer));
  const theirs = await settled(
    () => appliance.counters(),
    ({ packetsReturned, drops }) => packetsReturned + drops.appliance_verdict === 2,
  );
  t.match(theirs, {
    packetsReceived: 2,
    packetsReturned: 1,
    packetsRewritten: 1,
    drops: { appliance_verdict: 1 },
  });
  appliance.inspect(null);
  peer.send(telnet);
  t.equal(hex((await peer.until(2))[1].inner), hex(telnet), 'nobody looks any more');
});

t.test('workers share the work; every packet counts once', async (t) => {
  const gateway = await listen(t, { workers: 2 });
  await applianceFor(t);
  const peer = await Peer.open(t, PEER, GATEWAY);
  await gateway.createEndpoint({ zone: 'a', geneve: { peer: PEER, vni: 7 } });
  const flows = 200;
  for (let i = 0; i < flows; i += 1) {
    peer.send(tuplePacket({ ...TCP, source: `203.0.113.${1 + (i % 100)}:${1000 + i}` }));
    if (i % 20 === 19) await delay(5);
  }
  await peer.until(flows);
  const counters = await settled(
    () => gateway.counters(),
    ({ packetsOut }) => packetsOut === flows,
  );
  t.match(counters, { packetsIn: flows, packetsOut: flows, flowsNew: flows });
  t.equal(
    Object.values(counters.drops).reduce((a, b) => a + b, 0),
    0,
  );
  const ports = new Set(peer.received.map(({ from }) => from.port));
  t.ok(ports.size > 50, 'flows have different outer source ports');
  const explained = gateway.explain({ ...TCP, source: '203.0.113.1:1000' });
  t.equal(explained.pinned, true, 'explain asks the worker that owns the flow');
});

t.test('a peer is no target, and a target no peer', async (t) => {
  const gateway = await listen(t);
  const { targetGroup } = gateway;
  await t.rejects(
    gateway.createEndpoint({ geneve: { peer: APPLIANCE } }),
    named('endpoint.geneve.peer'),
  );
  await gateway.createEndpoint({ geneve: { peer: PEER } });
  t.throws(() => targetGroup.register({ address: PEER }), named('targets[0].address'));
  t.throws(() => targetGroup.register({ address: GATEWAY }), named('targets[0].address'));
  t.equal(targetGroup.targets().length, 1);
  await t.rejects(gateway.createEndpoint({ geneve: { peer: PEER } }), {
    code: 'ERR_GWLB_DUPLICATE_ENDPOINT',
  });
  const other = await gateway.createEndpoint({ id: ID, geneve: { peer: PEER, vni: 1 } });
  await t.rejects(gateway.createEndpoint({ id: ID, geneve: { peer: PEER, vni: 2 } }), {
    code: 'ERR_GWLB_DUPLICATE_ENDPOINT',
  });
  await gateway.removeEndpoint(other);
  await t.rejects(gateway.removeEndpoint(other), { code: 'ERR_GWLB_UNKNOWN_ENDPOINT' });
  t.equal(gateway.endpoints().length, 1);
});

t.test('endpoints that cannot be', async (t) => {
  const gateway = await listen(t);
  const wrong = async (options: object, field: string): Promise<void> => {
    await t.rejects(gateway.createEndpoint(options as never), named(field));
  };
  await wrong({}, 'endpoint');
  await wrong({ tun: 'gwlbe0', geneve: { peer: PEER } }, 'endpoint');
  await wrong({ tun: 'a-name-that-is-too-long' }, 'endpoint.tun');
  await wrong({ tun: 'a b' }, 'endpoint.tun');
  await wrong({ tun: 'gwlbe0', netns: '../x' }, 'endpoint.netns');
  await wrong({ tun: 'gwlbe0', netns: 'gwlb-no-such-namespace' }, 'endpoint.netns');
  await wrong({ geneve: { peer: PEER }, netns: 'x' }, 'endpoint.netns');
  await wrong({ geneve: { peer: '::1' } }, 'endpoint.geneve.peer');
  await wrong({ geneve: { peer: PEER, vni: 0x1000000 } }, 'endpoint.geneve.vni');
  await wrong({ geneve: { peer: PEER, inner: 'x' } }, 'endpoint.geneve.inner');
  const mac = '02:00:00:00:00:01';
  await wrong({ geneve: { peer: PEER, sourceMac: mac } }, 'endpoint.geneve.sourceMac');
  await wrong({ geneve: { peer: PEER, vin: 1 } }, 'endpoint.geneve.vin');
  await wrong({ id: 'x', geneve: { peer: PEER } }, 'endpoint.id');
  t.strictSame(gateway.endpoints(), []);
});

/** Runs `ip`; null where that is not allowed, or there is none. */
function ip(...words: string[]): string | null {
  try {
    return execFileSync('ip', words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  } catch {
    return null;
  }
}

t.test('TUN endpoints, in a network namespace', async (t) => {
  const netns = `gwlb-api-${process.pid}`;
  if (ip('netns', 'add', netns) === null) {
    t.comment('skipped: network namespaces cannot be made here');
    return;
  }
  t.teardown(() => ip('netns', 'delete', netns));
  ip('-n', netns, 'link', 'set', 'lo', 'up');
  ip('-n', netns, 'address', 'add', `${GATEWAY}/32`, 'dev', 'lo');
  const gateway = await listen(t, { netns });
  t.equal(gateway.netns, netns);
  const endpoint = await gateway.createEndpoint({ zone: 'a', tun: 'gwlbe0', mtu: 1400 });
  t.match(endpoint, { kind: 'tun', device: 'gwlbe0', netns, mtu: 1400, peer: null });
  t.match(ip('-n', netns, 'link', 'show', 'gwlbe0'), /mtu 1400/, 'its namespace by default');
  await t.rejects(gateway.createEndpoint({ tun: 'gwlbe0' }), {
    ...named('endpoint.tun'),
    code: 'ERR_GWLB_DEVICE',
  });
  t.equal(gateway.endpoints().length, 1);

  // A loopback address would not be forwarded.
  ip('-n', netns, 'address', 'add', '192.0.2.7/32', 'dev', 'gwlbe0');
  ip('-n', netns, 'route', 'add', '198.51.100.0/24', 'dev', 'gwlbe0', 'src', '192.0.2.7');
  const script = 'echo hello > /dev/udp/198.51.100.7/9';
  execFileSync('ip', ['netns', 'exec', netns, 'bash', '-c', script]);
  await until(() => gateway.counters().packetsToTargets >= 1, 'a packet to a target');
  t.ok(gateway.counters().endpoints[endpoint.id].packetsIn >= 1);

  await gateway.removeEndpoint(endpoint);
  t.equal(ip('-n', netns, 'link', 'show', 'gwlbe0'), null, 'the device is gone');
  await gateway.createEndpoint({ zone: 'a', tun: 'gwlbe0' });
  const lost = await gateway.createEndpoint({ zone: 'a', tun: 'gwlbe1' });
  t.match(gateway.deviceStatus(lost), { state: 'up', error: null });
  const seen: { state: string; message: string | undefined }[] = [];
  gateway.on('device', ({ endpoint: { id }, state, error }) => {
    if (id === lost.id) seen.push({ state, message: error?.message });
  });
  ip('-n', netns, 'link', 'delete', 'gwlbe1');
  await until(() => seen.length === 2, 'lost and made again');
  t.match(seen, [
    { state: 'gone', message: /TUN device gwlbe1 .* is gone/ },
    { state: 'up', message: undefined },
  ]);
  t.equal(gateway.failure, null);
  ip('-n', netns, 'link', 'set', 'gwlbe1', 'down');
  await until(() => seen.length === 3, 'set down');
  t.match(gateway.failure, { code: 'ERR_GWLB_DEVICE', message: /gwlbe1/ });
  t.match(gateway.deviceStatus(lost.id), { state: 'down', error: gateway.failure });
  await gateway.restoreDevice(lost);
  t.equal(seen.length, 4, 'told at once');
  t.equal(gateway.failure, null);
  t.match(ip('-n', netns, 'link', 'show', 'gwlbe1'), /[<,]UP[,>]/);
  await gateway.removeEndpoint(lost);
  t.throws(() => gateway.deviceStatus(lost), { code: 'ERR_GWLB_UNKNOWN_ENDPOINT' });

  const kept = await gateway.createEndpoint({ tun: { name: 'gwlbe2', persistent: true } });
  await gateway.removeEndpoint(kept);
  t.ok(ip('-n', netns, 'link', 'show', 'gwlbe2'), 'it outlives its endpoint');
  const short = await gateway.createEndpoint({ tun: { name: 'gwlbe2', persistent: false } });
  await gateway.removeEndpoint(short);
  t.equal(ip('-n', netns, 'link', 'show', 'gwlbe2'), null);
  await t.rejects(
    gateway.createEndpoint({ tun: { name: 'gwlbe2', keep: true } as never }),
    named('endpoint.tun.keep'),
  );
  await gateway.close();
  t.equal(ip('-n', netns, 'link', 'show', 'gwlbe0'), null);
});

t.test('listening that cannot be leaves nothing behind', async (t) => {
  const targetGroup = fleet();
  const wrong = async (options: object, expected: object): Promise<void> => {
    await t.rejects(
      GatewayLoadBalancer.listen({
        address: '127.77.0.6',
        targetGroup,
        limits: LIMITS,
        ...options,
      }),
      { name: 'GatewayError', ...expected },
    );
    t.equal(targetGroup.inUse, false);
  };
  await wrong({ address: 'localhost' }, named('options.address'));
  await wrong({ address: APPLIANCE }, named('options.address'));
  await wrong({ port: 0 }, named('options.port'));
  await wrong({ workers: 65 }, named('options.workers'));
  await wrong({ name: 'no spaces' }, named('options.name'));
  await wrong({ signal: 5 }, named('options.signal'));
  await wrong({ netns: 'a/b' }, named('options.netns'));
  await wrong(
    { netns: 'gwlb-no-such-namespace' },
    { ...named('options.netns'), code: 'ERR_GWLB_UNKNOWN_NAMESPACE' },
  );
  await wrong(
    { address: '192.0.2.77' },
    { ...named('options.address'), code: 'ERR_GWLB_ADDRESS_NOT_AVAILABLE' },
  );
  const gateway = await listen(t);
  await wrong(
    { address: GATEWAY },
    { ...named('options.address'), code: 'ERR_GWLB_ADDRESS_IN_USE', message: /127\.77\.0\.5:6081/ },
  );
  await t.rejects(listen(t, { address: '127.77.0.6', targetGroup: gateway.targetGroup }), {
    code: 'ERR_GWLB_IN_USE',
  });
  await listen(t, { address: '127.77.0.6', targetGroup });
  t.throws(() => new (GatewayLoadBalancer as unknown as new () => unknown)(), {
    message: /GatewayLoadBalancer\.listen/,
  });
});

t.test('closing', async (t) => {
  const gateway = await listen(t);
  let closed = 0;
  gateway.on('close', () => {
    closed += 1;
  });
  await Promise.all([gateway.close(), gateway.close()]);
  await gateway[Symbol.asyncDispose]();
  t.equal(closed, 1);
  t.equal(gateway.closed, true);
  t.equal(gateway.targetGroup.inUse, false);
  await t.rejects(gateway.createEndpoint({ geneve: { peer: PEER } }), { code: 'ERR_GWLB_CLOSED' });
  await t.rejects(gateway.removeEndpoint(ID), { code: 'ERR_GWLB_CLOSED' });
  t.throws(() => gateway.setIdleTimeout({ otherSeconds: 1 }), { code: 'ERR_GWLB_CLOSED' });
  t.equal(gateway.counters().packetsIn, 0);
  await listen(t, { targetGroup: gateway.targetGroup });
});

t.test('an AbortSignal closes', async (t) => {
  const controller = new AbortController();
  const gateway = await listen(t, { signal: controller.signal });
  const closed = once(gateway, 'close');
  controller.abort();
  await closed;
  t.equal(gateway.closed, true);
  await t.rejects(listen(t, { signal: controller.signal }), { name: 'AbortError' });
  await listen(t);
});

t.test('it keeps the process alive until it is closed, unless told otherwise', async (t) => {
  // What is shipped, since loading it takes no compiler; `npm test` builds it first.
  const library = join(ROOT, 'dist/index.js');
  const child = (mode: string, address: string, then: string) => {
    const script = `
      import { GatewayLoadBalancer, TargetGroup } from ${JSON.stringify(library)};
      const gateway = await GatewayLoadBalancer.listen({
        address: '${address}',
        targetGroup: new TargetGroup({ healthCheck: false }),
        limits: { flows: 1024, flowsIpv6: 1024 },
      });
      gateway.on('flow', () => {});
      console.log('listening');
      ${then}`;
    const started = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    t.teardown(() => started.kill('SIGKILL'));
    return Object.assign(started, { mode });
  };
  const staying = child('stay', '127.77.0.31', '');
  const ending = [
    child('close', '127.77.0.32', 'await gateway.close();'),
    child('unref', '127.77.0.33', 'gateway.unref();'),
    child('exit', '127.77.0.34', 'process.exit(0);'),
  ].map(async (process) => {
    const [code, signal] = await once(process, 'exit');
    t.strictSame(
      { mode: process.mode, code, signal },
      { mode: process.mode, code: 0, signal: null },
    );
  });
  await Promise.all([...ending, once(staying.stdout, 'data')]);
  await delay(1200);
  t.equal(staying.exitCode, null);
  staying.kill('SIGTERM');
  const [, signal] = await once(staying, 'exit');
  t.equal(signal, 'SIGTERM');
});
