/** What goes in comes out: tables, captures, headers and keys through the addon. */
import t from 'tap';
import { binding } from '../../src/native/binding.js';
import { readGeneve } from '../../src/packet/geneve-words.js';
import { LINK_TYPES } from '../../src/packet/links.js';
import { gatewayConfig, gatewayHeader, liveConfig, twoTargets, udpPacket } from './fixtures.js';

const NONE = 0xffffffff;
const CLASS = 0x0108;

function keys(bytes: number, from: number, count: number): Uint8Array {
  const all = new Uint8Array(bytes * count);
  const view = new DataView(all.buffer);
  for (let i = 0; i < count; i++) view.setUint32(i * bytes, from + i);
  return all;
}

for (const [family, bytes] of [
  [4, 16],
  [6, 40],
] as const) {
  t.test(`flow table, IPv${family}`, async (t) => {
    const table = new binding.FlowTable(family, 2048, 1000, new Uint8Array(16).fill(9));
    t.equal(table.capacity, 2048);
    t.ok(table.memoryBytes() > 2048 * bytes);
    const count = 700; // more than one native batch
    // At an odd address: keys need no alignment.
    const all = new Uint8Array(1 + bytes * count).subarray(1);
    all.set(keys(bytes, 0, count));
    for (let i = 0; i < count; i += 2) {
      const at = table.insert(all.subarray(i * bytes, (i + 1) * bytes), 1_000_000 + i, 0);
      t.not(at, NONE);
    }
    t.equal(table.size(), count / 2);
    const indices = new Uint32Array(count);
    table.lookup(all, count, indices, 500);
    for (const [i, index] of indices.entries()) {
      if (i % 2 === 1 ? index !== NONE : table.value(index) !== 1_000_000 + i) t.fail(`key ${i}`);
    }

    const first = all.slice(0, bytes);
    t.equal(table.insert(first, 5, 500), indices[0], 'a key that is there keeps its place');
    t.equal(table.value(indices[0]), 5);
    table.setValue(indices[0], NONE);
    t.equal(table.value(indices[0]), NONE);
    t.equal(table.size(), count / 2);

    table.erase(indices[2]);
    for (const name of ['value', 'erase'] as const) {
      t.throws(() => table[name](indices[2]), RangeError, `${name} of an erased entry`);
      t.throws(() => table[name](0xfffffff0), RangeError, `${name} of no entry`);
    }
    t.throws(() => table.setValue(indices[2], 1), RangeError);

    // Seen at 500, but the first one again at 1400.
    table.lookup(first, 1, new Uint32Array(1), 1400);
    t.equal(table.sweep(1499, NONE), 0);
    t.equal(table.sweep(1500, NONE), count / 2 - 2, 'a hit keeps an entry alive');
    t.equal(table.size(), 1);
    table.clear();
    t.equal(table.size(), 0);
  });
}

t.test('a full flow table says so', async (t) => {
  const table = new binding.FlowTable(4, 1024, 1000, new Uint8Array(16));
  const all = keys(16, 0, 1100);
  const at = Array.from({ length: 1100 }, (_, i) =>
    table.insert(all.subarray(i * 16, i * 16 + 16), i, 0),
  );
  t.equal(at.filter((index) => index !== NONE).length, 1024);
  t.equal(at[1099], NONE);
});

t.test('captures', async (t) => {
  const frames = [udpPacket(1), udpPacket(2, 53, 100), new Uint8Array(0)];
  const file = Buffer.concat([
    binding.captureHeader(101),
    ...frames.map((frame, i) =>
      binding.captureRecord(frame, 2000 + i, 1_700_000_000_000_000_001n + BigInt(i)),
    ),
  ]);
  const reader = new binding.CaptureReader(file, true);
  for (const [i, frame] of frames.entries()) {
    const read = reader.next();
    t.match(read, { length: 2000 + i, timeNs: 1_700_000_000_000_000_001n + BigInt(i), link: 101 });
    t.strictSame([...(read?.data ?? [])], [...frame]);
    if (frame.length > 0) t.equal(read?.data.buffer, file.buffer, 'a view, no copy');
  }
  t.equal(reader.next(), null);
  t.equal(reader.error(), '');

  const cut = new binding.CaptureReader(file.subarray(0, file.length - 5), true);
  const read = [cut.next(), cut.next(), cut.next()];
  t.strictSame(
    read.map((frame) => frame !== null),
    [true, true, false],
  );
  t.ok(cut.error().length > 10, cut.error());

  for (const bytes of [new Uint8Array(0), new Uint8Array(3), new Uint8Array(100).fill(7)]) {
    t.throws(() => new binding.CaptureReader(bytes, true), { name: 'Error', message: /.{10}/ });
  }
});

