/** Suspicion in a target group: what makes it, what it does, what it leaves alone. */
import t, { type Test } from 'tap';
import type { FleetHost } from '../../src/gateway/fleet-host.js';
import type { HealthCheckOptions } from '../../src/health/options.js';
import type { ProbeResult } from '../../src/health/thresholds.js';
import { attach, BAD, detach, HEALTH, HOST, OK, setup } from '../gateway/group-rig.js';

const REFUSED: ProbeResult = { ok: false, failure: 'connection', detail: 'connection refused' };

/** Two healthy targets with traffic; the first one's packets can stop coming back. */
function lab(t: Test, healthCheck: HealthCheckOptions = {}) {
  const { world, group, said } = setup({ healthCheck: { ...HEALTH, ...healthCheck } });
  const began = world.time;
  const lost = { since: Number.POSITIVE_INFINITY };
  const unreachable: number[] = [];
  const host: FleetHost = {
    ...HOST,
    traffic: (slot) => {
      const sent = world.time - began;
      const answered = slot === 0 ? Math.min(sent, lost.since - began) : sent;
      return { sent, returned: answered };
    },
    unreachable: () => unreachable.splice(0),
  };
  group.register({ address: '10.0.0.1' }, { address: '10.0.0.2' });
  attach(group, host);
  world.advance(60_000);
  t.same(
    group.targets().map(({ state }) => state),
    ['healthy', 'healthy'],
  );
  // Right after its own check of both, so that the next one is almost an interval away.
  const checked = world.asked.findLast(({ address }) => address === '10.0.0.1')?.at ?? 0;
  world.advance(checked + 10_000 * Math.ceil((world.time - checked) / 10_000) + 2 - world.time);
  said();
  world.asked.length = 0;
  const silence = () => {
    lost.since = world.time;
    return world.time;
  };
  return { world, group, said, host, silence, unreachable, lost };
}

const first = (world: ReturnType<typeof setup>['world']) =>
  world.asked.filter(({ address }) => address === '10.0.0.1');

t.test('a silent target that fails three checks at once is unhealthy at once', async (t) => {
  const { world, group, said, silence } = lab(t);
  world.answers = (address) => (address === '10.0.0.1' ? REFUSED : OK);
  const start = silence();
  world.advance(1_600);
  const asked = first(world).map(({ at }) => at - start);
  t.equal(asked.length, 3);
  t.ok(asked[0] >= 1_000 && asked[0] <= 1_250, `${asked[0]}`);
  t.same([asked[1] - asked[0], asked[2] - asked[1]], [100, 100]);
  t.same(said(), [
    'probe 10.0.0.1 false',
    'probe 10.0.0.1 false',
    'probe 10.0.0.1 false',
    'change',
    '10.0.0.1 healthy>unhealthy Target.FailedHealthChecks (suspicion)',
  ]);
  t.match(
    group.target('10.0.0.1')?.description,
    /^Suspected, since none of \d{4} packets came back within \d{4} ms; then health checks failed: connection refused\.$/,
  );
  t.same(
    world.asked.filter(({ address }) => address === '10.0.0.2'),
    [],
    'nobody else is bothered',
  );
  world.asked.length = 0;
  world.advance(5_000);
  t.same(first(world), [], 'it is not suspected again while it is unhealthy');
  world.answers = () => OK;
  world.advance(30_000);
  t.equal(group.target('10.0.0.1')?.state, 'healthy', 'and recovers by its checks');
});

t.test('one success clears it, until twice as long later', async (t) => {
  const { world, group, said, silence } = lab(t);
  let n = 0;
  world.answers = () => (++n === 2 ? OK : BAD);
  const start = silence();
  world.advance(1_600);
  t.same(said(), ['probe 10.0.0.1 false', 'probe 10.0.0.1 true']);
  t.equal(group.target('10.0.0.1')?.state, 'healthy', 'silence alone ejects nobody');
  t.equal(first(world).length, 2, 'the third is not needed');
  world.answers = () => OK;
  world.advance(6_900);
  const later = first(world).slice(2);
  const rounds = later.map(({ at }) => Math.floor((at - start) / 1000));
  t.same(rounds, [2, 4, 8]);
  t.equal(group.target('10.0.0.1')?.state, 'healthy');
});

