// A process of the forwarding benchmark: `gwlb|dgram gateway OWN TARGET PEER` or
// `gwlb|dgram appliance OWN GATEWAY`. Says 'ready', answers 'counters', ends with its parent.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { Appliance, GatewayLoadBalancer, TargetGroup } from 'gwlb';
import { HEADER_BYTES, JsGateway } from './js-gateway.js';

export const VNI = 7;
export const PORT = 6081;
const FLOWS = 65_536;
const PLAIN_HEADER = 8;

/** What a process has done so far. */
export interface Progress {
  out: number;
  drops: number;
}

async function ownGateway(own: string, target: string, peer: string): Promise<() => Progress> {
  const targetGroup = new TargetGroup({ healthCheck: false });
  targetGroup.register({ address: target });
  const limits = { flows: FLOWS, flowsIpv6: 1024 };
  const gateway = await GatewayLoadBalancer.listen({ address: own, targetGroup, limits });
  await gateway.createEndpoint({ geneve: { peer, vni: VNI } });
  return () => {
    const { packetsOut, drops } = gateway.counters();
    return { out: Number(packetsOut), drops: total(drops) };
  };
}

async function ownAppliance(own: string): Promise<() => Progress> {
  const appliance = await Appliance.listen({ address: own, healthCheck: false });
  return () => {
    const { packetsReturned, drops } = appliance.counters();
    return { out: Number(packetsReturned), drops: total(drops) };
  };
}

function total(drops: Readonly<Record<string, number | bigint>>): number {
  return Object.values(drops).reduce<number>((sum, count) => sum + Number(count), 0);
}

async function bound(address: string) {
  const socket = createSocket({ type: 'udp4', recvBufferSize: 4 << 20, sendBufferSize: 4 << 20 });
  socket.bind(PORT, address);
  await once(socket, 'listening');
  return socket;
}

async function dgramGateway(own: string, target: string, peer: string): Promise<() => Progress> {
  const gateway = new JsGateway([1]);
  const socket = await bound(own);
  const progress: Progress = { out: 0, drops: 0 };
  socket.on('message', (message, { address }) => {
    const view = new DataView(message.buffer, message.byteOffset, message.length);
    const now = performance.now();
    if (address === peer) {
      const length = message.length - PLAIN_HEADER;
      if (length < 20 || view.getUint32(0) !== 0x0800 || view.getUint32(4) >>> 8 !== VNI) {
        progress.drops += 1;
        return;
      }
      const packet = Buffer.allocUnsafe(HEADER_BYTES + length);
      message.copy(packet, HEADER_BYTES, PLAIN_HEADER);
      const packetView = new DataView(packet.buffer, packet.byteOffset, packet.length);
      if (gateway.encapsulate(packetView, HEADER_BYTES, length, now) === null) {
        progress.drops += 1;
        return;
      }
      socket.send(packet, PORT, target);
      return;
    }
    const header = address === target ? gateway.decapsulate(view, 0, message.length, 1, now) : 0;
    if (header === 0) {
      progress.drops += 1;
      return;
    }
    const at = header - PLAIN_HEADER;
    view.setUint32(at, 0x0800);
    view.setUint32(at + 4, VNI << 8);
    progress.out += 1;
    socket.send(message.subarray(at), PORT, peer);
  });
  return () => progress;
}

/** Returns what it gets as it is: less than ours does, which verifies it. */
async function dgramAppliance(own: string): Promise<() => Progress> {
  const socket = await bound(own);
  const progress: Progress = { out: 0, drops: 0 };
  socket.on('message', (message, { address }) => {
    progress.out += 1;
    socket.send(message, PORT, address);
  });
  return () => progress;
}

async function main([kind, role, own, target, peer]: string[]): Promise<void> {
  let progress: () => Progress;
  if (role === 'gateway') {
    progress = await (kind === 'gwlb' ? ownGateway : dgramGateway)(own, target, peer);
  } else {
    progress = await (kind === 'gwlb' ? ownAppliance : dgramAppliance)(own);
  }
  process.on('message', () => process.send?.(progress()));
  process.on('disconnect', () => process.exit(0));
  process.send?.('ready');
}

if (process.send) await main(process.argv.slice(2));
