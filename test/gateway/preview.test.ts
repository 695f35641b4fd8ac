/** Previews: what they say, and that it is what then happens. */
import fc from 'fast-check';
import t from 'tap';
import type { GatewayError } from '../../src/base/errors.js';
import { tableOf } from '../../src/fleet/table.js';
import { zoneNumber } from '../../src/fleet/zones.js';
import type { LiveFleet } from '../../src/gateway/live-fleet.js';
import type { TargetGroupChange, TargetGroupPreview } from '../../src/gateway/preview-types.js';
import { groupWithRuntime, type TargetGroup } from '../../src/gateway/target-group.js';
import { buildTableNow } from '../../src/gateway/target-table.js';
import { type Flow, Rig } from '../rules/rig.js';
import { attach, setup, World } from './group-rig.js';

const ONE = '10.0.0.1:6081';
const TWO = '10.0.0.2:6081';
const THREE = '10.0.0.3:6081';
const NONE = 0xffff;

/** The load balancer, played by the test: the rows of each zone by target id. */
class Rows {
  readonly #live: LiveFleet;
  readonly #group: TargetGroup;

  constructor(group: TargetGroup, crossZone: boolean) {
    this.#group = group;
    this.#live = attach(group);
    this.#live.apply({ type: 'setCrossZone', crossZone });
    this.hold('a');
  }

  /** An endpoint is in the zone. */
  hold(zone: string): void {
    this.#live.apply({ type: 'addEndpoint', id: `endpoint in ${zone}`, zone });
  }

