/**
 * Where a recipe is tried: clients and servers whose only road leads through our gateway, and two hosts
 * that the page's commands make appliances of. Every part is in a network namespace of its own.
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GatewayLoadBalancer, TargetGroup } from 'gwlb';
import { buildFabric, buildRoad, leadThrough, type Road } from '../../../test/support/fleet.js';
import { CLI } from '../../../test/support/places.js';
import type { Teardown } from '../../../test/support/teardown.js';
import { until } from '../../../test/support/until.js';
import { Lab } from '../../src/lab/lab.js';
import { type Ended, kill, run } from '../../src/lab/processes.js';
import { Running } from '../support/running.js';
import type { Page } from './page.js';

/** As in docs/appliances/README.md. */
export const GATEWAY = '10.0.1.5';
export const APPLIANCES = ['10.0.1.10', '10.0.1.11'] as const;

/** Longest time of a command of a page, on a busy machine. */
const COMMAND_SECONDS = 300;

/** As seen by the gateway. */
type State = 'healthy' | 'unhealthy';

/** Puts the command `gwlb` into a folder, as it would be in the PATH. */
export function gwlbIn(folder: string): void {
  const command = join(folder, 'gwlb');
  writeFileSync(command, `#!/bin/sh\nunset NODE_OPTIONS\nexec ${process.execPath} ${CLI} "$@"\n`);
  chmodSync(command, 0o755);
}

/**
 * The command that runs another one in a namespace and a folder, where `bin` is in the PATH. The mounts stay
 * those of everybody, unlike with `ip netns exec`: what a page mounts, such as namespaces that it makes, is
 * there for its other commands too.
 */
export function insideOf(
  namespace: string,
  folder: string,
  bin: string,
  command: readonly string[],
): [string, string[]] {
  const where = [`--net=/run/netns/${namespace}`, `--wd=${folder}`];
  return ['nsenter', [...where, 'env', `PATH=${bin}:${process.env.PATH}`, ...command]];
}

/** A host that a page makes an appliance of: commands run in its network, in a folder of its own. */
export class Host {
  readonly address: string;
  readonly namespace: string;
  readonly folder: string;
  readonly #stage: Stage;
  readonly #t: Teardown;
  #service: Running | null = null;

  constructor(t: Teardown, stage: Stage, i: number) {
    this.#t = t;
    this.#stage = stage;
    this.address = APPLIANCES[i];
    this.namespace = `appliance${i}`;
    this.folder = join(stage.folder, this.namespace);
    mkdirSync(this.folder);
  }