t.test('a check that could not be made is no confirmation', async (t) => {
  const { world, group, silence } = lab(t);
  const results = [BAD, BAD, { ok: false, failure: 'internal', detail: 'EMFILE' } as const];
  world.answers = () => results.shift() ?? BAD;
  silence();
  world.advance(1_600);
  t.equal(first(world).length, 3);
  t.equal(group.target('10.0.0.1')?.state, 'healthy');
});

t.test('an unreachable port is as suspicious', async (t) => {
  const { world, group, unreachable } = lab(t);
  unreachable.push(0x0a000001 * 2 ** 16 + 6082, 0x0a000003 * 2 ** 16 + 6081);
  world.advance(600);
  t.same(first(world), [], 'of another port or target it means nothing');
  unreachable.push(0x0a000001 * 2 ** 16 + 6081);
  world.answers = () => BAD;
  world.advance(600);
  t.match(group.target('10.0.0.1'), {
    state: 'unhealthy',
    description:
      'Suspected, since its host says that no program receives on its port (ICMP); then health ' +
      'checks failed: answered 503.',
  });
  t.equal(group.target('10.0.0.2')?.state, 'healthy');
});

t.test('with the fast profile 300 ms are enough', async (t) => {
  const { world, group, silence } = lab(t, { profile: 'fast', intervalSeconds: 10 });
  world.answers = () => BAD;
  const start = silence();
  world.advance(700);
  const [asked] = first(world);
  t.ok(asked.at - start >= 300 && asked.at - start <= 375, `${asked.at - start}`);
  t.equal(group.target('10.0.0.1')?.state, 'unhealthy');
});

t.test('how long an answer may take depends on how long it took before', async (t) => {
  const fast = lab(t);
  fast.silence();
  fast.world.advance(1_300);
  t.equal(first(fast.world)[0].timeoutMs, 300);
  for (const [usualMs, timeoutMs] of [
    [200, 800],
    [4_000, 5_000],
  ]) {
    const { world, group, host, lost } = lab(t);
    const { startProbe } = world;
    world.startProbe = (request, callback) =>
      startProbe(request, (result) => callback(result, usualMs));
    world.advance(10_000);
    world.asked.length = 0;
    lost.since = world.time;
    world.advance(1_300);
    t.equal(first(world)[0].timeoutMs, timeoutMs);
    t.ok(host.traffic && group.inUse);
  }
});

t.test('where it does not work, or must not', async (t) => {
  const off = lab(t, { suspicion: false });
  off.silence();
  off.unreachable.push(0x0a000001 * 2 ** 16 + 6081);
  off.world.advance(3_000);
  t.same(first(off.world), [], 'turned off');

  const updated = lab(t);
  updated.group.update({ healthCheck: { ...HEALTH, suspicion: false } });
  updated.silence();
  updated.world.advance(3_000);
  t.same(first(updated.world), [], 'turned off while running');

  const gone = lab(t);
  gone.world.answers = () => BAD;
  gone.silence();
  while (first(gone.world).length === 0) gone.world.advance(50);
  gone.group.deregister('10.0.0.1');
  gone.world.advance(300);
  t.equal(first(gone.world).length, 1, 'checks end with the target');
  t.equal(gone.group.target('10.0.0.1')?.state, 'draining');

  const { world, group } = setup();
  group.register({ address: '10.0.0.1' });
  attach(group, { traffic: () => ({ sent: 0, returned: 0 }) });
  detach(group);
  t.equal(world.timers.size, 0, 'nothing is left after the load balancer');
});