t.test('a capture whose memory goes away is not read', async (t) => {
  const bytes = new Uint8Array(
    Buffer.concat([binding.captureHeader(1), binding.captureRecord(udpPacket(), 36, 0n)]),
  );
  const file = new Uint8Array(bytes);
  const reader = new binding.CaptureReader(file, true);
  structuredClone(file.buffer, { transfer: [file.buffer] });
  t.throws(() => reader.next(), TypeError);

  // Newer than the types of the oldest supported Node.
  const Resizable = ArrayBuffer as unknown as new (
    bytes: number,
    options: { maxByteLength: number },
  ) => ArrayBuffer & { resize(bytes: number): void };
  const resizable = new Resizable(bytes.length, { maxByteLength: 4096 });
  const tracking = new Uint8Array(resizable);
  tracking.set(bytes);
  const other = new binding.CaptureReader(tracking, true);
  resizable.resize(24);
  t.throws(() => other.next(), TypeError);
});

t.test('GENEVE headers', async (t) => {
  const header = {
    protocolType: 0x6558,
    vni: 0xabcdef,
    oam: true,
    critical: true,
    options: [
      { class: 0xfff0, type: 0x81, data: new Uint8Array([1, 2, 3, 4]) },
      { class: 1, type: 2, data: new Uint8Array(0) },
    ],
  };
  const encoded = binding.encodeGeneve(header);
  t.equal(Buffer.from(encoded).toString('hex'), '03c06558abcdef00fff081010102030400010200');
  const decoded = readGeneve(encoded, CLASS);
  t.match(decoded.header, { ...header, version: 0, headerLength: 20 });
  t.match(decoded, { gateway: null, error: { reason: 'geneve_control' } });

  const good = readGeneve(gatewayHeader(0xabcdef0123456789n, 0xdeadbeef), CLASS);
  t.match(good, {
    header: { protocolType: 0x0800, vni: 0, headerLength: 40 },
    gateway: { endpointId: 'vpce-0abcdef0123456789', attachmentId: 0n, cookie: 0xdeadbeef },
    error: null,
  });
  const plain = binding.encodeGeneve({ ...header, oam: false, critical: false, options: [] });
  t.match(readGeneve(plain, CLASS), { gateway: null, error: null });

  t.match(readGeneve(new Uint8Array(7), CLASS), {
    header: null,
    gateway: null,
    error: { reason: 'geneve_truncated', layer: 'geneve', offset: 0, needed: 8, had: 7 },
  });
  for (let length = 8; length < 40; length++) {
    const { header, error } = readGeneve(gatewayHeader(1n, 1).subarray(0, length), CLASS);
    t.match(header, { headerLength: 40, options: [] }, `${length} bytes`);
    t.equal(error?.reason, 'geneve_truncated');
  }
  // As many options as fit: 63 of 4 bytes.
  const many = readGeneve(
    binding.encodeGeneve({
      ...header,
      oam: false,
      options: Array.from({ length: 63 }, (_, i) => ({
        class: i,
        type: i,
        data: new Uint8Array(),
      })),
    }),
    CLASS,
  );
  t.strictSame(
    many.header?.options.map((option) => [option.class, option.type, option.data.length]),
    Array.from({ length: 63 }, (_, i) => [i, i, 0]),
  );

  const short = gatewayHeader(1n, 1);
  short[11] = 1;
  t.ok(readGeneve(short, CLASS).error, 'an option of another length');
});

