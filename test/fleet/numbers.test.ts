import fc from 'fast-check';
import t from 'tap';
import { available, freshNumbers, giveBack, take } from '../../src/fleet/numbers.js';

t.test('never used ones first, then the one given back longest ago', async (t) => {
  const numbers = freshNumbers(3, 100);
  t.same([take(numbers, 0), take(numbers, 0)], [0, 1]);
  giveBack(numbers, 1, 10, false);
  giveBack(numbers, 0, 20, false);
  t.equal(available(numbers, 20), 1);
  t.equal(take(numbers, 20), 2);
  t.equal(take(numbers, 109), -1);
  t.equal(available(numbers, 110), 1);
  t.equal(take(numbers, 110), 1);
  t.equal(take(numbers, 119), -1);
  t.equal(take(numbers, 120), 0);
  giveBack(numbers, 2, 121, true);
  t.equal(available(numbers, 121), 1);
  t.equal(take(numbers, 121), 2, 'a clean one needs no quarantine');
});

t.test('property: numbers are unique, in range and kept in quarantine', async (t) => {
  const steps = fc.array(
    fc.record({ take: fc.boolean(), pick: fc.nat(), clean: fc.boolean(), ms: fc.nat({ max: 60 }) }),
    { maxLength: 80, size: 'max' },
  );
  fc.assert(
    fc.property(steps, (list) => {
      const numbers = freshNumbers(4, 100);
      const used: number[] = [];
      const freed = new Map<number, number>();
      let now = 0;
      for (const step of list) {
        now += step.ms;
        const room = available(numbers, now);
        if (step.take) {
          const number = take(numbers, now);
          if (number < 0 !== (room === 0)) return false;
          if (number < 0) continue;
          if (number > 3 || used.includes(number)) return false;
          if (now - (freed.get(number) ?? -1000) < 100) return false;
          used.push(number);
        } else if (used.length > 0) {
          const [number] = used.splice(step.pick % used.length, 1);
          giveBack(numbers, number, now, step.clean);
          if (step.clean) freed.delete(number);
          else freed.set(number, now);
        }
      }
      return true;
    }),
  );
  t.pass('held');
});
