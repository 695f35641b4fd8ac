/** The engines with real sockets on 127.0.0.0/8. */
import type { Socket } from 'node:dgram';
import t from 'tap';
import { binding, type NativeApplianceBatch } from '../../src/native/binding.js';
import { formatEndpointId } from '../../src/packet/address.js';
import { readGeneve } from '../../src/packet/geneve-words.js';
import { bound } from '../support/bound.js';
import type { Teardown } from '../support/teardown.js';
import { until } from '../support/until.js';
import {
  applianceConfig,
  gatewayConfig,
  gatewayHeader,
  liveConfig,
  peerEndpoint,
  runChild,
  socketsRefused,
  twoTargets,
  udpConfig,
  udpPacket,
} from './fixtures.js';

const skip = await socketsRefused();

/** A gateway's end of the tunnel: keeps what an appliance sends back. */
async function openPeer(
  t: Teardown,
  address = '127.0.0.1',
): Promise<{ socket: Socket; received: Buffer[] }> {
  const socket = await bound(t, address, 0);
  const received: Buffer[] = [];
  socket.on('message', (message) => received.push(message));
  return { socket, received };
}

function datagram(cookie: number, packet = udpPacket()): Buffer {
  return Buffer.concat([gatewayHeader(0xabcdef0123456789n, cookie), packet]);
}

function view(batch: NativeApplianceBatch) {
  const { block, layout, capacity } = batch;
  return {
    offset: new Uint32Array(block, layout.offset, capacity),
    length: new Uint32Array(block, layout.length, capacity),
    verdict: new Uint8Array(block, layout.verdict, capacity),
  };
}

async function startAppliance(t: Teardown, port: number, ready: () => void) {
  const engine = await binding.openApplianceEngine(
    { ...applianceConfig(), gatewayPort: port },
    ready,
  );
  t.teardown(() => engine.stop());
  const { appliance, applianceDropsAt } = binding.counterLayout;
  const count = (name: string) =>
    Number(engine.counters[appliance.findIndex((one) => one.name === name)]);
  const drops = (name: string) =>
    Number(
      engine.counters[applianceDropsAt + binding.dropReasons.findIndex((one) => one.name === name)],
    );
  return { engine, count, drops };
}

/** The filter that everything matches. */
const ALL = new Uint32Array(0);

