/**
 * A client and a server whose only road leads through a TUN endpoint, a gateway and two appliances;
 * every part in its own network namespace, the gateway and the appliances in this process.
 */
import type { ChildProcess } from 'node:child_process';
import { Lab } from '../../server/src/lab/lab.js';
import { kill, run } from '../../server/src/lab/processes.js';
import {
  Appliance,
  type ApplianceTun,
  type ApplianceTunOptions,
  type Endpoint,
  GatewayLoadBalancer,
  type InspectedPacket,
  type ListenOptions,
  TargetGroup,
  type TargetGroupOptions,
} from '../../src/index.js';
import { startAppliance } from './processes.js';

export const CLIENT = { v4: '10.50.1.9', v6: 'fd50:1::9' };
export const SERVER = { v4: '10.50.2.10', v6: 'fd50:2::10' };
export const GATEWAY = '10.99.0.1';
export const INNER_MTU = 8500;
const OUTER_MTU = 9000;
const APPLIANCES = ['10.99.0.11', '10.99.0.12'];

const DEVICE = 'endpoint0';

export interface FleetOptions {
  /** Of the gateway. */
  listen?: Partial<ListenOptions>;
  /** Of the target group; without health checks unless it says otherwise. */
  group?: TargetGroupOptions;
  /** Of the endpoint. */
  endpoint?: { mtu?: number };
  /** Largest packet between the gateway and the appliances; default 9000. */
  outerMtu?: number;
  /** Run the appliances as processes of their own, with health checks answered; see `processes`. */
  apart?: boolean;
  /** Have the appliances' kernels forward what their inspectors have seen. */
  kernel?: ApplianceTunOptions;
  /** Make the endpoint's device beforehand, so that it and the routes outlive the gateway. */
  keepDevice?: boolean;
}

/** What the appliances saw of one flow. */
export interface Seen {
  appliances: Set<string>;
  /** Addresses, in one order for both directions. */
  between: string;
  protocol: number;
  fromClient: number;
  fromServer: number;
  fragments: number;
  /** Packets of the largest size that is carried, not counting fragments of larger ones. */
  whole: number;
}

/** The two ends and the router between them, and the namespaces that they are in. */
export interface Road {
  client: string;
  server: string;
  router: string;
}

const ROAD: Road = { client: 'client', server: 'server', router: 'router' };

/** The two ends and the router between them. IPv6 neighbours are there at once (nodad). */
export async function buildRoad(lab: Lab, { client, server, router } = ROAD): Promise<void> {
  await lab.router(router);
  await lab.sysctl(router, [
    'net.ipv6.conf.all.disable_ipv6=0',
    'net.ipv6.conf.default.disable_ipv6=0',
    'net.ipv6.conf.all.forwarding=1',
  ]);
  for (const [name, link, end, net] of [
    [client, 'client', CLIENT, 1],
    [server, 'server', SERVER, 2],
  ] as const) {
    await lab.namespace(name);
    await lab.sysctl(name, ['net.ipv6.conf.all.disable_ipv6=0']);
    await lab.cable(name, 'eth0', router, link);
    await lab.ip(router, [
      `addr add 10.50.${net}.1/24 dev ${link}`,
      `addr add fd50:${net}::1/64 dev ${link} nodad`,
    ]);
    await lab.ip(name, [
      `addr add ${end.v4}/24 dev eth0`,
      `addr add ${end.v6}/64 dev eth0 nodad`,
      `route add default via 10.50.${net}.1`,
      `route add ::/0 via fd50:${net}::1`,
    ]);
  }
}

/** Largest packet of the client's and the server's links. */
export async function setMtu(lab: Lab, mtu: number): Promise<void> {
  for (const name of ['client', 'server']) {
    await lab.ip(name, [`link set eth0 mtu ${mtu}`]);
    await lab.ip('router', [`link set ${name} mtu ${mtu}`]);
  }
}

/** What comes from an end goes into the endpoint's device; what comes out of that goes on. */
export async function leadThrough(lab: Lab, device: string, { router } = ROAD): Promise<void> {
  await lab.ip(router, [
    `route add 10.50.0.0/16 dev ${device} table 100`,
    `route add fd50::/16 dev ${device} table 100`,
  ]);
  for (const [i, link] of ['client', 'server'].entries()) {
    // A rule alone does not tell its family.
    for (const family of ['-4', '-6']) {
      const rule = ['rule', 'add', 'iif', link, 'lookup', '100', 'pref', String(100 + i)];
      const { status, err } = await run('ip', ['-n', router, family, ...rule]);
      if (status !== 0) throw new Error(`ip ${rule.join(' ')}: ${err}`);
    }
  }
}

/** The kernel of a namespace sends what an appliance gives it back by the device that it came by. */
export async function leadThroughKernel(
  lab: Lab,
  appliance: Appliance,
  netns: string,
  options: ApplianceTunOptions,
): Promise<ApplianceTun> {
  await lab.sysctl(netns, [
    'net.ipv4.ip_forward=1',
    'net.ipv4.conf.all.rp_filter=0',
    'net.ipv4.conf.default.rp_filter=0',
    'net.ipv4.conf.all.send_redirects=0',
    'net.ipv4.conf.default.send_redirects=0',
    'net.ipv6.conf.all.disable_ipv6=0',
    'net.ipv6.conf.default.disable_ipv6=0',
    'net.ipv6.conf.all.forwarding=1',
  ]);
  const tun = await appliance.attachTun({ netns, ...options });
  const [{ name, out }] = tun.devices;
  const device = out ?? name;
  await lab.ip(netns, [
    `route add 10.50.0.0/16 dev ${device}`,
    `route add fd50::/16 dev ${device}`,
  ]);
  return tun;
}

