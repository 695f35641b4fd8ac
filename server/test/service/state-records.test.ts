/** A gateway's state as records and back, and what of it is written when something changes. */
import t from 'tap';
import { differences, recordsOf, stateOf } from '../../src/service/state-records.js';

const HEALTH = { state: 'healthy', reason: null, description: 'Healthy.', successes: 0 };

function state(weights: readonly number[]) {
  return {
    version: 1,
    group: 1,
    groups: [{ number: 1, name: 'targets', policy: { rule: null } }],
    zones: ['default'],
    targets: weights.map((weight, i) => ({ slot: 11 - i, weight, health: HEALTH })),
    freeSlots: [{ number: 3, since: 5, generation: 1 }],
    endpoints: [{ id: 'vpce-00000000000000001', index: 0 }],
    freeIndices: [{ number: 1, since: null }],
  } as unknown as Parameters<typeof recordsOf>[0];
}

t.test('there and back, in the order of registration', async (t) => {
  const before = state([5, 6, 7]);
  const stored = JSON.parse(JSON.stringify([...recordsOf(before)])) as [string, never][];
  t.strictSame(stateOf(new Map(stored.reverse())), before);
  t.equal(stateOf(new Map()), undefined);
});

t.test('a change of one target is one record', async (t) => {
  const before = recordsOf(state([5, 6, 7]));
  t.strictSame(differences(before, recordsOf(state([5, 6, 7]))), { puts: {}, deletes: [] });
  const { puts, deletes } = differences(before, recordsOf(state([5, 9, 7])));
  t.match(puts, { 'fleet/targets/10': { weight: 9 } });
  t.strictSame([Object.keys(puts).length, deletes], [1, []]);
  const less = differences(before, recordsOf(state([5, 6])));
  t.strictSame([Object.keys(less.puts), less.deletes], [['fleet/head'], ['fleet/targets/9']]);
});
