/** A process of lab.test.ts: answers calls. */
import { serve } from '../../src/lab/remote.js';

const note = serve({
  double: (value: number) => value * 2,
  fail: () => {
    throw new Error('it failed');
  },
  leave: () => process.exit(7),
  tell: (value: unknown) => note('told', value),
});
