// What a call costs, by how many packets cross with it. Batches are filled anew outside of the timed
// part, and so many of them are timed together that reading the clock does not count.
import { FlowTable } from 'gwlb';
import { compareSamplers, prove, type Sampler, timeNs, wanted } from './harness.js';
import { HEADER_BYTES, JsGateway } from './js-gateway.js';
import { BATCH, fill, makeRig, NOW, newBatch, proveForward, TARGETS } from './rig.js';
import { INNER_BYTES, udpPacket } from './traffic.js';

const SUITE = 'boundary';
const FLOWS = 2048;
const CALLS_OF_ONE = 64;
const REPEAT = 8;
const packets = Array.from({ length: FLOWS }, (_, i) => udpPacket(i));
const { gateway, endpoint } = makeRig(FLOWS);

/** Packets that are timed together, `size` a call. */
const timedPackets = (size: number) => (size === 1 ? CALLS_OF_ONE : FLOWS);

/** Nanoseconds a packet of `toTargets` with `size` packets a call. */
function ours(size: number, name: string): Sampler {
  const count = timedPackets(size);
  const batches = Array.from({ length: count / size }, () => newBatch(size));
  const refill = (from: number) => {
    for (const [i, batch] of batches.entries()) fill(batch, packets, from + i * size, size);
  };
  const run = () => {
    for (const batch of batches) gateway.toTargets(batch, endpoint, NOW);
  };
  // Opens the flows, so that what is timed are packets of flows that are known.
  for (let from = 0; from < FLOWS; from += count) {
    refill(from);
    run();
    for (const batch of batches) {
      prove('the batch is full', batch.count, size);
      proveForward(`batches of ${size} are forwarded`, batch);
      prove('and encapsulated', batch.length[0], HEADER_BYTES + INNER_BYTES);
    }
  }
  let from = 0;
  const sample = () => {
    let total = 0;
    for (let i = 0; i < REPEAT; i += 1) {
      refill(from);
      from = (from + count) % FLOWS;
      total += timeNs(run);
    }
    return total / REPEAT / count;
  };
  return { name, sample };
}

/** The same decision and header in JavaScript: nothing crosses. */
function inJavaScript(): Sampler {
  const slot = 256;
  const view = new DataView(new ArrayBuffer(FLOWS * slot));
  const block = new Uint8Array(view.buffer);
  const peer = new JsGateway(Array.from({ length: TARGETS }, (_, i) => 0x0a63_0001 + i));
  for (const [i, packet] of packets.entries()) block.set(packet, i * slot + HEADER_BYTES);
  let sent = 0;
  const run = () => {
    sent = 0;
    for (let i = 0; i < FLOWS; i += 1) {
      if (peer.encapsulate(view, i * slot + HEADER_BYTES, INNER_BYTES, NOW) !== null) sent += 1;
    }
  };
  run();
  prove('the peer encapsulates every packet', [sent, peer.flows], [FLOWS, FLOWS]);
  return { name: 'JS DataView + Map', sample: () => timeNs(run) / FLOWS };
}

function empty(): void {
  const batch = newBatch();
  const calls = 4096;
  let sink = 0n;
  prove('the batch is empty', batch.count, 0);
  compareSamplers({ suite: SUITE, name: 'crossing empty batch', unit: 'ns/call' }, [
    {
      name: 'toTargets, 0 packets',
      sample: () =>
        timeNs(() => {
          for (let i = 0; i < calls; i += 1) gateway.toTargets(batch, endpoint, NOW);
        }) / calls,
    },
    {
      name: "Node's process.hrtime.bigint",
      sample: () =>
        timeNs(() => {
          for (let i = 0; i < calls; i += 1) sink += process.hrtime.bigint();
        }) / calls,
    },
  ]);
  prove('the peer was called', sink > 0n, true);
}

/** A call for no keys: what is left of it when the table has nothing to do. */
function emptyLookup(): void {
  const table = new FlowTable({ capacity: 1024 });
  const keys = new Uint8Array(BATCH * 16);
  const positions = new Uint32Array(BATCH);
  const calls = 4096;
  compareSamplers({ suite: SUITE, name: 'crossing empty lookup', unit: 'ns/call' }, [
    {
      name: 'FlowTable.lookup, 0 keys',
      sample: () =>
        timeNs(() => {
          for (let i = 0; i < calls; i += 1) table.lookup(keys, 0, positions, NOW);
        }) / calls,
    },
    {
      name: "Node's Buffer.compare of 4096 bytes",
      sample: () =>
        timeNs(() => {
          for (let i = 0; i < calls; i += 1) Buffer.compare(keys, keys);
        }) / calls,
    },
  ]);
}

if (wanted(SUITE, 'crossing empty batch')) empty();
if (wanted(SUITE, 'crossing empty lookup')) emptyLookup();
for (const size of [1, 32, BATCH]) {
  const name = `crossing batch of ${size}`;
  if (!wanted(SUITE, name)) continue;
  compareSamplers({ suite: SUITE, name, unit: 'ns/packet' }, [
    ours(size, 'toTargets'),
    inJavaScript(),
    ...(size === 1 ? [] : [ours(1, 'one packet a call')]),
  ]);
}
void gateway.close();