t.test('an appliance passes, drops and rewrites', { skip }, async (t) => {
  const peer = await openPeer(t);
  const batches = new Set<NativeApplianceBatch>();
  const seen: number[][] = [];
  const rewritten = udpPacket(40000, 5353, 100);
  const { engine, count, drops } = await startAppliance(t, peer.socket.address().port, () => {
    for (let batch = engine.next(); batch !== null; batch = engine.next()) {
      batches.add(batch);
      const { offset, length, verdict } = view(batch);
      for (let i = 0; i < batch.count(); i++) {
        const words = [...batch.details.subarray(i * 16, i * 16 + 16)];
        seen.push(words);
        const bytes = new Uint8Array(batch.block, offset[i], length[i]);
        if (words[3] === 2) verdict[i] = 2;
        if (words[3] === 3) {
          t.equal(batch.rewrite(i, rewritten), true);
          t.equal(length[i], rewritten.length, 'descriptors follow');
          t.equal(batch.details[i * 16 + 1] >>> 16, 5353, 'details follow');
          t.equal(batch.rewrite(i, new Uint8Array(10)), false, 'no IP packet');
          t.equal(batch.rewrite(i, new Uint8Array(100_000)), false, 'far too long');
          t.throws(() => batch.rewrite(batch.count(), rewritten), RangeError);
          t.throws(() => batch.rewrite(i, 'x' as never), TypeError);
        }
        if (words[3] === 4) t.equal(batch.rewrite(i, bytes), true, 'its own bytes');
      }
      engine.release(batch);
      t.equal(batch.count(), 0, 'nothing to see any more');
      t.throws(() => engine.release(batch as NativeApplianceBatch), { code: 'ERR_NOT_LENT' });
      t.throws(() => batch?.rewrite(0, rewritten), { code: 'ERR_NOT_LENT' });
    }
  });
  for (const cookie of [1, 2, 3, 4]) {
    peer.socket.send(datagram(cookie), engine.port, '127.0.0.1');
    await until(() => seen.length === cookie, `packet ${cookie}`);
  }
  // Of a bad one and one that a rule drops the inspector hears nothing.
  peer.socket.send(Buffer.alloc(30), engine.port, '127.0.0.1');
  const telnet = udpPacket(40000, 23);
  telnet[9] = 6;
  const tcp = Buffer.concat([telnet, Buffer.alloc(20)]);
  tcp.writeUInt16BE(tcp.length, 2);
  tcp[32] = 0x50;
  peer.socket.send(datagram(9, tcp), engine.port, '127.0.0.1');
  await until(() => count('packets_received') === 6, 'all received');
  await until(() => peer.received.length === 3, 'three come back');

  t.strictSame(seen[0], [
    4 | (17 << 8) | (1 << 16),
    (53 << 16) | 40000,
    20,
    1,
    0x23456789,
    0xabcdef01,
    0,
    0,
    0xcb007109,
    0,
    0,
    0,
    0x0a00020a,
    0,
    0,
    0,
  ]);
  t.ok(batches.size <= 2, 'one object for each native batch');
  t.ok(peer.received[0].equals(datagram(1)));
  t.ok(peer.received[1].equals(datagram(3, rewritten)));
  t.ok(peer.received[2].equals(datagram(4)));
  t.equal(count('packets_returned'), 3);
  t.equal(count('packets_rewritten'), 2);
  t.equal(drops('appliance_verdict'), 2);
  t.equal(engine.failure(), null);

  engine.setInspect(false, ALL);
  peer.socket.send(datagram(7), engine.port, '127.0.0.1');
  await until(() => peer.received.length === 4, 'passes without inspector');
  t.equal(seen.length, 4);

  await Promise.all([engine.stop(), engine.stop()]);
  t.equal(engine.next(), null);
  t.doesNotThrow(() => engine.setInspect(true, ALL));
  t.equal(count('packets_received'), 7, 'counters stay');
});

t.test('what is scribbled on an appliance batch stays on the surface', { skip }, async (t) => {
  const peer = await openPeer(t);
  const scribble = (batch: NativeApplianceBatch, value: number) => {
    // All descriptors of all packets but the verdicts.
    const all = new Uint8Array(batch.block, 0, batch.layout.verdict);
    all.fill(value);
    new Uint8Array(batch.block, batch.layout.reason, batch.capacity).fill(value);
    batch.details.fill(value);
  };
  const held: NativeApplianceBatch[] = [];
  const { engine, count } = await startAppliance(t, peer.socket.address().port, () => {
    for (let batch = engine.next(); batch !== null; batch = engine.next()) {
      scribble(batch, 0xff);
      held.push(batch);
      engine.release(batch);
      // The worker has it now; these are the views of before.
      for (let n = 0; n < 50; n++) scribble(batch, n * 5);
    }
    for (const batch of held) scribble(batch, 0xfe);
  });
  const total = 400;
  for (let i = 0; i < total; i++) {
    peer.socket.send(datagram(i), engine.port, '127.0.0.1');
    if (i % 8 === 7) await new Promise(setImmediate);
    // What the sockets have room for.
    if (i % 64 === 63) await until(() => peer.received.length > i - 64, `packet ${i - 63}`);
    for (const batch of held) scribble(batch, i);
  }
  await until(
    () => peer.received.length === total,
    `${peer.received.length} of ${total} come back`,
  );
  t.ok(
    peer.received.every((message, i) => message.equals(datagram(i))),
    'as they were, in order',
  );
  t.equal(count('packets_returned'), total);
});

