// What is asked of us. A bar is a ratio, ours divided by the other's (a peer or `limit`), or with
// `ours` a figure in the unit of the case. Times and shares must be at most this, rates at least.
// test/wide/bench.test.ts holds the names to the cases there are.

export type Bars = Readonly<Record<string, number>>;

export const BARS: Readonly<Record<string, Bars>> = {
  'lookup ipv4 10k': { boost: 1.2 },
  'lookup ipv6 10k': { boost: 1.2 },
  'lookup ipv4 1m': { limit: 3, rte_hash: 0.6, boost: 0.6 },
  'lookup ipv6 1m': { limit: 3, rte_hash: 0.4, boost: 0.4 },
  'lookup ipv4 10m': { limit: 3.3 },
  'lookup ipv6 10m': { limit: 3.3 },
  'lookup mixed 1m': { uniform: 1.5 },
  'insert mixed 1m': { uniform: 1.5 },
  'insert ipv4 1m': { boost: 0.67 },
  'insert ipv6 1m': { boost: 0.67 },
  'delete ipv4 1m': { boost: 0.86 },
  'delete ipv6 1m': { boost: 0.86 },
  'sweep ipv4 1m': { ours: 5 },
  'sweep ipv4 10m': { ours: 5 },
  'sweep step, none idle': { ours: 50 },
  'sweep step, all idle': { ours: 50 },
  // Where the limit reads 6 ns: 35 ns.
  'to targets 100k flows': { limit: 5.83 },
  'to targets 10m flows cold packets': { ours: 110 },
  'memory ipv4 1m': { ours: 45 },
  'memory ipv6 1m': { ours: 85 },
  'memory ipv4 10m': { ours: 45 },
  'memory ipv6 10m': { ours: 85 },
  'crossing empty batch': { ours: 256 },
  'crossing empty lookup': { ours: 256 },
  'change live 300 targets': { ours: 100 },
  'encapsulate 68 B': { limit: 2 },
  'decapsulate hot': { limit: 2 },
  'decapsulate cold': { limit: 2 },
  'to targets mixed 100k flows': { uniform: 1.5 },
  'from targets mixed 100k flows': { uniform: 1.5 },
  'replay new flows': { ours: 10, tshark: 1 },
  'change 300 add': { ours: 100 },
  'change 300 remove': { ours: 100 },
  'change 300 weight': { ours: 100 },
  'wire tcp end to end': { 'Open vSwitch': 10, 'routing, no inspection': 0.3 },
  "wire tcp through a kernel's firewall": { 'pass-through': 0.6, 'offloads off': 4 },
  'wire single packets through a kernel': { 'plain C': 1.25 },
  'wire ping round trip': { 'C relay': 1.3 },
  'wire mixed 64 bytes': { 'C echo': 0.9, 'C echo, 64 source ports': 0.9, 'Node dgram': 4 },
  'wire mixed 1400 bytes': { 'C echo': 0.9, 'C echo, 64 source ports': 0.9, 'Node dgram': 4 },
  'wire mixed 1400 bytes, runs of 8': { 'C echo': 0.9, 'Node dgram': 4 },
  'wire bulk to targets': { ours: 4e6, 'offloads off': 10 },
  'wire bulk there and back': { 'offloads off': 10 },
  'hash ipv4': { ours: 10 },
  'hash ipv6': { ours: 14 },
  'two workers, pass to targets': { limit: 0.95 },
  'appliance pass-through, 92 B': { 'plain C echo': 0.9, 'Node dgram': 4 },
  'appliance passFlow at the first packet, 92 B': { 'plain C echo': 0.85, 'Node dgram': 4 },
  'appliance inspect every packet, 92 B': { 'plain C echo': 0.4 },
  'appliance pass-through, 92 B, CPU': { 'plain C echo': 1.11, 'Node dgram': 0.25 },
  'appliance passFlow at the first packet, 92 B, CPU': { 'plain C echo': 1.18, 'Node dgram': 0.25 },
  'appliance inspect every packet, 92 B, CPU': { 'plain C echo': 2.5 },
  'appliance pass-through, 1400 B': { 'plain C echo': 0.9, 'Node dgram': 4 },
  'appliance passFlow at the first packet, 1400 B': { 'plain C echo': 0.85, 'Node dgram': 4 },
  'appliance inspect every packet, 1400 B': { 'plain C echo': 0.4 },
  'appliance pass-through, 1400 B, CPU': { 'plain C echo': 1.11, 'Node dgram': 0.25 },
  'appliance passFlow at the first packet, 1400 B, CPU': {
    'plain C echo': 1.18,
    'Node dgram': 0.25,
  },
  'appliance inspect every packet, 1400 B, CPU': { 'plain C echo': 2.5 },
  "appliance an inspector's packet, JavaScript thread": { ours: 60 },
};

/** Of each kind of packet, whatever it is: what it may cost of a plain one. */
const KIND_BARS: Bars = { 'plain packet': 6 };

export const barsOf = (name: string): Bars | undefined =>
  name.startsWith('kind ') ? KIND_BARS : BARS[name];
