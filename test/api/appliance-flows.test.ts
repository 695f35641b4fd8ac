/** Verdicts on flows and filters of an appliance's inspector. */
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { CaptureFilter, type InspectedPacket, tuplePacket } from '../../src/index.js';
import { until } from '../support/until.js';
import { ApplianceRig, innerOf } from './appliance-rig.js';
import { settled } from './rig.js';

const rig = new ApplianceRig('127.77.2');
const CLIENT = '203.0.113.9';
const SERVER = '10.0.2.10';

const udp = (port: number, back = false) =>
  tuplePacket({
    protocol: 'udp',
    source: back ? `${SERVER}:53` : `${CLIENT}:${port}`,
    destination: back ? `${CLIENT}:${port}` : `${SERVER}:53`,
  });

t.test('the numbers of a packet are at hand', async (t) => {
  const appliance = await rig.listen(t);
  const { send } = await rig.gatewayFor(t);
  const seen: object[] = [];
  const read = (packet: InspectedPacket) => ({
    version: packet.version,
    protocol: packet.protocol,
    source: packet.source,
    destination: packet.destination,
    addresses: [packet.sourceAddress, packet.destinationAddress],
    words: [0, 1, 2, 3].map((k) => [packet.sourceWord(k), packet.destinationWord(k)]),
    ports: [packet.sourcePort, packet.destinationPort],
    tcpFlags: packet.tcpFlags,
    icmp: [packet.icmpType, packet.icmpCode],
    fragment: [packet.isFragment, packet.isLaterFragment],
  });
  appliance.inspect((packets) => {
    for (const packet of packets) seen.push(read(packet));
  });
  send(tuplePacket({ protocol: 'tcp', source: '10.0.0.1:1000', destination: '10.0.0.2:443' }));
  send(tuplePacket({ protocol: 'udp', source: '[2001:db8::7]:53', destination: '[fe80::1]:9' }));
  send(tuplePacket({ protocol: 'icmp', source: '10.0.0.1', destination: '10.0.0.2' }));
  const later = Uint8Array.from(udp(1000));
  later[7] = 1;
  send(later);
  await until(() => seen.length === 4, 'four packets');
  t.match(seen[0], {
    version: 4,
    protocol: 6,
    source: '10.0.0.1',
    destination: '10.0.0.2',
    addresses: [0x0a000001, 0x0a000002],
    words: [
      [0x0a000001, 0x0a000002],
      [0, 0],
      [0, 0],
      [0, 0],
    ],
    ports: [1000, 443],
    tcpFlags: 2,
    fragment: [false, false],
  });
  t.match(seen[1], {
    version: 6,
    protocol: 17,
    source: '2001:db8::7',
    destination: 'fe80::1',
    addresses: [0, 0],
    words: [
      [0x20010db8, 0xfe800000],
      [0, 0],
      [0, 0],
      [7, 1],
    ],
    ports: [53, 9],
    tcpFlags: 0,
  });
  t.match(seen[2], { protocol: 1, ports: [0, 0], icmp: [8, 0] });
  t.match(seen[3], { ports: [0, 0], fragment: [true, true] });
});

t.test('a passed flow is returned without the inspector, in both directions', async (t) => {
  const appliance = await rig.listen(t);
  const { answers, send } = await rig.gatewayFor(t);
  const seen: number[] = [];
  appliance.inspect((packets) => {
    for (const packet of packets) {
      seen.push(packet.sourcePort);
      if (packet.sourcePort === 1000) t.equal(packet.passFlow(), true);
    }
  });
  send(udp(1000));
  await until(() => answers.length === 1, 'the first packet');
  for (const packet of [udp(1000), udp(1000, true), udp(2000)]) send(packet);
  await until(() => answers.length === 4, 'the others');
  t.strictSame(seen, [1000, 2000]);
  send(udp(1000), 'vpce-0fedcba9876543210');
  await until(() => answers.length === 5, 'the same tuple of another endpoint');
  t.strictSame(seen, [1000, 2000, 1000]);
  const counters = await settled(
    () => appliance.counters(),
    ({ packetsReturned }) => packetsReturned === 5,
  );
  t.match(counters, {
    packetsReturned: 5,
    packetsInspected: 3,
    flowsPassed: 2,
    flowPacketsPassed: 2,
    flowBytesPassed: 2 * udp(1).length,
    flowsDropped: 0,
    packetsUntracked: 0,
  });
  appliance.forgetFlows();
  send(udp(1000, true));
  await until(() => answers.length === 6, 'the reverse direction');
  t.strictSame(seen, [1000, 2000, 1000, 53]);
  t.equal(appliance.counters().flowsEnded, 2);
});

