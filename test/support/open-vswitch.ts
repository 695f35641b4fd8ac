/**
 * Open vSwitch with its userspace datapath as an appliance, inside of one namespace and one folder:
 * it takes GENEVE, looks at the three gateway options, and sends the inner frame back to where it
 * came from with the same options.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Lab } from '../../server/src/lab/lab.js';
import { inNamespace, runIn } from '../../server/src/lab/processes.js';

const SCHEMA = '/usr/share/openvswitch/vswitch.ovsschema';
const TUNNEL_PORT = 10;
/** Of the carrying bridge; without it, the bridge takes another one when it gets the link. */
const HARDWARE_ADDRESS = '02:00:00:00:99:02';
/** What the kernel would leave undone for a device that is not there. */
export const OFFLOADS = ['tx', 'rx', 'tso', 'gso', 'gro'];

export interface SwitchOptions {
  lab: Lab;
  /** A namespace with the link `eth0` into the fabric, without an address. */
  namespace: string;
  address: string;
  /** For its database, sockets and logs. */
  folder: string;
}

export class OpenVswitch {
  readonly #options: SwitchOptions;
  readonly #daemons: ChildProcess[] = [];

  static async start(options: SwitchOptions): Promise<OpenVswitch> {
    const started = new OpenVswitch(options);
    try {
      await started.#startDaemons();
      await started.#buildBridges();
      await started.#hairpin();
    } catch (error) {
      await started.close();
      throw error;
    }
    return started;
  }

  private constructor(options: SwitchOptions) {
    this.#options = options;
    mkdirSync(options.folder, { recursive: true });
  }

  /** Packets that came in by the tunnel and were sent back. */
  async hairpinned(): Promise<number> {
    const flows = await this.#do('ovs-ofctl', '-O', 'OpenFlow15', 'dump-flows', 'int0');
    return Number(/n_packets=(\d+)/.exec(flows)?.[1]);
  }

  /** Ends its daemons. */
  async close(): Promise<void> {
    for (const daemon of this.#daemons.splice(0).reverse()) {
      if (daemon.exitCode !== null || daemon.signalCode !== null) continue;
      const gone = once(daemon, 'exit');
      daemon.kill('SIGTERM');
      const kill = setTimeout(() => daemon.kill('SIGKILL'), 5000);
      await gone;
      clearTimeout(kill);
    }
  }

  #file(name: string): string {
    return join(this.#options.folder, name);
  }

  #command(program: string, args: readonly string[]): string[] {
    const { folder } = this.#options;
    const places = ['RUN', 'LOG', 'DB', 'SYSCONF'].map((kind) => `OVS_${kind}DIR=${folder}`);
    return ['env', ...places, program, ...args];
  }

  async #do(program: string, ...args: string[]): Promise<string> {
    const [first, ...rest] = this.#command(program, args);
    const ended = await runIn(this.#options.namespace, first, rest, 30);
    if (ended.status !== 0) throw new Error(`${program} ${args.join(' ')}: ${ended.err}`);
    return ended.out;
  }

  #startDaemon(program: string, ...args: string[]): void {
    const log = ['-vconsole:off', `--log-file=${this.#file(`${program}.log`)}`];
    const command = this.#command(program, [...args, ...log]);
    this.#daemons.push(
      spawn(...inNamespace(this.#options.namespace, command), { stdio: 'ignore' }),
    );
  }

  async #startDaemons(): Promise<void> {
    const database = this.#file('conf.db');
    const socket = this.#file('db.sock');
    await this.#do('ovsdb-tool', 'create', database, SCHEMA);
    this.#startDaemon('ovsdb-server', database, `--remote=punix:${socket}`);
    await this.#vsctl('--no-wait', 'init');
    this.#startDaemon('ovs-vswitchd', `unix:${socket}`);
  }

  /** Waits for the database and, where it changes something, for the switch to follow. */
  #vsctl(...args: string[]): Promise<string> {
    const database = `--db=unix:${this.#file('db.sock')}`;
    return this.#do('ovs-vsctl', '--timeout=20', '--retry', database, ...args);
  }

  /** One bridge carries the outer address and the link, the other one has the tunnel port. */
  async #buildBridges(): Promise<void> {
    const { lab, namespace, address } = this.#options;
    // Only the bridge may answer for the address; the kernel would do so on the link too.
    await lab.sysctl(namespace, [
      'net.ipv4.conf.all.arp_ignore=1',
      'net.ipv4.conf.default.arp_ignore=1',
    ]);
    await this.#do('ethtool', '-K', 'eth0', ...OFFLOADS.flatMap((name) => [name, 'off']));
    for (const bridge of ['outer0', 'int0']) {
      await this.#vsctl('add-br', bridge, '--', 'set', 'bridge', bridge, 'datapath_type=netdev');
    }
    const hardware = `other_config:hwaddr=${HARDWARE_ADDRESS}`;
    await this.#vsctl('set', 'bridge', 'outer0', hardware, '--', 'add-port', 'outer0', 'eth0');
    await this.#vsctl(
      ...['add-port', 'int0', 'tunnel0', '--', 'set', 'interface', 'tunnel0', 'type=geneve'],
      ...[`ofport_request=${TUNNEL_PORT}`, 'options:remote_ip=flow', 'options:key=flow'],
      ...[`options:local_ip=${address}`, 'options:dst_port=6081', 'options:csum=true'],
    );
    await lab.ip(namespace, [`addr add ${address}/24 dev outer0`, 'link set outer0 up']);
  }

  async #hairpin(): Promise<void> {
    const ofctl = (...args: string[]) => this.#do('ovs-ofctl', '-O', 'OpenFlow15', ...args);
    const option = (type: number, length: number) =>
      `{class=0x0108,type=${type},len=${length}}->tun_metadata${type - 1}`;
    await ofctl('add-tlv-map', 'int0', [option(1, 8), option(2, 8), option(3, 4)].join(','));
    await ofctl('del-flows', 'int0');
    // To read an option is what makes the cached flow match its value. Without that, the options of
    // the first packet would be put on those of all other flows too.
    const kept = [64, 64, 32].map((bits, i) => `NXM_NX_TUN_METADATA${i}[0..${bits - 1}]`);
    const read = kept.map((field) => `push:${field},pop:${field}`);
    const [from, to] = ['NXM_NX_TUN_IPV4_SRC[]', 'NXM_NX_TUN_IPV4_DST[]'];
    const swap = `push:${from},push:${to},pop:${from},pop:${to}`;
    const actions = [...read, swap, 'IN_PORT'].join(',');
    await ofctl('add-flow', 'int0', `in_port=${TUNNEL_PORT},actions=${actions}`);
  }
}
