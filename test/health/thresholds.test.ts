import fc from 'fast-check';
import t from 'tap';
import type { Health, HealthRule, ProbeFailure, ProbeResult } from '../../src/health/thresholds.js';
import {
  checking,
  nextCheckAt,
  REGISTERING,
  recount,
  step,
  UNCHECKED,
} from '../../src/health/thresholds.js';

const THRESHOLDS = {
  healthyThreshold: 3,
  unhealthyThreshold: 2,
  profile: 'aws',
  flapDamping: false,
} as const;
const OK: ProbeResult = { ok: true, detail: 'answered' };
const failed = (failure: ProbeFailure): ProbeResult => ({ ok: false, failure, detail: 'told' });
const run = (start: Health, ...results: ProbeResult[]) =>
  results.reduce((health, result) => step(health, result, THRESHOLDS, 0), start);

const BAD = failed('connection');
const ODD = failed('internal');

t.test('states by results in a row', async (t) => {
  const healthy = run(REGISTERING, OK, OK, OK);
  const unhealthy = run(REGISTERING, BAD, BAD);
  const cases: [string, Health, ProbeResult[], Health['state']][] = [
    ['one success is not enough', REGISTERING, [OK], 'initial'],
    ['one less than the threshold', REGISTERING, [OK, OK], 'initial'],
    ['the threshold', REGISTERING, [OK, OK, OK], 'healthy'],
    ['a failure in between starts again', REGISTERING, [OK, OK, BAD, OK, OK], 'initial'],
    ['and then it takes all of them', REGISTERING, [OK, OK, BAD, OK, OK, OK], 'healthy'],
    ['a new target fails', REGISTERING, [BAD, BAD], 'unhealthy'],
    ['failures must be in a row', REGISTERING, [BAD, OK, BAD], 'initial'],
    ['a healthy one survives one failure', healthy, [BAD], 'healthy'],
    ['and failures that are apart', healthy, [BAD, OK, BAD, OK, BAD], 'healthy'],
    ['but not two in a row', healthy, [BAD, BAD], 'unhealthy'],
    ['an unhealthy one needs them all', unhealthy, [OK, OK], 'unhealthy'],
    ['and recovers', unhealthy, [OK, OK, OK], 'healthy'],
    ['a check of ours that failed counts for nothing', healthy, [ODD, ODD, ODD, BAD], 'healthy'],
    ['nor does it help', unhealthy, [OK, OK, ODD], 'unhealthy'],
    ['a target without a verdict is unavailable', REGISTERING, [ODD], 'unavailable'],
    ['until it is checked', REGISTERING, [OK, ODD, OK], 'initial'],
    ['and its successes still count', REGISTERING, [OK, ODD, OK, OK], 'healthy'],
    ['unavailable to unhealthy', REGISTERING, [ODD, BAD, BAD], 'unhealthy'],
    ['unchecked is healthy', UNCHECKED, [], 'healthy'],
    ['counting anew keeps the state', recount(run(healthy, BAD)), [BAD], 'healthy'],
  ];
  for (const [name, start, results, state] of cases)
    t.equal(run(start, ...results).state, state, name);
});

t.test('the reason is that of the last failure', async (t) => {
  const cases: [ProbeFailure, string][] = [
    ['connection', 'Target.FailedHealthChecks'],
    ['malformed', 'Target.FailedHealthChecks'],
    ['timeout', 'Target.Timeout'],
    ['response-code', 'Target.ResponseCodeMismatch'],
  ];
  for (const [failure, reason] of cases) {
    t.match(run(REGISTERING, BAD, failed(failure)), { state: 'unhealthy', reason });
    t.match(run(REGISTERING, BAD, BAD, failed(failure)), { state: 'unhealthy', reason });
  }
  t.match(run(REGISTERING, OK, OK, OK), { reason: null, description: 'Healthy: answered.' });
  t.equal(run(REGISTERING, BAD, BAD).description, 'Health checks failed: told.');
  t.match(run(REGISTERING, ODD), { reason: 'Elb.InternalError' });
});

t.test(
  'a check that could not be made leaves the state, and says so until one is made',
  async (t) => {
    for (const result of [OK, BAD]) {
      const before = run(REGISTERING, result, result, result, result, result);
      const after = run(before, ODD, ODD, ODD);
      t.same(after, { ...before, impeded: 'told' });
      t.equal(before.impeded, null);
      t.equal(run(after, OK).impeded, null);
      t.equal(run(after, BAD).impeded, null);
    }
    t.match(run(REGISTERING, ODD), { state: 'unavailable', impeded: 'told' });
  },
);

t.test('initial reasons', async (t) => {
  t.equal(REGISTERING.reason, 'Elb.RegistrationInProgress');
  t.equal(checking(REGISTERING).reason, 'Elb.InitialHealthChecking');
  t.equal(checking(UNCHECKED), UNCHECKED);
  t.equal(run(checking(REGISTERING), OK).reason, 'Elb.InitialHealthChecking');
  t.equal(run(checking(REGISTERING), ODD, OK).reason, 'Elb.InitialHealthChecking');
});

