/** Every public symbol says in a comment what it means: editors show it, and declarations carry it. */
import t from 'tap';
import { apiSymbols } from '../support/api-symbols.js';

t.test('every public symbol has a comment', async (t) => {
  const symbols = apiSymbols();
  t.ok(
    symbols.some(({ name }) => name === 'TargetGroup.register'),
    'symbols are found',
  );
  const silent = symbols.filter(({ documented }) => !documented);
  t.strictSame(
    silent.map(({ name, place }) => `${name} (${place})`),
    [],
  );
});
