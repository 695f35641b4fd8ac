/** Tuples, batches and the codec, as users call them. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import {
  DROP_REASONS,
  decodeFrame,
  decodeGeneve,
  encodeGeneve,
  FlowTable,
  flowKey,
  formatIpv4,
  NO_FLOW,
  type Packet,
  PacketBatch,
  PcapWriter,
  parseIpv4,
  protocolName,
  protocolNumber,
  REASON_NAMES,
  readCapture,
  tuplePacket,
} from '../../src/index.js';
import { binding } from '../../src/native/binding.js';
import { COUNTER_NAMES } from '../../src/packet/counter-names.js';

const invalid = (field: string) => ({ code: 'ERR_GWLB_INVALID_ARGUMENT', field });
const range = (field: string) => ({ code: 'ERR_GWLB_OUT_OF_RANGE', field });

/** RFC 1071 over everything, without knowing where the checksum is: 0 where it is right. */
function residue(...parts: Uint8Array[]): number {
  let sum = 0;
  for (const part of parts) {
    part.forEach((byte, i) => {
      sum += i % 2 === 0 ? byte << 8 : byte;
    });
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum ^ 0xffff;
}

t.test('the address of a datagram', async (t) => {
  const batch = new PacketBatch({ packets: 8 });
  const bytes = new Uint8Array(20);
  batch.add(bytes, '10.0.1.10');
  batch.add(bytes, 0x0a00010a);
  batch.add(bytes);
  t.strictSame([...batch.address.subarray(0, 3)], [0x0a00010a, 0x0a00010a, 0]);
  t.equal(formatIpv4(batch.address[0]), '10.0.1.10');
  t.equal(parseIpv4('10.0.1.10'), batch.address[0]);
  t.equal(parseIpv4('10.0.1'), null);
  const wrong = [Number.NaN, -1, 2 ** 40, 0.5, '10.0.1', '::1', '', null, 5n];
  for (const address of wrong) {
    const error = { name: 'GatewayError', field: 'address' };
    t.throws(() => batch.add(bytes, address as string), error, String(address));
  }
  t.equal(batch.count, 3, 'what throws adds nothing');
});

t.test('a tuple becomes the packet that opens the flow', async (t) => {
  const packet = tuplePacket({
    protocol: 'tcp',
    source: '203.0.113.9:52144',
    destination: '10.0.2.10:443',
  });
  t.equal(packet.length, 40);
  t.equal(Buffer.from(packet.subarray(12, 24)).toString('hex'), 'cb0071090a00020acbb001bb');
  t.equal(packet[33], 0x02, 'SYN');
  t.equal(residue(packet.subarray(0, 20)), 0, 'IPv4 checksum');
  const pseudo = Uint8Array.of(...packet.subarray(12, 20), 0, 6, 0, 20);
  t.equal(residue(pseudo, packet.subarray(20)), 0, 'TCP checksum');

  const icmp = tuplePacket({ protocol: 'icmp', source: '10.0.0.1', destination: '10.0.0.2' });
  t.equal(icmp[9], 1);
  t.equal(icmp[20], 8, 'echo request');
  t.equal(residue(icmp.subarray(20)), 0, 'ICMP checksum');

  const icmp6 = tuplePacket({
    protocol: 'icmp',
    source: '2001:db8::1',
    destination: '2001:db8::2',
  });
  t.equal(icmp6[6], 58);
  const pseudo6 = Uint8Array.of(...icmp6.subarray(8, 40), 0, 0, 0, 8, 0, 0, 0, 58);
  t.equal(residue(pseudo6, icmp6.subarray(40)), 0, 'ICMPv6 checksum');

  t.equal(tuplePacket({ protocol: 47, source: '10.0.0.1', destination: '10.0.0.2' }).length, 20);
});

t.test('a wrong tuple is refused by name', async (t) => {
  const tcp = { protocol: 'tcp', source: '10.0.0.1:1', destination: '10.0.0.2:2' };
  t.throws(() => tuplePacket({ ...tcp, protocol: 'xyz' }), invalid('tuple.protocol'));
  t.throws(() => tuplePacket({ ...tcp, protocol: 256 }), invalid('tuple.protocol'));
  t.throws(() => tuplePacket({ ...tcp, source: '10.0.0.1' }), invalid('tuple.source'));
  t.throws(() => tuplePacket({ ...tcp, destination: '[::1]:5' }), invalid('tuple.destination'));
  t.throws(() => tuplePacket({ ...tcp, protocol: 'icmp' }), invalid('tuple.source'));
  t.throws(() => tuplePacket({ ...tcp, sourcePort: 5 } as never), invalid('tuple.sourcePort'));
});

t.test('names agree with native code', async (t) => {
  t.strictSame(
    REASON_NAMES,
    binding.dropReasons.map(({ name }) => name),
  );
  t.equal(REASON_NAMES[0], 'none');
  t.strictSame(Object.keys(DROP_REASONS), REASON_NAMES.slice(1));
  t.ok(Object.values(DROP_REASONS).every((sentence) => sentence.length > 10));
  // The interfaces are written by hand.
  t.strictSame(COUNTER_NAMES, {
    gateway: [
      'packetsIn',
      'bytesIn',
      'packetsToTargets',
      'packetsFromTargets',
      'probesReturned',
      'packetsOut',
      'bytesOut',
      'packetsBypassed',
      'packetsReplied',
      'resetsSent',
      'repliesUnsent',
      'packetsHeld',
      'packetsFragmented',
      'mssClamped',
      'packetsWaiting',
      'flowsNew',
      'flowsEnded',
      'flowsMoved',
      'flowsActiveIpv4',
      'flowsActiveIpv6',
      'flowsRejected',
      'flowsRejectedTcp',
      'packetsUntracked',
      'flowsPickedUp',
      'flowsEvicted',
      'flowsRefused',
      'eventsLost',
    ],
    target: ['packetsTo', 'bytesTo', 'packetsFrom', 'bytesFrom', 'flowsNew', 'flowsActive'],
    endpoint: ['packetsIn', 'bytesIn', 'packetsOut', 'bytesOut'],
    appliance: [
      'packetsReceived',
      'bytesReceived',
      'packetsReturned',
      'bytesReturned',
      'packetsRewritten',
      'packetsRejected',
      'packetsOtherPort',
      'packetsInspected',
      'packetsUnmatched',
      'packetsUntracked',
      'flowsPassed',
      'flowsDropped',
      'flowsEnded',
      'flowPacketsPassed',
      'flowBytesPassed',
      'flowPacketsDropped',
      'flowBytesDropped',
      'packetsToKernel',
      'bytesToKernel',
      'packetsFromKernel',
      'bytesFromKernel',
      'tunFlowsEvicted',
    ],
    device: [
      'packetsToKernel',
      'bytesToKernel',
      'packetsFromKernel',
      'bytesFromKernel',
      'packetsReturned',
      'bytesReturned',
    ],
  });
});

t.test('protocol names', async (t) => {
  t.equal(protocolName(6), 'tcp');
  t.equal(protocolName(200), '200');
  t.equal(protocolNumber('UDP'), 17);
  t.equal(protocolNumber('icmpv6'), 58);
  t.equal(protocolNumber('toString'), null);
  t.equal(protocolNumber(1.5), null);
});

t.test('a batch is filled and read with one cursor', async (t) => {
  const batch = new PacketBatch({ packets: 4 });
  t.equal(batch.capacity, 4);
  const tcp4 = { protocol: 'tcp', source: '203.0.113.9:52144', destination: '10.0.2.10:443' };
  const udp6 = { protocol: 'udp', source: '[2001:db8::9]:53', destination: '[2001:db8::1]:5353' };
  t.equal(batch.add(tuplePacket(tcp4)), 0);
  t.equal(batch.add(tuplePacket(udp6), 0x0a000001), 1);
  t.equal(batch.add(Uint8Array.of(0xff, 1, 2)), 2);
  t.equal(batch.count, 3);
  t.equal(batch.address[1], 0x0a000001);

  const cursors = new Set<Packet>();
  const seen = [];
  for (const packet of batch) {
    cursors.add(packet);
    const { index, version, protocol, source, destination, sourcePort, destinationPort } = packet;
    seen.push({ index, version, protocol, source, destination, sourcePort, destinationPort });
  }
  t.equal(cursors.size, 1, 'one object');
  t.strictSame(seen, [
    {
      index: 0,
      version: 4,
      protocol: 6,
      source: '203.0.113.9',
      destination: '10.0.2.10',
      sourcePort: 52144,
      destinationPort: 443,
    },
    {
      index: 1,
      version: 6,
      protocol: 17,
      source: '2001:db8::9',
      destination: '2001:db8::1',
      sourcePort: 53,
      destinationPort: 5353,
    },
    {
      index: 2,
      version: 0,
      protocol: 0,
      source: '',
      destination: '',
      sourcePort: 0,
      destinationPort: 0,
    },
  ]);
  t.strictSame(Uint8Array.from(batch.bytes(2)), Uint8Array.of(0xff, 1, 2));

  for (const packet of batch) {
    t.equal(packet.verdict, 'pending');
    t.equal(packet.reason, 'none');
    t.equal(packet.endpoint, 0xffff);
    t.equal(packet.target, 0xffff);
    t.strictSame(packet.bytes, batch.bytes(packet.index));
    t.equal(packet.length, packet.bytes.length);
    break;
  }
  const pairs = [];
  for (const a of batch) for (const b of batch) pairs.push([a.index, b.index]);
  t.equal(pairs.length, 9);
  t.strictSame(pairs[5], [1, 2], 'loops may be nested');
  let again: Packet | undefined;
  for (const packet of batch) again = packet;
  t.ok(again && cursors.has(again), 'the cursor is used again');

  batch.clear();
  t.equal(batch.count, 0);
  t.strictSame([...batch], []);
});

t.test('the cursor reads odd packets without judging them', async (t) => {
  const batch = new PacketBatch({ packets: 8, jumbo: false });
  const later = tuplePacket({ protocol: 'udp', source: '10.0.0.1:1', destination: '10.0.0.2:2' });
  later[7] = 185;
  batch.add(later);
  // Hop-by-hop options in front of UDP.
  const udp = tuplePacket({ protocol: 'udp', source: '[::1]:7', destination: '[::2]:8' });
  const chained = new Uint8Array(udp.length + 8);
  chained.set(udp.subarray(0, 40));
  chained[6] = 0;
  chained.set([17, 0, 1, 4, 0, 0, 0, 0], 40);
  chained.set(udp.subarray(40), 48);
  batch.add(chained);
  // A later fragment, with the fragment header last in the chain.
  const fragment = chained.slice();
  fragment[6] = 44;
  fragment.set([17, 0, 0, 8, 0, 0, 0, 1], 40);
  batch.add(fragment);
  // GENEVE in front.
  const header = encodeGeneve({ protocolType: 0x86dd });
  const tunnelled = new Uint8Array(header.length + chained.length);
  tunnelled.set(header);
  tunnelled.set(chained, header.length);
  batch.add(tunnelled);
  batch.add(new Uint8Array(0));
  const ports = [];
  for (const packet of batch) {
    ports.push([packet.version, packet.protocol, packet.sourcePort, packet.destinationPort]);
  }
  t.strictSame(ports, [
    [4, 17, 0, 0],
    [6, 17, 7, 8],
    [6, 17, 0, 0],
    [6, 17, 7, 8],
    [0, 0, 0, 0],
  ]);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => {
      batch.clear();
      batch.add(bytes);
      for (const packet of batch) {
        t.ok([0, 4, 6].includes(packet.version));
        t.type(packet.source, 'string');
        t.ok(packet.sourcePort <= 0xffff && packet.destinationPort <= 0xffff);
      }
    }),
    { numRuns: 200 },
  );
});

