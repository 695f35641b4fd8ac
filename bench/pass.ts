// The whole way of a packet through the gateway without I/O: to a target and back from it.
import { Verdict } from 'gwlb';
import { compareSamplers, prove, quick, timeNs, wanted } from './harness.js';
import { HEADER_BYTES, JsGateway } from './js-gateway.js';
import { BATCH, fill, makeRig, NOW, newBatch, proveForward, TARGETS } from './rig.js';
import { INNER_BYTES, shuffled, udpPacket } from './traffic.js';

const SUITE = 'pass';
const HEADROOM = 64;
const SLOT = 2048 + HEADROOM;
const NOTHING = new Uint8Array();
const TARGET_ADDRESSES = Array.from({ length: TARGETS }, (_, i) => 0x0a63_0001 + i);

/** Our gateway with a batch. */
function setUpOurs(packets: readonly Uint8Array[]) {
  const { gateway, endpoint } = makeRig(packets.length);
  const batch = newBatch();
  return {
    gateway,
    batch,
    refill: (from: number) => fill(batch, packets, from, BATCH),
    to: () => gateway.toTargets(batch, endpoint, NOW),
    // The address a packet is sent to is the one it comes back from; it only has to be undecided again.
    back: () => {
      batch.verdict.fill(Verdict.pending, 0, batch.count);
      gateway.fromTargets(batch, NOW);
    },
  };
}

/** The peer with slots of its own. */
function setUpPeer(packets: readonly Uint8Array[]) {
  const block = new Uint8Array(BATCH * SLOT);
  const view = new DataView(block.buffer);
  const gateway = new JsGateway(TARGET_ADDRESSES);
  const sources = new Uint32Array(BATCH);
  const taken = new Uint32Array(BATCH);
  const refill = (from: number) => {
    for (let i = 0; i < BATCH; i += 1) {
      block.set(packets[(from + i) % packets.length], i * SLOT + HEADROOM);
    }
  };
  const pass = () => {
    for (let i = 0; i < BATCH; i += 1) {
      const flow = gateway.encapsulate(view, i * SLOT + HEADROOM, INNER_BYTES, NOW);
      sources[i] = flow === null ? 0 : flow.target;
    }
    for (let i = 0; i < BATCH; i += 1) {
      const at = i * SLOT + HEADROOM - HEADER_BYTES;
      taken[i] = gateway.decapsulate(view, at, HEADER_BYTES + INNER_BYTES, sources[i], NOW);
    }
  };
  const inner = (i: number) =>
    taken[i] === HEADER_BYTES
      ? block.subarray(i * SLOT + HEADROOM, i * SLOT + HEADROOM + INNER_BYTES)
      : NOTHING;
  return { gateway, refill, pass, inner };
}

type Ours = ReturnType<typeof setUpOurs>;
type Peer = ReturnType<typeof setUpPeer>;

/** Packets of one end alone after which a flow is no longer evicted for newer ones (rule P1). */
const PACKETS_UNTIL_SAFE = 4;

/** Opens all flows, and proves that each packet comes back as it went. */
function proveRoundTrip(packets: readonly Uint8Array[], ours: Ours, peer: Peer): void {
  const { batch, gateway } = ours;
  const spread = new Set<number>();
  for (let from = 0; from < packets.length; from += BATCH) {
    for (let sent = 1; sent < PACKETS_UNTIL_SAFE; sent += 1) {
      ours.refill(from);
      ours.to();
      ours.back();
    }
    ours.refill(from);
    ours.to();
    proveForward('every packet goes to a target', batch);
    for (let i = 0; i < BATCH; i += 1) spread.add(batch.address[i]);
    prove('encapsulated', batch.length[0], INNER_BYTES + HEADER_BYTES);
    ours.back();
    proveForward('every packet comes back', batch);
    peer.refill(from);
    peer.pass();
    for (let i = 0; i < BATCH; i += 1) {
      const expected = Buffer.from(packets[(from + i) % packets.length]);
      const same = [expected.equals(batch.bytes(i)), expected.equals(peer.inner(i))];
      if (!same[0] || !same[1]) prove(`packet ${from + i} comes back`, same, [true, true]);
    }
  }
  prove('all targets take part', [...spread].sort(), TARGET_ADDRESSES);
  const flows = packets.length;
  prove('every flow is known', [gateway.flows, peer.gateway.flows], [flows, flows]);
}

function compare(name: string, flows: number): void {
  const packets = Array.from(shuffled(flows, 11), (flow) => udpPacket(flow));
  const batches = Math.floor(flows / BATCH);
  const ours = setUpOurs(packets);
  const peer = setUpPeer(packets);
  proveRoundTrip(packets, ours, peer);
  const pass = () => {
    ours.to();
    ours.back();
  };
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
      { name: 'Gateway', sample: inTurn(ours.refill, pass) },
      { name: 'JS DataView + Map', sample: inTurn(peer.refill, peer.pass) },
    ],
  );
  void ours.gateway.close();
}

const [name, flows] = quick
  ? (['pass 20k flows from javascript', 20_000] as const)
  : (['pass 100k flows from javascript', 100_000] as const);
if (wanted(SUITE, name)) compare(name, flows);
