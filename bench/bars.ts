// What is asked of us. A bar is a ratio, ours divided by the other's (a peer or `limit`), or with
// `ours` a figure in the unit of the case. Times and shares must be at most this, rates at least.
// test/wide/bench.test.ts holds
// the names to the cases there are.

export type Bars = Readonly<Record<string, number>>;

export const BARS: Readonly<Record<string, Bars>> = {
  'lookup ipv4 1m': { limit: 3, rte_hash: 0.6, boost: 0.6 },
  'lookup ipv6 1m': { limit: 3, rte_hash: 0.4, boost: 0.4 },
};