t.test('payload and header offsets, also behind a GENEVE header', async (t) => {
  const bare = tuplePacket({ protocol: 'udp', source: '10.0.0.1:1', destination: '10.0.0.2:2' });
  const packet = Buffer.concat([bare, Buffer.from('data and padding')]);
  packet.writeUInt16BE(bare.length + 4, 2);
  packet.writeUInt16BE(12, 24);
  const gateway = { endpointId: 'vpce-0123456789abcdef0', attachmentId: 0n, cookie: 1 };
  const header = encodeGeneve({ gateway, protocolType: 0x0800 });
  const chain = Buffer.from(
    tuplePacket({ protocol: 'tcp', source: '[fd00::1]:1', destination: '[fd00::2]:2' }),
  );
  const options = Buffer.concat([chain.subarray(0, 40), Buffer.from([6, 0, 1, 4, 0, 0, 0, 0])]);
  const six = Buffer.concat([options, chain.subarray(40), Buffer.from('six')]);
  six[6] = 0;
  six.writeUInt16BE(six.length - 40, 4);
  const gre = Buffer.from(bare);
  gre[9] = 47;
  const batch = new PacketBatch({ packets: 6 });
  const all = [
    packet,
    Buffer.concat([header, packet]),
    six,
    gre,
    Buffer.from('x'),
    bare.subarray(0, 22),
  ];
  for (const bytes of all) batch.add(bytes);
  const read: unknown[] = [];
  for (const { transportOffset, payloadOffset, payload } of batch) {
    read.push([transportOffset, payloadOffset, Buffer.from(payload).toString('latin1').trim()]);
  }
  t.strictSame(read.slice(0, 3), [
    [20, 28, 'data'],
    [60, 68, 'data'],
    [48, 68, 'six'],
  ]);
  t.match(read[3], [20, 20]);
  t.strictSame(read[4], [0, 0, '']);
  t.match(read[5], [20, 20], 'a header that is cut short');
});

