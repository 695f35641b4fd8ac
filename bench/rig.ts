// Our gateway with a fleet, and batches to run through it.
import { type Endpoint, Gateway, PacketBatch, TargetGroup, Verdict } from 'gwlb';
import { prove } from './harness.js';

export const BATCH = 256;
export const TARGETS = 8;
/** The one time of all packets: nothing idles out while we measure. */
export const NOW = 1000;

export interface Rig {
  gateway: Gateway;
  endpoint: Endpoint;
}

export function makeRig(flows: number): Rig {
  const targetGroup = new TargetGroup({ healthCheck: false });
  for (let i = 1; i <= TARGETS; i += 1) targetGroup.register({ address: `10.99.0.${i}` });
  const room = Math.max(1024, 2 ** Math.ceil(Math.log2(flows * 1.2)));
  const gateway = new Gateway({ targetGroup, limits: { flows: room, flowsIpv6: 1024 } });
  return { gateway, endpoint: gateway.createEndpoint() };
}

export const newBatch = (packets = BATCH) => new PacketBatch({ packets, jumbo: false });

/** Fills a batch anew from packets, `count` of them from position `from` on, going round. */
export function fill(
  batch: PacketBatch,
  packets: readonly Uint8Array[],
  from: number,
  count: number,
): void {
  batch.clear();
  for (let i = 0; i < count; i += 1) batch.add(packets[(from + i) % packets.length]);
}

/** All packets of a batch have the verdict forward. */
export function proveForward(what: string, batch: PacketBatch): void {
  prove(
    what,
    Array.from(batch.verdict.subarray(0, batch.count)),
    Array<number>(batch.count).fill(Verdict.forward),
  );
}