t.test('frames', async (t) => {
  const inner = udpPacket(1234, 53);
  const payload = Buffer.concat([gatewayHeader(5n, 6), inner]);
  const outer = udpPacket(40000, 6081, payload.length);
  outer.set(payload, 28);
  outer.fill(0, 26, 28);
  const decoded = binding.decodeFrame(outer, outer.length, 101, CLASS, 6081);
  t.match(decoded, {
    isGeneve: true,
    outer: { version: 4, sourcePort: 40000, destinationPort: 6081, ttl: 64, checksum: 'zero' },
    geneve: { offset: 28, headerLength: 40 },
    gateway: { endpointId: 5n, attachmentId: 0n, cookie: 6 },
    ethernet: null,
    inner: {
      offset: 68,
      version: 4,
      protocol: 17,
      sourcePort: 1234,
      destinationPort: 53,
      length: 36,
    },
    error: null,
  });
  t.equal(decoded.geneve?.options.length, 3);
  t.strictSame([...(decoded.outer?.source ?? [])], [203, 0, 113, 9]);
  t.strictSame([...(decoded.inner?.destination ?? [])], [10, 0, 2, 10]);

  for (let length = 0; length < outer.length; length++) {
    const cut = outer.slice(0, length);
    const { error } = binding.decodeFrame(cut, outer.length, 101, CLASS, 6081);
    // 8 bytes of payload behind the inner headers: they may be missing from a capture.
    t.equal(error === null, length >= outer.length - 8, `${length} bytes`);
    for (const link of [0, 1, 12, 113, 228, 229, 276, 65535]) {
      t.doesNotThrow(() => binding.decodeFrame(cut, outer.length, link, CLASS, 6081));
    }
  }
  t.match(binding.decodeFrame(outer, outer.length, 101, CLASS, 6082), { isGeneve: false });
});

t.test('flow keys', async (t) => {
  const there = binding.flowKey(udpPacket(1000, 53), 5, 7);
  t.equal(there?.length, 16);
  const back = udpPacket(53, 1000);
  back.copyWithin(100, 0, 0);
  const source = back.slice(12, 16);
  back.copyWithin(12, 16, 20);
  back.set(source, 16);
  t.strictSame(binding.flowKey(back, 5, 7), there, 'both directions have one key');
  t.not(String(binding.flowKey(udpPacket(1001, 53), 5, 7)), String(there));
  t.not(String(binding.flowKey(udpPacket(1000, 53), 5, 8)), String(there));
  t.strictSame(
    binding.flowKey(udpPacket(1001, 53), 3, 7),
    binding.flowKey(udpPacket(1000, 53), 3, 7),
  );

  const error = udpPacket(1, 1, 28);
  error.set([1, 0], 20); // the UDP header and payload become an ICMP error that quotes the packet
  error[9] = 1;
  error.set([3, 3, 0, 0, 0, 0, 0, 0], 20);
  error.set(udpPacket(1000, 53).subarray(0, 28), 28);
  t.strictSame(binding.flowKey(error, 5, 7), there, 'an ICMP error has the key of what it quotes');

  for (let length = 0; length < 28; length++) {
    t.equal(binding.flowKey(udpPacket().subarray(0, length), 5, 0), null);
  }
});

t.test('rows', async (t) => {
  const targets = twoTargets();
  const rows = new binding.TargetTable(targets, null).rows(0);
  t.equal(rows.length, 65536);
  t.strictSame([...new Set(rows)].sort(), [0, 1]);
  const zones = { ...targets, zones: 2 };
  t.ok(
    new binding.TargetTable(zones, null).rows(1).every((slot) => slot === 0xffff),
    'no target in this zone',
  );
  t.strictSame(new binding.TargetTable({ ...zones, crossZone: true }, null).rows(1), rows);
  targets.eligible[0] = 0;
  const changed = new binding.TargetTable(targets, new binding.TargetTable(zones, null));
  t.ok(
    changed.rows(0).every((slot) => slot === 1),
    'only those that are eligible',
  );
});

