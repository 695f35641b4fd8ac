/**
 * One gateway, packet by packet, with a clock that moves when it is told to, and the test as its
 * targets: what the tests of the Flow rules share. Public API only.
 */
import {
  type Endpoint,
  type FlowEvent,
  Gateway,
  type GatewayOptions,
  PacketBatch,
  REASON_NAMES,
  TargetGroup,
  type TargetGroupOptions,
} from '../../src/index.js';
import { formatIpv4, parseIpv4 } from '../../src/packet/address.js';
import { VERDICTS } from '../../src/packet/names.js';
import { cookieOf } from '../model/cookie.js';
import { hashOf, type Key, keyOf } from '../model/key.js';
import { ACK, bytesOf, type Packet, packet, reversed, SYN, TCP, UDP } from '../model/packets.js';
import { gatewayHeader } from '../support/gateway-header.js';
import type { Teardown } from '../support/teardown.js';

export const CLIENT = '203.0.113.9';
export const SERVER = '10.0.2.10';
export const CLIENT6 = '2001:db8::9';
export const SERVER6 = '2001:db8:2::10';
export const ENDPOINT_IDS = [0x123456789abcdef0n, 0x123456789abcdef1n] as const;

const HASH_KEY = Uint8Array.from({ length: 16 }, (_, i) => i);
export const COOKIE_KEY = Uint8Array.from({ length: 16 }, (_, i) => 100 + i);
export const OTHER_KEY = Uint8Array.from({ length: 16 }, (_, i) => 200 + i);

/** What became of a packet. */
export interface Way {
  /** The packet as it was sent, and the endpoint. */
  readonly packet: Packet;
  readonly endpoint: number;
  readonly verdict: string;
  readonly reason: string;
  /** Address of the target it goes to. */
  readonly target: string;
  readonly cookie: number;
  readonly isNew: boolean;
  readonly moved: boolean;
  readonly bytes: Uint8Array;
}

/** How a packet comes back; by default from its target, unchanged. */
export interface Back {
  packet?: Packet;
  from?: string;
  cookie?: number;
  /** Outer ECN field. */
  ecn?: number;
}

export class FlowRig {
  readonly gateway: Gateway;
  readonly group: TargetGroup;
  readonly endpoints: Endpoint[];
  readonly events: FlowEvent[] = [];
  now = 1_000_000;
  readonly #batch = new PacketBatch({ packets: 64 });

  constructor(t: Teardown, options: Partial<GatewayOptions> = {}, group: TargetGroupOptions = {}) {
    this.group = new TargetGroup({ healthCheck: false, ...group });
    this.group.register({ address: '10.0.1.10' }, { address: '10.0.1.11' });
    this.gateway = new Gateway({
      targetGroup: this.group,
      hashKey: HASH_KEY,
      cookieKey: COOKIE_KEY,
      midStream: 'drop',
      limits: { flows: 1024, flowsIpv6: 1024 },
      ...options,
    });
    this.gateway.on('flow', (event) => this.events.push(event));
    t.teardown(() => this.gateway.close());
    this.endpoints = ENDPOINT_IDS.map((id) =>
      this.gateway.createEndpoint({ id: `vpce-0${id.toString(16)}` }),
    );
  }