t.test('property: the state is what the last results in a row say', async () => {
  const results = fc.array(fc.boolean(), { maxLength: 40 });
  const thresholds = fc.record({
    healthyThreshold: fc.integer({ min: 2, max: 10 }),
    unhealthyThreshold: fc.integer({ min: 2, max: 10 }),
    profile: fc.constantFrom('aws' as const, 'fast' as const),
    flapDamping: fc.constant(false),
  });
  fc.assert(
    fc.property(results, thresholds, (oks, limits) => {
      let health: Health = REGISTERING;
      // The model looks back over the whole history every time.
      let verdict: Health['state'] = 'initial';
      for (let i = 1; i <= oks.length; i++) {
        health = step(health, oks[i - 1] ? OK : BAD, limits, 1000 * i);
        const lastOf = (n: number) => (i >= n ? oks.slice(i - n, i) : [true, false]);
        if (lastOf(limits.healthyThreshold).every((ok) => ok)) verdict = 'healthy';
        if (lastOf(limits.unhealthyThreshold).every((ok) => !ok)) verdict = 'unhealthy';
        if (health.state !== verdict) return false;
      }
      return true;
    }),
  );
});

/** A target that passes and fails in turn, checked once a second, and what it is after each turn. */
function flap(rule: HealthRule, turns: number, start: Health = REGISTERING) {
  let health = start;
  let now = 0;
  const after = (result: ProbeResult) => {
    for (let i = 0; i < 3; i++) {
      now += 1000;
      health = step(health, result, rule, now);
    }
    return health;
  };
  const states: Health[] = [];
  for (let i = 0; i < turns; i++) states.push(after(OK), after(BAD));
  return { states, now: () => now, after };
}

const DAMPED = { ...THRESHOLDS, flapDamping: true };

t.test('flap damping: the third failure in a row of them is the last for a while', async (t) => {
  const { states, now, after } = flap(DAMPED, 3);
  t.same(
    states.map(({ state }) => state),
    ['healthy', 'unhealthy', 'healthy', 'unhealthy', 'healthy', 'unhealthy'],
  );
  t.equal(states[5].description, 'Health checks failed: told.');
  const held = after(OK);
  t.match(held, { state: 'unhealthy', passing: true, reason: 'Target.FailedHealthChecks' });
  const [, text = ''] = /kept unhealthy until (\S+) \(flap damping\)/.exec(held.description) ?? [];
  const until = Date.parse(text);
  t.ok(until > now() + 60_000 && until < now() + 120_000, held.description);
  t.match(step(held, OK, DAMPED, until - 1), { state: 'unhealthy' });
  t.match(step(held, OK, DAMPED, until), {
    state: 'healthy',
    reason: null,
    description: 'Healthy: answered.',
  });
  t.equal(step(held, OK, { ...DAMPED, flapDamping: false }, now()).state, 'healthy', 'turned off');
  const later = step(step(held, OK, DAMPED, until), BAD, DAMPED, until);
  t.equal(later.state, 'healthy', 'and is a target as any other');
});

t.test('flap damping: failing on while suppressed makes it longer', async (t) => {
  const { after, now } = flap(DAMPED, 3);
  const until = (health: Health) =>
    Date.parse(/until (\S+) /.exec(health.description)?.[1] ?? '') - now();
  const first = until(after(OK));
  t.equal(after(BAD).state, 'unhealthy');
  t.ok(until(after(OK)) > first);
  const single = after(OK);
  const once = step(single, BAD, DAMPED, now());
  t.match(once, { state: 'unhealthy', passing: true }, 'one failed check is no failure');
  t.same(once.penalty, single.penalty);
});

t.test(
  'flap damping: off by default, forgotten in time, sooner with the fast profile',
  async (t) => {
    const { states } = flap({ ...DAMPED, flapDamping: false }, 20);
    t.ok(
      states.every(
        ({ state, penalty }, i) => state === (i % 2 ? 'unhealthy' : 'healthy') && !penalty,
      ),
    );
    const aws = flap(DAMPED, 3);
    const fast = flap({ ...DAMPED, profile: 'fast' }, 4);
    const wait = ({ description }: Health) =>
      Date.parse(/until (\S+) /.exec(description)?.[1] ?? '');
    const [slow, soon] = [wait(aws.after(OK)) - aws.now(), wait(fast.after(OK)) - fast.now()];
    t.ok(soon > 0 && soon < slow / 3, `${slow} and ${soon} ms`);
  },
);

t.test('flap damping: a new target that fails has not flapped', async (t) => {
  t.equal(step(run(REGISTERING, BAD), BAD, DAMPED, 0).penalty, null);
  const bad = [1, 2, 3, 4].reduce((health) => step(health, BAD, DAMPED, 0), REGISTERING);
  t.match(bad, { state: 'unhealthy', penalty: null }, 'nor has one that goes on failing');
});

t.test('checks of a target keep their own place in the interval', async (t) => {
  t.equal(nextCheckAt(1_000, 10_000, 3_000n), 13_000, 'at least half an interval later');
  t.equal(nextCheckAt(1_000, 10_000, 7_000n), 7_000);
  t.equal(nextCheckAt(7_000, 10_000, 7_000n), 17_000);
  t.equal(nextCheckAt(7_004, 10_000, 7_000n), 17_000, 'a late one does not shift the next');
  fc.assert(
    fc.property(
      fc.nat({ max: 2 ** 45 }),
      fc.integer({ min: 5, max: 300 }).map((seconds) => seconds * 1000),
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      (last, interval, phase) => {
        const next = nextCheckAt(last, interval, phase);
        const distance = next - last;
        if (BigInt(next) % BigInt(interval) !== phase % BigInt(interval)) return false;
        return distance >= interval / 2 && distance < interval * 1.5;
      },
    ),
  );
});