t.test('a dropped flow ends here', async (t) => {
  const appliance = await rig.listen(t);
  const { answers, send } = await rig.gatewayFor(t);
  let seen = 0;
  appliance.inspect((packets) => {
    for (const packet of packets) {
      seen += 1;
      if (packet.destinationPort === 53) {
        packet.dropFlow();
        t.equal(packet.dropped, true);
      }
    }
  });
  send(udp(1000));
  await until(() => appliance.counters().flowsDropped === 1, 'the verdict');
  send(udp(1000));
  send(udp(1000, true));
  send(tuplePacket({ protocol: 'udp', source: '10.0.0.1:7', destination: '10.0.0.2:7' }));
  await until(() => answers.length === 1, 'another flow');
  t.equal(seen, 2);
  const counters = await settled(
    () => appliance.counters(),
    ({ packetsReturned }) => packetsReturned === 1,
  );
  t.match(counters, {
    flowPacketsDropped: 2,
    packetsReturned: 1,
    drops: { appliance_verdict: 3 },
  });
});

t.test('after so many packets or bytes', async (t) => {
  const appliance = await rig.listen(t);
  const { answers, send } = await rig.gatewayFor(t);
  const seen = new Map<number, number>();
  appliance.inspect((packets) => {
    for (const packet of packets) {
      const port = packet.sourcePort;
      const times = (seen.get(port) ?? 0) + 1;
      seen.set(port, times);
      if (times > 1) continue;
      if (port === 1) packet.passFlow({ afterPackets: 3 });
      if (port === 2) packet.dropFlow({ afterBytes: 2 * packet.length });
      if (port === 3) packet.passFlow({ afterPackets: 5, afterBytes: 1 });
      if (port === 4) packet.passFlow({});
    }
  });
  for (let n = 0; n < 8; n += 1) {
    for (const port of [1, 2, 3, 4]) send(udp(port));
    if (n % 3 === 0) await delay(10);
  }
  await until(() => answers.length === 8 + 3 + 8 + 8, 'what passes');
  t.strictSame(Object.fromEntries(seen), { 1: 4, 2: 3, 3: 2, 4: 1 });
  t.match(appliance.counters(), { flowsPassed: 3, flowsDropped: 1, flowPacketsDropped: 5 });
});

t.test('packets that are with the inspector when the verdict is given', async (t) => {
  const appliance = await rig.listen(t);
  const { answers, send } = await rig.gatewayFor(t);
  let go: () => void = () => {};
  const blocked = new Promise<void>((resolve) => {
    go = resolve;
  });
  const seen: number[] = [];
  let begun = 0;
  let packetsBegun = 0;
  appliance.inspect(async (packets) => {
    begun += 1;
    packetsBegun += packets.count;
    const first = begun === 1;
    await blocked;
    // By then the first one has given its verdict.
    if (!first) await delay(20);
    for (const packet of packets) {
      seen.push(packet.cookie);
      if (first) packet.passFlow();
    }
  });
  send(udp(1000)); // cookie 1
  await until(() => begun === 1, 'the first batch');
  send(udp(2000)); // cookie 2
  for (let n = 0; n < 5; n += 1) send(udp(1000)); // cookies 3 to 7
  await until(() => packetsBegun === 7, 'all of them');
  go();
  await until(() => answers.length === 7, 'all of them back');
  t.strictSame(
    answers.map(({ bytes }) => bytes.readUInt32BE(36)),
    [1, 2, 3, 4, 5, 6, 7],
    'in order',
  );
  t.strictSame(seen, [1, 2]);
  t.match(appliance.counters(), { packetsInspected: 2, flowPacketsPassed: 5 });
});

t.test('a verdict in a loop hides the rest of the flow in the same batch', async (t) => {
  const appliance = await rig.listen(t);
  const { answers, send } = await rig.gatewayFor(t);
  const loops: number[][] = [];
  let first = true;
  appliance.inspect((packets) => {
    const cookies: number[] = [];
    for (const packet of packets) {
      cookies.push(packet.cookie);
      if (packet.sourcePort === 1000) packet.dropFlow();
    }
    loops.push(cookies);
    if (!first) return;
    first = false;
    // The event loop is busy, so that what is sent now comes as one batch.
    const until = performance.now() + 100;
    for (let n = 0; n < 4; n += 1) send(udp(2000 + n));
    while (performance.now() < until);
  });
  send(udp(3000));
  await until(() => answers.length === 5, 'the loop was busy');
  for (let n = 0; n < 3; n += 1) {
    send(udp(1000));
    send(udp(1000, true));
  }
  send(udp(4000));
  await until(() => answers.length === 6, 'the last one');
  const cookies = loops.flat();
  t.equal(new Set(cookies).size, cookies.length, 'nothing is shown twice');
  t.strictSame(
    cookies.filter((cookie) => cookie > 5 && cookie < 12).length,
    1,
    'one packet of the dropped flow',
  );
  await until(() => appliance.counters().drops.appliance_verdict === 6, 'six drops');
});

