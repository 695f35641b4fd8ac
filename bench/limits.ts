// What crossing from JavaScript to C costs at least, for `--limits`: functions that do nothing.
import { addon } from './addon.js';
import { compareLoops, prove, wanted } from './harness.js';

const CALLS = 1000;
const array = new Uint8Array(64);
let sink = 0;

/** `run` makes CALLS calls; each has a loop of its own, so that V8 knows what is called in it. */
function loop(name: string, run: () => void): void {
  if (!wanted('limits', name)) return;
  compareLoops({ suite: 'limits', name, unit: 'ns' }, CALLS, [{ name: 'ours', run }]);
}

prove(
  'the functions answer',
  [addon.nothing(), addon.number(6), addon.bytes(array)],
  [undefined, 7, 64],
);
loop('call from JavaScript, nothing', () => {
  for (let i = 0; i < CALLS; i += 1) addon.nothing();
});
loop('call from JavaScript, a number and back', () => {
  for (let i = 0; i < CALLS; i += 1) sink += addon.number(i);
});
loop('call from JavaScript, a typed array', () => {
  for (let i = 0; i < CALLS; i += 1) sink += addon.bytes(array);
});
if (Number.isNaN(sink)) throw new Error('a call gave no number');