  /** Packets of one batch. */
  sendAll(packets: readonly Packet[], endpoint = 0): Way[] {
    const batch = this.#batch;
    batch.clear();
    for (const sent of packets) batch.add(bytesOf(sent));
    this.gateway.toTargets(batch, this.endpoints[endpoint], this.now);
    return packets.map((sent, i) => this.#way(sent, endpoint, i));
  }

  send(sent: Packet, endpoint = 0): Way {
    return this.sendAll([sent], endpoint)[0];
  }

  /** What was held and may go now. */
  takeHeld(): Way[] {
    const batch = this.#batch;
    batch.clear();
    const count = this.gateway.takeHeld(batch, this.now);
    if (count > 0) this.gateway.toTargets(batch, null, this.now);
    const nothing = packet({ source: CLIENT, destination: SERVER, protocol: 0 });
    return Array.from({ length: count }, (_, i) => this.#way(nothing, 0, i));
  }

  #way(sent: Packet, endpoint: number, i: number): Way {
    const batch = this.#batch;
    const forward = VERDICTS[batch.verdict[i]] === 'forward';
    return {
      packet: sent,
      endpoint,
      verdict: VERDICTS[batch.verdict[i]],
      reason: REASON_NAMES[batch.reason[i]],
      target: forward ? formatIpv4(batch.address[i]) : '',
      cookie: batch.cookie[i],
      isNew: (batch.flags[i] & 1) !== 0,
      moved: (batch.flags[i] & 2) !== 0,
      bytes: batch.bytes(i).slice(),
    };
  }

  /** The packet comes back; `forward`, or why it is dropped. */
  back(way: Way, how: Back = {}): string {
    return this.backBytes(way, how).reason;
  }

  /** The same, with what leaves by the endpoint. */
  backBytes(way: Way, { packet: inner = way.packet, from, cookie, ecn = 0 }: Back = {}) {
    const batch = this.#batch;
    const header = gatewayHeader(ENDPOINT_IDS[way.endpoint], cookie ?? way.cookie, inner.version);
    batch.clear();
    batch.add(Buffer.concat([header, bytesOf(inner)]), parseIpv4(from ?? way.target) ?? 0);
    batch.tos[0] = ecn;
    this.gateway.fromTargets(batch, this.now);
    const out = VERDICTS[batch.verdict[0]] === 'forward';
    const reason = out ? 'forward' : REASON_NAMES[batch.reason[0]];
    return { reason, bytes: batch.bytes(0).slice() };
  }

  /** There and back; the way it went. */
  trip(sent: Packet, endpoint = 0): Way {
    const way = this.send(sent, endpoint);
    if (way.verdict !== 'forward') throw new Error(`${way.verdict} ${way.reason}`);
    const came = this.back(way);
    if (came !== 'forward') throw new Error(came);
    return way;
  }

  /** A connection whose handshake is over; the way of its SYN. */
  connect(port = 50_000, endpoint = 0): Way {
    const way = this.trip(tcp(SYN, port), endpoint);
    this.trip(answer(SYN | ACK, port), endpoint);
    this.trip(tcp(ACK, port), endpoint);
    return way;
  }

  /** A question, its answer, and another question; the way of the first one. */
  talk(question: Packet): Way {
    const way = this.trip(question);
    this.trip(reversed(question));
    this.trip(question);
    return way;
  }

  /** Milliseconds go by; idle flows end. */
  wait(ms: number): void {
    this.now += ms;
    this.gateway.sweep(this.now, 1 << 20);
  }

  /** Causes of events since the last call, such as `opened new`. */
  said(): string[] {
    this.gateway.sweep(this.now, 1);
    return this.events.splice(0).map(({ type, cause }) => `${type} ${cause}`);
  }

  /** A cookie that this gateway would have given the packet's flow. */
  signed(sent: Packet, slot: number, incarnation: number, key = COOKIE_KEY): number {
    const hash = hashOf(keyFor(sent), HASH_KEY);
    const endpointId = ENDPOINT_IDS[0];
    return cookieOf(key, { endpointId, attachmentId: 0n, hash, slot, incarnation });
  }
}

function keyFor(sent: Packet): Key {
  return keyOf({ ...sent, ports: [sent.sourcePort, sent.destinationPort] }, 5, 0);
}

/** A client's TCP packet. */
export function tcp(flags: number = SYN, port = 50_000, more: Partial<Packet> = {}): Packet {
  const ends = { source: CLIENT, destination: SERVER };
  return packet({
    ...ends,
    protocol: TCP,
    sourcePort: port,
    destinationPort: 443,
    flags,
    sequence: 1000,
    acknowledgment: flags & ACK ? 77_000 : 0,
    ...more,
  });
}

/** The server's; its numbers are those that the client's acknowledge. */
export function answer(flags: number, port = 50_000): Packet {
  return { ...reversed(tcp(flags, port)), sequence: 76_999, acknowledgment: 1001 };
}

export function udp(port = 50_000, more: Partial<Packet> = {}): Packet {
  const ends = { source: CLIENT, destination: SERVER };
  return packet({ ...ends, protocol: UDP, sourcePort: port, destinationPort: 53, ...more });
}

/** The pieces of a datagram of 8 + 60 bytes; for TCP 20 + 60. */
export function pieces(whole: Packet, id = 7): { head: Packet; tail: Packet } {
  const long = { ...whole, payload: 60 };
  const head = { ...long, fragment: { id, offset: 0, length: 24, more: true } };
  const tail = { ...long, fragment: { id, offset: 24, length: 1000, more: false } };
  return { head, tail };
}