t.test('a filter keeps the rest away', async (t) => {
  const appliance = await rig.listen(t);
  const { answers, send } = await rig.gatewayFor(t);
  const seen: number[] = [];
  const inspector = (packets: Iterable<InspectedPacket>): void => {
    for (const packet of packets) {
      seen.push(packet.sourcePort);
      if (packet.sourcePort === 1000) packet.drop();
    }
  };
  appliance.inspect({ filter: 'udp src port 1000 or 1001' }, inspector);
  for (const port of [1000, 1001, 1002]) send(udp(port));
  await until(() => answers.length === 2, 'two of them');
  t.strictSame(seen, [1000, 1001]);
  t.equal(appliance.counters().packetsUnmatched, 1);
  appliance.inspect({ filter: new CaptureFilter('dst host 203.0.113.9') }, inspector);
  send(udp(1000));
  send(udp(1000, true));
  await until(() => answers.length === 4, 'two more');
  t.strictSame(seen, [1000, 1001, 53]);
  appliance.inspect(inspector);
  send(udp(1005));
  await until(() => answers.length === 5, 'one more');
  t.equal(seen.at(-1), 1005);
  t.equal(innerOf(answers[4]).equals(udp(1005)), true);
});

t.test('where there is no room, flows go on to be shown', async (t) => {
  const appliance = await rig.listen(t, { limits: { flows: 1024, flowsIpv6: 1024 } });
  const { answers, send } = await rig.gatewayFor(t);
  let kept = 0;
  let seen = 0;
  appliance.inspect((packets) => {
    for (const packet of packets) {
      seen += 1;
      kept += packet.passFlow() ? 1 : 0;
    }
  });
  for (let n = 0; n < 1100; n += 1) {
    send(udp(1 + n));
    if (n % 50 === 49) await until(() => answers.length === n + 1, `packet ${n}`);
  }
  t.equal(kept, 1024);
  t.equal(seen, 1100);
  t.equal(appliance.counters().packetsUntracked, 76);
  send(udp(1));
  send(udp(1100));
  await until(() => answers.length === 1102, 'two more');
  t.equal(seen, 1101);
});

t.test('what is wrong is named', async (t) => {
  const appliance = await rig.listen(t);
  const { answers, send } = await rig.gatewayFor(t);
  const named = (field: string) => ({ name: 'GatewayError', field });
  t.throws(() => appliance.inspect({ filter: 'tcp prot 3' }, () => {}), {
    ...named('filter'),
    message: /^filter, column 5: /,
  });
  t.throws(() => appliance.inspect({ filter: 5 as never }, () => {}), named('options.filter'));
  t.throws(() => appliance.inspect({ filtr: 'tcp' } as never, () => {}), named('options.filtr'));
  t.throws(() => appliance.inspect({ filter: 'tcp' }, undefined as never), named('inspector'));
  t.throws(() => appliance.inspect({ filter: 'tcp' }, null as never), named('inspector'));
  await t.rejects(rig.listen(t, { limits: { flows: 5 } }), named('options.limits.flows'));
  await t.rejects(rig.listen(t, { limits: { flowsIpv6: 5 } }), named('options.limits.flowsIpv6'));
  await t.rejects(
    rig.listen(t, { idleTimeout: { otherSeconds: 0 } }),
    named('options.idleTimeout.otherSeconds'),
  );
  let looked = 0;
  let stale: InspectedPacket | undefined;
  appliance.inspect((packets) => {
    for (const packet of packets) {
      looked += 1;
      stale = packet;
      t.throws(() => packet.passFlow({ afterPackets: -1 }), named('options.afterPackets'));
      t.throws(() => packet.dropFlow({ afterBytes: 0.5 }), named('options.afterBytes'));
      t.throws(() => packet.passFlow({ after: 1 } as never), named('options.after'));
      t.equal(packet.dropped, false);
    }
  });
  send(udp(1000));
  await until(() => answers.length === 1, 'a packet');
  t.equal(looked, 1);
  t.throws(() => stale?.passFlow(), { code: 'ERR_GWLB_CLOSED' });
});