t.test('a batch refuses what does not fit', async (t) => {
  t.throws(() => new PacketBatch({ packets: 257 }), range('options.packets'));
  t.throws(() => new PacketBatch({ packet: 1 } as never), invalid('options.packet'));
  const batch = new PacketBatch({ packets: 1, jumbo: false });
  t.equal(batch.packetBytesMax, 2112);
  t.equal(new PacketBatch().packetBytesMax, 9024);
  t.throws(() => batch.add('x' as never), invalid('bytes'));
  t.throws(() => batch.add(new Uint8Array(2113)), range('length'));
  t.equal(batch.count, 0, 'nothing was added');
  t.throws(() => batch.bytes(0), range('i'));
  batch.add(new Uint8Array(2112));
  t.equal(batch.full, true);
  t.throws(() => batch.add(new Uint8Array(1)), { code: 'ERR_GWLB_OUT_OF_RANGE' });
});

t.test('GENEVE headers', async (t) => {
  const gateway = { endpointId: 'vpce-0123456789abcdef0', attachmentId: 5n, cookie: 0xdeadbeef };
  const bytes = encodeGeneve({ gateway });
  t.equal(
    Buffer.from(bytes).toString('hex'),
    '0800080000000000' +
      '01080102123456789abcdef0' +
      '010802020000000000000005' +
      '01080301deadbeef',
  );
  const decoded = decodeGeneve(bytes);
  t.equal(decoded.error, null);
  t.strictSame(decoded.gateway, gateway);
  t.match(decoded.header, { version: 0, oam: false, vni: 0, protocolType: 0x0800 });
  t.equal(decoded.header?.headerLength, 40);
  t.strictSame(encodeGeneve(decoded.header ?? {}), bytes, 'what was decoded can be encoded');

  const other = encodeGeneve({ gateway, optionClass: 0x0167 });
  t.equal(decodeGeneve(other).gateway, null);
  t.strictSame(decodeGeneve(other, { optionClass: 0x0167 }).gateway, gateway);

  const critical = encodeGeneve({ options: [{ class: 1, type: 0x81, data: new Uint8Array(4) }] });
  t.equal(decodeGeneve(critical).header?.critical, true, 'C bit follows from the options');
  t.equal(decodeGeneve(critical).error?.reason, 'geneve_critical_option');
  t.match(decodeGeneve(bytes.subarray(0, 7)), { header: null, error: { needed: 8, had: 7 } });
  t.match(decodeGeneve(Uint8Array.of(0x40, 0, 8, 0, 0, 0, 0, 0)).error, {
    reason: 'geneve_bad_version',
  });
});