t.test('a drop that native code made is not undone', { skip }, async (t) => {
  const peer = await openPeer(t);
  let looked = 0;
  const { engine, drops } = await startAppliance(t, peer.socket.address().port, () => {
    for (let batch = engine.next(); batch !== null; batch = engine.next()) {
      view(batch).verdict.fill(1);
      looked += batch.count();
      engine.release(batch);
    }
  });
  // One burst, so that bad and good ones share a batch.
  for (let i = 0; i < 10; i++) {
    peer.socket.send(i % 2 ? Buffer.alloc(30) : datagram(i), engine.port, '127.0.0.1');
  }
  await until(() => peer.received.length === 5, 'the good ones come back');
  await until(
    () =>
      [...engine.counters.subarray(binding.counterLayout.applianceDropsAt)].reduce(
        (a, b) => a + b,
      ) === 5n,
    'the others are dropped',
  );
  t.ok(looked >= 5);
  t.equal(drops('appliance_verdict'), 0);
});

t.test("stop with batches in the inspector's hands", { skip }, async (t) => {
  const peer = await openPeer(t);
  const held: NativeApplianceBatch[] = [];
  const { engine, drops } = await startAppliance(t, peer.socket.address().port, () => {
    const batch = engine.next();
    if (batch) held.push(batch);
  });
  peer.socket.send(datagram(1), engine.port, '127.0.0.1');
  await until(() => held.length === 1, 'a batch');
  await engine.stop();
  t.equal(drops('appliance_stopped'), 1);
  const { offset, length, verdict } = view(held[0]);
  t.equal(new Uint8Array(held[0].block, offset[0], length[0])[0], 0x45, 'still to be read');
  verdict[0] = 2;
  t.doesNotThrow(() => engine.release(held[0]));
  t.doesNotThrow(() => engine.release(held[0]));
});

t.test('what the inspector throws is an uncaught exception', { skip }, async (t) => {
  const result = await runChild(`
    (async () => {
    const engine = await addon.openApplianceEngine(applianceConfig(), () => {
      throw new Error('inspector');
    });
    process.on('uncaughtException', (error) => {
      console.log(error.message);
      engine.stop();
    });
    const socket = require('node:dgram').createSocket('udp4');
    const datagram = Buffer.concat([gatewayHeader(1n, 1), udpPacket()]);
    socket.send(datagram, engine.port, '127.0.0.1', () => socket.close());
    })();
  `);
  t.match(result, { code: 0, signal: null, stdout: 'inspector\n', stderr: '' });
});