  /** `gwlb` as it runs there. */
  get service(): Running {
    if (this.#service === null) throw new Error(`nothing runs in ${this.namespace}`);
    return this.#service;
  }

  /** The commands of a page as this host has them: its address, and names that no other host has. */
  own(commands: string): string {
    if (this.address === APPLIANCES[0]) return commands;
    return commands.replaceAll(APPLIANCES[0], this.address).replaceAll('tenant', 'other');
  }

  /** Runs what a page says under a heading; what it printed. */
  async paste(heading: string): Promise<string> {
    const { status, out, err } = await this.run(this.#stage.page.block(heading));
    if (status === 0) return out;
    throw new Error(`${this.#stage.page.path}, "${heading}": exit code ${status}: ${err || out}`);
  }

  /** Runs commands, up to the first that fails. */
  run(commands: string): Promise<Ended> {
    const [program, args] = this.#inside(['sh', '-ec', this.own(commands)]);
    return run(program, args, COMMAND_SECONDS);
  }

  /** Starts the command that a page has under a heading, an appliance, and waits until it is ready. */
  async start(heading: string): Promise<void> {
    const command = this.own(this.#stage.page.block(heading)).trim();
    this.#service = new Running(this.#t, ...this.#inside(['sh', '-c', `exec ${command}`]));
    await this.#service.event('started');
  }

  /** Ends it without a word to it. */
  async kill(): Promise<void> {
    await kill(this.service.child);
  }

  #inside(command: readonly string[]): [string, string[]] {
    return insideOf(this.namespace, this.folder, this.#stage.folder, command);
  }
}

/** A road of its own: a tenant's network. */
export interface Tenant extends Road {
  /** Of its endpoint. */
  id: string;
}

const tenant = (name: string, id: string): Tenant => {
  return { client: `client${name}`, server: `server${name}`, router: `router${name}`, id };
};

export const TENANTS = [
  tenant('', 'vpce-0123456789abcdef0'),
  tenant('-2', 'vpce-0fedcba9876543210'),
] as const;

export interface StageOptions {
  page: Page;
  /** Networks with an endpoint each, all with equal addresses; default 1. */
  tenants?: 1 | 2;
}

export class Stage {
  readonly lab = new Lab();
  readonly page: Page;
  readonly folder = mkdtempSync(join(tmpdir(), 'gwlb-recipe-'));
  readonly hosts: readonly Host[];
  readonly targetGroup = new TargetGroup({
    // A dead appliance answers at once that nobody listens; a busy machine's answers may take their time.
    healthCheck: {
      ...{ profile: 'fast', protocol: 'HTTP', intervalSeconds: 2, timeoutSeconds: 2 },
      ...{ unhealthyThreshold: 3, flapDamping: false },
    },
    failover: 'rebalance',
  });
  gateway!: GatewayLoadBalancer;

  static async build(t: Teardown, { page, tenants = 1 }: StageOptions): Promise<Stage> {
    const stage = new Stage(t, page);
    t.teardown(() => stage.#close());
    await stage.#build(TENANTS.slice(0, tenants));
    return stage;
  }

  private constructor(t: Teardown, page: Page) {
    this.page = page;
    // Whoever a page makes the owner of a process has to find its files.
    chmodSync(this.folder, 0o755);
    gwlbIn(this.folder);
    this.hosts = APPLIANCES.map((_, i) => new Host(t, this, i));
  }

  async #build(tenants: readonly Tenant[]): Promise<void> {
    const { lab, targetGroup } = this;
    for (const road of tenants) await buildRoad(lab, road);
    await buildFabric(lab, [
      { name: 'gateway', address: GATEWAY },
      ...this.hosts.map(({ namespace: name, address }) => ({ name, address })),
    ]);
    for (const { namespace } of this.hosts) {
      await lab.sysctl(namespace, ['net.ipv6.conf.all.disable_ipv6=0']);
      await lab.sysctl(namespace, ['net.ipv6.conf.default.disable_ipv6=0']);
    }
    targetGroup.register(...APPLIANCES.map((address) => ({ address })));
    this.gateway = await GatewayLoadBalancer.listen({
      ...{ address: GATEWAY, netns: 'gateway', targetGroup },
      limits: { flows: 4096, flowsIpv6: 4096 },
    });
    for (const [i, road] of tenants.entries()) {
      const device = `endpoint${i}`;
      await this.gateway.createEndpoint({ id: road.id, tun: device, netns: road.router });
      await leadThrough(lab, device, road);
    }
  }

  /** Waits until the gateway takes a host for this. */
  async turns(host: Host, state: State): Promise<void> {
    const id = `${host.address}:6081`;
    const ask = () => this.targetGroup.target(id)?.state;
    await until(ask, (now) => now === state, `${id} turns ${state}`);
  }

  /** From when it resolves on new flows go to this host alone, or (null) to all. */
  async prefer(host: Host | null): Promise<void> {
    for (const { address } of this.hosts) {
      const weight = host === null || host.address === address ? 1 : 0;
      this.targetGroup.setWeight(`${address}:6081`, weight);
    }
    const ports = Array.from({ length: 16 }, (_, i) => 1024 + i);
    const chosen = () =>
      ports.map((port) => {
        const flow = { source: `192.0.2.1:${port}`, destination: '192.0.2.2:9' };
        const asked = { protocol: 'udp', ...flow } as const;
        return this.gateway.explain(asked, { endpoint: TENANTS[0].id }).chosen?.address;
      });
    const isSo = (all: (string | undefined)[]) =>
      host === null ? new Set(all).size > 1 : all.every((address) => address === host.address);
    await until(chosen, isSo, `new flows go to ${host?.address ?? 'all'}`);
  }

  async #close(): Promise<void> {
    await this.gateway?.close();
    await this.lab.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
