/** Flows whose ends talk, in floods of whatever others may send: rules P1 to P3. */
import fc from 'fast-check';
import t from 'tap';
import { ACK, errorAbout, type Packet, packet, RST, reversed, SYN, TCP } from '../model/packets.js';
import { answer, FlowRig, pieces, tcp, udp, type Way } from '../rules/flow-rig.js';
import { hold } from './hold.js';

const CAPACITY = 1024;
/** A flood is this many conversations. */
const FLOOD = 10 * CAPACITY;
const TALKING = 200;

interface Case {
  readonly seed: number;
  /** What the appliances return. */
  readonly passes: 'everything' | 'nothing';
  readonly midStream: 'auto' | 'drop' | 'pickup';
  readonly promotion: 'return' | 'ingress';
  readonly failover: 'rebalance' | 'no_rebalance';
}

const cases: fc.Arbitrary<Case> = fc.record({
  seed: fc.nat(),
  passes: fc.constantFrom('everything' as const, 'everything' as const, 'nothing' as const),
  midStream: fc.constantFrom('auto' as const, 'drop' as const, 'pickup' as const),
  promotion: fc.constantFrom('return' as const, 'ingress' as const),
  failover: fc.constantFrom('rebalance' as const, 'no_rebalance' as const),
});

/** xorshift32. */
function randomOf(seed: number): (below: number) => number {
  let state = (seed | 1) >>> 0;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

type Random = (below: number) => number;

const guess = (random: Random) => 200_000 + random(2_000_000_000);

/** What a spoofer sends, one packet or a few, and what servers answer. */
const KINDS: Record<
  string,
  (sent: (more?: Partial<Packet>) => Packet, random: Random) => Packet[]
> = {
  syn: (sent) => [sent({ flags: SYN })],
  'syn again': (sent) => [1, 2, 3].map(() => sent({ flags: SYN })),
  'half open': (sent) => handshake(sent),
  'guessed acknowledgment': (sent, random) => [
    ...handshake(sent),
    ...[1, 2, 3].map(() => sent({ flags: ACK, acknowledgment: guess(random) })),
  ],
  'answered by a RST': (sent) => [...handshake(sent), sent({ flags: RST, sequence: 1001 })],
  'closed port': (sent) => [sent({ flags: SYN }), reversed(sent({ flags: RST | ACK }))],
  'out of nowhere': (sent, random) => [
    sent({ flags: ACK, acknowledgment: guess(random) }),
    reversed(sent({ flags: RST })),
  ],
  'any flags': (sent, random) => [sent({ flags: random(64), acknowledgment: guess(random) })],
  question: (sent) => [sent({ protocol: 17 })],
  'one packet each way': (sent) => [sent({ protocol: 17 }), reversed(sent({ protocol: 17 }))],
  'a long answer': (sent) => [
    sent({ protocol: 17 }),
    ...Array.from({ length: 6 }, () => reversed(sent({ protocol: 17, payload: 500 }))),
  ],
  unreachable: (sent) => [
    sent({ protocol: 17 }),
    errorAbout(sent({ protocol: 17 }), '192.0.2.1', 28),
  ],
  echo: (sent) => [portless(sent(), 1), reversed(portless(sent(), 1))],
  tunnel: (sent) => [portless(sent(), 47)],
  sctp: (sent) => [sent({ protocol: 132 }), reversed(sent({ protocol: 132 }))],
  pieces: (sent) => Object.values(pieces(sent({ protocol: 17 }))),
  'a lone piece': (sent, random) => [pieces(sent({ protocol: 17 }), random(65_536)).tail],
};

function handshake(sent: (more?: Partial<Packet>) => Packet): Packet[] {
  const synAck = { ...reversed(sent({ flags: SYN | ACK })), sequence: 50, acknowledgment: 1001 };
  return [sent({ flags: SYN }), synAck];
}

function portless(sent: Packet, protocol: number): Packet {
  return packet({ source: sent.source, destination: sent.destination, protocol });
}

function run({ seed, passes, midStream, promotion, failover }: Case): void {
  const closers: (() => unknown)[] = [];
  const rig = new FlowRig(
    { teardown: (undo) => void closers.push(undo) },
    { midStream, promotion },
    { failover },
  );
  try {
    const random = randomOf(seed);
    const goes = (sent: Packet) => {
      const way = rig.send(sent);
      if (passes === 'everything' && way.verdict === 'forward') rig.back(way);
    };
    const before = talk(rig, 0);
    flood(random, goes, (i) => (i % 100 === 0 ? stray(before, random) : null));
    check(rig, before, 'before the flood');
    const during = talk(rig, TALKING);
    flood(random, goes, () => null);
    rig.group.register({ address: '10.0.1.12', weight: 1000 });
    check(rig, [...before, ...during], 'after a flood');
  } finally {
    for (const close of closers) void close();
  }
}

/** Half of them connections, half questions and answers. */
function talk(rig: FlowRig, first: number): Way[] {
  return Array.from({ length: TALKING }, (_, i) => {
    const port = 1 + first + i;
    return i % 2 === 0 ? rig.connect(port) : rig.talk(udp(port));
  });
}

/** A SYN with the tuple of one that lives, which its server tells that it lives. */
function stray(living: readonly Way[], random: Random): Packet[] {
  const { packet: sent } = living[random(living.length)];
  if (sent.protocol !== TCP) return [];
  const syn = { ...sent, flags: SYN, sequence: guess(random) };
  return [syn, answer(ACK, sent.sourcePort)];
}

function flood(
  random: Random,
  goes: (sent: Packet) => void,
  extra: (i: number) => Packet[] | null,
): void {
  const kinds = Object.values(KINDS);
  // A few kinds at a time, so that each has the table to itself now and then.
  const chosen = Array.from({ length: 1 + random(4) }, () => kinds[random(kinds.length)]);
  for (let i = 0; i < FLOOD; i++) {
    const number = random(2 ** 24);
    const source = `198.${18 + (number >>> 23)}.${(number >>> 8) & 255}.${number & 255}`;
    const port = 1024 + random(60_000);
    const sent = (more: Partial<Packet> = {}) => ({ ...tcp(SYN, port, { source }), ...more });
    for (const one of chosen[i % chosen.length](sent, random)) goes(one);
    for (const one of extra(i) ?? []) goes(one);
  }
}

function check(rig: FlowRig, ways: readonly Way[], when: string): void {
  for (const { packet: sent, target, cookie } of ways) {
    const now = rig.send(sent.protocol === TCP ? tcp(ACK, sent.sourcePort) : sent);
    const kept = now.verdict === 'forward' && !now.isNew && now.target === target;
    if (!kept || now.cookie !== cookie) {
      const what = `${sent.protocol === TCP ? 'tcp' : 'udp'} ${sent.sourcePort}`;
      throw new Error(`${what}, of ${when}: ${now.verdict} ${now.reason}, new: ${now.isNew}`);
    }
  }
  const { packetsUntracked } = rig.gateway.counters();
  if (packetsUntracked > 0) throw new Error(`${packetsUntracked} packets had no entry`);
}

const show = (given: Case) => [JSON.stringify(given)];

hold(t, 'no flood costs a talking flow its entry', cases, run, { runs: 12, show });
