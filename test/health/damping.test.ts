import fc from 'fast-check';
import t from 'tap';
import {
  FLAP_POINTS,
  type Penalty,
  POINTS_MAX,
  penalize,
  pointsLeft,
  REUSE_POINTS,
  SUPPRESS_POINTS,
  suppressedUntil,
} from '../../src/health/damping.js';

const H = 60_000;

t.test('a penalty halves every half-life, on a line in between', async (t) => {
  const penalty: Penalty = { points: 3000, at: 5_000, suppressed: true };
  const cases: [number, number][] = [
    [0, 3000],
    [H / 2, 2250],
    [H, 1500],
    [H + H / 2, 1125],
    [2 * H, 750],
    [10 * H, 2],
    [100 * H, 0],
    [-1, 3000],
  ];
  for (const [elapsed, left] of cases) {
    t.equal(pointsLeft(penalty, 5_000 + elapsed, H), left, `after ${elapsed} ms`);
  }
});

t.test('three failures close together suppress, three far apart do not', async (t) => {
  let close: Penalty | null = null;
  for (const now of [0, 1_000, 2_000]) close = penalize(close, now, H);
  t.match(close, { points: 2974, at: 2_000, suppressed: true });
  const until = suppressedUntil(close, 2_000, H);
  t.equal(until, 101_301, '1.65 half-lives later');
  t.equal(suppressedUntil(close, 101_300, H), 101_301);
  t.equal(suppressedUntil(close, 101_301, H), null);
  let apart: Penalty | null = null;
  for (const now of [0, H, 2 * H, 3 * H, 4 * H]) apart = penalize(apart, now, H);
  t.match(apart, { points: 1937, suppressed: false });
  t.equal(suppressedUntil(apart, 4 * H, H), null);
});

t.test(
  'whoever is suppressed stays so down to the lower bound, not only to the upper',
  async (t) => {
    const before: Penalty = { points: 2500, at: 0, suppressed: true };
    t.match(penalize(before, H, H), { points: 2250, suppressed: true }, '1250 points were left');
    t.match(
      penalize(before, 2 * H, H),
      { points: 1625, suppressed: false },
      '625 points were left',
    );
  },
);

t.test('property: the end of a suppression is when the points say so', async () => {
  fc.assert(
    fc.property(
      fc.integer({ min: SUPPRESS_POINTS, max: POINTS_MAX }),
      fc.nat({ max: 2 ** 45 }),
      fc.constantFrom(15_000, 60_000),
      (points, at, halfLife) => {
        const penalty = { points, at, suppressed: true };
        const until = suppressedUntil(penalty, at, halfLife);
        if (until === null || until - at > 4 * halfLife + 1) return false;
        const before = pointsLeft(penalty, until - 1, halfLife);
        return before >= REUSE_POINTS && pointsLeft(penalty, until, halfLife) < REUSE_POINTS;
      },
    ),
  );
});

t.test('property: near the exponential, never rising, never above the most', async () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat({ max: 200_000 }), { minLength: 1, maxLength: 40 }),
      fc.nat({ max: 400_000 }),
      (gaps, later) => {
        let now = 0;
        let penalty: Penalty | null = null;
        for (const gap of gaps) {
          now += gap;
          penalty = penalize(penalty, now, H);
        }
        if (penalty === null || penalty.points < FLAP_POINTS) return false;
        const left = pointsLeft(penalty, now + later, H);
        const exact = penalty.points / 2 ** (later / H);
        if (left > exact * 1.0615 || left < exact - 1) return false;
        return penalty.points <= POINTS_MAX && left >= pointsLeft(penalty, now + later + 1, H);
      },
    ),
  );
});
