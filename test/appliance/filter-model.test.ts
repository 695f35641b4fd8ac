/** Random filters on random packets: compiled and evaluated by native code, and as the model means them. */
import t from 'tap';
import { CaptureFilter } from '../../src/index.js';
import { randomFilter, randomFrom, randomPacket } from './filter-model.js';

const SEED = Number(process.env.GWLB_SEED ?? 20_261_123);
const FILTERS = Number(process.env.GWLB_RUNS ?? 400);
const PACKETS = 60;

t.test('native evaluation agrees with the model', async (t) => {
  const random = randomFrom(SEED);
  const packets = Array.from({ length: PACKETS }, () => randomPacket(random));
  let matched = 0;
  for (let n = 0; n < FILTERS; n += 1) {
    const { text, matches } = randomFilter(random, 1 + random(6));
    const filter = new CaptureFilter(text);
    const wrong = packets.filter((packet) => filter.matches(packet.bytes) !== matches(packet));
    if (wrong.length > 0) {
      t.fail(`seed ${SEED}: "${text}" on ${JSON.stringify({ ...wrong[0], bytes: undefined })}`);
    }
    matched += packets.filter(matches).length;
  }
  const share = matched / (FILTERS * PACKETS);
  t.ok(share > 0.2 && share < 0.8, `a fair share matches: ${share}`);
});
