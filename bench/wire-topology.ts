// The networks of the wire benchmarks.
import { mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { WireLab } from './wire-lab.js';

export const SERVER = '10.2.0.2';
export const GATEWAY = '10.3.0.1';
export const APPLIANCE = '10.3.0.2';
export const TUN = 'gwlbe';
export const MTU = 1500;
const FABRIC_MTU = 9000;
const TABLE = 100;

/** Namespaces of one network, by what they are. */
export interface Names {
  client: string;
  router: string;
  server: string;
  gateway: string;
  appliance: string;
}

/**
 * client – router – server, and beside it gateway – appliance. The endpoint's device, which somebody
 * has to make, is in the router; `inspect` leads both directions into it, until then the router routes.
 */
export async function buildNetwork(lab: WireLab, prefix: string): Promise<Names> {
  const [client, router, server, gateway, appliance] = ['cl', 'rt', 'sv', 'gw', 'ap'].map(
    (name) => `${prefix}${name}`,
  );
  for (const name of [client, server, gateway, appliance]) await lab.namespace(name);
  await lab.router(router);
  for (const [end, net] of [
    [client, 1],
    [server, 2],
  ] as const) {
    await lab.cable(end, 'eth0', router, `to${net}`);
    await lab.ip(end, [
      `addr add 10.${net}.0.2/24 dev eth0`,
      `route add default via 10.${net}.0.1 dev eth0`,
    ]);
    await lab.ip(router, [`addr add 10.${net}.0.1/24 dev to${net}`]);
  }
  await cableNodes(lab, gateway, appliance);
  return { client, router, server, gateway, appliance };
}

/** The cable between a gateway and an appliance, with their addresses. */
export async function cableNodes(lab: WireLab, gateway: string, appliance: string): Promise<void> {
  await lab.cable(gateway, 'eth0', appliance, 'eth0');
  for (const [node, address] of [
    [gateway, GATEWAY],
    [appliance, APPLIANCE],
  ]) {
    await lab.ip(node, [`addr add ${address}/24 dev eth0`, `link set eth0 mtu ${FABRIC_MTU}`]);
  }
}

/** Leads both directions through the endpoint's device, or no longer. */
export async function inspect(lab: WireLab, { router }: Names, on: boolean): Promise<void> {
  const verb = on ? 'add' : 'del';
  await lab.ip(router, [
    ...(on ? [`route replace default dev ${TUN} table ${TABLE}`] : []),
    ...[1, 2].map((net) => `rule ${verb} iif to${net} lookup ${TABLE}`),
  ]);
}

/** Gbit/s that the server received. */
export async function iperf(
  lab: WireLab,
  client: string,
  server: string,
  seconds: number,
): Promise<number> {
  const text = await lab.run(client, 'iperf3', '-c', server, '-t', `${seconds}`, '-J');
  const { end } = JSON.parse(text) as { end: { sum_received: { bits_per_second: number } } };
  return end.sum_received.bits_per_second / 1e9;
}

/** Starts its other end. */
export async function serveIperf(lab: WireLab, namespace: string): Promise<void> {
  lab.begin(namespace, 'iperf3', '-s');
  await sleep(300);
}

/** What Open vSwitch needs, by program, with its Debian package. */
export const OVS_PACKAGES = {
  'ovs-vswitchd': 'openvswitch-switch',
  ethtool: 'ethtool',
} as const;

const OPTIONS = [
  '{class=0x0108,type=1,len=8}->tun_metadata0',
  '{class=0x0108,type=2,len=8}->tun_metadata1',
  '{class=0x0108,type=3,len=4}->tun_metadata2',
].join(',');
const OUTER = ['10.99.0.1', '10.99.0.2'] as const;
const SCHEMA = '/usr/share/openvswitch/vswitch.ovsschema';
const GENEVE_OF = 10;

/** Open vSwitch with its userspace datapath in one namespace. */
class Switch {
  readonly #lab: WireLab;
  readonly #namespace: string;
  readonly #folder: string;

  constructor(lab: WireLab, namespace: string, folder: string) {
    this.#lab = lab;
    this.#namespace = namespace;
    this.#folder = folder;
    mkdirSync(folder, { recursive: true });
  }

  #env(program: string, args: readonly string[]): [string, ...string[]] {
    const places = ['RUN', 'LOG', 'DB', 'SYSCONF'].map((kind) => `OVS_${kind}DIR=${this.#folder}`);
    return ['env', ...places, program, ...args];
  }

  #do(program: string, ...args: string[]): Promise<string> {
    return this.#lab.run(this.#namespace, ...this.#env(program, args));
  }

  control(...args: string[]): Promise<string> {
    const database = `--db=unix:${this.#folder}/db.sock`;
    return this.#do('ovs-vsctl', '--timeout=20', '--retry', database, ...args);
  }

  flow(bridge: string, flow: string): Promise<string> {
    return this.#do('ovs-ofctl', '-O', 'OpenFlow15', 'add-flow', bridge, flow);
  }

  async start(): Promise<void> {
    const database = `${this.#folder}/conf.db`;
    await this.#do('ovsdb-tool', 'create', database, SCHEMA);
    const daemon = (program: string, ...args: string[]) => {
      const log = ['-vconsole:off', `--log-file=${this.#folder}/${program}.log`];
      this.#lab.begin(this.#namespace, ...this.#env(program, [...args, ...log]));
    };
    daemon('ovsdb-server', database, `--remote=punix:${this.#folder}/db.sock`);
    await this.control('--no-wait', 'init');
    daemon('ovs-vswitchd', `unix:${this.#folder}/db.sock`);
  }

  /** A bridge that carries the outer address, and one with a GENEVE port that knows the options. */
  async bridges(outer: string, hardware: string): Promise<void> {
    const lab = this.#lab;
    await lab.sysctl(this.#namespace, [
      'net.ipv4.conf.all.arp_ignore=1',
      'net.ipv4.conf.default.arp_ignore=1',
    ]);
    for (const bridge of ['outer0', 'int0']) {
      await this.control('add-br', bridge, '--', 'set', 'bridge', bridge, 'datapath_type=netdev');
    }
    await this.control('set', 'bridge', 'outer0', `other_config:hwaddr=${hardware}`);
    await this.control('add-port', 'outer0', 'eth0');
    await this.control(
      ...['add-port', 'int0', 'tunnel0', '--', 'set', 'interface', 'tunnel0', 'type=geneve'],
      ...[`ofport_request=${GENEVE_OF}`, 'options:remote_ip=flow', 'options:key=flow'],
      ...[`options:local_ip=${outer}`, 'options:csum=true'],
    );
    await lab.ip(this.#namespace, [
      `addr add ${outer}/24 dev outer0`,
      `link set outer0 mtu ${FABRIC_MTU}`,
      'link set outer0 up',
    ]);
    await this.#do('ovs-ofctl', '-O', 'OpenFlow15', 'add-tlv-map', 'int0', OPTIONS);
    await this.#do('ovs-ofctl', '-O', 'OpenFlow15', 'del-flows', 'int0');
  }
}

