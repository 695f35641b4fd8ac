/** The embedded gateway: batches through the core, and the appliance played by the test. */

import fc from 'fast-check';
import t from 'tap';
import { FLOWS_POLL_MS } from '../../src/fleet/life.js';
import { groupWithRuntime } from '../../src/gateway/target-group.js';
import {
  type Endpoint,
  type FlowEvent,
  Gateway,
  type GatewayCounters,
  type GatewayOptions,
  PacketBatch,
  REASON_NAMES,
  TargetGroup,
  tuplePacket,
  Verdict,
} from '../../src/index.js';
import { World } from '../gateway/group-rig.js';
import type { Teardown } from '../support/teardown.js';

const ENDPOINT_ID = 'vpce-0123456789abcdef0';
const TCP = { protocol: 'tcp', source: '203.0.113.9:52144', destination: '10.0.2.10:443' };
const BACK = { protocol: 'tcp', source: '10.0.2.10:443', destination: '203.0.113.9:52144' };
const SMALL = { flows: 1024, flowsIpv6: 1024 };

/** A GatewayError about this option. */
const named = (field: string) => ({ name: 'GatewayError', field });

function fleet(options: ConstructorParameters<typeof TargetGroup>[0] = {}): TargetGroup {
  const group = new TargetGroup({ name: 'firewalls', healthCheck: false, ...options });
  group.register({ address: '10.0.1.10', zone: 'a' }, { address: '10.0.1.11', zone: 'b' });
  return group;
}

