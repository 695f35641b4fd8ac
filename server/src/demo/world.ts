/** What the story needs of the place it is told in: namespaces, or the loopback network. */
import type { TargetGroupOptions } from 'gwlb';
import type { Lab } from '../lab/lab.js';
import type { Remote } from '../lab/remote.js';
import type { Firewall } from './firewall.js';
import type { ApplianceStart } from './role-appliance.js';
import type { GatewayStart } from './role-gateway.js';
import { roleOf } from './role-of.js';
import type { FlowNote, HealthNote, SeenFlow } from './types.js';

export interface ApplianceSite {
  name: string;
  address: string;
  zone: string;
  namespace: string | null;
}

/** An appliance that runs now. */
export interface RunningAppliance extends ApplianceSite {
  remote: Remote;
  pid: number;
}

export interface Place {
  readonly kind: 'namespaces' | 'loopback';
  /** The topology, drawn. */
  readonly picture: string;
  readonly lab: Lab;
  readonly client: Remote;
  /** Addresses of the application, one a zone. */
  readonly addresses: readonly string[];
  readonly servicePort: number;
  readonly sites: readonly ApplianceSite[];
  /** Which of them is a Linux firewall; null where none can be. */
  readonly firewall: Firewall | null;
  readonly healthPort: number;
  readonly clientPrefix: string;
  readonly gatewayNamespace: string | null;
  readonly gatewayStart: Omit<GatewayStart, 'group' | 'clientPrefix'>;
  /** Called when the endpoints exist. */
  connectEndpoints(ids: readonly string[]): Promise<void>;
  /** What lies between the client and the gateway, for the steps of one request. */
  readonly names: { ingress: string; entry: string; exit: string; application: string };
}

/** Everything the demo runs, and everything it has heard. */
export class World {
  readonly place: Place;
  readonly appliances = new Map<string, RunningAppliance>();
  readonly flowNotes: FlowNote[] = [];
  readonly healthNotes: HealthNote[] = [];
  /** By appliance name: what it saw, by connection and cookie. */
  readonly seen = new Map<string, Map<string, SeenFlow>>();
  gateway!: Remote;
  endpoints: string[] = [];
  #onHealth: ((note: HealthNote) => void) | null = null;

  constructor(place: Place) {
    this.place = place;
  }

  async startGateway(group: TargetGroupOptions): Promise<number> {
    const { lab, gatewayNamespace, gatewayStart, clientPrefix } = this.place;
    this.gateway = lab.start(roleOf('gateway'), 'gateway', gatewayNamespace, (note, value) => {
      if (note === 'flow') this.flowNotes.push(value as FlowNote);
      if (note === 'health') {
        this.healthNotes.push(value as HealthNote);
        this.#onHealth?.(value as HealthNote);
      }
    });
    const begun = await this.gateway.call<{ sourcePorts: number; endpoints: string[] }>('begin', {
      ...gatewayStart,
      group,
      clientPrefix,
    } satisfies GatewayStart);
    this.endpoints = begun.endpoints;
    await this.place.connectEndpoints(begun.endpoints);
    return begun.sourcePorts;
  }

  onHealth(listener: (note: HealthNote) => void): void {
    this.#onHealth = listener;
  }

  async startAppliance(site: ApplianceSite): Promise<RunningAppliance> {
    const { lab, healthPort, clientPrefix } = this.place;
    const seen = this.seen.get(site.name) ?? new Map<string, SeenFlow>();
    this.seen.set(site.name, seen);
    // A new process counts from zero: what an earlier one saw stays.
    const life = `${this.appliances.has(site.name)}${seen.size}`;
    const remote = lab.start(roleOf('appliance'), site.name, site.namespace, (note, value) => {
      if (note !== 'flows') return;
      for (const flow of value as SeenFlow[]) {
        seen.set(`${life} ${flow.client} ${flow.server} ${flow.cookie}`, flow);
      }
    });
    await remote.call('begin', {
      listen: { address: site.address, healthCheck: { port: healthPort } },
      clientPrefix,
    } satisfies ApplianceStart);
    if (this.place.firewall?.name === site.name) await this.place.firewall.stand(remote);
    const running = { ...site, remote, pid: remote.child.pid ?? 0 };
    this.appliances.set(site.name, running);
    return running;
  }

  async register(site: ApplianceSite): Promise<string> {
    return this.gateway.call<string>('register', { address: site.address, zone: site.zone });
  }

  /** The name of the appliance with this target id (`10.0.1.11:6081`). */
  nameOf(target: string): string {
    const address = target.split(':')[0];
    return this.place.sites.find((site) => site.address === address)?.name ?? target;
  }
}
