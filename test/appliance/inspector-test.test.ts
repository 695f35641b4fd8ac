/** Inspectors without sockets: the same decisions as by an appliance, and what they are told. */
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import {
  type InspectedBatch,
  type InspectedPacket,
  type Inspector,
  type InspectorOutcome,
  InspectorTest,
  type InspectorTestOptions,
  tuplePacket,
  updateChecksums,
} from '../../src/index.js';
import type { Teardown } from '../support/teardown.js';

const CLIENT = '203.0.113.9';
const SERVER = '10.0.2.10';

const udp = (port: number, back = false): Uint8Array =>
  tuplePacket({
    protocol: 'udp',
    source: back ? `${SERVER}:53` : `${CLIENT}:${port}`,
    destination: back ? `${CLIENT}:${port}` : `${SERVER}:53`,
  });
const tcp = (port: number): Uint8Array =>
  tuplePacket({ protocol: 'tcp', source: `${CLIENT}:${port}`, destination: `${SERVER}:443` });

function testOf(t: Teardown, inspector: Inspector, options?: InspectorTestOptions): InspectorTest {
  const test = new InspectorTest(inspector, options);
  t.teardown(() => test.close());
  return test;
}

/** An inspector that says the same about every packet. */
const each =
  (look: (packet: InspectedPacket) => unknown): Inspector =>
  (packets) => {
    for (const packet of packets) look(packet);
  };

const verdicts = (outcomes: InspectorOutcome[]) => outcomes.map(({ verdict }) => verdict);

t.test('returned, dropped, rewritten, rejected', async (t) => {
  const test = testOf(
    t,
    each((packet) => {
      if (packet.sourcePort === 2) packet.drop();
      if (packet.sourcePort === 3) {
        const bytes = packet.bytes.slice();
        bytes[8] = 9;
        packet.rewrite(updateChecksums(bytes));
      }
      if (packet.sourcePort === 4) t.equal(packet.reject(), true);
    }),
  );
  const outcomes = await test.send([udp(1), udp(2), udp(3), udp(4)]);
  t.strictSame(verdicts(outcomes), ['returned', 'dropped', 'rewritten', 'rejected']);
  t.strictSame(
    outcomes.map(({ reason, shown }) => [reason, shown]),
    [
      ['none', true],
      ['appliance_verdict', true],
      ['none', true],
      ['none', true],
    ],
  );
  t.strictSame(Buffer.from(outcomes[0].bytes ?? []), Buffer.from(udp(1)));
  t.equal(outcomes[1].bytes, null);
  t.equal(outcomes[2].bytes?.[8], 9);
  t.equal(outcomes[3].bytes?.[9], 1, 'ICMP');
  t.match(test.counters(), { packetsReceived: 4, packetsReturned: 3, packetsRejected: 1 });
});

t.test(
  'filters, rules, malformed packets and verdicts on flows are those of an appliance',
  async (t) => {
    const seen: number[] = [];
    const test = testOf(
      t,
      each((packet) => {
        seen.push(packet.sourcePort);
        if (packet.sourcePort === 1) packet.passFlow();
        if (packet.sourcePort === 2) packet.dropFlow();
        if (packet.sourcePort === 3) packet.passFlow({ afterPackets: 1 });
      }),
      { filter: 'udp', drop: [{ host: '10.9.9.9' }] },
    );
    const ruled = tuplePacket({ protocol: 'udp', source: '10.9.9.9:1', destination: '10.0.0.1:1' });
    const cut = udp(9).subarray(0, 20);
    const first = await test.send([udp(1), udp(1, true), udp(2), tcp(7), ruled, cut, udp(3)]);
    t.strictSame(verdicts(first), [
      'returned',
      'returned',
      'dropped',
      'returned',
      'dropped',
      'dropped',
      'returned',
    ]);
    t.strictSame(
      first.map(({ shown }) => shown),
      [true, false, true, false, false, false, true],
    );
    t.equal(first[5].reason, 'inner_truncated');
    const second = await test.send([udp(1), udp(2, true), udp(3), udp(3)]);
    t.strictSame(verdicts(second), ['returned', 'dropped', 'returned', 'returned']);
    t.strictSame(seen, [1, 2, 3, 3]);
    test.advance(120_000);
    await test.send([udp(1), udp(2)]);
    t.strictSame(seen, [1, 2, 3, 3, 1, 2], 'verdicts end');
    const { flowsPassed, flowsDropped } = test.counters();
    t.strictSame([flowsPassed, flowsDropped], [3, 2]);
  },
);