t.test('GENEVE headers that cannot be', async (t) => {
  t.throws(() => encodeGeneve({ vni: 0x1000000 }), range('header.vni'));
  t.throws(() => encodeGeneve({ protocolType: '0x0800' } as never), invalid('header.protocolType'));
  const option = { class: 1, type: 1, data: new Uint8Array(3) };
  t.throws(() => encodeGeneve({ options: [option] }), range('header.options[0].data'));
  const long = { class: 1, type: 1, data: new Uint8Array(124) };
  t.throws(() => encodeGeneve({ options: [long, long] }), range('header.options'));
  const gateway = { endpointId: 'vpce-1', cookie: 0 };
  t.throws(() => encodeGeneve({ gateway }), invalid('header.gateway.endpointId'));
  t.throws(() => decodeGeneve('x' as never), invalid('payload'));
});

t.test('captures are written, read and decoded', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gwlb-capture-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'one.pcap');
  const inner = tuplePacket({
    protocol: 'tcp',
    source: '10.9.0.1:1000',
    destination: '10.8.0.1:80',
  });
  const gateway = { endpointId: 'vpce-0123456789abcdef0', cookie: 7 };
  const payload = Buffer.concat([encodeGeneve({ gateway }), inner]);
  const outer = tuplePacket({
    protocol: 'udp',
    source: '10.0.0.1:33000',
    destination: '10.0.0.2:6081',
  });
  const frame = Buffer.concat([outer, payload]);
  frame.writeUInt16BE(frame.length, 2);
  frame.writeUInt16BE(payload.length + 8, 24);
  frame.writeUInt16BE(0, 26);
  const writer = new PcapWriter(path, { link: 101 });
  writer.write(frame, 1_700_000_000_123_456_789n);
  writer.write(inner, 1_700_000_001_000_000_000n, 4000);
  writer.close();
  writer.close();

  const capture = readCapture(path);
  const frames = [...capture];
  t.equal(capture.error, null);
  t.equal(frames.length, 2);
  t.equal(frames[0].timeNs, 1_700_000_000_123_456_789n);
  t.equal(frames[0].link, 101);
  t.equal(frames[1].length, 4000);
  t.strictSame(Buffer.from(frames[0].data), frame);
  t.equal(decodeFrame(frames[1].data, { link: 101 }), null, 'no GENEVE');
  t.strictSame(decodeFrame(frames[0].data, { link: 101 }), {
    outer: {
      source: '10.0.0.1',
      destination: '10.0.0.2',
      sourcePort: 33000,
      destinationPort: 6081,
      ttl: 64,
      checksum: 'zero',
    },
    geneve: {
      version: 0,
      oam: false,
      critical: false,
      protocolType: '0x0800',
      vni: 0,
      options: [
        { class: '0x0108', type: 1, critical: false, data: '123456789abcdef0' },
        { class: '0x0108', type: 2, critical: false, data: '0000000000000000' },
        { class: '0x0108', type: 3, critical: false, data: '00000007' },
      ],
    },
    gateway: {
      endpointId: 'vpce-0123456789abcdef0',
      attachmentId: '0x0000000000000000',
      cookie: '0x00000007',
    },
    inner: {
      version: 4,
      source: '10.9.0.1',
      destination: '10.8.0.1',
      protocol: 6,
      sourcePort: 1000,
      destinationPort: 80,
      length: 40,
    },
    error: null,
  });

  const cut = readCapture(readFileSync(path).subarray(0, -10));
  t.equal([...cut].length, 1);
  t.match(cut.error, /\w/, 'says where it is cut');
  t.throws(() => readCapture(join(folder, 'none')), { code: 'ERR_GWLB_CAPTURE' });
  t.throws(() => readCapture(Buffer.from('no capture at all, surely not')), {
    code: 'ERR_GWLB_CAPTURE',
  });
  t.throws(() => readCapture(5 as never), invalid('source'));
  t.throws(() => new PcapWriter(join(folder, 'no', 'folder')), { code: 'ERR_GWLB_CAPTURE' });
});