/** A bridge that carries GENEVE between new namespaces; null: the address is not the link's. */
export async function buildFabric(
  lab: Lab,
  members: readonly { name: string; address: string | null }[],
  mtu = OUTER_MTU,
): Promise<void> {
  await lab.namespace('fabric', ['link add br0 type bridge', 'link set br0 up']);
  for (const { name, address } of members) {
    await lab.namespace(name);
    await lab.cable(name, 'eth0', 'fabric', name);
    await lab.ip(name, [`link set eth0 mtu ${mtu}`]);
    if (address !== null) await lab.ip(name, [`addr add ${address}/24 dev eth0`]);
    await lab.ip('fabric', [`link set ${name} mtu ${mtu} master br0`]);
  }
  await lab.ip('fabric', [`link set br0 mtu ${mtu}`]);
}

export class Fleet {
  readonly lab = new Lab();
  readonly seen = new Map<string, Seen>();
  /** By cookie, of which two flows may have the same: the one that was seen last. */
  readonly #seenLast = new Map<number, Seen>();
  readonly targetGroup: TargetGroup;
  gateway!: GatewayLoadBalancer;
  endpoint!: Endpoint;
  /** In this process, unless they are `apart`. */
  appliances: Appliance[] = [];
  /** Their devices, with `kernel`. */
  readonly tuns: ApplianceTun[] = [];
  readonly processes: ChildProcess[] = [];
  /** Sees every packet that an appliance sees, and may drop it. */
  watch: ((packet: InspectedPacket, appliance: string) => void) | null = null;
  readonly #options: FleetOptions;

  static async build(options: FleetOptions = {}): Promise<Fleet> {
    const fleet = new Fleet(options);
    try {
      await fleet.#build();
      return fleet;
    } catch (error) {
      await fleet.close();
      throw error;
    }
  }

  private constructor(options: FleetOptions) {
    this.#options = options;
    this.targetGroup = new TargetGroup({ healthCheck: false, ...options.group });
  }

  async #build(): Promise<void> {
    const { lab } = this;
    await buildRoad(lab);
    if (this.#options.keepDevice) await lab.ip('router', [`tuntap add dev ${DEVICE} mode tun`]);
    const members = [
      { name: 'gateway', address: GATEWAY },
      ...APPLIANCES.map((address, i) => ({ name: `appliance${i}`, address })),
    ];
    await buildFabric(lab, members, this.#options.outerMtu);
    for (const [i, address] of APPLIANCES.entries()) {
      if (this.#options.apart) {
        await this.revive(i);
        continue;
      }
      const netns = `appliance${i}`;
      const appliance = await Appliance.listen({ address, netns, healthCheck: false });
      this.appliances.push(appliance);
      appliance.inspect((packets) => {
        for (const packet of packets) this.#look(packet, address);
      });
      const { kernel } = this.#options;
      if (kernel) this.tuns.push(await leadThroughKernel(lab, appliance, netns, kernel));
    }
    this.targetGroup.register(...APPLIANCES.map((address) => ({ address })));
    await this.#listen();
    await leadThrough(lab, DEVICE);
  }

  async #listen(): Promise<void> {
    this.gateway = await GatewayLoadBalancer.listen({
      address: GATEWAY,
      netns: 'gateway',
      targetGroup: this.targetGroup,
      limits: { flows: 65_536, flowsIpv6: 65_536 },
      ...this.#options.listen,
    });
    const tun = { tun: DEVICE, netns: 'router', ...this.#options.endpoint };
    this.endpoint = await this.gateway.createEndpoint(tun);
  }

  /** Kills an appliance that is a process of its own. */
  async kill(i: number): Promise<void> {
    await kill(this.processes[i]);
  }

  /** Starts it again. */
  async revive(i: number): Promise<void> {
    this.processes[i] = await startAppliance(`appliance${i}`, APPLIANCES[i]);
  }

  /** Another gateway in the place of this one, which knows of no flow; needs `keepDevice`. */
  async restart(): Promise<void> {
    await this.gateway.close();
    await this.#listen();
  }

  /** Ends everything; what it counted stays readable. */
  async close(): Promise<void> {
    await this.gateway?.close();
    await Promise.all(this.appliances.map((appliance) => appliance.close()));
    await Promise.all(this.processes.map((child) => kill(child)));
    await this.lab.close();
  }

  #look(packet: InspectedPacket, appliance: string): void {
    const { source, destination, sourcePort, destinationPort, cookie, protocol, length } = packet;
    this.watch?.(packet, appliance);
    const ends = [`${source} ${sourcePort}`, `${destination} ${destinationPort}`].sort();
    const flow = [cookie, protocol, ...ends].join(' ');
    // Later fragments and errors have no ports.
    const hasPorts = sourcePort !== 0;
    let seen = hasPorts ? this.seen.get(flow) : this.#seenLast.get(cookie);
    if (!seen) {
      seen = {
        appliances: new Set(),
        between: [source, destination].sort().join(' '),
        protocol,
        ...{ fromClient: 0, fromServer: 0, fragments: 0, whole: 0 },
      };
      this.seen.set(flow, seen);
    }
    this.#seenLast.set(cookie, seen);
    seen.appliances.add(appliance);
    if (source === CLIENT.v4 || source === CLIENT.v6) seen.fromClient++;
    if (source === SERVER.v4 || source === SERVER.v6) seen.fromServer++;
    if (isFragment(packet.bytes)) seen.fragments++;
    else if (length === INNER_MTU) seen.whole++;
  }
}

/** IPv6: only where the fragment header is the first one behind the IP header. */
function isFragment(ip: Uint8Array): boolean {
  if (ip[0] >> 4 === 6) return ip[6] === 44;
  return ((ip[6] & 0x3f) | ip[7]) !== 0;
}
