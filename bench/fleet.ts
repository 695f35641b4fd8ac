// What a load balancer of 4,096 targets does with a change, as data: one target's check says something
// else, and all that packets are then decided by. Beside it what a store or an API would do with the same
// state: JSON and back. And thousands of targets registered at once.
import { TargetGroup } from 'gwlb';
import { apply } from '../dist/fleet/apply.js';
import type { Fleet } from '../dist/fleet/state.js';
import { emptyFleet } from '../dist/fleet/state.js';
import { tableOf } from '../dist/fleet/table.js';
import { compareSamplers, prove, timeNs, wanted } from './harness.js';

const SUITE = 'fleet';
const TARGETS = 4096;
/** A single one is too short for the clock. */
const TURNS = 500;
const IDS = Array.from(
  { length: TARGETS },
  (_, i) => `10.${i >> 14}.${(i >> 7) & 127}.${1 + (i & 127)}`,
);
const SPECS = IDS.map((address) => ({ address }));

function fleet(): Fleet {
  const made = emptyFleet({ targets: TARGETS, zones: 64, endpoints: 64 }, true);
  const targets = IDS.map((address, i) => ({
    ...{ id: `${address}:6081`, address, number: 0x0a00_0001 + i, port: 6081 },
    ...{ zone: `zone ${i % 3}`, weight: 1, said: null },
  }));
  const policy = {
    ...{ failover: 'rebalance' as const, resetOnUnhealthy: false, resetOnDeregistration: false },
    ...{ deregistrationDelayMs: 300_000, slowStartMs: 0, rule: null },
  };
  apply(made, { type: 'useGroup', group: { name: 'bench', policy, targets } }, 1);
  return made;
}

function ms(work: () => void): number {
  return timeNs(work) / 1e6;
}

function applied(): void {
  const ours = fleet();
  const other = fleet();
  let now = 2;
  let told = 0;
  const turn = (): void => {
    // Each fails, and is well again.
    const target = `${IDS[(now >> 1) % TARGETS]}:6081`;
    const health = now % 2 === 0 ? ('unhealthy' as const) : ('healthy' as const);
    now += 1;
    told += apply(ours, { type: 'setHealth', target, state: health }, now).length;
  };
  const turns = (): void => {
    for (let i = 0; i < TURNS; i += 1) turn();
  };
  turns();
  prove('each is a change', told, TURNS);
  turn();
  prove('the change has come', tableOf(ours).targets.filter(({ eligible }) => !eligible).length, 1);
  compareSamplers(
    {
      suite: SUITE,
      name: 'fleet apply 4096',
      unit: 'ms',
      note: 'one check result of 4,096 targets',
    },
    [
      { name: 'apply', sample: () => ms(turns) / TURNS },
      { name: 'and the table', sample: () => ms(() => [turn(), tableOf(ours)]) },
      { name: 'JSON and back', sample: () => ms(() => JSON.parse(JSON.stringify(other))) },
    ],
  );
}

function registered(): void {
  const text = JSON.stringify(SPECS);
  const register = (): number => {
    const group = new TargetGroup({ healthCheck: false });
    return group.register(...SPECS).length;
  };
  prove('all are registered', register(), TARGETS);
  compareSamplers(
    { suite: SUITE, name: 'fleet register 4096', unit: 'ms', note: 'a group by itself' },
    [
      { name: 'register', sample: () => ms(register) },
      { name: 'JSON of the same', sample: () => ms(() => JSON.parse(text)) },
    ],
  );
}

if (wanted(SUITE, 'fleet apply 4096')) applied();
if (wanted(SUITE, 'fleet register 4096')) registered();
process.exit(0);
