/** A fleet that another process goes on with. */
import t from 'tap';
import { type GatewayState, restored, resume, savedOf } from '../../src/fleet/saved.js';
import type { Fleet } from '../../src/fleet/state.js';
import { tableOf } from '../../src/fleet/table.js';
import { checkState } from '../../src/gateway/check-state.js';
import { brokenInvariant } from './invariants.js';
import { BAD, group, LIMITS, OK, Played, slots, spec, started, thrown, told } from './rig.js';

const ID = (n: number) => `vpce-0000000000000000${n}`;

function stateOf(played: Played): GatewayState {
  return JSON.parse(JSON.stringify(savedOf(played.fleet)));
}

/** As in another process, so much later. */
function again(played: Played, now = 0, crossZone = false): Fleet {
  return restored(checkState('state', stateOf(played), LIMITS), LIMITS, crossZone, now);
}

t.test('targets keep slots, generations and health; counts of results begin anew', async (t) => {
  const { played } = started([spec(1), spec(2, { zone: 'b' }), spec(3)], [0, 1], {
    failover: 'rebalance',
  });
  played.check(played.get('10.0.0.1'), BAD);
  played.do({ type: 'checked', target: '10.0.0.3:6081', result: OK });
  played.deregister(['10.0.0.2'], 1_000);
  const fleet = again(played, 2_000);
  t.equal(brokenInvariant(fleet), null);
  t.match(Object.values(fleet.targets), [
    { id: '10.0.0.1:6081', slot: 0, state: 'unhealthy', reason: 'Target.Timeout', failing: true },
    { id: '10.0.0.2:6081', slot: 1, state: 'draining', zone: 'b', drainUntil: 301_000 },
    { id: '10.0.0.3:6081', slot: 2, state: 'initial', health: { successes: 0 } },
  ]);
  t.strictSame(tableOf(fleet), tableOf(played.fleet));
});

t.test('the group goes on: what it has now stays, what it has no more drains', async (t) => {
  const { played } = started([spec(1), spec(2)], [0, 1]);
  const fleet = again(played);
  const next = group([spec(2, { weight: 5 }), spec(3)], { deregistrationDelayMs: 1_000 });
  t.strictSame(told(resume(fleet, next, 10)), [
    '10.0.0.1 healthy>draining Target.DeregistrationInProgress (deregister)',
    'register 10.0.0.3 (register)',
    '10.0.0.3 unused>initial Elb.RegistrationInProgress (register)',
    'weight 10.0.0.2 (set-weight)',
  ]);
  t.strictSame(slots(Object.values(fleet.targets)), [0, 1, 2]);
  t.match(fleet.targets['10.0.0.1:6081'], { drainUntil: 1_010 }, 'by the policy of now');
  t.match(fleet.targets['10.0.0.2:6081'], { state: 'healthy', weight: 5 });
});

t.test('another group takes the place of the one that was in use', async (t) => {
  const { played } = started([spec(1)], [0]);
  const fleet = again(played);
  resume(fleet, group([spec(2)], {}, 'other'), 0);
  t.match(Object.values(fleet.targets), [
    { id: '10.0.0.1:6081', phase: 'draining', group: 1 },
    { id: '10.0.0.2:6081', phase: 'active', group: 2 },
  ]);
});

t.test('without checks a word holds, and a new one counts', async (t) => {
  const played = new Played({ rule: null });
  played.register([spec(1), spec(2)]);
  played.do({ type: 'setHealth', target: '10.0.0.1', state: 'unhealthy' });
  const fleet = again(played);
  const members = group([spec(1), spec(2)], { rule: null });
  resume(fleet, members, 0);
  t.strictSame(
    Object.values(fleet.targets).map(({ state }) => state),
    ['unhealthy', 'healthy'],
  );
  const [first, second] = members.targets;
  const said = played.get('10.0.0.1').said;
  resume(fleet, { ...members, targets: [first, { ...second, said }] }, 0);
  t.equal(fleet.targets['10.0.0.2:6081'].state, 'unhealthy');
});

t.test('an endpoint has the index that it had; others do not get it', async (t) => {
  const played = new Played();
  played.do({ type: 'addEndpoint', id: ID(1), zone: 'a' });
  played.do({ type: 'addEndpoint', id: ID(2), zone: 'a' });
  const next = new Played();
  Object.assign(next.fleet, again(played));
  const error = thrown(() => next.do({ type: 'addEndpoint', id: ID(3), zone: 'a' }));
  t.equal(error?.code, 'ERR_GWLB_ENDPOINT_LIMIT');
  next.do({ type: 'addEndpoint', id: ID(2), zone: 'a' });
  const third = again(next);
  t.strictSame(
    savedOf(third)
      .endpoints.map(({ index }) => index)
      .sort(),
    [0, 1],
    'also one that the process between did not make',
  );
  next.do({ type: 'addEndpoint', id: ID(3), zone: 'a' }, 6_060_000);
  t.equal(next.fleet.endpoints[ID(3)].index, 0, 'until no flow of it is left');
});

t.test('what time brought meanwhile is done at once', async (t) => {
  const { played } = started([spec(1), spec(2)], [0, 1], { slowStartMs: 40_000 });
  played.deregister(['10.0.0.1'], 1_000);
  const later = new Played();
  Object.assign(later.fleet, again(played, 400_000));
  t.match(later.fleet.targets['10.0.0.2:6081'], { step: 4, warmingSince: null });
  t.strictSame(told(later.tick(400_000)), [
    '10.0.0.1 draining>unused Target.NotRegistered (delay-expired)',
    'deregister 10.0.0.1 (delay-expired)',
  ]);
});

t.test('a clock that was set back: nothing is in the future', async (t) => {
  const { played } = started([spec(1), spec(2)], [0], { slowStartMs: 40_000 });
  played.check(played.get('10.0.0.2'), OK, 1_000_000);
  played.deregister(['10.0.0.1'], 1_000_000);
  const fleet = again(played, 10);
  t.match(fleet.targets['10.0.0.2:6081'], { since: 10, warmingSince: 10, step: 0 });
  t.match(fleet.targets['10.0.0.1:6081'], { drainUntil: 300_010 });
});

t.test('one that is gone, and its address anew, stay two', async (t) => {
  const { played } = started([spec(1)], [0], { deregistrationDelayMs: 0 });
  played.deregister(['10.0.0.1']);
  played.register([spec(1)]);
  t.strictSame(Object.keys(again(played).targets), Object.keys(played.fleet.targets));
  const saved = stateOf(played);
  const state = { ...saved, targets: [...saved.targets].reverse() };
  const fleet = restored(checkState('state', state, LIMITS), LIMITS, false, 0);
  t.equal(brokenInvariant(fleet), null, 'in any order');
});
