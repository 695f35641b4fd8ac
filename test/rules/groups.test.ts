/** Rule T17 of docs/rules.md, on the public API; with every cell of the specification's matrix. */
import t from 'tap';
import { groupWithRuntime } from '../../src/gateway/target-group.js';
import type { TargetGroupOptions, TargetSpec } from '../../src/index.js';
import { ACK, COLUMN_NAMES, COLUMNS, notOf, of, origins, Rig } from './rig.js';

const FIRST = '10.0.0.1';
const SECOND = '10.0.0.2';
const FOURTH = '10.0.0.4';
const FIFTH = '10.0.0.5';

function other(rig: Rig, targets: TargetSpec[], options: TargetGroupOptions = {}) {
  const group = groupWithRuntime({ name: 'other', healthCheck: false, ...options }, rig.world);
  group.register(...targets);
  return group;
}

t.test('T17: another group: new flows go to its targets, the others drain', async (t) => {
  for (const name of COLUMN_NAMES) {
    const policy = { ...COLUMNS[name], deregistrationDelaySeconds: 60 };
    const rig = new Rig(t, { policy });
    const before = rig.group;
    const flows = [...rig.open(40), ...rig.open(40, 'udp')];
    rig.gateway.setTargetGroup(other(rig, [{ address: FOURTH }, { address: FIFTH }]));
    t.same(new Set(origins(rig.open(40))), new Set([FOURTH, FIFTH]), name);
    t.same(rig.sayAll(flows), origins(flows), 'flows stay while their targets drain');
    t.match(
      before.targets().map(({ state, reason }) => [state, reason]),
      [0, 1, 2].map(() => ['unused', 'Target.NotInUse']),
      'for their own group nobody uses them',
    );
    rig.wait(61);
    const lost = { no_rebalance: origins(flows), rebalance: null, reset: 'reset' }[name];
    if (lost === 'reset') {
      t.same(new Set(rig.sayAll(flows.slice(0, 40))), new Set(['reset']), 'connections');
    } else if (lost === null) {
      t.same(new Set(rig.sayAll(flows)), new Set([FOURTH, FIFTH]));
    } else {
      t.same(rig.sayAll(flows), lost, 'until they end');
    }
  }
});

t.test('T17: flows go on by the policy of the group that they came by', async (t) => {
  const rig = new Rig(t, {
    policy: { ...COLUMNS.rebalance, deregistrationDelaySeconds: 10 },
    targets: [FIRST],
  });
  const former = rig.open(20);
  const next = other(rig, [{ address: FOURTH }, { address: FIFTH }]);
  rig.gateway.setTargetGroup(next);
  const flows = of(rig.open(40), FOURTH);
  next.setHealth(FOURTH, 'unhealthy');
  rig.wait(11);
  t.same(new Set(rig.sayAll(former)), new Set([FIFTH]), 'rebalance');
  t.same(rig.sayAll(flows), origins(flows), 'no_rebalance');
});

t.test('T17: a target of both groups keeps its flows, and its slot', async (t) => {
  const rig = new Rig(t, { policy: { deregistrationDelaySeconds: 0, ...COLUMNS.rebalance } });
  const flows = rig.open(60);
  const slot = rig.group.target(SECOND)?.slot;
  const next = other(rig, [{ address: FOURTH }, { address: SECOND }], COLUMNS.rebalance);
  rig.gateway.setTargetGroup(next);
  t.equal(next.target(SECOND)?.slot, slot);
  const kept = of(flows, SECOND);
  t.ok(kept.length > 5);
  t.same(rig.sayAll(kept), origins(kept));
  t.same(new Set(rig.sayAll(notOf(flows, SECOND), ACK)), new Set([FOURTH, SECOND]));
});
