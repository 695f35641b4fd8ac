/** Memory that native code and JavaScript both see: nothing written there leads native code astray. */
import t from 'tap';
import { binding } from '../../src/native/binding.js';
import type { BatchField, NativePacketBatch } from '../../src/native/binding-codec.js';
import {
  gatewayConfig,
  liveConfig,
  plainEndpoint,
  runChild,
  twoTargets,
  udpPacket,
} from './fixtures.js';

const FORWARD = 1;
const DROP = 2;
const NONE = 0xffff;

function fields(batch: NativePacketBatch) {
  const { block, layout, capacity } = batch;
  const at = (field: BatchField): [ArrayBuffer, number, number] => [block, layout[field], capacity];
  return {
    hash: new BigUint64Array(...at('hash')),
    offset: new Uint32Array(...at('offset')),
    length: new Uint32Array(...at('length')),
    address: new Uint32Array(...at('address')),
    cookie: new Uint32Array(...at('cookie')),
    port: new Uint16Array(...at('port')),
    source_port: new Uint16Array(...at('source_port')),
    target: new Uint16Array(...at('target')),
    endpoint: new Uint16Array(...at('endpoint')),
    verdict: new Uint8Array(...at('verdict')),
    reason: new Uint8Array(...at('reason')),
    tos: new Uint8Array(...at('tos')),
    flags: new Uint8Array(...at('flags')),
  };
}

function newGateway() {
  const gateway = new binding.Gateway(gatewayConfig());
  gateway.setEndpoint(3, { ...plainEndpoint(), cuts: false });
  gateway.configure(liveConfig(), new binding.TargetTable(twoTargets(), null));
  return gateway;
}

function fill(batch: NativePacketBatch, packets: Uint8Array[]): ReturnType<typeof fields> {
  const view = fields(batch);
  const block = new Uint8Array(batch.block);
  for (const array of Object.values(view)) {
    if (array instanceof BigUint64Array) array.fill(0n);
    else array.fill(0);
  }
  for (const [i, packet] of packets.entries()) {
    view.offset[i] = batch.slots + i * batch.stride + batch.headroom;
    view.length[i] = packet.length;
    block.set(packet, view.offset[i]);
    view.target[i] = NONE;
    view.endpoint[i] = 3;
  }
  return view;
}

/** Hands over the first `count` packets, of the endpoints that their descriptors say. */
function toTargets(
  gateway: InstanceType<typeof binding.Gateway>,
  batch: NativePacketBatch,
  count: number,
  now: number,
): void {
  gateway.toTargets(batch.id, count, NONE, now);
}

function counter(gateway: InstanceType<typeof binding.Gateway>, name: string): number {
  const at = binding.counterLayout.gateway.findIndex((counter) => counter.name === name);
  return Number(gateway.counters[at]);
}

function drops(gateway: InstanceType<typeof binding.Gateway>, name: string): number {
  const code = binding.dropReasons.findIndex((reason) => reason.name === name);
  return Number(gateway.counters[binding.counterLayout.dropsAt + code]);
}

t.test('the block is laid out as it says', async (t) => {
  const batch = new binding.PacketBatch(5, 2240);
  const view = fields(batch);
  for (const [i, offset] of view.offset.entries()) {
    t.equal(offset, batch.slots + i * batch.stride + batch.headroom);
    t.ok(offset + batch.stride - batch.headroom <= batch.block.byteLength);
  }
  t.strictSame([...view.length], [0, 0, 0, 0, 0]);
  t.equal(view.target[0], NONE);
  t.equal(view.endpoint[0], NONE);

  const used = Object.entries(view).map(([field, array]) => [
    batch.layout[field as BatchField],
    array.byteLength,
  ]);
  used.sort(([a], [b]) => a - b);
  for (const [i, [begin]] of used.slice(1).entries()) {
    t.ok(begin >= used[i][0] + used[i][1], 'no array overlaps the one before');
  }
});

