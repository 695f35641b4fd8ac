/** The public API under test: a gateway, its group, a clock, and the model told the same. */
import { groupWithRuntime } from '../../src/gateway/target-group.js';
import {
  type Endpoint,
  type FlowEvent,
  Gateway,
  PacketBatch,
  REASON_NAMES,
  type TargetGroup,
} from '../../src/index.js';
import { formatIp, formatSocketAddress, parseIpv4 } from '../../src/packet/address.js';
import { hasPorts, VERDICTS } from '../../src/packet/names.js';
import { GatewayModel } from '../model/gateway.js';
import { bytesOf, type Packet } from '../model/packets.js';
import type { ModelEvent } from '../model/state.js';
import { TargetsModel } from '../model/targets.js';
import type { CaseOptions, OnLoss } from './commands.js';
import { FakeRuntime } from './runtime.js';
import { ENDPOINTS, FIRST_TARGETS, TARGETS } from './world.js';

export const CAPACITY = 1024;
export const START = 1_000_000;
/** Positions of a sweep that sees every place of both tables. */
const WHOLE_TABLE = 1 << 20;

export const key = (seed: number) => Uint8Array.from({ length: 16 }, (_, i) => i * 7 + seed);
export const COOKIE_KEYS = [key(100), key(150), key(200)] as const;
const HASH_KEY = key(1);

export const KINDS = { '5-tuple': 5, '3-tuple': 3, '2-tuple': 2 } as const;

const THRESHOLDS = { healthy: 2, unhealthy: 2 };

/** What the batch says of a packet after a decision. */
export interface Observed {
  readonly verdict: string;
  readonly reason: string;
  readonly target: number;
  readonly cookie: number;
  readonly address: number;
  readonly isNew: boolean;
  readonly moved: boolean;
  readonly endpoint: number;
  readonly bytes: Uint8Array;
}

/** What becomes of a lost target's flows, for the group and for the model. */
export function lossPolicy(onLoss: OnLoss, stickiness: CaseOptions['stickiness']) {
  // TCP reset needs 5-tuples.
  const chosen = stickiness !== '5-tuple' && onLoss.startsWith('reset') ? 'no_rebalance' : onLoss;
  const failover = chosen === 'rebalance' ? ('rebalance' as const) : ('no_rebalance' as const);
  const onUnhealthy = chosen === 'reset' || chosen === 'reset-unhealthy';
  const onDeregistration = chosen === 'reset' || chosen === 'reset-deregistration';
  return {
    group: { failover, sendTcpReset: { onUnhealthy, onDeregistration } },
    model: { failover, resetOnUnhealthy: onUnhealthy, resetOnDeregistration: onDeregistration },
  };
}

class Observable extends Gateway {
  flush(): void {
    this.flushEvents();
  }
}

const batch = new PacketBatch({ packets: 256 });

export class System {
  readonly runtime = new FakeRuntime(START);
  readonly group: TargetGroup;
  readonly gateway: Observable;
  readonly endpoints: Endpoint[];
  readonly targets: TargetsModel;
  readonly model: GatewayModel;
  /** Id of each slot's last owner. */
  readonly slots = new Map<number, string>();
  #events: FlowEvent[] = [];