t.test('flow keys and the flow table', async (t) => {
  const there = { protocol: 'tcp', source: '10.0.0.1:1000', destination: '10.0.0.2:80' };
  const back = { protocol: 'tcp', source: '10.0.0.2:80', destination: '10.0.0.1:1000' };
  const key = flowKey(tuplePacket(there));
  t.strictSame(key, flowKey(tuplePacket(back)), 'both directions have one key');
  t.not(
    Buffer.compare(key ?? Buffer.of(), flowKey(tuplePacket(there), '5-tuple', 1) ?? Buffer.of()),
    0,
  );
  t.equal(flowKey(Uint8Array.of(1, 2, 3)), null);
  t.throws(() => flowKey(tuplePacket(there), '4-tuple' as never), invalid('stickiness'));
  if (!key) return;

  const flows = new FlowTable({ capacity: 1024, idleMs: 1000 });
  t.equal(flows.get(key, 0), undefined);
  const at = flows.set(key, 42, 0);
  t.not(at, NO_FLOW);
  t.equal(flows.get(key, 10), 42);
  t.equal(flows.set(key, 43, 10), at);
  t.equal(flows.value(at), 43);
  flows.setValue(at, 44);
  t.equal(flows.get(key, 10), 44);
  t.equal(flows.size, 1);
  const positions = new Uint32Array(2);
  const keys = new Uint8Array(32);
  keys.set(key);
  flows.lookup(keys, 2, positions, 10);
  t.strictSame([...positions], [at, NO_FLOW]);
  t.equal(flows.sweep(1009, 100_000), 0);
  t.equal(flows.sweep(1010, 100_000), 1, 'idle for a second');
  t.equal(flows.size, 0);
  flows.set(key, 1, 2000);
  t.equal(flows.delete(key, 2000), true);
  t.equal(flows.delete(key, 2000), false);
  flows.set(key, 1, 2000);
  flows.clear();
  t.equal(flows.size, 0);
  t.ok(flows.memoryBytes > 16 * 1024);
  t.throws(() => flows.get(new Uint8Array(40), 0), invalid('key'));
  t.throws(() => flows.get(key, -1), invalid('now'));
  t.throws(() => flows.lookup(keys, 3, positions, 0), range('count'));
  t.throws(() => new FlowTable({ capacity: 5 }), range('options.capacity'));
  const short = { capacity: 1024, hashKey: new Uint8Array(8) };
  t.throws(() => new FlowTable(short), invalid('options.hashKey'));
});