t.test('a TCP socket of this namespace', async (t) => {
  const fd = binding.openTcpSocket('');
  t.ok(fd > 2);
  const { closeSync, readlinkSync } = await import('node:fs');
  t.match(readlinkSync(`/proc/self/fd/${fd}`), /^socket:/);
  closeSync(fd);
});

t.test('the MTU of the ways to hosts', async (t) => {
  const LOOPBACK = 0x7f000001;
  const to = (...addresses: number[]) => binding.pathMtu(LOOPBACK, Uint32Array.from(addresses), '');
  t.equal(await to(LOOPBACK), 65_535);
  t.equal(await to(LOOPBACK, LOOPBACK + 1), 65_535);
  t.equal(await to(), 0, 'to nobody');
  // From loopback there is no way to a host outside.
  t.equal(await to(0xc0000201), 0);
  t.equal(await to(0xc0000201, LOOPBACK), 65_535, 'those that there is a way to');
  await t.rejects(binding.pathMtu(0xc0000201, new Uint32Array(), ''), { code: 'EADDRNOTAVAIL' });
  await t.rejects(binding.pathMtu(LOOPBACK, new Uint32Array(), 'no-such-netns'), {
    code: 'ENOENT',
  });
});

t.test('the packet of a frame', async (t) => {
  const inner = udpPacket(1234, 53);
  const payload = Buffer.concat([gatewayHeader(5n, 6), inner]);
  const outer = udpPacket(40000, 6081, payload.length);
  outer.set(payload, 28);
  outer.fill(0, 26, 28);
  const locate = (frame: Uint8Array, link = 101, wire = frame.length, port = 6081) => {
    binding.locatedWords.fill(0);
    const found = binding.locatePacket(frame, wire, link, CLASS, port);
    const [offset, reason, length, zero, headers, transport, protocol] = binding.locatedWords;
    const endpoint = [...binding.locatedWords.subarray(8, 11)];
    const { name } = binding.dropReasons[reason];
    return { found, offset, reason: name, length, zero, headers, transport, protocol, endpoint };
  };
  const end = outer.length;
  const none = { found: 0, reason: 'none', zero: 0 };
  const udp = { headers: 28, transport: 20, protocol: 17 };
  const length = end - 68;
  t.strictSame(locate(outer), { ...none, offset: 68, length, ...udp, endpoint: [1, 5, 0] });
  const all = { ...none, offset: 0, length: end, ...udp, endpoint: [0, 0, 0] };
  t.strictSame(locate(outer, 101, end, 6082), all);
  const ethernet = Buffer.concat([Buffer.alloc(12), Buffer.from([0x08, 0x00]), outer]);
  t.match(locate(ethernet, 1), { offset: 82, length, endpoint: [1, 5, 0] });
  t.match(locate(ethernet, 1, end + 20), { length }, 'Ethernet padding is no part of it');
  const arp = Buffer.concat([Buffer.alloc(12), Buffer.from([0x08, 0x06]), Buffer.alloc(28)]);
  t.match(locate(arp, 1), { found: 1 }, 'no IP');
  t.match(locate(outer, 147), { found: 2 }, 'a link type that is not known');
  t.match(locate(outer, 0xffffffff), { found: 2 });
  t.match(locate(outer.subarray(0, 80), 101, end), { reason: 'inner_truncated' });
  const cutLink = { ...none, offset: 9, length: 0, headers: 0 };
  t.match(locate(arp.subarray(0, 9), 1), cutLink, 'a cut link header');
  const part = { ...none, offset: 68, length, headers: 0 };
  t.match(locate(outer.subarray(0, 90), 101, end), part, 'captured in part');
  const zero = Buffer.from(inner);
  zero.writeUInt16BE(0, 2);
  t.match(locate(zero), { zero: 1, length: inner.length, ...udp });

  const control = Buffer.from(outer);
  control[29] |= 0x80;
  t.match(locate(control), { reason: 'geneve_control' });
  const version = Buffer.from(outer);
  version[28] |= 0x40;
  t.match(locate(version), { reason: 'geneve_bad_version' });
  const protocol = Buffer.from(outer);
  protocol.writeUInt16BE(0x0806, 30);
  t.match(locate(protocol), { reason: 'geneve_bad_protocol' });
});

