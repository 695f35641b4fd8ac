/** Runs one case on the gateway and on the model, and says where they differ first. */
import { cookieOf, parted } from '../model/cookie.js';
import { fragmentsOf } from '../model/fit.js';
import { hashOf, keyOf } from '../model/key.js';
import { ACK, bytesOf, errorAbout, type Packet, reversed, SYN, TCP } from '../model/packets.js';
import type { Returned } from '../model/returns.js';
import type { Outcome } from '../model/state.js';
import type { ModelTarget } from '../model/targets.js';
import { gatewayHeader } from '../support/gateway-header.js';
import type { Action, Case, CaseOptions, CookieSpec, Inner } from './commands.js';
import { checkReply } from './replies.js';
import { COOKIE_KEYS, hex, KINDS, lossPolicy, type Observed, System } from './system.js';
import { ENDPOINTS, floodAnswer, floodPacket, packetOf, TARGETS } from './world.js';

/** Packets of one batch of a flood. */
const BATCH = 200;

/** A packet that was sent to a target. */
interface Sent {
  readonly packet: Packet;
  readonly endpoint: number;
  readonly cookie: number;
  readonly target: string;
  readonly hash: bigint;
}

export class Difference extends Error {}

function differ(what: string, expected: unknown, received: unknown): never {
  const show = (value: unknown) =>
    JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? `${v}n` : v));
  throw new Difference(`${what}: the model says ${show(expected)}, the gateway ${show(received)}`);
}

function same(what: string, expected: unknown, received: unknown): void {
  if (JSON.stringify(expected) !== JSON.stringify(received)) differ(what, expected, received);
}

export function run({ options, actions }: Case): void {
  const system = new System(options);
  try {
    const runner = new Runner(system);
    actions.forEach((action, i) => {
      try {
        runner.act(action);
      } catch (error) {
        if (!(error instanceof Difference)) throw error;
        throw new Difference(`action ${i + 1} (${action.do}), ${error.message}`);
      }
    });
    runner.end();
  } finally {
    system.close();
  }
}

class Runner {
  readonly #system: System;
  readonly #history: Sent[] = [];

  constructor(system: System) {
    this.#system = system;
  }