t.test('packets go through a gateway and back in place', async (t) => {
  const gateway = newGateway();
  const batch = new binding.PacketBatch(4, 2240);
  const packet = udpPacket();
  const view = fill(batch, [packet, udpPacket(40001)]);
  toTargets(gateway, batch, 2, 1000);
  t.strictSame([...view.verdict.slice(0, 2)], [FORWARD, FORWARD]);
  t.equal(view.length[0], packet.length + 40);
  t.ok(view.target[0] < 2);
  t.equal(view.address[0], 0x0a090001 + view.target[0]);
  t.equal(gateway.flows(), 2);
  t.equal(counter(gateway, 'packets_in'), 2);
  t.equal(counter(gateway, 'packets_to_targets'), 2);

  const target = view.target[0];
  const cookie = view.cookie[0];
  view.verdict.fill(0);
  gateway.fromTargets(batch.id, 2, 1001);
  t.strictSame([...view.verdict.slice(0, 2)], [FORWARD, FORWARD]);
  t.equal(view.endpoint[0], 3);
  const returned = new Uint8Array(batch.block, view.offset[0], view.length[0]);
  t.strictSame([...returned], [...packet]);

  const told = gateway.explain(packet, 3, 1002);
  t.match(told, {
    error: 'none',
    target,
    chosen: target,
    pinned: true,
    cookie,
    kind: 5,
    version: 4,
  });
  t.strictSame(told.ranked.map(({ slot }) => slot).sort(), [0, 1]);
  t.equal(told.ranked[0].slot, told.chosen);
  t.ok(told.ranked[0].score <= told.ranked[1].score);
  t.equal(told.hash, view.hash[0]);
  t.equal(
    new binding.TargetTable(twoTargets(), null).rows(0)[told.row],
    told.chosen,
    'the row says the same',
  );

  const events = gateway.drainEvents(10);
  t.equal(events.length, 2);
  t.match(events[0], {
    nowMs: 1000,
    type: 'opened',
    cause: 'new',
    version: 4,
    protocol: 17,
    endpoint: 3,
    target,
  });
  t.strictSame([...events[0].low], [10, 0, 2, 10]);
  t.strictSame([...events[0].high], [203, 0, 113, 9]);
  t.strictSame(gateway.drainEvents(10), []);

  gateway.configure({ ...liveConfig(), tcpIdleMs: 1000, otherIdleMs: 1000 }, null);
  t.equal(gateway.sweep(10_000, 100_000), 2);
  t.equal(gateway.flows(), 0);
});

t.test('a packet outside of its slot is refused by name, and nothing happens', async (t) => {
  const gateway = newGateway();
  const batch = new binding.PacketBatch(3, 2240);
  const begin = fields(batch).offset[1] - batch.headroom;
  const end = begin + batch.stride;
  const wrong: [number, number][] = [
    [0, 36],
    [begin - 1, 36],
    [begin - batch.stride, 36],
    [end, 1],
    [end - 35, 36],
    [begin, batch.stride + 1],
    [begin + 128, 0xffffffff],
    [0xffffffff, 36],
    [0xffffffff, 0xffffffff],
    [0x80000000, 0x80000000],
  ];
  for (const [offset, length] of wrong) {
    const view = fill(batch, [udpPacket(), udpPacket(40001), udpPacket(40002)]);
    view.offset[1] = offset;
    view.length[1] = length;
    const before = batch.block.slice(0);
    const ways = [() => toTargets(gateway, batch, 3, 0), () => gateway.fromTargets(batch.id, 3, 0)];
    for (const way of ways) {
      t.throws(
        way,
        { name: 'RangeError', message: /^batch: packet 1: expected to lie inside bytes/ },
        `${way}: offset ${offset}, length ${length}`,
      );
    }
    t.ok(Buffer.from(before).equals(Buffer.from(batch.block)), 'the block is as it was');
  }
  t.equal(gateway.flows(), 0);
  t.equal(counter(gateway, 'packets_in'), 0);

  const view = fill(batch, [udpPacket()]);
  view.offset[1] = 0;
  t.doesNotThrow(() => toTargets(gateway, batch, 1, 0), 'slots that are not in use do not matter');
});

t.test('one packet astray among many is found, wherever it is', async (t) => {
  const gateway = newGateway();
  const batch = new binding.PacketBatch(21, 2240);
  for (let count = 1; count <= 21; count++) {
    const packets = Array.from({ length: count }, (_, i) => udpPacket(40000 + i));
    for (let astray = 0; astray < count; astray++) {
      const view = fill(batch, packets);
      if (astray % 2 === 0) view.offset[astray] = batch.slots + (astray + 1) * 2240;
      else view.length[astray] = 2240 - 127;
      const message = new RegExp(`^batch: packet ${astray}: `);
      t.throws(() => toTargets(gateway, batch, count, 0), { name: 'RangeError', message });
    }
    fill(batch, packets);
    t.doesNotThrow(() => toTargets(gateway, batch, count, 0));
  }
});