  constructor(options: CaseOptions) {
    const { stickiness, scope, midStream, cookieCheck, promotion, resetOnIdle } = options;
    const { delaySeconds, failOpen, crossZone, checks, pathMtuDiscovery } = options;
    const { clampMss, cuts } = options;
    const onLoss = lossPolicy(options.onLoss, stickiness);
    this.group = groupWithRuntime(
      {
        stickiness,
        scope,
        ...onLoss.group,
        failOpen,
        deregistrationDelaySeconds: delaySeconds,
        healthCheck: checks && {
          intervalSeconds: 5,
          timeoutSeconds: 2,
          healthyThreshold: THRESHOLDS.healthy,
          unhealthyThreshold: THRESHOLDS.unhealthy,
        },
      },
      this.runtime,
    );
    this.targets = new TargetsModel({
      ...onLoss.model,
      delayMs: delaySeconds * 1000,
      failOpen,
      crossZone,
      thresholds: checks ? THRESHOLDS : null,
    });
    this.runtime.onResult = (address, ok) => this.targets.checked(`${address}:6081`, ok);
    for (const i of FIRST_TARGETS) this.register(i, 1);
    this.gateway = new Observable({
      targetGroup: this.group,
      limits: { flows: CAPACITY, flowsIpv6: CAPACITY },
      hashKey: HASH_KEY,
      cookieKey: COOKIE_KEYS[0],
      sendTcpReset: { onIdleTimeout: resetOnIdle },
      crossZone,
      midStream,
      cookieCheck,
      promotion,
      pathMtuDiscovery,
      clampMss,
    });
    this.gateway.cutsPackets = cuts;
    this.gateway.on('flow', (event) => this.#events.push(event));
    this.model = new GatewayModel(this.targets, {
      stickiness: KINDS[stickiness],
      scopeGateway: scope === 'gateway',
      midStream,
      strict: cookieCheck === 'strict',
      promoteOnIngress: promotion === 'ingress',
      resetOnIdle,
      pathMtuDiscovery,
      clampMss: clampMss === 'off' ? null : clampMss,
      capacity: CAPACITY,
      hashKey: HASH_KEY,
      cookieKey: COOKIE_KEYS[0],
      attachmentId: 0n,
      tcpMs: 350_000,
      otherMs: 120_000,
    });
    this.endpoints = ENDPOINTS.map(({ id, text, zone, mtu }) => {
      const endpoint = this.gateway.createEndpoint({ id: text, zone, mtu });
      this.model.endpoints.set(endpoint.index, { id, zone, mtu, cuts });
      return endpoint;
    });
  }

  get now(): number {
    return this.runtime.time;
  }

  close(): void {
    void this.gateway.close();
  }

  register(target: number, weight: number): void {
    const { address, id, zone } = TARGETS[target];
    if (this.targets.find(id)?.phase === 'active') return;
    this.group.register({ address, zone, weight });
    this.targets.register(id, zone, weight);
    const { slot } = this.targets.find(id) ?? {};
    if (slot !== undefined) this.slots.set(slot, id);
  }

  advance(ms: number): void {
    this.runtime.advance(ms);
    this.targets.advance(this.now);
  }

  toTargets(packets: readonly { packet: Packet; endpoint: number }[]): Observed[] {
    batch.clear();
    for (const { packet, endpoint } of packets) {
      const i = batch.add(bytesOf(packet));
      batch.endpoint[i] = endpoint;
    }
    this.gateway.toTargets(batch, null, this.now);
    return packets.map((_, i) => observe(i));
  }

  /** Takes what was held, and sends it on. */
  takeHeld(): { taken: Uint8Array[]; observed: Observed[] } {
    batch.clear();
    const count = this.gateway.takeHeld(batch, this.now);
    const taken = Array.from({ length: count }, (_, i) => batch.bytes(i).slice());
    if (count > 0) this.gateway.toTargets(batch, null, this.now);
    return { taken, observed: taken.map((_, i) => observe(i)) };
  }

  fromTarget(datagram: Uint8Array, address: string, tos: number): Observed {
    batch.clear();
    batch.add(datagram, parseIpv4(address) ?? 0);
    batch.tos[0] = tos;
    this.gateway.fromTargets(batch, this.now);
    return observe(0);
  }

  sweep(): number {
    return this.gateway.sweep(this.now, WHOLE_TABLE);
  }

  /** Flow events since the last call, as the model has them. */
  events(): Record<string, unknown>[] {
    this.gateway.flush();
    return this.#events.splice(0).map((event) => ({
      type: event.type,
      time: event.nowMs,
      cause: event.cause,
      protocol: event.protocol,
      ends: event.ends.join(' '),
      endpoint: event.endpoint?.id ?? null,
      target: event.target?.id ?? null,
      previous: event.previous?.id ?? null,
      cookie: hex(event.cookie),
    }));
  }

  /** The model's events since the last call, in the same form. */
  expectedEvents(): Record<string, unknown>[] {
    return this.model.events.splice(0).map((event) => this.#eventOf(event));
  }

  #eventOf(event: ModelEvent): Record<string, unknown> {
    const end = (bytes: Uint8Array, port: number) =>
      event.key.kind === 5 && hasPorts(event.key.protocol)
        ? formatSocketAddress(bytes, port)
        : formatIp(bytes);
    const { key, time, type, cause, protocol } = event;
    const endpoint = this.endpoints.find(({ index }) => index === event.endpoint)?.id ?? null;
    return {
      type,
      time,
      cause,
      protocol,
      ends: `${end(key.low, key.lowPort)} ${end(key.high, key.highPort)}`,
      endpoint,
      target: this.slots.get(event.target) ?? null,
      previous: event.previous === null ? null : (this.slots.get(event.previous) ?? null),
      cookie: hex(event.cookie),
    };
  }

  /** Tells the model of slots that the group has given up, which it may do only when it may. */
  forgetGone(): string | null {
    for (const target of [...this.targets.targets.values()]) {
      if (this.group.targetInSlot(target.slot)?.id === target.id) continue;
      const mayGo = target.phase === 'gone';
      const hasLeft = this.model.pinned(target.slot) === 0 || target.told;
      if (!mayGo || !hasLeft) return `the group has forgotten ${target.id}, which has flows`;
      this.targets.forget(target.slot);
    }
    return null;
  }
}

function observe(i: number): Observed {
  return {
    verdict: VERDICTS[batch.verdict[i]],
    reason: REASON_NAMES[batch.reason[i]],
    target: batch.target[i],
    cookie: batch.cookie[i],
    address: batch.address[i],
    isNew: (batch.flags[i] & 1) !== 0,
    moved: (batch.flags[i] & 2) !== 0,
    endpoint: batch.endpoint[i],
    bytes: batch.bytes(i).slice(),
  };
}

export const hex = (cookie: number) => `0x${cookie.toString(16).padStart(8, '0')}`;