  act(action: Action): void {
    (this.#steps[action.do] as (action: Action) => void)(action);
    const lost = this.#system.forgetGone();
    if (lost !== null) throw new Difference(lost);
    this.#compareEvents(action.do === 'sweep' || (action.do === 'wait' && action.sweep));
    this.#compareTargets();
    same('flows', this.#system.model.flows().length, this.#system.gateway.flows);
  }

  readonly #steps: { [D in Action['do']]: (action: Extract<Action, { do: D }>) => void } = {
    send: ({ packets, endpoint }) =>
      this.#send(packets.map((spec) => ({ packet: packetOf(spec), endpoint }))),
    return: (action) => this.#return(action),
    flood: (action) => this.#flood(action),
    wait: ({ ms, sweep }) => {
      this.#system.advance(ms);
      if (sweep) this.#steps.sweep({ do: 'sweep' });
    },
    sweep: () => {
      this.#lastPacketAt = this.#system.now;
      same('ended', this.#system.model.sweep(this.#system.now), this.#system.sweep());
    },
    held: () => this.#takeHeld(),
    health: ({ target, ok }) => {
      const { runtime, group, targets } = this.#system;
      const { address, id } = TARGETS[target];
      if (group.healthCheck === false) {
        if (targets.find(id) === undefined || targets.find(id)?.phase === 'gone') return;
        group.setHealth(id, ok ? 'healthy' : 'unhealthy');
        targets.say(id, ok ? 'healthy' : 'unhealthy');
        return;
      }
      if (ok) runtime.sick.delete(address);
      else runtime.sick.add(address);
      // Two checks, whatever their place in the interval.
      this.#system.advance(15_001);
    },
    register: ({ target, weight }) => this.#system.register(target, weight),
    deregister: ({ target }) => {
      const { targets, group, now } = this.#system;
      const { id } = TARGETS[target];
      if (targets.find(id)?.phase !== 'active') return;
      group.deregister(id);
      targets.deregister(id, now);
    },
    weight: ({ target, weight }) => {
      const { targets, group } = this.#system;
      const known = targets.find(TARGETS[target].id);
      if (known === undefined || known.phase === 'gone') return;
      group.setWeight(known.id, weight);
      targets.setWeight(known.id, weight);
    },
    policy: ({ onLoss, delaySeconds, failOpen }) => {
      const { targets, group } = this.#system;
      const { group: given, model } = lossPolicy(onLoss, group.stickiness);
      group.update({ ...given, deregistrationDelaySeconds: delaySeconds, failOpen });
      const delayMs = delaySeconds * 1000;
      targets.setPolicy({ ...targets.policy, ...model, failOpen, delayMs });
    },
    idle: ({ tcpSeconds: given, otherSeconds }) => {
      const { group, gateway, model } = this.#system;
      const tcpSeconds = group.stickiness === '5-tuple' ? given : 350;
      gateway.setIdleTimeout({ tcpSeconds, otherSeconds });
      model.idle = { tcpMs: tcpSeconds * 1000, otherMs: otherSeconds * 1000 };
    },
    'reset-on-idle': ({ on }) => {
      this.#system.gateway.setTcpReset({ onIdleTimeout: on });
      this.#system.model.resetOnIdle = on;
    },
    rotate: ({ key: number, overlapSeconds }) => {
      if (this.#lastPacketAt === null) return;
      const key = COOKIE_KEYS[number];
      this.#system.gateway.rotateCookieKey({ key, overlapSeconds });
      this.#system.model.rotateCookieKey(key, overlapSeconds * 1000, this.#lastPacketAt);
    },
    'cross-zone': ({ on }) => {
      const { targets, gateway } = this.#system;
      gateway.setCrossZone(on);
      targets.setPolicy({ ...targets.policy, crossZone: on });
    },
    stickiness: ({ stickiness }) => {
      if (!this.#mayStickTo(stickiness)) return;
      const { group, model, now } = this.#system;
      group.update({ stickiness });
      model.stickTo(KINDS[stickiness]);
      // The gateway takes it over with the next packets, and counts from the newest ones before.
      this.#system.toTargets([]);
      model.advance(now, false);
    },
  };

  /** What TCP reset and another idle timeout are not for is refused. */
  #mayStickTo(stickiness: CaseOptions['stickiness']): boolean {
    const { model, targets } = this.#system;
    const { resetOnUnhealthy, resetOnDeregistration } = targets.policy;
    const plain = !resetOnUnhealthy && !resetOnDeregistration && model.idle.tcpMs === 350_000;
    return stickiness === '5-tuple' || plain;
  }

  /** The gateway counts an overlap from the time of the newest packets. */
  #lastPacketAt: number | null = null;

  #send(packets: { packet: Packet; endpoint: number; held?: boolean }[]): void {
    this.#lastPacketAt = this.#system.now;
    const expected = this.#system.model.enter(packets, this.#system.now);
    const observed = this.#system.toTargets(packets);
    this.#compareSent(packets, expected, observed);
  }

  #flood({ version, protocol, first, count, after }: Extract<Action, { do: 'flood' }>): void {
    const packets = Array.from({ length: count }, (_, i) =>
      floodPacket(version, protocol, first + i),
    );
    const before = this.#history.length;
    const all = (flags: number, as = (packet: Packet) => packet) => {
      for (let i = 0; i < count; i += BATCH) {
        const part = packets.slice(i, i + BATCH);
        this.#send(part.map((packet) => ({ packet: { ...as(packet), flags }, endpoint: 0 })));
      }
    };
    const tcp = protocol === 'tcp';
    all(tcp ? SYN : 0);
    if (after === 'talk') all(tcp ? SYN | ACK : 0, floodAnswer);
    if (after === 'again' || after === 'talk') all(tcp ? ACK : 0);
    if (after === 'nothing' || after === 'again') return;
    for (const sent of this.#history.slice(before)) this.#giveBack(unchanged(sent));
  }

  #takeHeld(): void {
    this.#lastPacketAt = this.#system.now;
    const waiting = this.#system.model.takeHeld(this.#system.now);
    const { taken, observed } = this.#system.takeHeld();
    const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
    same(
      'held',
      waiting.map(({ packet }) => text(bytesOf(packet))),
      taken.map(text),
    );
    const expected = this.#system.model.enter(waiting, this.#system.now);
    this.#compareSent(waiting, expected, observed);
  }

  #compareSent(
    packets: readonly { packet: Packet; endpoint: number }[],
    expected: readonly Outcome[],
    observed: readonly Observed[],
  ): void {
    expected.forEach((outcome, i) => {
      const got = observed[i];
      const { endpoint } = packets[i];
      const packet = outcome.packet ?? packets[i].packet;
      const what = expected.length > 1 ? `packet ${i + 1}` : 'packet';
      const { verdict, reason, target, cookie = 0, isNew = false, moved = false } = outcome;
      const forwarded = verdict === 'forward';
      same(
        what,
        { verdict, reason, ...(forwarded && { target, cookie: hex(cookie), isNew, moved }) },
        {
          verdict: got.verdict,
          reason: got.reason,
          ...(forwarded && {
            target: got.target,
            cookie: hex(got.cookie),
            isNew: got.isNew,
            moved: got.moved,
          }),
        },
      );
      if (verdict === 'forward') {
        const { id } = ENDPOINTS[endpoint];
        const bytes = datagram(id, cookie, bytesOf(packet));
        if (!Buffer.from(bytes).equals(got.bytes)) differ(`${what}'s bytes`, bytes, got.bytes);
        this.#history.push({
          packet,
          endpoint,
          cookie,
          target: this.#system.slots.get(target as number) as string,
          hash: this.#hashOf(packet, endpoint),
        });
      } else if (verdict === 'bypass' && !Buffer.from(bytesOf(packet)).equals(got.bytes)) {
        differ(`${what}'s bytes`, bytesOf(packet), got.bytes);
      } else if (outcome.reply !== undefined) {
        const wrong = checkReply(outcome.reply, got.bytes, bytesOf(packet));
        if (wrong !== null) differ(`${what}'s answer: ${wrong}`, outcome.reply, text(got.bytes));
      }
    });
  }

  /** Of the packet's own key; only for making cookies that are signed well. */
  #hashOf(packet: Packet, endpoint: number): bigint {
    const { options } = this.#system.model;
    const scope = options.scopeGateway ? 0xffff : endpoint;
    const ports = [packet.sourcePort, packet.destinationPort] as const;
    return hashOf(keyOf({ ...packet, ports }, options.stickiness, scope), options.hashKey);
  }

  #return(action: Extract<Action, { do: 'return' }>): void {
    const sent = this.#history.at(-1 - action.back);
    if (sent === undefined) return;
    const { from, inner, flags, endpoint, cookie, ecn } = action;
    const endpointId =
      endpoint === 'own'
        ? ENDPOINTS[sent.endpoint].id
        : endpoint === 'unknown'
          ? 0xdeadn
          : ENDPOINTS[endpoint].id;
    this.#giveBack({
      from: from === 'own' ? sent.target : from === 'stranger' ? null : TARGETS[from].id,
      endpointId,
      cookie: this.#cookieOf(sent, cookie, endpointId),
      packet: innerOf(sent, inner, flags),
      outerEcn: ecn,
    });
  }

  #giveBack(returned: Returned): void {
    this.#lastPacketAt = this.#system.now;
    const { packet, endpointId, cookie, from, outerEcn } = returned;
    const expected = this.#system.model.giveBack(returned, this.#system.now);
    const got = this.#system.fromTarget(
      datagram(endpointId, cookie, bytesOf(packet)),
      from?.split(':')[0] ?? '10.0.1.99',
      outerEcn,
    );
    const out = expected.verdict === 'forward';
    same(
      'returned packet',
      {
        verdict: expected.verdict,
        reason: expected.reason,
        ...(out && { endpoint: expected.endpoint }),
      },
      { verdict: got.verdict, reason: got.reason, ...(out && { endpoint: got.endpoint }) },
    );
    if (!out) return;
    const bytes = bytesOf(expected.packet ?? packet);
    if (!Buffer.from(bytes).equals(got.bytes)) {
      differ("returned packet's bytes", text(bytes), text(got.bytes));
    }
  }

  #cookieOf(sent: Sent, spec: CookieSpec, endpointId: bigint): number {
    if (spec.kind === 'own') return sent.cookie;
    if (spec.kind === 'older') return (this.#history.at(-1 - spec.back) ?? sent).cookie;
    if (spec.kind === 'altered') return (sent.cookie ^ spec.mask) >>> 0;
    return cookieOf(COOKIE_KEYS[spec.key], {
      endpointId,
      attachmentId: 0n,
      hash: sent.hash,
      slot: spec.slot ?? parted(sent.cookie).slot,
      incarnation: spec.incarnation,
    });
  }

  #compareEvents(anyOrder: boolean): void {
    const expected = this.#system.expectedEvents();
    const received = this.#system.events();
    if (anyOrder) {
      // A sweep finds flows in the order of the table.
      const byText = (a: unknown, b: unknown) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1);
      expected.sort(byText);
      received.sort(byText);
    }
    expected.forEach((event, i) => {
      same(`flow event ${i + 1}`, event, received[i]);
    });
    same('flow events beyond', [], received.slice(expected.length));
  }

  #compareTargets(): void {
    const { targets, group } = this.#system;
    const expected = [...targets.targets.values()]
      .filter((target) => target.phase !== 'gone')
      .map((target) => `${target.id} ${targets.stateOf(target)} ${target.weight} ${target.slot}`);
    const received = group
      .targets()
      .map(({ id, state, weight, slot }) => `${id} ${state} ${weight} ${slot}`);
    same('targets', expected.sort(), received.sort());
  }

  end(): void {
    const { model, gateway, targets } = this.#system;
    const counters = gateway.counters();
    const expected = new Map(model.counters);
    for (const name of [
      'packetsIn',
      'bytesIn',
      'packetsToTargets',
      'packetsFromTargets',
      'packetsOut',
      'packetsBypassed',
      'packetsReplied',
      'resetsSent',
      'packetsHeld',
      'flowsNew',
      'flowsEnded',
      'flowsMoved',
      'flowsRejected',
      'flowsRejectedTcp',
      'packetsUntracked',
      'flowsPickedUp',
      'flowsEvicted',
      'flowsRefused',
      'packetsFragmented',
      'mssClamped',
    ] as const) {
      same(`counter ${name}`, expected.get(name) ?? 0, counters[name]);
    }
    for (const [reason, count] of Object.entries(counters.drops)) {
      same(`drops ${reason}`, expected.get(`drop ${reason}`) ?? 0, count);
    }
    same('flowsActiveIpv4', model.tables[4].flows.size, counters.flowsActiveIpv4);
    same('flowsActiveIpv6', model.tables[6].flows.size, counters.flowsActiveIpv6);
    for (const [id, { flowsActive }] of Object.entries(counters.targets)) {
      const { slot } = targets.find(id) as ModelTarget;
      same(`flows of ${id}`, model.pinned(slot), flowsActive);
    }
  }
}

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

