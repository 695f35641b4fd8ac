/** Saved states come from files: whatever is wrong with one is told with its place. */
import t from 'tap';
import { savedOf } from '../../src/fleet/saved.js';
import { checkState } from '../../src/gateway/check-state.js';
import { LIMITS, spec, started, thrown } from '../fleet/rig.js';

t.test('what is no state is told with its place', async (t) => {
  const { played } = started([spec(1), spec(2)], [0]);
  played.do({ type: 'addEndpoint', id: 'vpce-00000000000000001', zone: 'a' });
  // biome-ignore lint/suspicious/noExplicitAny: to make it wrong.
  const wrong = (change: (state: Record<string, any>) => unknown): string => {
    const state = JSON.parse(JSON.stringify(savedOf(played.fleet)));
    change(state);
    const { field, received } = thrown(() => checkState('state', state, LIMITS)) ?? {};
    return `${field}: ${received}`;
  };
  const told = [
    wrong((s) => Object.assign(s, { version: 2 })),
    wrong((s) => Object.assign(s, { more: 1 })),
    wrong((s) => delete s.zones),
    wrong((s) => Object.assign(s.targets[1], { slot: 0 })),
    wrong((s) => Object.assign(s.targets[1], { slot: 7 })),
    wrong((s) => s.targets.shift()),
    wrong((s) => Object.assign(s.targets[1], { address: '10.0.0.1' })),
    wrong((s) => Object.assign(s.targets[0], { zone: 'x' })),
    wrong((s) => Object.assign(s.targets[0], { group: 9 })),
    wrong((s) => Object.assign(s.targets[0].health, { state: 'ill' })),
    wrong((s) => Object.assign(s.targets[0], { since: Number.NaN })),
    wrong((s) => Object.assign(s, { group: 2 })),
    wrong((s) => s.groups.push(s.groups[0])),
    wrong((s) => Object.assign(s.zones, { 1: 'default' })),
    wrong((s) => s.endpoints.push(s.endpoints[0])),
    wrong((s) => Object.assign(s.endpoints[0], { id: 'e' })),
    wrong((s) => Object.assign(s, { targets: Array(9).fill(s.targets[0]) })),
  ];
  t.strictSame(told, [
    'state.version: 2',
    'state.more: an unknown option',
    'state.zones: undefined',
    'state.targets[1].slot: 0',
    'state.targets[1].slot: 7',
    'state.targets[0].slot: 1',
    'state.targets[1].address: "10.0.0.1:6081"',
    'state.targets[0].zone: "x"',
    'state.targets[0].group: 9',
    'state.targets[0].health.state: "ill"',
    'state.targets[0].since: NaN',
    'state.group: 2',
    'state.groups[1].number: 1',
    'state.zones[1]: "default"',
    'state.endpoints[1].index: 0',
    'state.endpoints[0].id: "e"',
    'state.targets: 9',
  ]);
});