t.test(
  'asynchronous inspectors are waited for, thousands of packets keep their order',
  async (t) => {
    let batches = 0;
    const test = testOf(t, async (packets) => {
      batches += 1;
      await delay(batches % 3);
      for (const packet of packets) if (packet.sourcePort % 7 === 0) packet.drop();
    });
    const packets = Array.from({ length: 6000 }, (_, i) => udp(1 + i));
    const outcomes = await test.send(packets);
    t.equal(outcomes.length, 6000);
    t.ok(batches > 16, 'more than an inspector may have at a time');
    outcomes.forEach(({ verdict, bytes }, i) => {
      const drop = (i + 1) % 7 === 0;
      if (verdict !== (drop ? 'dropped' : 'returned')) t.fail(`packet ${i}: ${verdict}`);
      if (!drop && !Buffer.from(bytes ?? []).equals(packets[i])) t.fail(`packet ${i} is another`);
    });
  },
);

t.test('what an inspector throws is told, and its packets have their fate', async (t) => {
  for (const failOpen of [false, true]) {
    const broken = () => {
      throw new Error('broken');
    };
    const test = testOf(t, broken, { failOpen });
    await t.rejects(test.send([udp(1)]), { message: 'broken' });
    t.equal(test.counters().packetsReturned, failOpen ? 1 : 0);
    const later = testOf(t, async () => broken(), { failOpen });
    await t.rejects(later.send([udp(1)]), { message: 'broken' });
    t.equal(later.counters().drops.appliance_verdict, failOpen ? 0 : 1);
  }
});

t.test('metadata are what the gateway says', async (t) => {
  const seen: unknown[] = [];
  const test = testOf(
    t,
    each(({ endpointId, attachmentId, cookie }) => seen.push([endpointId, attachmentId, cookie])),
  );
  await test.send([udp(1)], { endpointId: 'vpce-0123456789abcdef0', attachmentId: 5n, cookie: 7 });
  await test.send([udp(1), udp(1, true), udp(2)]);
  t.strictSame(seen[0], ['vpce-0123456789abcdef0', 5n, 7]);
  t.strictSame(seen[1], seen[2], 'one cookie for both directions');
  t.notSame(seen[1], seen[3]);
});

t.test('after its batch was given back nothing can be said about a packet', async (t) => {
  let packet: InspectedPacket | undefined;
  let batch: InspectedBatch | undefined;
  const test = testOf(t, (packets) => {
    batch = packets;
    for (const one of packets) packet ??= one;
  });
  await test.send([udp(1)]);
  const closed = {
    name: 'GatewayError',
    code: 'ERR_GWLB_CLOSED',
    message: /given back .* \(a forgotten "return promise" or "await"\)/,
  };
  const all: [string, () => unknown][] = [
    ['drop', () => packet?.drop()],
    ['passFlow', () => packet?.passFlow()],
    ['dropFlow', () => packet?.dropFlow()],
    ['dropFlow later', () => packet?.dropFlow({ afterPackets: 1 })],
    ['rewrite', () => packet?.rewrite(udp(1))],
    ['reject', () => packet?.reject()],
    ['dropAll', () => batch?.dropAll()],
    ['a loop', () => [...(batch ?? [])]],
  ];
  for (const [name, call] of all) t.throws(call, closed, name);
  // Neither when the same batch is on its way with other packets.
  let stale = 0;
  const again = testOf(t, (packets) => {
    for (const one of packets) packet ??= one;
    if (stale++ > 0) t.throws(() => packet?.drop(), closed, 'later');
  });
  packet = undefined;
  for (let n = 0; n < 40; n += 1) {
    t.strictSame(verdicts(await again.send([udp(1)])), ['returned']);
  }
});

t.test('a loop that goes on after its batch was given back decides nothing', async (t) => {
  const late: unknown[] = [];
  const test = testOf(t, (packets) => {
    void (async () => {
      for (const packet of packets) {
        await delay(1);
        packet.drop();
      }
    })().catch((error) => late.push(error));
  });
  t.strictSame(verdicts(await test.send([udp(1), udp(2)])), ['returned', 'returned']);
  await delay(20);
  t.match(late, [{ code: 'ERR_GWLB_CLOSED' }]);
});

t.test('payload and where headers end', async (t) => {
  const seen: unknown[] = [];
  const test = testOf(
    t,
    each((packet) => {
      const { transportOffset, payloadOffset, payload } = packet;
      seen.push([transportOffset, payloadOffset, Buffer.from(payload).toString()]);
    }),
  );
  const withData = (packet: Uint8Array, text: string): Uint8Array => {
    const bytes = Buffer.concat([packet, Buffer.from(text)]);
    if (bytes[0] >>> 4 === 4) bytes.writeUInt16BE(bytes.length, 2);
    else bytes.writeUInt16BE(bytes.length - 40, 4);
    return bytes;
  };
  const datagram = Buffer.from(withData(udp(1), 'hello, behind'));
  datagram.writeUInt16BE(8 + 5, 24);
  const options = Buffer.from(withData(tcp(1), 'nopsDATA'));
  options[32] = 6 << 4;
  const later = Buffer.from(withData(udp(1), ''));
  later[7] = 1;
  const six = tuplePacket({ protocol: 'tcp', source: '[fd00::1]:1', destination: '[fd00::2]:2' });
  const odd = Buffer.from(tcp(1));
  odd[32] = 15 << 4;
  await test.send([
    datagram,
    options,
    later,
    withData(six, 'six'),
    tuplePacket({ protocol: 'icmp', source: '10.0.0.1', destination: '10.0.0.2' }),
    odd,
  ]);
  t.strictSame(seen, [
    [20, 28, 'hello'],
    [20, 44, 'DATA'],
    [20, 20, Buffer.from(later.subarray(20)).toString()],
    [40, 60, 'six'],
    [20, 28, ''],
    [20, 20, Buffer.from(odd.subarray(20)).toString()],
  ]);
});