t.test('numbers of batches', async (t) => {
  const gateway = newGateway();
  const batches = Array.from({ length: 3 }, () => new binding.PacketBatch(2, 2240));
  t.equal(new Set(batches.map(({ id }) => id)).size, 3, 'are different');
  for (const id of [10_000, 0xffffffff]) {
    const message = `batch: expected the number of a batch, received ${id}, which has none`;
    t.throws(() => gateway.toTargets(id, 0, NONE, 0), { name: 'RangeError', message });
  }
  t.throws(() => gateway.toTargets(batches[0].id, 3, NONE, 0), RangeError, 'more than fit');
  t.throws(() => gateway.toTargets(batches[0].id, 0, 4096, 0), {
    name: 'RangeError',
    message: 'endpoint: expected an index below 4096 or 65535, received 4096',
  });
  const result = await runChild(`
    const gateway = new addon.Gateway(gatewayConfig());
    const ids = new Set();
    (async () => {
      for (let round = 0; round < 40; round++) {
        for (let i = 0; i < 10; i++) {
          const { id } = new addon.PacketBatch(256, 9152);
          ids.add(id);
          gateway.toTargets(id, 0, 0xffff, 0);
        }
        gc();
        await new Promise((resolve) => setTimeout(resolve, 1));
        // Collected or not: what is called is a live batch or none.
        for (const id of ids) {
          try { gateway.fromTargets(id, 1, 0); } catch (error) {
            if (!(error instanceof RangeError)) throw error;
          }
        }
      }
      console.log(ids.size < 400 ? 'used again' : ids.size);
    })();
  `);
  t.match(result, { code: 0, signal: null, stdout: 'used again\n' });
});

t.test('a function of a gateway works without it, and keeps it', async (t) => {
  const result = await runChild(`
    let { toTargets, fromTargets } = new addon.Gateway(gatewayConfig());
    const { lookup, insert, value } = new addon.FlowTable(4, 1024, 1000, new Uint8Array(16));
    const batch = new addon.PacketBatch(4, 2240);
    const at = insert(new Uint8Array(16), 7, 0);
    let left = 20;
    const step = () => {
      gc();
      toTargets.call(null, batch.id, 4, 0xffff, 0);
      fromTargets.call({}, batch.id, 4, 0);
      lookup.call(batch, new Uint8Array(16), 1, new Uint32Array(1), 0);
      if (value(at) !== 7) throw new Error('lost');
      if (--left > 0) setTimeout(step, 1);
      else console.log('done');
    };
    step();
  `);
  t.match(result, { code: 0, signal: null, stdout: 'done\n' });
});

t.test('a packet anywhere inside its slot is a packet or a counted drop', async (t) => {
  const gateway = newGateway();
  const batch = new binding.PacketBatch(2, 2240);
  const packet = udpPacket();
  for (const room of [0, 39, 40, 128, 2240 - packet.length, 2240]) {
    const view = fill(batch, [packet]);
    const slot = view.offset[0] - batch.headroom;
    view.offset[0] = slot + room;
    view.length[0] = Math.min(packet.length, batch.stride - room);
    if (view.length[0] > 0) new Uint8Array(batch.block).set(packet, slot + room);
    toTargets(gateway, batch, 1, 0);
    t.equal(view.verdict[0], room < 40 || room === 2240 ? DROP : FORWARD, `${room} in front`);
  }
  t.equal(drops(gateway, 'no_headroom'), 2);
  t.equal(drops(gateway, 'inner_truncated'), 1);
});

t.test('indices that name nothing are counted drops', async (t) => {
  const gateway = newGateway();
  const batch = new binding.PacketBatch(8, 2240);
  const indices = [0, 4, 4095, 4096, 0x7fff, 0xfffe, 0xffff];
  const view = fill(
    batch,
    indices.map((_, i) => udpPacket(40000 + i)),
  );
  for (const [i, index] of indices.entries()) view.endpoint[i] = index;
  toTargets(gateway, batch, indices.length, 0);
  t.ok(indices.every((_, i) => view.verdict[i] === DROP));
  t.equal(drops(gateway, 'unknown_endpoint'), indices.length);
});

/** Xorshift: the same garbage every time. */
function garbage(seed: number): () => number {
  let x = seed;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x >>> 0;
  };
}