/** The kernel leaves to the sender what this switch does not do for it. */
async function plainOffloads(lab: WireLab, namespace: string, device: string): Promise<void> {
  const offloads = ['tx', 'rx', 'tso', 'gso', 'gro'].flatMap((name) => [name, 'off']);
  await lab.run(namespace, 'ethtool', '-K', device, ...offloads);
}

/**
 * client – switch – appliance, server at the same switch: each direction goes to the appliance and back
 * over GENEVE with the three options, at both ends by Open vSwitch. Returns the names of client and
 * server, which is at `OVS_SERVER`.
 */
export async function buildSwitches(lab: WireLab, prefix: string): Promise<[string, string]> {
  const [client, server, near, far] = ['cl', 'sv', 'lb', 'ap'].map((name) => `${prefix}${name}`);
  for (const name of [client, server, near, far]) await lab.namespace(name);
  await lab.cable(near, 'eth0', far, 'eth0');
  for (const name of [near, far]) {
    await lab.ip(name, [`link set eth0 mtu ${FABRIC_MTU}`]);
    await plainOffloads(lab, name, 'eth0');
  }
  for (const [i, end] of [client, server].entries()) {
    await lab.cable(end, 'eth0', near, `port${i + 1}`);
    await lab.ip(end, [
      `link set eth0 address ${hardwareOf(i)}`,
      `addr add 10.50.0.${i + 1}/24 dev eth0`,
    ]);
    await plainOffloads(lab, end, 'eth0');
    await plainOffloads(lab, near, `port${i + 1}`);
  }

  const folder = mkdtempSync(join(tmpdir(), 'gwlb-bench-'));
  const [one, two] = [near, far].map((name) => new Switch(lab, name, join(folder, name)));
  for (const each of [one, two]) await each.start();
  await one.bridges(OUTER[0], '02:00:00:00:99:01');
  await two.bridges(OUTER[1], '02:00:00:00:99:02');
  for (const port of [1, 2]) {
    const name = `port${port}`;
    await one.control(
      ...['add-port', 'int0', name, '--', 'set', 'interface', name, `ofport_request=${port}`],
    );
  }
  await one.flow('int0', 'priority=20,arp,actions=NORMAL');
  for (const port of [1, 2]) {
    const set =
      `set_field:${OUTER[1]}->tun_dst,set_field:0->tun_id,set_field:0x31e129cdc0cd8633->tun_metadata0,` +
      'set_field:0->tun_metadata1,set_field:0x3dc956ac->tun_metadata2';
    await one.flow('int0', `priority=10,in_port=${port},actions=${set},output:${GENEVE_OF}`);
    const back = `in_port=${GENEVE_OF},dl_dst=${hardwareOf(port - 1)}`;
    await one.flow('int0', `priority=10,${back},actions=output:${port}`);
  }
  const [from, to] = ['NXM_NX_TUN_IPV4_SRC[]', 'NXM_NX_TUN_IPV4_DST[]'];
  await two.flow(
    'int0',
    `in_port=${GENEVE_OF},actions=push:${from},push:${to},pop:${from},pop:${to},IN_PORT`,
  );
  // Until the switches know each other's hardware address.
  await lab.run(near, 'ping', '-c1', '-W5', OUTER[1]).catch(() => '');
  await lab.run(far, 'ping', '-c1', '-W5', OUTER[0]).catch(() => '');
  await sleep(200);
  return [client, server];
}

export const OVS_SERVER = '10.50.0.2';

function hardwareOf(i: number): string {
  return `02:00:00:00:50:0${i + 1}`;
}