t.test('reject answers once, outlives dropFlow and not drop', async (t) => {
  const answers: unknown[] = [];
  const test = testOf(
    t,
    each((packet) => {
      const port = packet.sourcePort;
      answers.push(packet.reject());
      if (port === 1) packet.dropFlow();
      if (port === 5) answers.push(packet.reject());
      if (port === 6) packet.drop();
    }),
  );
  const reset = Buffer.from(tcp(2));
  reset[33] = 4;
  const outcomes = await test.send([tcp(1), udp(1), reset, udp(5), udp(6)]);
  const [refused, data, unanswered, twice, dropped] = outcomes;
  t.equal(refused.verdict, 'rejected');
  t.equal(refused.bytes?.[33], 0x14, 'RST, ACK');
  t.strictSame([...(data.bytes ?? [])].slice(20, 22), [3, 13]);
  t.equal(unanswered.verdict, 'dropped');
  t.equal(twice.verdict, 'dropped', 'the second reject of one packet drops it');
  t.equal(dropped.verdict, 'dropped');
  t.strictSame(answers, [true, true, false, true, false, true]);
  t.equal((await test.send([udp(1)]))[0].shown, false, 'its flow is dropped');
});

t.test('changed packets have right checksums', async (t) => {
  const bytes = udp(1).slice();
  bytes[27] = 1;
  t.equal(updateChecksums(bytes), bytes);
  const before = Buffer.from(bytes);
  t.strictSame(Buffer.from(updateChecksums(bytes)), before, 'a second time changes nothing');
  t.throws(() => updateChecksums(new Uint8Array(10)), {
    code: 'ERR_GWLB_INVALID_ARGUMENT',
    field: 'packet',
    message: 'packet: expected a whole IP packet, received 10 bytes that are none',
  });
  t.throws(() => updateChecksums('x' as never), {
    name: 'GatewayError',
    field: 'packet',
  });
});

t.test('a dropped packet that is rewritten stays dropped', async (t) => {
  const test = testOf(
    t,
    each((packet) => {
      packet.drop();
      packet.rewrite(udp(1));
      t.equal(packet.dropped, true);
    }),
  );
  t.strictSame(verdicts(await test.send([udp(1)])), ['dropped']);
});

t.test('what is wrong is named', async (t) => {
  const wrong = (field: string) => ({ name: 'GatewayError', field });
  const create = (options: object) => () => new InspectorTest(() => {}, options);
  t.throws(() => new InspectorTest(5 as never), wrong('inspector'));
  t.throws(create({ filter: 5 }), wrong('options.filter'));
  t.throws(create({ drop: 'tcp' }), wrong('options.drop'));
  t.throws(create({ failOpen: 1 }), wrong('options.failOpen'));
  t.throws(create({ limits: { flows: 1 } }), wrong('options.limits.flows'));
  t.throws(create({ idleTimeout: { tcpSeconds: 0 } }), wrong('options.idleTimeout.tcpSeconds'));
  t.throws(create({ address: '10.0.0.1' }), wrong('options.address'));
  const test = testOf(t, () => {});
  await t.rejects(test.send(udp(1) as never), wrong('packets'));
  await t.rejects(test.send(['x' as never]), wrong('packets[0]'));
  await t.rejects(test.send([udp(1)], { cookie: -1 }), { name: 'GatewayError' });
  await t.rejects(test.send([udp(1)], { color: 1 } as never), wrong('metadata.color'));
  t.throws(() => test.advance(-1), wrong('milliseconds'));
  t.strictSame(await test.send([]), []);
  t.strictSame(verdicts(await test.send([new Uint8Array(0), new Uint8Array(9000)])), [
    'dropped',
    'dropped',
  ]);
  const running = test.send([udp(1)]);
  await t.rejects(test.send([udp(1)]), wrong('send'));
  await running;
  test.close();
  test.close();
  t.equal(test.counters().packetsReceived, 3);
  await t.rejects(test.send([udp(1)]), { code: 'ERR_GWLB_CLOSED' });
});
