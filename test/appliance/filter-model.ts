/** Random capture filters as trees of their own, with text and meaning: the model that filters are held to. */
import { tuplePacket } from '../../src/index.js';

/** A packet as its fields, and its bytes. */
export interface ModelPacket {
  version: 4 | 6;
  protocol: number;
  source: string;
  destination: string;
  /** 0 for both where there are none. */
  ports: [number, number] | null;
  bytes: Uint8Array;
}

export interface ModelFilter {
  text: string;
  matches: (packet: ModelPacket) => boolean;
}

/** Integers below `below`, the same for the same seed. */
export function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    // Marsaglia's xorshift.
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state % below;
  };
}

type Random = (below: number) => number;
const pick = <T>(random: Random, of: readonly T[]): T => of[random(of.length)];

const ADDRESSES = {
  4: ['10.0.0.1', '10.0.1.1', '192.0.2.9'],
  6: ['2001:db8::1', '2001:db8:1::1', 'fe80::9'],
};
const PORTS = [1, 53, 443, 1000, 40_000];
const NETWORKS: [string, string, (address: string) => boolean][] = [
  ['10.0.0.0/8', '10', (a) => a.startsWith('10.')],
  ['10.0.0.0/24', '10.0.0', (a) => a.startsWith('10.0.0.')],
  ['192.0.0.0/14', '192.0.0.0 mask 255.252.0.0', (a) => a.startsWith('192.')],
  ['0.0.0.0/0', '0.0.0.0 mask 0.0.0.0', (a) => a.includes('.')],
  ['2001:db8::/47', '2001:db8::/47', (a) => a.startsWith('2001:')],
  ['2001:db8::/48', '2001:db8::/48', (a) => a === '2001:db8::1'],
  ['fe80::/10', 'fe80::/10', (a) => a.startsWith('fe80')],
];

export function randomPacket(random: Random): ModelPacket {
  const version = pick(random, [4, 6] as const);
  const protocol = pick(random, [6, 17, 132, version === 4 ? 1 : 58, 47]);
  const source = pick(random, ADDRESSES[version]);
  const destination = pick(random, ADDRESSES[version]);
  const has = protocol === 6 || protocol === 17 || protocol === 132;
  const ports: [number, number] | null = has ? [pick(random, PORTS), pick(random, PORTS)] : null;
  const end = (address: string, port: number) =>
    ports === null ? address : version === 6 ? `[${address}]:${port}` : `${address}:${port}`;
  const bytes = tuplePacket({
    protocol,
    source: end(source, ports?.[0] ?? 0),
    destination: end(destination, ports?.[1] ?? 0),
  });
  return { version, protocol, source, destination, ports, bytes };
}

const DIRECTIONS: [string, (source: boolean, destination: boolean) => boolean][] = [
  ['', (s, d) => s || d],
  ['src ', (s) => s],
  ['dst ', (_, d) => d],
  ['src or dst ', (s, d) => s || d],
  ['dst and src ', (s, d) => s && d],
];

function primitive(random: Random): ModelFilter {
  const [direction, ends] = pick(random, DIRECTIONS);
  switch (random(5)) {
    case 0: {
      const [text, matches] = pick<[string, (p: ModelPacket) => boolean]>(random, [
        ['ip', (p) => p.version === 4],
        ['ip6', (p) => p.version === 6],
        ['tcp', (p) => p.protocol === 6],
        ['udp', (p) => p.protocol === 17],
        ['sctp', (p) => p.protocol === 132],
        ['icmp', (p) => p.protocol === 1],
        ['icmp6', (p) => p.protocol === 58],
        ['proto 47', (p) => p.protocol === 47],
        ['ip proto 6', (p) => p.version === 4 && p.protocol === 6],
        ['ip6 proto \\udp', (p) => p.version === 6 && p.protocol === 17],
      ]);
      return { text, matches };
    }
    case 1: {
      const version = pick(random, [4, 6] as const);
      const address = pick(random, ADDRESSES[version]);
      const prefix = pick(random, ['', version === 4 ? 'ip ' : 'ip6 ']);
      return {
        text: `${prefix}${direction}host ${address}`,
        matches: (p) => ends(p.source === address, p.destination === address),
      };
    }
    case 2: {
      const [long, short, inside] = pick(random, NETWORKS);
      return {
        text: `${direction}net ${pick(random, [long, short])}`,
        matches: (p) => ends(inside(p.source), inside(p.destination)),
      };
    }
    default: {
      const ranged = random(2) === 0;
      const a = pick(random, PORTS);
      const b = ranged ? pick(random, PORTS) : a;
      const inside = (port: number) => Math.min(a, b) <= port && port <= Math.max(a, b);
      const [name, protocol] = pick<[string, number]>(random, [
        ['', 0],
        ['tcp ', 6],
        ['udp ', 17],
        ['sctp ', 132],
      ]);
      return {
        text: `${name}${direction}${ranged ? `portrange ${a}-${b}` : `port ${a}`}`,
        matches: ({ ports, protocol: given }) =>
          ports !== null &&
          (protocol === 0 || given === protocol) &&
          ends(inside(ports[0]), inside(ports[1])),
      };
    }
  }
}

/** Composite parts stand in parentheses, but for a left operand, which needs none. */
export function randomFilter(random: Random, depth: number): ModelFilter {
  if (depth === 0 || random(5) === 0) return primitive(random);
  if (random(4) === 0) {
    const operand = randomFilter(random, depth - 1);
    const not = pick(random, ['not ', '!', '! ']);
    return { text: `${not}(${operand.text})`, matches: (p) => !operand.matches(p) };
  }
  const left = randomFilter(random, depth - 1);
  const right = randomFilter(random, depth - 1);
  const and = random(2) === 0;
  const word = pick(random, and ? [' and ', '&&', ' && '] : [' or ', '||', ' || ']);
  const before = random(2) === 0 ? left.text : `(${left.text})`;
  return {
    text: `${before}${word}(${right.text})`,
    matches: and
      ? (p) => left.matches(p) && right.matches(p)
      : (p) => left.matches(p) || right.matches(p),
  };
}