for (const workers of [1, 2]) {
  t.test(`a gateway engine with ${workers} workers`, { skip }, async (t) => {
    const target = await openPeer(t, '127.0.0.3');
    const endpoint = await openPeer(t, '127.0.0.2');
    const udp = { ...udpConfig(), sourcePortBase: 41_000, sourcePortCount: 4 };
    const engine = await binding.openGatewayEngine({ ...gatewayConfig(), udp, workers });
    t.teardown(() => engine.stop());
    await engine.run();
    await t.rejects(engine.run(), { code: 'ESHUTDOWN' }, 'it runs');
    t.equal(engine.counters.length, workers);
    t.ok(engine.port > 0);
    t.ok(engine.sourcePorts >= 1 && engine.sourcePorts <= 4);
    const sum = (name: string) => {
      const at = binding.counterLayout.gateway.findIndex((one) => one.name === name);
      return engine.counters.reduce((total, words) => total + Number(words[at]), 0);
    };

    const peer = peerEndpoint();
    peer.geneve = { ...peer.geneve!, port: endpoint.socket.address().port };
    await engine.addEndpoint(1, peer);
    const targets = twoTargets();
    targets.address[0] = 0x7f000003;
    targets.port[0] = target.socket.address().port;
    targets.eligible[1] = 0;
    const table = new binding.TargetTable(targets, null);
    engine.configure(liveConfig(), table);
    // Whoever decides by it has it, whatever becomes of the object.
    table.release();

    const packet = udpPacket();
    const entering = Buffer.concat([
      binding.encodeGeneve({
        protocolType: 0x0800,
        vni: 7,
        oam: false,
        critical: false,
        options: [],
      }),
      packet,
    ]);
    endpoint.socket.send(entering, engine.port, '127.0.0.1');
    await until(() => target.received.length === 1, 'it reaches the target');
    t.match(readGeneve(target.received[0], 0x0108), {
      gateway: { endpointId: formatEndpointId(peer.id), attachmentId: 0n },
      error: null,
    });
    target.socket.send(target.received[0], engine.port, '127.0.0.1');
    await until(() => endpoint.received.length === 1, 'it comes back to the endpoint');
    t.ok(endpoint.received[0].equals(entering));

    t.equal(sum('packets_in'), 1);
    t.equal(sum('packets_out'), 1);
    t.match(engine.explain(packet, 1, 0), {
      error: 'none',
      pinned: true,
      target: 0,
      ranked: [{ slot: 0 }],
    });
    t.match(engine.drainEvents(10), [{ type: 'opened', endpoint: 1, target: 0 }]);
    t.ok(engine.nowMs() > 0);
    engine.configure({ ...liveConfig(), tcpIdleMs: 1000, failOpen: true }, null);
    await engine.removeEndpoint(1);
    t.strictSame(await engine.lookAtDevices(), [], 'no devices');
    t.match(engine.explain(packet, 1, 0), { error: 'unknown_endpoint', ranked: [] });
    t.equal(engine.failure(), null);

    const beside = new Uint8Array([1, 2, 3]);
    const { port } = target.socket.address();
    t.equal(engine.sendDatagram(0x7f000003, port, 0, beside), true);
    await until(() => target.received.length === 2, 'it came');
    t.same([...target.received[1]], [1, 2, 3]);
    t.throws(() => engine.sendDatagram(0x7f000003, port, 0, new Uint8Array(2113)), {
      name: 'RangeError',
      message: 'bytes: expected at most 2112, received 2113',
    });
    t.strictSame(engine.drainUnreachable(), []);
    // Nothing listens on port 1.
    t.equal(engine.sendDatagram(0x7f000001, 1, 0, beside), true);
    const told: number[] = [];
    await until(() => told.push(...engine.drainUnreachable()) > 0, 'its host says so');
    t.strictSame(told, [0x7f000001 * 2 ** 16 + 1]);

    const stopping = [engine.stop(), engine.stop()];
    t.throws(() => engine.sendDatagram(0x7f000003, port, 0, beside), { code: 'ERR_STOPPED' });
    t.strictSame(engine.drainUnreachable(), []);
    t.throws(() => engine.configure(liveConfig(), null), { code: 'ERR_STOPPED' });
    t.throws(() => engine.addEndpoint(1, peer), { code: 'ERR_STOPPED' });
    t.throws(() => engine.removeEndpoint(1), { code: 'ERR_STOPPED' });
    t.throws(() => engine.explain(packet, 1, 0), { code: 'ERR_STOPPED' });
    const tun = { name: 'x', netns: '', mtu: 1500, queuePackets: 0, lifetime: 'held' as const };
    t.throws(() => engine.addTun(2, { id: 1n, zone: 0, mtu: 0 }, tun), { code: 'ERR_STOPPED' });
    t.throws(() => engine.run(), { code: 'ERR_STOPPED' });
    await Promise.all(stopping);
    t.strictSame(engine.drainEvents(10), []);
    t.equal(sum('packets_in'), 1, 'counters stay');
    await engine.release();
    await engine.release();
    t.strictSame(engine.drainEvents(10), []);
    t.strictSame(engine.endFlows(0, 10), { events: [], cursor: 0 });
    t.equal(sum('packets_in'), 1, 'counters stay');
  });
}
