import fc from 'fast-check';
import t from 'tap';
import type { Health, ProbeFailure, ProbeResult } from '../../src/control/health.js';
import {
  checking,
  nextCheckAt,
  REGISTERING,
  recount,
  step,
  UNCHECKED,
} from '../../src/control/health.js';

const THRESHOLDS = { healthyThreshold: 3, unhealthyThreshold: 2 };
const OK: ProbeResult = { ok: true, detail: 'answered' };
const failed = (failure: ProbeFailure): ProbeResult => ({ ok: false, failure, detail: 'told' });
const run = (start: Health, ...results: ProbeResult[]) =>
  results.reduce((health, result) => step(health, result, THRESHOLDS), start);

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
  });
  fc.assert(
    fc.property(results, thresholds, (oks, limits) => {
      let health: Health = REGISTERING;
      // The model looks back over the whole history every time.
      let verdict: Health['state'] = 'initial';
      for (let i = 1; i <= oks.length; i++) {
        health = step(health, oks[i - 1] ? OK : BAD, limits);
        const lastOf = (n: number) => (i >= n ? oks.slice(i - n, i) : [true, false]);
        if (lastOf(limits.healthyThreshold).every((ok) => ok)) verdict = 'healthy';
        if (lastOf(limits.unhealthyThreshold).every((ok) => !ok)) verdict = 'unhealthy';
        if (health.state !== verdict) return false;
      }
      return true;
    }),
  );
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