t.test('any bytes in any descriptor', async (t) => {
  const gateway = newGateway();
  const batch = new binding.PacketBatch(16, 2240);
  const random = garbage(12345);
  let taken = 0;
  for (let round = 0; round < 3000; round++) {
    const view = fill(
      batch,
      Array.from({ length: 16 }, (_, i) => udpPacket(40000 + i)),
    );
    for (const [name, array] of Object.entries(view)) {
      // Mostly places inside of the slots, so that most rounds get as far as the core.
      if ((name === 'offset' || name === 'length') && random() % 4 !== 0) continue;
      for (let n = random() % 4; n > 0; n--) {
        const i = random() % 16;
        if (array instanceof BigUint64Array) array[i] = BigInt(random());
        else array[i] = name === 'length' ? random() % 2240 : random();
      }
    }
    new Uint8Array(batch.block)[view.offset[0] % batch.block.byteLength] ^= random();
    try {
      if (round % 2 === 0) toTargets(gateway, batch, 16, round);
      else gateway.fromTargets(batch.id, 16, round);
      taken++;
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
    }
  }
  t.ok(taken > 1000, `${taken} batches were taken, the others refused`);
  const view = fill(batch, [udpPacket()]);
  toTargets(gateway, batch, 1, 5000);
  t.equal(view.verdict[0], FORWARD, 'and it still works');
});

t.test('counters may be scribbled on', async (t) => {
  const gateway = newGateway();
  const batch = new binding.PacketBatch(1, 2240);
  gateway.counters.fill(2n ** 64n - 1n);
  const view = fill(batch, [udpPacket()]);
  toTargets(gateway, batch, 1, 0);
  t.equal(view.verdict[0], FORWARD);
});

t.test('views outlive what they are views of', async (t) => {
  const result = await runChild(`
      const views = [];
      for (let round = 0; round < 300; round++) {
        let batch = new addon.PacketBatch(1 + (round % 7), 9152);
        let gateway = new addon.Gateway(gatewayConfig());
        const kept = [
          new Uint8Array(batch.block),
          new Uint32Array(batch.block, batch.layout.offset, batch.capacity),
          gateway.counters,
        ];
        // All orders: batch, gateway and views go in this round or stay for some more.
        if (round % 2) batch = null;
        if (round % 3) gateway = null;
        views.push({ batch, gateway, kept: round % 5 ? kept : null });
        if (round % 4 === 0) gc();
        if (views.length > 8) views.splice(round % 8, 1);
        for (const { kept } of views) {
          if (!kept) continue;
          kept[0].fill(round & 255);
          kept[2].fill(BigInt(round));
          if (kept[0][0] !== (round & 255)) throw new Error('lost');
        }
      }
      views.length = 0;
      gc();
      setTimeout(() => { gc(); console.log('done'); }, 10);
  `);
  t.match(result, { code: 0, signal: null, stdout: 'done\n' });
});

t.test('the block cannot be taken away', async (t) => {
  const batch = new binding.PacketBatch(2, 2240);
  const gateway = newGateway();
  const bytes = batch.block.byteLength;
  try {
    structuredClone(batch.block, { transfer: [batch.block] });
  } catch {
    // Refusing is as good as copying.
  }
  t.equal(batch.block.byteLength, bytes);
  t.doesNotThrow(() => toTargets(gateway, batch, 1, 0), 'native memory is where it was');
});

t.test('memory is given back', async (t) => {
  const result = await runChild(`
    const config = { ...gatewayConfig(), flowsIpv4: 65536, flowsIpv6: 65536 };
    const rss = () => { gc(); return process.memoryUsage().rss; };
    const run = (rounds) => new Promise((resolve) => {
      const step = (left) => {
        if (left === 0) return resolve();
        new addon.Gateway(config);
        for (let n = 0; n < 3; n++) new addon.PacketBatch(256, 9152);
        new addon.FlowTable(6, 65536, 1000, new Uint8Array(16));
        gc();
        setImmediate(step, left - 1);
      };
      step(rounds);
    });
    run(20).then(async () => {
      const before = rss();
      await run(100);
      const grown = (rss() - before) / 2 ** 20;
      // Each of the three kinds alone would be 500 MB and more; a sanitizer keeps some 250 MB.
      console.log(grown < 400 ? 'kept' : 'grew by ' + grown + ' MB');
    });
  `);
  t.match(result, { code: 0, signal: null, stdout: 'kept\n' });
});