t.test('every link type that is read has its name', async (t) => {
  for (const link of [...Array(512).keys(), 65_536, 0x03ffffff]) {
    const known = binding.locatePacket(new Uint8Array(64), 64, link, CLASS, 6081) !== 2;
    t.equal(known, LINK_TYPES.has(link), `link type ${link}`);
  }
});

t.test('a capture in windows', async (t) => {
  const frame = udpPacket();
  const file = Buffer.concat([binding.captureHeader(1), binding.captureRecord(frame, 36, 7n)]);
  const reader = new binding.CaptureReader(file.subarray(0, 50), false);
  t.equal(reader.next(), undefined, 'the frame is not there yet');
  t.equal(reader.unread(), 26);
  t.throws(() => reader.feed(file.subarray(24, 49), false), RangeError, 'less than there was');
  const rest = Uint8Array.from(file.subarray(24));
  reader.feed(rest, false);
  t.match(reader.next(), { data: frame, timeNs: 7n });
  t.equal(reader.next(), undefined);
  reader.feed(new Uint8Array(0), true);
  t.equal(reader.next(), null);
  t.equal(reader.error(), '');
});

t.test('what was released is not used', async (t) => {
  const gateway = new binding.Gateway(gatewayConfig());
  gateway.configure(liveConfig(), new binding.TargetTable(twoTargets(), null));
  gateway.setEndpoint(0, { id: 1n, zone: 0, mtu: 0, cuts: false });
  t.ok(gateway.memoryBytes() > 0);
  gateway.release();
  gateway.release();
  t.strictSame([gateway.memoryBytes(), gateway.flows()], [0, 0]);
  t.strictSame(gateway.drainEvents(10), []);
  t.strictSame(gateway.endFlows(0, 10), { events: [], cursor: 0 });
  gateway.discardEvents();
  const batch = new binding.PacketBatch(1, 2240);
  const stopped = { code: 'ERR_STOPPED' };
  for (const use of [
    () => gateway.toTargets(batch.id, 0, 0, 0),
    () => gateway.fromTargets(batch.id, 0, 0),
    () => gateway.takeHeld(batch.id, 0),
    () => gateway.sweep(0, 10),
    () => gateway.explain(udpPacket(), 0, 0),
    () => gateway.describe(udpPacket(), 0, 0, new Uint8Array(104)),
    () => gateway.readEvents(new Uint8Array(104)),
    () => gateway.configure(liveConfig(), null),
    () => gateway.setEndpoint(0, { id: 1n, zone: 0, mtu: 0, cuts: false }),
    () => gateway.removeEndpoint(0),
    () => gateway.setCookieKey(new Uint8Array(16), 0, 0),
  ]) {
    t.throws(use, stopped, String(use));
  }

  const table = new binding.TargetTable(twoTargets(), null);
  const other = new binding.TargetTable(twoTargets(), table);
  table.release();
  table.release();
  t.throws(() => table.rows(0), stopped);
  t.throws(() => table.rowCounts(), stopped);
  t.throws(() => binding.targetTable(twoTargets(), table), stopped);
  t.throws(() => new binding.TargetTable(twoTargets(), table), stopped);
  t.equal(other.rows(0).length, 65_536, 'tables that were built from it stay');
  const third = new binding.Gateway(gatewayConfig());
  t.throws(() => third.previewFlows(table, 0, 1), stopped);
  t.throws(() => third.configure(liveConfig(), table), stopped);

  // A getter releases it in the middle of a call.
  const again = new binding.Gateway(gatewayConfig());
  const live = Object.defineProperty({ ...liveConfig() }, 'reportMs', {
    get: () => {
      again.release();
      return 0;
    },
  });
  t.throws(() => again.configure(live, null), stopped);
});
