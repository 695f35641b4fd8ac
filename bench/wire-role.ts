// A process of the wire benchmarks: `gateway JSON`, `appliance JSON` or `dgram JSON`. Answers
// `counters`, ends with its parent.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { Appliance, GatewayLoadBalancer, TargetGroup } from 'gwlb';
import { serve } from '../server/dist/lab/remote.js';
import { VNI } from './wire-lab.js';

export interface GatewayRole {
  address: string;
  netns: string | null;
  target: string;
  /** A TUN device in a namespace, or a GENEVE peer. */
  tun?: { name: string; netns: string; mtu: number };
  peer?: string;
  /** Default true. */
  offloads?: boolean;
}

export interface ApplianceRole {
  address: string;
  netns: string | null;
  /** Device by which packets enter its kernel, in the same namespace; without it they do not. */
  tun?: string;
  /** Default true. */
  offloads?: boolean;
}

export interface DgramRole {
  address: string;
  /** Everything goes there. */
  to: string;
}

export interface Counters {
  toTargets: number;
  out: number;
  /** Packets that an appliance's kernel was given. */
  kernel: number;
  /** Names of the offloads that the kernel granted. */
  offloads: string[];
}

const PORT = 6081;

async function gateway(role: GatewayRole): Promise<() => Counters> {
  const targetGroup = new TargetGroup({ healthCheck: false });
  targetGroup.register({ address: role.target });
  const balancer = await GatewayLoadBalancer.listen({
    address: role.address,
    ...(role.netns === null ? {} : { netns: role.netns }),
    targetGroup,
    offloads: role.offloads ?? true,
    limits: { flows: 65_536, flowsIpv6: 1024 },
  });
  if (role.tun) {
    const { name, netns, mtu } = role.tun;
    await balancer.createEndpoint({ tun: name, netns, mtu });
  }
  if (role.peer) await balancer.createEndpoint({ geneve: { peer: role.peer, vni: VNI } });
  return () => {
    const { packetsToTargets, packetsOut } = balancer.counters();
    const granted = Object.entries(balancer.offloads).filter(([, is]) => is);
    return {
      toTargets: Number(packetsToTargets),
      out: Number(packetsOut),
      kernel: 0,
      offloads: granted.map(([name]) => name),
    };
  };
}

async function appliance(role: ApplianceRole): Promise<() => Counters> {
  const { address, netns, offloads = true } = role;
  const own = await Appliance.listen({
    address,
    offloads,
    ...(netns === null ? {} : { netns }),
    healthCheck: false,
  });
  if (role.tun !== undefined) await own.attachTun({ name: role.tun, netns, offloads });
  return () => {
    const { packetsReturned, packetsToKernel } = own.counters();
    return { toTargets: 0, out: packetsReturned, kernel: packetsToKernel, offloads: [] };
  };
}

async function dgram({ address, to }: DgramRole): Promise<() => Counters> {
  const socket = createSocket({ type: 'udp4', recvBufferSize: 8 << 20, sendBufferSize: 8 << 20 });
  socket.bind(PORT, address);
  await once(socket, 'listening');
  let out = 0;
  socket.on('message', (message) => {
    out += 1;
    socket.send(message, PORT, to);
  });
  return () => ({ toTargets: out, out, kernel: 0, offloads: [] });
}

async function main([kind, options]: string[]): Promise<void> {
  const role = JSON.parse(options) as never;
  const start = { gateway, appliance, dgram }[kind as 'gateway' | 'appliance' | 'dgram'];
  const counters = await start(role);
  serve({ counters });
}

if (process.send) await main(process.argv.slice(2));