function gatewayFor(t: Teardown, options: Partial<GatewayOptions> = {}): Gateway {
  const gateway = new Gateway({ targetGroup: fleet(), limits: SMALL, ...options });
  t.teardown(() => gateway.close());
  return gateway;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** What an appliance does: outer addresses swapped, GENEVE header and inner packet as they came. */
function returned(batch: PacketBatch, i: number): [Uint8Array, number] {
  return [batch.bytes(i).slice(), batch.address[i]];
}

t.test('zones come and go, more of them than there may be at a time', async (t) => {
  const world = new World();
  const options = { healthCheck: false, deregistrationDelaySeconds: 0 } as const;
  const group = groupWithRuntime(options, world);
  const gateway = gatewayFor(t, { targetGroup: group });
  const stays = { address: '10.0.2.1', zone: 'stays' };
  const own = gateway.createEndpoint({ zone: 'stays' });
  const goesTo = (endpoint: Endpoint) => gateway.explain(TCP, { endpoint }).target?.address;
  for (let i = 0; i < 200; i++) {
    const zone = `zone-${i}`;
    group.setTargets([stays, { address: '10.0.1.10', zone }]);
    const endpoint = gateway.createEndpoint({ zone });
    if (goesTo(endpoint) !== '10.0.1.10' || goesTo(own) !== '10.0.2.1') t.fail(zone);
    if (i % 2 === 0) gateway.removeEndpoint(endpoint);
    group.setTargets([stays]);
    // Nobody's flows are left: the slot is free, and its zone with it.
    world.advance(2 * FLOWS_POLL_MS);
    if (i % 2 === 1) gateway.removeEndpoint(endpoint);
  }
  t.equal(goesTo(own), '10.0.2.1');
});

t.test('a packet there, through the appliance, and back', async (t) => {
  const gateway = gatewayFor(t);
  const endpoint = gateway.createEndpoint({ id: ENDPOINT_ID, zone: 'a' });
  const client = tuplePacket(TCP);
  const batch = new PacketBatch({ packets: 8 });
  batch.add(client);
  gateway.toTargets(batch, endpoint, 1000);

  t.equal(batch.verdict[0], Verdict.forward);
  t.equal(batch.address[0], 0x0a00010a, 'the target of the zone');
  t.equal(batch.port[0], 6081);
  const bytes = batch.bytes(0);
  const cookie = batch.cookie[0];
  t.equal(bytes.length, 40 + client.length);
  t.equal(
    hex(bytes.subarray(0, 40)),
    '0800080000000000' +
      '01080102123456789abcdef0' +
      '010802020000000000000000' +
      `01080301${cookie.toString(16).padStart(8, '0')}`,
  );
  t.equal(hex(bytes.subarray(40)), hex(client), 'the inner packet is untouched');
  const port = gateway.sourcePort(batch, 0);
  t.ok(port >= 32768 && port < 32768 + 256);

  const [answer, from] = returned(batch, 0);
  batch.clear();
  batch.add(answer, from);
  gateway.fromTargets(batch, 1001);
  t.equal(batch.verdict[0], Verdict.forward);
  t.equal(gateway.endpointAt(batch.endpoint[0]), endpoint, 'out by the endpoint it entered');
  t.equal(hex(batch.bytes(0)), hex(client));

  // The answer of the server: another direction, the same appliance, cookie and source port.
  batch.clear();
  batch.add(tuplePacket(BACK, 0x12));
  gateway.toTargets(batch, endpoint, 1002);
  t.equal(batch.address[0], from);
  t.equal(batch.cookie[0], cookie);
  t.equal(gateway.sourcePort(batch, 0), port);

  const counters = gateway.counters();
  t.match(counters, {
    packetsIn: 2,
    packetsToTargets: 2,
    packetsFromTargets: 1,
    packetsOut: 1,
    bytesOut: client.length,
    flowsNew: 1,
    flowsActiveIpv4: 1,
  });
  t.match(counters.targets, {
    '10.0.1.10:6081': { packetsTo: 2, packetsFrom: 1, flowsNew: 1, flowsActive: 1 },
    '10.0.1.11:6081': { packetsTo: 0, flowsNew: 0 },
  });
  t.strictSame(counters.endpoints, {
    [ENDPOINT_ID]: { packetsIn: 2, bytesIn: 80, packetsOut: 1, bytesOut: 40 },
  });
  t.equal(gateway.flows, 1);
  t.ok(gateway.memoryBytes > 1024 * 45);
});

t.test('with outer headers it is 68 bytes', async (t) => {
  const gateway = gatewayFor(t, { outerHeaders: true, address: '10.0.1.5' });
  const endpoint = gateway.createEndpoint({ id: ENDPOINT_ID, zone: 'b' });
  const client = tuplePacket({
    protocol: 'udp',
    source: '[2001:db8::9]:5000',
    destination: '[2001:db8::10]:53',
  });
  const batch = new PacketBatch({ packets: 8 });
  batch.add(client);
  gateway.toTargets(batch, endpoint, 0);
  const bytes = batch.bytes(0);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  t.equal(bytes.length, 68 + client.length);
  t.equal(view.getUint8(0), 0x45);
  t.equal(view.getUint16(2), bytes.length);
  t.equal(view.getUint8(8), 255, 'TTL');
  t.equal(view.getUint8(9), 17);
  t.equal(hex(bytes.subarray(12, 20)), '0a0001050a00010b');
  t.equal(view.getUint16(20), gateway.sourcePort(batch, 0));
  t.equal(view.getUint16(22), 6081);
  t.equal(view.getUint16(24), bytes.length - 20);
  t.equal(hex(bytes.subarray(28, 36)), '080086dd00000000', 'GENEVE, IPv6 inside');
  t.equal(hex(bytes.subarray(68)), hex(client));

  const answer = bytes.slice();
  answer.copyWithin(12, 16, 20);
  answer.set([10, 0, 1, 5], 16);
  batch.clear();
  batch.add(answer);
  gateway.fromTargets(batch, 1);
  t.equal(batch.verdict[0], Verdict.forward, REASON_NAMES[batch.reason[0]]);
  t.equal(hex(batch.bytes(0)), hex(client));
});

t.test('hostile answers are counted drops', async (t) => {
  const gateway = gatewayFor(t);
  const endpoint = gateway.createEndpoint({ id: ENDPOINT_ID, zone: 'a' });
  const batch = new PacketBatch({ packets: 16 });
  batch.add(tuplePacket(TCP));
  gateway.toTargets(batch, endpoint, 0);
  const [answer, target] = returned(batch, 0);
  const changed = (at: number, value: number): Uint8Array => {
    const bytes = answer.slice();
    bytes[at] ^= value;
    return bytes;
  };
  batch.clear();
  batch.add(answer, 0x0a0001ff);
  batch.add(changed(39, 1), target);
  batch.add(changed(1, 0x80), target);
  batch.add(changed(13, 1), target);
  batch.add(changed(0, 0x40), target);
  batch.add(answer.subarray(0, 20), target);
  batch.add(answer, 0x0a00010b);
  gateway.fromTargets(batch, 1);
  const reasons = [...batch].map(() => '');
  for (const packet of batch) reasons[packet.index] = packet.reason;
  t.strictSame(reasons, [
    'unknown_source',
    'wrong_cookie',
    'geneve_control',
    'unknown_endpoint',
    'geneve_bad_version',
    'geneve_truncated',
    'wrong_target',
  ]);
  const { drops, packetsOut } = gateway.counters();
  t.equal(packetsOut, 0);
  for (const reason of reasons) t.equal(drops[reason as keyof typeof drops], 1, reason);
});

function totalDrops(counters: GatewayCounters): number {
  return Object.values(counters.drops).reduce((a, b) => a + b, 0);
}

t.test('every packet is accounted for once', async (t) => {
  const gateway = gatewayFor(t, { midStream: 'drop' });
  const endpoint = gateway.createEndpoint({ zone: 'a' });
  const batch = new PacketBatch({ packets: 64, jumbo: false });
  const address = fc.constantFrom('10.1.0.1', '10.1.0.2', '10.1.0.3');
  const port = fc.integer({ min: 1, max: 9 });
  const packet = fc
    .record({
      protocol: fc.constantFrom('tcp', 'udp', 'icmp'),
      from: address,
      to: address,
      fromPort: port,
      toPort: port,
      flags: fc.constantFrom(2, 16, 17, 4),
      cut: fc.integer({ min: 0, max: 60 }),
      flip: fc.option(fc.tuple(fc.nat(39), fc.nat(255))),
      answer: fc.constantFrom('return', 'lose', 'wrong source', 'flip'),
    })
    .map(({ protocol, from, to, fromPort, toPort, flags, cut, flip, answer }) => {
      const ports = protocol !== 'icmp';
      const source = ports ? `${from}:${fromPort}` : from;
      const destination = ports ? `${to}:${toPort}` : to;
      const bytes = tuplePacket({ protocol, source, destination }, flags);
      if (flip && flip[0] < bytes.length) bytes[flip[0]] ^= flip[1];
      return { bytes: bytes.subarray(0, cut < 6 ? cut * 4 : bytes.length), answer };
    });
  let now = 0;
  fc.assert(
    fc.property(fc.array(packet, { maxLength: 64 }), (packets) => {
      const before = gateway.counters();
      batch.clear();
      for (const { bytes } of packets) batch.add(bytes);
      gateway.toTargets(batch, endpoint, ++now);
      const answers: [Uint8Array, number][] = [];
      let forwarded = 0;
      for (const { index, verdict } of batch) {
        t.ok(['forward', 'drop', 'held'].includes(verdict), verdict);
        if (verdict !== 'forward') continue;
        forwarded += 1;
        const [bytes, from] = returned(batch, index);
        const { answer } = packets[index];
        if (answer === 'flip') bytes[20] ^= 1;
        if (answer !== 'lose') answers.push([bytes, answer === 'return' ? from : from ^ 255]);
      }
      const middle = gateway.counters();
      const droppedIn = totalDrops(middle) - totalDrops(before);
      const cameIn = middle.packetsIn - before.packetsIn;
      const sent = middle.packetsToTargets - before.packetsToTargets;
      const held = middle.packetsHeld - before.packetsHeld;
      if (sent !== forwarded) return false;
      if (cameIn !== packets.length || cameIn !== sent + droppedIn + held) return false;

      batch.clear();
      for (const [bytes, from] of answers) batch.add(bytes, from);
      gateway.fromTargets(batch, ++now);
      const after = gateway.counters();
      const droppedOut = totalDrops(after) - totalDrops(middle);
      const out = after.packetsOut - middle.packetsOut;
      const verdicts = [...answers.keys()].map((i) => batch.verdict[i]);
      return (
        out === verdicts.filter((verdict) => verdict === Verdict.forward).length &&
        out + droppedOut === answers.length
      );
    }),
    { numRuns: 150 },
  );
  const { flowsNew, flowsEnded, flowsActiveIpv4 } = gateway.counters();
  t.ok(flowsNew > 50);
  t.equal(flowsNew, flowsEnded + flowsActiveIpv4);
});

t.test('explain says what then happens', async (t) => {
  const gateway = gatewayFor(t, { crossZone: true });
  const endpoint = gateway.createEndpoint({ id: ENDPOINT_ID, zone: 'a' });
  const before = gateway.explain(TCP);
  t.equal(before.pinned, false);
  t.equal(before.cookie, null);
  t.equal(before.dropReason, null);
  t.equal(before.endpoint, endpoint);
  t.equal(before.key, '5-tuple tcp 10.0.2.10:443 203.0.113.9:52144');
  t.equal(before.candidates.length, 2);
  t.ok(before.candidates[0].score <= before.candidates[1].score);
  t.equal(before.target, before.candidates[0].target);
  t.match(before.text, /not in the flow table/);
  t.equal(gateway.flows, 0, 'explaining changes nothing');

  const batch = new PacketBatch({ packets: 1 });
  batch.add(tuplePacket(TCP));
  gateway.toTargets(batch, endpoint, 5000);
  t.equal(batch.target[0], before.target?.slot, 'it went where it was said to go');
  t.equal(batch.hash[0], before.hash);

  gateway.sweep(15_000);
  const after = gateway.explain(BACK, { endpoint: ENDPOINT_ID });
  t.equal(after.key, before.key, 'both directions have one key');
  t.equal(after.pinned, true);
  t.equal(after.target, before.target);
  t.equal(after.cookie?.value, batch.cookie[0]);
  t.equal(after.cookie?.slot, before.target?.slot);
  t.equal(after.idleLeftMs, 110_000, 'a SYN that nobody has answered');
  t.match(after.text, /pinned to target 10\.0\.1\.1[01]:6081 .*\n.*ends in 110\.0 s/);
  t.equal(gateway.explain(tuplePacket(TCP)).pinned, true, 'a packet does as well');

  const cut = tuplePacket(TCP).subarray(0, 30);
  t.equal(gateway.explain(cut).dropReason, 'inner_truncated');
  t.match(gateway.explain(cut).text, /dropped, inner_truncated: /);

  gateway.createEndpoint({ zone: 'a' });
  t.throws(() => gateway.explain(TCP), { ...named('options.endpoint'), message: /2 endpoints/ });
  t.throws(() => gateway.explain(TCP, { endpoint: 'vpce-0ffffffffffffffff' }), {
    code: 'ERR_GWLB_UNKNOWN_ENDPOINT',
  });
  t.throws(
    () => gateway.explain({ ...TCP, source: '1.2.3.4' }, { endpoint }),
    named('tuple.source'),
  );
});

t.test('targets come and go under traffic', async (t) => {
  const group = fleet({ deregistrationDelaySeconds: 0, failover: 'rebalance' });
  const gateway = gatewayFor(t, { targetGroup: group, crossZone: true });
  const endpoint = gateway.createEndpoint({ zone: 'a' });
  const batch = new PacketBatch({ packets: 1 });
  const send = (flags: number, now: number, tuple = TCP): number => {
    batch.clear();
    batch.add(tuplePacket(tuple, flags));
    gateway.toTargets(batch, endpoint, now);
    return batch.verdict[0] === Verdict.forward ? batch.address[0] : -1;
  };
  const first = send(0x02, 0);
  const [gone] = group.targets().filter((target) => target.slot === batch.target[0]);
  group.deregister(gone);
  const explained = gateway.explain(TCP);
  t.not(explained.target, gone);
  const second = send(0x10, 1);
  t.not(second, first, 'its flow moved with the next packet');
  t.equal(batch.flags[0] & 2, 2);
  t.equal(batch.target[0], explained.target?.slot);
  t.strictSame(Object.keys(gateway.counters().targets), [explained.target?.id]);

  group.deregister(...group.targets());
  t.equal(send(0x10, 2), second, 'without another target a flow stays where it is');
  const other = { ...TCP, source: '203.0.113.9:1' };
  t.equal(send(0x02, 2, other), -1);
  t.equal(REASON_NAMES[batch.reason[0]], 'no_targets');
  t.equal(gateway.explain(other).dropReason, 'no_targets');
  t.equal(gateway.counters().flowsRejected, 1);
  group.update({ failOpen: true });
  t.match(gateway.explain(other).text, /forwarded uninspected/);
  send(0x02, 3, other);
  t.equal(batch.verdict[0], Verdict.bypass);
  t.equal(gateway.counters().packetsBypassed, 1);

  const [target] = group.register({ address: '10.0.1.30' });
  t.match(gateway.counters().targets[target.id], { packetsTo: 0, flowsNew: 0 });
  t.equal(send(0x02, 4, other), 0x0a00011e);
});

t.test('a new owner of a slot or an id counts from zero', async (t) => {
  const group = fleet({ deregistrationDelaySeconds: 0 });
  const gateway = gatewayFor(t, { targetGroup: group, crossZone: true });
  const endpoint = gateway.createEndpoint({ id: ENDPOINT_ID });
  const batch = new PacketBatch({ packets: 1 });
  batch.add(tuplePacket(TCP));
  gateway.toTargets(batch, endpoint, 0);
  const { id } = group.targets().find((target) => target.slot === batch.target[0]) ?? { id: '' };
  t.equal(gateway.counters().targets[id].packetsTo, 1);
  group.deregister(id);
  t.equal(gateway.counters().targets[id], undefined);
  group.register({ address: id.split(':')[0] });
  t.equal(gateway.counters().targets[id].packetsTo, 0);
  t.equal(gateway.counters().targets[id].flowsActive, 0, 'its flow is not: it is another machine');

  gateway.removeEndpoint(endpoint);
  t.equal(gateway.endpoint(ENDPOINT_ID), undefined);
  t.equal(gateway.endpointAt(endpoint.index), undefined);
  const again = gateway.createEndpoint({ id: ENDPOINT_ID });
  t.not(again.index, endpoint.index, 'an index that had flows rests');
  t.equal(gateway.counters().endpoints[ENDPOINT_ID].packetsIn, 0);
  t.throws(() => gateway.toTargets(batch, endpoint), { code: 'ERR_GWLB_UNKNOWN_ENDPOINT' });
  t.throws(() => gateway.removeEndpoint(endpoint), { code: 'ERR_GWLB_UNKNOWN_ENDPOINT' });
});

t.test('flow events', async (t) => {
  const gateway = gatewayFor(t);
  const endpoint = gateway.createEndpoint({ zone: 'a' });
  const batch = new PacketBatch({ packets: 1 });
  const send = (tuple: typeof TCP, flags: number, now: number): void => {
    batch.clear();
    batch.add(tuplePacket(tuple, flags));
    gateway.toTargets(batch, endpoint, now);
  };
  send({ ...TCP, source: '203.0.113.9:1' }, 2, 0);
  const events: FlowEvent[] = [];
  gateway.on('flow', (event) => events.push(event));
  send(TCP, 2, 10);
  t.strictSame(events, []);
  gateway.sweep(120_005);
  const [opened, ended] = events;
  t.equal(opened.type, 'opened', 'what was before the first listener is not told');
  t.match(opened, {
    nowMs: 10,
    end: null,
    protocol: 'tcp',
    ends: ['10.0.2.10:443', '203.0.113.9:52144'],
    previous: null,
  });
  t.equal(opened.endpoint, endpoint);
  t.equal(opened.target?.address, '10.0.1.10');
  const day = 86_400_000;
  t.ok(
    Math.abs(opened.at - Date.now()) < day,
    'in the time of the day, whatever clock packets have',
  );
  t.ok(ended.at >= opened.at);
  t.match(ended, { type: 'ended', end: 'idle', ends: ['10.0.2.10:443', '203.0.113.9:1'] });
});

t.test('3-tuple and 2-tuple stickiness', async (t) => {
  const group = fleet({ stickiness: '2-tuple' });
  const gateway = gatewayFor(t, { targetGroup: group });
  gateway.createEndpoint({ zone: 'a' });
  t.equal(gateway.explain(TCP).key, '2-tuple 10.0.2.10 203.0.113.9');
  t.throws(() => gateway.setIdleTimeout({ tcpSeconds: 400 }), { code: 'ERR_GWLB_ATTRIBUTES' });
  gateway.setIdleTimeout({ otherSeconds: 60 });
  t.strictSame(gateway.idleTimeout, { tcpSeconds: 350, otherSeconds: 60 });
});

t.test('idle timeouts change for flows that are there', async (t) => {
  const gateway = gatewayFor(t, { idleTimeout: { tcpSeconds: 100 } });
  const endpoint = gateway.createEndpoint({ zone: 'a' });
  const batch = new PacketBatch({ packets: 1 });
  batch.add(tuplePacket(TCP));
  gateway.toTargets(batch, endpoint, 0);
  gateway.setIdleTimeout({ tcpSeconds: 60 });
  t.equal(gateway.sweep(59_999), 0);
  t.equal(gateway.sweep(60_000), 1);
});

t.test('what is wrong is named, and nothing is half made', async (t) => {
  const group = fleet();
  const wrong = (options: object): (() => unknown) => {
    return () => new Gateway({ targetGroup: group, ...options } as never);
  };
  t.throws(wrong({ targetGroup: {} }), named('options.targetGroup'));
  t.throws(wrong({ mtu: 9000 }), { ...named('options.mtu'), code: 'ERR_GWLB_OUT_OF_RANGE' });
  t.throws(wrong({ limits: { flows: 1 } }), named('options.limits.flows'));
  t.throws(wrong({ hashKey: new Uint8Array(3) }), named('options.hashKey'));
  t.throws(wrong({ outerHeaders: true }), named('options.address'));
  t.throws(wrong({ address: '::1' }), named('options.address'));
  t.throws(wrong({ midstream: 'drop' }), named('options.midstream'));
  t.throws(wrong({ idleTimeout: { tcpSeconds: 59 } }), named('options.idleTimeout.tcpSeconds'));
  t.throws(wrong({ sourcePorts: { base: 65535, count: 2 } }), named('options.sourcePorts.count'));
  t.throws(wrong({ attachmentId: -1n }), named('options.attachmentId'));
  t.equal(group.inUse, false);

  const gateway = new Gateway({ targetGroup: group, limits: SMALL, mtu: 1500 });
  t.equal(group.inUse, true);
  t.throws(wrong({ limits: SMALL }), { code: 'ERR_GWLB_IN_USE' });
  const endpoint: Endpoint = gateway.createEndpoint({ id: ENDPOINT_ID });
  t.equal(endpoint.mtu, 1500);
  t.strictSame(endpoint.toJSON(), { id: ENDPOINT_ID, zone: 'default', kind: 'batch', mtu: 1500 });
  t.throws(() => gateway.createEndpoint({ id: ENDPOINT_ID }), {
    code: 'ERR_GWLB_DUPLICATE_ENDPOINT',
  });
  t.throws(() => gateway.createEndpoint({ id: 'vpce-1' }), named('endpoint.id'));
  t.throws(() => gateway.createEndpoint({ mtu: 1501 }), named('endpoint.mtu'));
  t.throws(() => gateway.createEndpoint({ zone: 'a b' }), named('endpoint.zone'));
  t.strictSame(gateway.endpoints(), [endpoint]);
  const batch = new PacketBatch({ packets: 1 });
  t.throws(() => gateway.toTargets({} as never, endpoint), named('batch'));
  gateway.toTargets(batch, endpoint, 100);
  t.throws(() => gateway.fromTargets(batch, 99), named('now'));
  t.throws(() => gateway.sweep(Number.NaN), named('now'));

  let closed = 0;
  gateway.on('close', () => {
    closed += 1;
  });
  await gateway.close();
  await gateway.close();
  t.equal(closed, 1);
  t.equal(gateway.closed, true);
  t.equal(group.inUse, false);
  for (const call of [
    () => gateway.toTargets(batch, endpoint),
    () => gateway.createEndpoint(),
    () => gateway.explain(TCP),
  ]) {
    t.throws(call, { code: 'ERR_GWLB_CLOSED' });
  }
  t.equal(gateway.counters().packetsIn, 0, 'counters stay readable');
  const next = new Gateway({ targetGroup: group, limits: SMALL });
  await next[Symbol.asyncDispose]();
  t.equal(group.inUse, false);
});

t.test('65 zones are one too many', async (t) => {
  const group = new TargetGroup({ healthCheck: false });
  const gateway = gatewayFor(t, { targetGroup: group });
  for (let i = 0; i < 64; i += 1) gateway.createEndpoint({ zone: `zone-${i}` });
  t.throws(() => gateway.createEndpoint({ zone: 'more' }), { code: 'ERR_GWLB_ENDPOINT_LIMIT' });
  t.throws(() => group.register({ address: '10.0.1.1', zone: 'more' }), {
    code: 'ERR_GWLB_ENDPOINT_LIMIT',
  });
  t.equal(group.targets().length, 0);
  t.equal(gateway.endpoints().length, 64);
});

t.test('equal keys make equal choices', async (t) => {
  const keys = { hashKey: new Uint8Array(16).fill(1), cookieKey: new Uint8Array(16).fill(2) };
  const cookies = [];
  for (let i = 0; i < 2; i += 1) {
    const gateway = gatewayFor(t, { ...keys, crossZone: true });
    const endpoint = gateway.createEndpoint({ id: ENDPOINT_ID, zone: 'a' });
    const batch = new PacketBatch({ packets: 64 });
    for (let port = 1; port <= 64; port += 1) {
      batch.add(tuplePacket({ ...TCP, source: `203.0.113.9:${port}` }));
    }
    gateway.toTargets(batch, endpoint, 0);
    cookies.push([...batch.cookie]);
  }
  t.strictSame(cookies[0], cookies[1]);
  t.equal(new Set(cookies[0].map((cookie) => cookie >>> 20)).size, 2, 'both targets are used');
});