  of(zone: string): (string | null)[] {
    const { fleet } = this.#live;
    const rows = buildTableNow(tableOf(fleet), null).rows(zoneNumber(fleet, zone));
    const names = new Map(this.#group.targets().map(({ slot, id }) => [slot, id]));
    return [...rows].map((slot) => (slot === NONE ? null : (names.get(slot) ?? `slot ${slot}`)));
  }
}

async function rejected(run: () => Promise<unknown>): Promise<GatewayError> {
  try {
    await run();
  } catch (error) {
    return error as GatewayError;
  }
  throw new Error('it was taken');
}

const share = (preview: TargetGroupPreview, target: string, zone = 0) =>
  preview.zones[zone]?.targets.find((entry) => entry.target === target);

t.test('a new target pulls its share from the others', async (t) => {
  const { group, said } = setup();
  group.register({ address: '10.0.0.1' }, { address: '10.0.0.2' });
  said();
  const preview = await group.preview({ register: { address: '10.0.0.3', weight: 2 } });
  const [zone] = preview.zones;
  t.match(zone, { zone: 'default', rows: 65_536 });
  t.equal(share(preview, THREE)?.before, 0);
  t.equal(share(preview, THREE)?.after, zone.moved);
  t.ok(Math.abs(zone.moved / zone.rows - 0.5) < 0.02);
  t.same(new Set(zone.moves.map(({ to }) => to)), new Set([THREE]), 'nobody else gets one');
  t.equal(preview.flows, null, 'no load balancer, no flows');
  const [first, second] = preview.text.split('\n');
  t.equal(first, 'register 10.0.0.3:6081');
  t.match(second, /^ {2}zone default: \d+ of 65536 rows move \([45]\d\.\d %\)$/);
  t.same(said(), [], 'nothing was changed');
  t.equal(group.target('10.0.0.3'), undefined);
  t.equal(group.inUse, false);
});

t.test('what each change does to the rows', async (t) => {
  const { group } = setup({ healthCheck: false });
  group.register({ address: '10.0.0.1' }, { address: '10.0.0.2' });
  const before = share(await group.preview(), ONE)?.before ?? 0;
  const cases: [TargetGroupChange[], number, string][] = [
    [[], before, 'no change'],
    [[{ deregister: ONE }], 0, 'deregister 10.0.0.1:6081'],
    [[{ drainOver: '10.0.0.1' }], 0, 'deregister, delay over: 10.0.0.1:6081'],
    [[{ fail: ONE }], 0, 'unhealthy: 10.0.0.1:6081'],
    [[{ fail: TWO }], 65_536, 'unhealthy: 10.0.0.2:6081'],
    [[{ fail: [ONE, TWO] }], before, 'unhealthy: 10.0.0.1:6081, 10.0.0.2:6081'],
    [[{ weight: { target: ONE, weight: 0 } }], 0, 'weight 0: 10.0.0.1:6081'],
    [[{ update: { failover: 'rebalance' } }], before, 'update failover'],
    [[{ fail: TWO }, { recover: TWO }], before, 'unhealthy: 10.0.0.2:6081'],
    [[{ fail: TWO }, { deregister: ONE }], 0, 'unhealthy: 10.0.0.2:6081'],
  ];
  for (const [changes, after, said] of cases) {
    const preview = await group.preview(...changes);
    t.equal(share(preview, ONE)?.before, before, said);
    t.equal(share(preview, ONE)?.after ?? 0, after, said);
    t.equal(preview.text.split('\n')[0], said);
  }
});

t.test('every wrong change has its sentence', async (t) => {
  const { group } = setup();
  group.register({ address: '10.0.0.1' });
  const keys = 'register, deregister, drainOver, fail, recover, weight, update';
  const expected = `changes[0]: expected an object with one of the keys ${keys}, received`;
  const cases: [unknown[], string][] = [
    [['fail'], `${expected} "fail"`],
    [[null], `${expected} null`],
    [[{}], `${expected} an object`],
    [[{ fail: ONE, recover: ONE }], `${expected} one with fail, recover`],
    [[{ failed: ONE }], `${expected} one with failed`],
    [[{ fail: '10.0.0.9' }], 'changes[0].fail: expected a registered target, received "10.0.0.9"'],
    [
      [{ drainOver: ONE }, { fail: ONE }],
      `changes[1].fail: expected a registered target, received "${ONE}"`,
    ],
    [
      [{ register: [{ address: '10.0.0.2' }, { address: 'x' }] }],
      'changes[0].register[1].address: expected a unicast IPv4 address, received "x"',
    ],
    [
      [{ recover: ONE }, { register: { address: '10.0.0.1' } }],
      `changes[1].register[0]: expected a target that is not registered, received "${ONE}"`,
    ],
    [
      [{ weight: { target: ONE, weight: 1001 } }],
      'changes[0].weight.weight: expected 0–1000, received 1001',
    ],
    [
      [{ fail: [ONE, '10.0.0.9'] }],
      'changes[0].fail[1]: expected a registered target, received "10.0.0.9"',
    ],
    [
      [{ weight: { target: 'x', weight: 1 } }],
      'changes[0].weight.target: expected a registered target, received "x"',
    ],
    [[{ weight: 5 }], 'changes[0].weight: expected an object, received 5'],
    [
      [{ update: { failOpen: 1 } }],
      'changes[0].update.failOpen: expected true or false, received 1',
    ],
    [
      [{ update: { stickiness: '3-tuple' } }],
      'changes[0].update.stickiness: expected "5-tuple", the stickiness it has (with another one all flows choose anew), received "3-tuple"',
    ],
    [
      [{ update: { failover: 'rebalance', sendTcpReset: { onUnhealthy: true } } }],
      'changes[0].update.sendTcpReset.onUnhealthy: expected false unless failover is "no_rebalance", received true with "rebalance"',
    ],
  ];
  for (const [changes, message] of cases) {
    const error = await rejected(() => group.preview(...(changes as TargetGroupChange[])));
    t.equal(error.name, 'GatewayError');
    t.equal(error.message, message);
  }
  await group.close();
  t.match(await rejected(() => group.preview()), { code: 'ERR_GWLB_CLOSED' });
});

t.test('a table that grows with its hundred-and-first target is compared row by row', async (t) => {
  const { group } = setup({ healthCheck: false });
  group.register(...Array.from({ length: 100 }, (_, i) => ({ address: `10.0.1.${i + 1}` })));
  const preview = await group.preview({ register: { address: '10.0.0.1' } });
  const [{ rows, targets, moves, moved }] = preview.zones;
  t.equal(rows, 262_144);
  t.equal(
    targets.reduce((sum, { before }) => sum + before, 0),
    rows,
  );
  t.equal(
    targets.reduce((sum, { after }) => sum + after, 0),
    rows,
  );
  t.ok(moves.length > 100 && moved > rows / 2, 'it is another table');
});

t.test('a load balancer that closes meanwhile ends the preview', async (t) => {
  const rig = new Rig(t);
  rig.open(3);
  const preview = rejected(() => rig.group.preview({ fail: ONE }));
  await rig.gateway.close();
  t.match(await preview, { code: 'ERR_GWLB_CLOSED' });
});

t.test('live flows: who stays, moves, is reset', async (t) => {
  const rig = new Rig(t, { targets: ['10.0.0.1', '10.0.0.2'] });
  const flows = [...rig.open(20), ...rig.open(10, 'udp')];
  const of = (address: string, protocol = /./) =>
    flows.filter((flow) => flow.from === address && protocol.test(flow.protocol)).length;
  const fail = { fail: ONE };
  t.match((await rig.group.preview(fail)).flows, { total: 30, stay: 30, move: 0, reset: 0 });
  const moving = await rig.group.preview({ update: { failover: 'rebalance' } }, fail);
  t.match(moving.flows, { total: 30, stay: of('10.0.0.2'), move: of('10.0.0.1') });
  const reset = await rig.group.preview({ update: { sendTcpReset: { onUnhealthy: true } } }, fail);
  t.match(reset.flows, { reset: of('10.0.0.1', /tcp/), move: 0, noTarget: 0 });
  t.match(reset.text, `10.0.0.1:6081: ${of('10.0.0.1', /tcp/)} are reset`);
  t.match(moving.text, `10.0.0.1:6081 > 10.0.0.2:6081: ${of('10.0.0.1')} move`);
  t.equal(rig.group.failover, 'no_rebalance');
  t.equal(rig.gateway.counters().flowsMoved, 0);
});

// --- What it says is what then happens ---

type Action =
  | { do: 'register'; n: number; zone: string; weight: number }
  | { do: 'deregister' | 'drainOver' | 'fail' | 'recover'; n: number }
  | { do: 'weight'; n: number; weight: number }
  | { do: 'policy'; failover: 'no_rebalance' | 'rebalance' | 'reset'; failOpen: boolean };

const n = fc.integer({ min: 1, max: 4 });
const zone = fc.constantFrom('a', 'b');
const weight = fc.constantFrom(0, 1, 2, 5, 1000);
const action: fc.Arbitrary<Action> = fc.oneof(
  fc.record({ do: fc.constant('register' as const), n, zone, weight }),
  fc.record({ do: fc.constantFrom('deregister', 'drainOver', 'fail', 'recover'), n }),
  fc.record({ do: fc.constant('weight' as const), n, weight }),
  fc.record({
    do: fc.constant('policy' as const),
    failover: fc.constantFrom('no_rebalance', 'rebalance', 'reset'),
    failOpen: fc.boolean(),
  }),
);
const actions = fc.array(action, { maxLength: 4 });

const address = (n: number) => `10.0.0.${n}`;

function policyOf({ failover, failOpen }: Action & { do: 'policy' }) {
  const reset = failover === 'reset';
  return {
    failover: failover === 'reset' ? ('no_rebalance' as const) : failover,
    sendTcpReset: { onUnhealthy: reset, onDeregistration: reset },
    failOpen,
  };
}

/** The action as a change; null where it cannot be made now. */
function changeOf(action: Action, active: Set<number>): TargetGroupChange | null {
  if (action.do === 'policy') return { update: policyOf(action) };
  if (action.do === 'register') {
    if (active.has(action.n)) return null;
    active.add(action.n);
    return { register: { address: address(action.n), zone: action.zone, weight: action.weight } };
  }
  if (!active.has(action.n)) return null;
  const target = address(action.n);
  if (action.do === 'weight') return { weight: { target, weight: action.weight } };
  if (action.do === 'deregister' || action.do === 'drainOver') active.delete(action.n);
  return { [action.do]: target } as TargetGroupChange;
}

/** Really makes it. */
function make(group: TargetGroup, change: TargetGroupChange): void {
  if ('register' in change) group.register(change.register as { address: string });
  if ('deregister' in change) group.deregister(change.deregister as string);
  if ('drainOver' in change) {
    group.update({ deregistrationDelaySeconds: 0 });
    group.deregister(change.drainOver as string);
    group.update({ deregistrationDelaySeconds: 300 });
  }
  if ('fail' in change) group.setHealth(change.fail as string, 'unhealthy');
  if ('recover' in change) group.setHealth(change.recover as string, 'healthy');
  if ('weight' in change) group.setWeight(change.weight.target, change.weight.weight);
  if ('update' in change) group.update(change.update);
}

/** The changes of a run: those before the preview, and those it is asked about. */
function plan(before: readonly Action[], asked: readonly Action[]) {
  const active = new Set([1, 2, 3]);
  const changes = (list: readonly Action[]) =>
    list.map((action) => changeOf(action, active)).filter((change) => change !== null);
  return { before: changes(before), asked: changes(asked) };
}

const TARGETS = [
  { address: address(1), zone: 'a' },
  { address: address(2), zone: 'a', weight: 2 },
  { address: address(3), zone: 'b' },
];

t.test('property: the rows that move are the rows that it said', async (t) => {
  const property = fc.asyncProperty(
    actions,
    actions,
    fc.boolean(),
    async (before, asked, cross) => {
      const group = groupWithRuntime({ healthCheck: false }, new World());
      group.register(...TARGETS);
      const host = new Rows(group, cross);
      const planned = plan(before, asked);
      for (const change of planned.before) make(group, change);
      const zones = ['a', 'b'];
      // As an endpoint in it does: a zone whose last target left keeps its number.
      host.hold('b');
      const old = zones.map((zone) => host.of(zone));
      const preview = await group.preview(...planned.asked);
      for (const change of planned.asked) make(group, change);
      zones.forEach((zone, i) => {
        const rows = host.of(zone);
        const moves = new Map<string, number>();
        rows.forEach((to, row) => {
          const key = `${old[i][row]} ${to}`;
          if (to !== old[i][row]) moves.set(key, (moves.get(key) ?? 0) + 1);
        });
        const said = preview.zones.find((entry) => entry.zone === (cross ? null : zone));
        const told = said?.moves.map(({ from, to, rows }): [string, number] => [
          `${from} ${to}`,
          rows,
        ]);
        t.same(new Map(told), moves);
        for (const { target, after } of said?.targets ?? []) {
          if (rows.filter((name) => name === target).length !== after) t.fail(`share of ${target}`);
        }
      });
      return t.passing();
    },
  );
  await fc.assert(property, { numRuns: 60 });
});

t.test('property: the flows do what it said', async (t) => {
  const property = fc.asyncProperty(
    actions,
    actions,
    actions,
    fc.boolean(),
    async (first, second, asked, crossZone) => {
      const rig = new Rig({ teardown: () => {} }, { targets: TARGETS, gateway: { crossZone } });
      const planned = plan([...first, ...second], asked);
      const early = planned.before.splice(0, first.length);
      for (const change of early) make(rig.group, change);
      const flows = ['a', 'b'].flatMap((zone) => [
        ...rig.open(12, 'tcp', zone),
        ...rig.open(6, 'udp', zone),
      ]);
      const live = flows.filter(({ from }) => from.startsWith('10.'));
      for (const change of planned.before) make(rig.group, change);
      const preview = await rig.group.preview(...planned.asked);
      for (const change of planned.asked) make(rig.group, change);
      const expected = new Map<string, number>();
      const happened = new Map<string, number>();
      const add = (to: Map<string, number>, key: string, flows: number) =>
        to.set(key, (to.get(key) ?? 0) + flows);
      for (const { from, to, fate, flows } of preview.flows?.moves ?? []) {
        // An address that was registered again is another machine, which packets cannot tell apart.
        const seen = from === to && fate === 'moves' ? 'stays' : fate;
        add(expected, `${from} ${to} ${seen}`, flows);
      }
      for (const flow of live) add(happened, outcome(flow, rig.say(flow)), 1);
      await rig.gateway.close();
      t.same(happened, expected);
      return t.passing();
    },
  );
  await fc.assert(property, { numRuns: 150 });
});

function outcome({ from }: Flow, went: string): string {
  const pinned = `${from}:6081`;
  if (went === from) return `${pinned} ${pinned} stays`;
  if (went === 'reset') return `${pinned} ${pinned} reset`;
  if (went === 'no_targets' || went === 'bypass') return `${pinned} null no_target`;
  return `${pinned} ${went}:6081 moves`;
}
