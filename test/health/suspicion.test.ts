import t from 'tap';
import { BACKOFF_MAX_MS, sampled, unreachable, unsuspected } from '../../src/health/suspicion.js';

const EVERY_MS = 250;

/** A target that is looked at four times a second. */
class Watched {
  suspicion = unsuspected('aws');
  now = 5_000;
  sent = 0;
  returned = 0;

  /** Packets a second, and how many of a hundred come back; what was suspicious, with the time. */
  run(ms: number, rate: number, percent: number): { at: number; evidence: string }[] {
    const found: { at: number; evidence: string }[] = [];
    const start = this.now;
    for (let at = 0; at < ms; at += EVERY_MS) {
      this.now += EVERY_MS;
      const more = (rate * EVERY_MS) / 1000;
      this.sent += more;
      this.returned += Math.floor((more * percent) / 100);
      const { suspicion, evidence } = sampled(this.suspicion, this, 'aws', this.now);
      this.suspicion = suspicion;
      if (evidence) found.push({ at: this.now - start, evidence });
    }
    return found;
  }
}

/** One that returned so many of a hundred packets for ten seconds. */
function used(percent: number, rate = 1000): Watched {
  const watched = new Watched();
  if (watched.run(10_000, rate, percent).length > 0) throw new Error('suspected while it worked');
  return watched;
}

t.test('silence of a target that used to return packets', async (t) => {
  t.same(used(95).run(1_000, 1000, 0), [
    { at: 1_000, evidence: 'none of 1000 packets came back within 1000 ms' },
  ]);
  t.same(used(95).run(750, 1000, 0), [], 'not long enough');
  const again = used(95);
  again.run(750, 1000, 0);
  again.run(250, 1000, 1);
  t.same(again.run(750, 1000, 0), [], 'one packet is enough');
  t.equal(again.run(250, 1000, 0).length, 1);
});

t.test('few packets are no evidence; they add up', async (t) => {
  t.same(used(95).run(1_250, 40, 0), [
    { at: 1_250, evidence: 'none of 50 packets came back within 1250 ms' },
  ]);
  t.same(used(95).run(1_000, 40, 0), []);
  t.same(used(95).run(60_000, 0, 0), [], 'nothing was sent');
});

t.test('a pause counts for nothing', async (t) => {
  const watched = used(95);
  watched.run(60_000, 0, 0);
  t.same(watched.run(750, 1000, 0), []);
  t.match(watched.run(250, 1000, 0), [{ evidence: /none of 1000 packets .* 1000 ms/ }]);
});

t.test('a target that hardly ever returned anything is not suspected for it', async (t) => {
  t.same(used(10).run(60_000, 1000, 0), [], 'a tenth is not more than a tenth');
  t.equal(used(11).run(1_000, 1000, 0).length, 1);
  t.same(new Watched().run(60_000, 1000, 0), [], 'nor one that never returned anything');
  const new_ = new Watched();
  new_.run(500, 80, 100);
  t.same(new_.run(60_000, 1000, 0), [], 'nor one that is hardly known');
});

t.test('habits change: gaps that are short belong to them, long ones do not', async (t) => {
  const watched = used(95);
  for (let i = 0; i < 60; i++) {
    watched.run(750, 4000, 0);
    watched.run(250, 4000, 20);
  }
  t.same(watched.run(1_000, 4000, 0), [], 'now it returns a twentieth');
  const faulty = used(95);
  for (let i = 0; i < 20; i++) {
    faulty.run(5_000, 4000, 0);
    faulty.run(500, 4000, 95);
  }
  t.equal(faulty.run(1_000, 4000, 0).length, 1, 'faults are not its habit');
});

t.test(
  'what was not confirmed waits twice as long each time, until packets come back',
  async (t) => {
    const watched = used(95);
    const times = watched.run(400_000, 1000, 0).map(({ at }) => at);
    t.same(
      times.slice(0, 9),
      [1, 2, 4, 8, 16, 32, 64, 128, 192].map((s) => s * 1000),
    );
    t.equal(times[8] - times[7], BACKOFF_MAX_MS);
    watched.run(100_000, 1000, 95);
    t.same(
      watched.run(2_000, 1000, 0).map(({ at }) => at),
      [1_000, 2_000],
    );
  },
);

t.test('unreachable ports, with the same patience', async (t) => {
  let { suspicion } = new Watched();
  const times: number[] = [];
  for (let now = 0; now <= 20_000; now += 100) {
    const told = unreachable(suspicion, now);
    if (told.evidence) times.push(now);
    suspicion = told.suspicion;
  }
  t.same(times, [0, 1_000, 3_000, 7_000, 15_000]);
});

t.test('counters that begin again are not held against it', async (t) => {
  const watched = used(95);
  watched.sent = 10;
  watched.returned = 0;
  const { evidence } = sampled(watched.suspicion, watched, 'aws', watched.now + 1_000);
  t.equal(evidence, null);
});
