/**
 * A gateway, its targets and their clients on one clock that moves when it is told to: what the tests
 * of the rules share. Public API only.
 */
import { groupWithRuntime } from '../../src/gateway/target-group.js';
import {
  type Endpoint,
  Gateway,
  type GatewayOptions,
  PacketBatch,
  REASON_NAMES,
  type TargetGroup,
  type TargetGroupOptions,
  type TargetSpec,
  tuplePacket,
  Verdict,
} from '../../src/index.js';
import { World } from '../gateway/group-rig.js';
import type { Teardown } from '../support/teardown.js';

/** The columns of the specification's matrix, section 3.2. */
export const COLUMNS = {
  no_rebalance: {},
  rebalance: { failover: 'rebalance' },
  reset: { sendTcpReset: { onUnhealthy: true, onDeregistration: true } },
} as const satisfies Record<string, TargetGroupOptions>;

export const COLUMN_NAMES = Object.keys(COLUMNS) as (keyof typeof COLUMNS)[];

export const SYN = 0x02;
export const RST = 0x04;
export const ACK = 0x10;
export const FIN = 0x01;

/** One client's connection or exchange; `from` is the target that its first packet went to. */
export interface Flow {
  readonly protocol: 'tcp' | 'udp';
  readonly client: string;
  readonly server: string;
  readonly zone: string;
  readonly from: string;
}

export interface RigOptions {
  policy?: TargetGroupOptions;
  targets?: readonly (string | TargetSpec)[];
  gateway?: Partial<GatewayOptions>;
}

const SERVER = '10.0.2.10:443';
const HASH_KEY = new Uint8Array(16).fill(7);

export class Rig {
  readonly world = new World();
  readonly group: TargetGroup;
  readonly gateway: Gateway;
  readonly #batch = new PacketBatch({ packets: 1 });
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #start = this.world.time;
  #clients = 0;

  constructor(t: Teardown, options: RigOptions = {}) {
    const { policy, targets = ['10.0.0.1', '10.0.0.2', '10.0.0.3'], gateway } = options;
    this.group = groupWithRuntime({ healthCheck: false, ...policy }, this.world);
    this.group.register(...targets.map((t) => (typeof t === 'string' ? { address: t } : t)));
    this.gateway = new Gateway({
      targetGroup: this.group,
      hashKey: HASH_KEY,
      midStream: 'drop',
      limits: { flows: 4096, flowsIpv6: 1024 },
      ...gateway,
    });
    t.teardown(() => this.gateway.close());
  }

  /** The time as packets have it. */
  get now(): number {
    return this.world.time - this.#start;
  }

  /** Time goes by; idle flows end. */
  wait(seconds: number): void {
    this.world.advance(seconds * 1000);
    this.gateway.sweep(this.now, 1 << 20);
  }

  endpoint(zone = 'default'): Endpoint {
    const known = this.#endpoints.get(zone);
    if (known) return known;
    const made = this.gateway.createEndpoint({ zone });
    this.#endpoints.set(zone, made);
    return made;
  }

  /** The packet's way: a target's address, `reset` (its sender gets a RST), `bypass`, or the reason
   *  why it is dropped. */
  send(packet: Uint8Array, zone = 'default'): string {
    const batch = this.#batch;
    batch.clear();
    batch.add(packet);
    this.gateway.toTargets(batch, this.endpoint(zone), this.now);
    switch (batch.verdict[0]) {
      case Verdict.forward: {
        const address = batch.address[0];
        return [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join('.');
      }
      case Verdict.bypass:
        return 'bypass';
      case Verdict.reply:
        return 'reset';
      default:
        return REASON_NAMES[batch.reason[0]];
    }
  }

  /** What the gateway made of the packet that was sent last. */
  get answer(): Uint8Array {
    return this.#batch.bytes(0).slice();
  }

  /** Client `n` of all that were ever asked for. */
  tuple(n: number, protocol: 'tcp' | 'udp' = 'tcp') {
    const source = `203.0.${113 + (n >> 14)}.9:${1024 + (n & 0x3fff)}`;
    return { protocol, source, destination: SERVER };
  }

  /** New flows of new clients: a TCP handshake and one packet more, or one datagram. */
  open(count: number, protocol: 'tcp' | 'udp' = 'tcp', zone = 'default'): Flow[] {
    return Array.from({ length: count }, () => {
      const tuple = this.tuple(this.#clients++, protocol);
      const from = this.send(tuplePacket(tuple, SYN), zone);
      const flow = { protocol, client: tuple.source, server: SERVER, zone, from };
      if (protocol === 'tcp' && /^\d/.test(from)) {
        this.back(flow, SYN | ACK);
        this.say(flow);
      }
      return flow;
    });
  }

  /** The client's next packet; for TCP one of an open connection, unless `flags` say otherwise. */
  say(flow: Flow, flags: number = ACK): string {
    return this.send(this.packet(flow, flags), flow.zone);
  }

  /** The server's next packet. */
  back(flow: Flow, flags: number = ACK): string {
    const { client, server, ...rest } = flow;
    return this.send(this.packet({ ...rest, client: server, server: client }, flags), flow.zone);
  }

  packet({ protocol, client, server }: Flow, flags: number = ACK): Uint8Array {
    return tuplePacket({ protocol, source: client, destination: server }, flags, PAYLOAD);
  }

  /** Every flow's next packet, one after the other. */
  sayAll(flows: readonly Flow[], flags: number = ACK): string[] {
    return flows.map((flow) => this.say(flow, flags));
  }

  /** Which target new flows of these clients would get. */
  rows(count: number): string[] {
    const endpoint = this.endpoint();
    return Array.from({ length: count }, (_, n) => {
      const tuple = this.tuple(100_000 + n, 'udp');
      return this.gateway.explain(tuple, { endpoint }).chosen?.address ?? 'none';
    });
  }

  fail(...addresses: string[]): void {
    for (const address of addresses) this.group.setHealth(address, 'unhealthy');
  }

  recover(...addresses: string[]): void {
    for (const address of addresses) this.group.setHealth(address, 'healthy');
  }
}

const PAYLOAD = new TextEncoder().encode('data');

export const origins = (flows: readonly Flow[]) => flows.map(({ from }) => from);
export const of = (flows: readonly Flow[], address: string) =>
  flows.filter(({ from }) => from === address);
export const notOf = (flows: readonly Flow[], address: string) =>
  flows.filter(({ from }) => from !== address);
