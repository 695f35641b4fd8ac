/** The record of cases: what a filter leaves, and so what is built and run. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { BARS } from '../../bench/bars.js';
import { casesOf, changedCases, readCases, textOfCases, titleOf } from '../../bench/cases.js';
import { LIMIT_SUITES, programsOf, SUITES } from '../../bench/suites.js';
import { ROOT } from '../support/places.js';

const cases = readCases(ROOT);
const all = [...SUITES, ...LIMIT_SUITES];

t.test('every suite has its cases in the record, and none has another one’s', async (t) => {
  t.strictSame(Object.keys(cases).sort(), all.map(titleOf).sort());
  const names = Object.values(cases).flat();
  t.equal(new Set(names).size, names.length, 'names are unique');
  t.strictSame(
    Object.keys(BARS).filter((name) => !names.includes(name)),
    [],
    'bars are of cases that there are',
  );
});

t.test('a filter leaves the suites that have such a case, and their programs', async (t) => {
  const programs = (filter: string) => [
    ...new Set(
      SUITES.filter((suite) => casesOf(cases, suite, filter).length > 0).flatMap(programsOf),
    ),
  ];
  t.strictSame(programs('hash ipv4'), ['lookup']);
  t.strictSame(programs('crossing empty'), ['addon.node']);
  t.strictSame(programs('wire-ping'), ['addon.node', 'wire']);
  t.strictSame(programs('no such case'), []);
  t.ok(programs('').length > 5, 'without one: all');
});

t.test('the record is written as the formatter leaves it', async (t) => {
  t.equal(textOfCases(cases), readFileSync(join(ROOT, 'bench/cases.json'), 'utf8'));
});

t.test('cases that came or went are named', async (t) => {
  t.strictSame(changedCases({ 'native a': ['x', 'y'] }, { 'native a': ['x', 'y'] }), []);
  t.strictSame(changedCases({ 'native a': ['x', 'y'] }, { 'native a': ['x', 'z'], b: ['q'] }), [
    'native a: new "z"; gone "y"',
    'b: new "q"',
  ]);
});
