/** The model's formats against vectors of other programs, and against the addon. */
import fc from 'fast-check';
import t from 'tap';
import type { TableTarget } from '../../src/fleet/table.js';
import { buildTableNow } from '../../src/gateway/target-table.js';
import { binding } from '../../src/native/binding.js';
import { type Ends, keyOf } from './key.js';
import { bytesOf, packet } from './packets.js';
import { bestOf, negLog2, ROWS, score, targetIdentity } from './score.js';
import { siphash13 } from './siphash.js';

const counting = (length: number) => Uint8Array.from({ length }, (_, i) => i);

t.test('SipHash-1-3 of 00 01 02 …', async (t) => {
  const vectors: [number, bigint][] = [
    [0, 0xabac0158050fc4dcn],
    [1, 0xc9f49bf37d57ca93n],
    [7, 0xd3927d989bb11140n],
    [16, 0xcc4fdd1a7d908b66n],
    [40, 0xc1d2363299e41531n],
  ];
  for (const [length, hash] of vectors) {
    t.equal(siphash13(counting(16), counting(length)), hash, `${length} bytes`);
  }
});

t.test('logarithms and scores', async (t) => {
  const logarithms: [bigint, bigint][] = [
    [0x00000000n, 2147483648n],
    [0x00000001n, 2080374784n],
    [0x00000002n, 2041118615n],
    [0x7fffffffn, 67108864n],
    [0x80000000n, 67108864n],
    [0xfffffffen, 0n],
    [0xffffffffn, 0n],
    [0x00003039n, 1235356338n],
    [0xdeadbeefn, 13500980n],
    [0xfff00000n, 23640n],
  ];
  for (const [u, expected] of logarithms) t.equal(negLog2(u), expected, u.toString(16));
  const scores: [bigint, bigint, number, number, bigint][] = [
    [0n, 0n, 0, 1, 415600027369472n],
    [0n, 1n, 0, 1, 932447751503872n],
    [1n, 0n, 1, 1, 747516224077824n],
    [0x0123456789abcdefn, 0xfedcba9876543210n, 65535, 1000, 295168976617n],
    [0xffffffffffffffffn, 0xffffffffffffffffn, 262143, 7, 159700003848192n],
    [42n, 0x0a000102n, 4097, 999, 4763197192878n],
  ];
  for (const [seed, identity, row, weight, expected] of scores) {
    t.equal(score(seed, identity, row, weight), expected);
    t.equal(binding.scoreOf(seed, identity, row, weight), expected, 'the addon says the same');
  }
});

t.test('rows are those of the addon', async (t) => {
  const targets: TableTarget[] = [1, 7, 1000, 3, 1].map((weight, slot) => ({
    slot,
    zone: 0,
    address: 0x0a000001 + slot,
    port: 6081,
    eligible: slot !== 4,
    reset: false,
    gone: false,
    keeps: true,
    generation: 0,
    weight,
    identity: targetIdentity(`10.0.0.${slot + 1}:6081`),
  }));
  const rows = buildTableNow({ targets, zones: 1, crossZone: false, seed: 0n }, null).rows(0);
  t.equal(rows.length, ROWS);
  const eligible = targets.filter((target) => target.eligible);
  const step = 61;
  for (let row = 0; row < ROWS; row += step) {
    if (rows[row] !== bestOf(eligible, row)?.slot) t.fail(`row ${row}`);
  }
  t.equal(bestOf([], 0), null);
});

t.test('keys are those of the addon, the same in both directions', async (t) => {
  const address = fc.oneof(
    fc.ipV4().map((text) => ({ version: 4 as const, text })),
    fc.ipV6().map((text) => ({ version: 6 as const, text })),
  );
  const ends = fc
    .tuple(address, address)
    .filter(([a, b]) => a.version === b.version)
    .chain(([a, b]) =>
      fc.record({
        version: fc.constant(a.version),
        source: fc.constant(a.text),
        destination: fc.constantFrom(a.text, b.text),
        protocol: fc.constantFrom(6, 17, 47, 132, 136),
        ports: fc.tuple(fc.nat(65_535), fc.nat(65_535)),
      }),
    );
  const kind = fc.constantFrom(5 as const, 3 as const, 2 as const);
  fc.assert(
    fc.property(ends, kind, fc.nat(0xffff), (given: Ends, stickiness, scope) => {
      const [sourcePort, destinationPort] = given.ports ?? [0, 0];
      const sent = packet({
        ...given,
        ...(given.protocol !== 47 && { sourcePort, destinationPort }),
      });
      const expected = binding.flowKey(bytesOf(sent), stickiness, scope);
      const key = keyOf(given, stickiness, scope);
      t.same(Buffer.from(key.bytes), Buffer.from(expected ?? []));
      const back = {
        ...given,
        source: given.destination,
        destination: given.source,
        ports: [destinationPort, sourcePort] as const,
      };
      t.equal(keyOf(back, stickiness, scope).text, key.text);
    }),
    { numRuns: 300 },
  );
});
