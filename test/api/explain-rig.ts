/** A gateway whose fleet's health and time a test decides about, for explaining. */
import { groupWithRuntime } from '../../src/gateway/target-group.js';
import {
  type Endpoint,
  Gateway,
  type GatewayOptions,
  PacketBatch,
  REASON_NAMES,
  type Target,
  type TargetGroup,
  type TargetGroupOptions,
  tuplePacket,
  Verdict,
} from '../../src/index.js';
import { VERDICTS } from '../../src/packet/names.js';
import { BAD, HEALTH, OK, World } from '../gateway/group-rig.js';
import type { Teardown } from '../support/teardown.js';

export const ID = 'vpce-0123456789abcdef0';
export const TCP = { protocol: 'tcp', source: '203.0.113.9:52144', destination: '10.0.2.10:443' };
export const BACK = { protocol: 'tcp', source: TCP.destination, destination: TCP.source };
export const UDP = { protocol: 'udp', source: '203.0.113.9:5000', destination: '10.0.2.10:53' };
export const SYN = 0x02;
export const ACK = 0x10;
export const FIN = 0x11;
export const RST = 0x04;

/** A gateway whose fleet's health the test decides about, and whose time stands unless it says so. */
export class Rig {
  readonly world = new World();
  readonly group: TargetGroup;
  readonly gateway: Gateway;
  readonly endpoint: Endpoint;
  readonly down = new Set<string>();
  now = 1000;
  #away = false;
  readonly #batch = new PacketBatch({ packets: 1 });

  constructor(
    t: Teardown,
    options: TargetGroupOptions = {},
    gatewayOptions: Partial<GatewayOptions> = {},
    zones = ['a', 'a', 'a'],
  ) {
    this.world.answers = (address) => (this.down.has(address) ? BAD : OK);
    this.group = groupWithRuntime({ healthCheck: HEALTH, ...options }, this.world);
    this.group.register(...zones.map((zone, i) => ({ address: `10.0.1.${10 + i}`, zone })));
    this.gateway = new Gateway({
      targetGroup: this.group,
      limits: { flows: 1024, flowsIpv6: 1024 },
      hashKey: new Uint8Array(16).fill(7),
      cookieKey: new Uint8Array(16).fill(8),
      ...gatewayOptions,
    });
    t.teardown(() => this.gateway.close());
    this.endpoint = this.gateway.createEndpoint({ id: ID, zone: 'a' });
    this.world.advance(60_000);
  }

  /** Sends a packet in; the target it went to, or the verdict. */
  send(packet: Uint8Array): Target | string {
    const batch = this.#batch;
    batch.clear();
    batch.add(packet);
    this.gateway.toTargets(batch, this.endpoint, this.now);
    this.#away = batch.verdict[0] === Verdict.forward;
    if (!this.#away) return VERDICTS[batch.verdict[0]];
    return this.group.targetInSlot(batch.target[0]) ?? 'a former target';
  }

  /** Where the last packet went. */
  get slot(): number {
    return this.#batch.target[0];
  }

  get cookie(): number {
    return this.#batch.cookie[0];
  }

  /** Why the last packet was dropped or answered; `none` where it was not. */
  get reason(): string {
    return REASON_NAMES[this.#batch.reason[0]];
  }

  /** Lets time pass. */
  wait(ms: number): void {
    this.now += ms;
    this.gateway.sweep(this.now, 1);
  }

  /** What the last packet's target returns, once; nothing where it went to none. */
  returns(): void {
    if (!this.#away) return;
    this.#away = false;
    const batch = this.#batch;
    const [bytes, address] = [batch.bytes(0).slice(), batch.address[0]];
    batch.clear();
    batch.add(bytes, address);
    this.gateway.fromTargets(batch, this.now);
  }

  /** A connection whose handshake is over, out of probation. */
  connect(): Target {
    const target = this.send(tuplePacket(TCP, SYN)) as Target;
    this.returns();
    this.send(tuplePacket({ ...TCP, source: TCP.destination, destination: TCP.source }, SYN | ACK));
    this.send(tuplePacket(TCP, ACK));
    return target;
  }

  fail(...targets: Target[]): void {
    for (const { address } of targets) this.down.add(address);
    this.world.advance(60_000);
  }

  heal(...targets: Target[]): void {
    for (const { address } of targets) this.down.delete(address);
    this.world.advance(120_000);
  }

  others(target: Target): Target[] {
    return this.group.targets().filter((other) => other !== target);
  }
}