function innerOf({ packet: sent, endpoint }: Sent, inner: Inner, flags: number): Packet {
  if (inner === 'same' || sent.quote !== null) return sent;
  // As much more as a slot has room for, with the longest headers.
  if (inner === 'longer') return { ...sent, payload: Math.min(sent.payload + 1_000, 8_800) };
  if (typeof inner === 'number') {
    const pieces = fragmentsOf(sent, ENDPOINTS[endpoint].mtu);
    return pieces[inner % pieces.length];
  }
  if (inner === 'error')
    return errorAbout(sent, sent.version === 4 ? '10.0.1.1' : '2001:db8:1::1', 200);
  const answer = reversed(sent);
  return sent.protocol === TCP && sent.fragment === null
    ? { ...answer, flags, acknowledgment: flags & ACK ? 1 : 0 }
    : answer;
}

function datagram(endpointId: bigint, cookie: number, inner: Uint8Array): Uint8Array {
  const version = inner[0] >> 4 === 4 ? 4 : 6;
  return Buffer.concat([gatewayHeader(endpointId, cookie, version), inner]);
}

/** The packet as its target returns it. */
function unchanged({ target, endpoint, cookie, packet }: Sent): Returned {
  return { from: target, endpointId: ENDPOINTS[endpoint].id, cookie, packet, outerEcn: 0 };
}
