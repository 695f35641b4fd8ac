// The whole way of a packet through the gateway without I/O: to a target and back from it.
import { Verdict } from 'gwlb';
import { compareSamplers, prove, quick, timeNs, wanted } from './harness.js';
import { HEADER_BYTES, JsGateway } from './js-gateway.js';
import { BATCH, fill, makeRig, NOW, newBatch, proveForward, TARGETS } from './rig.js';
import { INNER_BYTES, shuffled, udpPacket } from './traffic.js';

const SUITE = 'pass';
const HEADROOM = 64;
const SLOT = 2048 + HEADROOM;

function compare(name: string, flows: number): void {
  const order = shuffled(flows, 11);
  const packets = Array.from(order, (flow) => udpPacket(flow));
  const batches = Math.floor(flows / BATCH);

  const { gateway, endpoint } = makeRig(flows);
  const batch = newBatch();
  // The address a packet is sent to is the one it comes back from; it only has to be undecided again.
  const turnBack = () => batch.verdict.fill(Verdict.pending, 0, batch.count);
  const pass = () => {
    gateway.toTargets(batch, endpoint, NOW);
    turnBack();
    gateway.fromTargets(batch, NOW);
  };

  const block = new Uint8Array(BATCH * SLOT);
  const view = new DataView(block.buffer);
  const targets = Array.from({ length: TARGETS }, (_, i) => 0x0a63_0001 + i);
  const peer = new JsGateway(targets);
  const sources = new Uint32Array(BATCH);
  const taken = new Uint32Array(BATCH);
  const fillPeer = (from: number) => {
    for (let i = 0; i < BATCH; i += 1) {
      block.set(packets[(from + i) % packets.length], i * SLOT + HEADROOM);
    }
  };
  const passPeer = () => {
    for (let i = 0; i < BATCH; i += 1) {
      const flow = peer.encapsulate(view, i * SLOT + HEADROOM, INNER_BYTES, NOW);
      sources[i] = flow === null ? 0 : flow.target;
    }
    for (let i = 0; i < BATCH; i += 1) {
      const at = i * SLOT + HEADROOM - HEADER_BYTES;
      taken[i] = peer.decapsulate(view, at, HEADER_BYTES + INNER_BYTES, sources[i], NOW);
    }
  };

  // Opens all flows, and proves that each packet comes back as it went.
  const spread = new Set<number>();
  for (let from = 0; from < packets.length; from += BATCH) {
    fill(batch, packets, from, BATCH);
    gateway.toTargets(batch, endpoint, NOW);
    proveForward('every packet goes to a target', batch);
    for (let i = 0; i < BATCH; i += 1) spread.add(batch.address[i]);
    prove('encapsulated', batch.length[0], INNER_BYTES + HEADER_BYTES);
    turnBack();
    gateway.fromTargets(batch, NOW);
    proveForward('every packet comes back', batch);
    prove('decapsulated', batch.length[0], INNER_BYTES);
    fillPeer(from);
    passPeer();
    for (let i = 0; i < BATCH; i += 1) {
      const expected = Buffer.from(packets[(from + i) % packets.length]);
      const own = expected.equals(batch.bytes(i));
      const at = i * SLOT + HEADROOM;
      const other =
        taken[i] === HEADER_BYTES && expected.equals(block.subarray(at, at + INNER_BYTES));
      if (!own || !other) prove(`packet ${from + i} comes back`, [own, other], [true, true]);
    }
  }
  prove('all targets take part', [...spread].sort(), targets);
  prove('every flow is known', [gateway.flows, peer.flows], [flows, flows]);

  const each = quick ? 16 : 64;
  const inTurn = (refill: (from: number) => void, work: () => void) => {
    let next = 0;
    return () => {
      let total = 0;
      for (let i = 0; i < each; i += 1) {
        refill(next * BATCH);
        next = (next + 1) % batches;
        total += timeNs(work);
      }
      return total / each / BATCH;
    };
  };
  compareSamplers(
    {
      suite: SUITE,
      name,
      unit: 'ns/packet',
      note: 'to a target and back; batches of 256 are filled outside of the timed part',
    },
    [
      { name: 'Gateway', sample: inTurn((from) => fill(batch, packets, from, BATCH), pass) },
      { name: 'JS DataView + Map', sample: inTurn(fillPeer, passPeer) },
    ],
  );
  void gateway.close();
}

const [name, flows] = quick ? (['20k flows', 20_000] as const) : (['100k flows', 100_000] as const);
if (wanted(SUITE, name)) compare(name, flows);
