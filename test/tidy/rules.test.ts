/** docs/rules.md: every rule has a name of its own and tests that are there. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ROOT } from '../support/places.js';
import { linesOf, textOf } from './tree.js';

interface Rule {
  name: string;
  tests: { path: string; title: string }[];
  /** What of the column is no test. */
  rest: string;
}

/** A row: name, what, and tests as `path`: title, with <br> between them. */
function ruleOf(line: string): Rule | null {
  const [, name, column] = /^\| ([A-Z]\d+) \| .+ \| (.*?) ?\|$/.exec(line) ?? [];
  if (name === undefined || column === undefined) return null;
  const entries = column.split(/<br>|; (?=`)/).filter((entry) => entry !== '');
  const parsed = entries.map((entry) => /^`([^`]+)`: (.+)$/.exec(entry.trim()));
  return {
    name,
    tests: parsed.flatMap((found) => (found ? [{ path: found[1], title: found[2] }] : [])),
    rest: entries.filter((_, i) => parsed[i] === null).join(),
  };
}

const rules = linesOf('docs/rules.md').flatMap((line) => ruleOf(line) ?? []);

/** Whether a file has a test of this title, which may end in something computed. */
function hasTest(path: string, title: string): boolean {
  const text = textOf(path);
  if (path.endsWith('.cc')) return text.includes(`TEST(${title})`);
  return ["'", '"', '`'].some((quote) => text.includes(`${quote}${title}`));
}

t.test('rules have names of their own', async (t) => {
  const names = rules.map(({ name }) => name);
  t.ok(names.length > 40);
  t.equal(new Set(names).size, names.length);
});

t.test('every rule has a test', async (t) => {
  const without = rules.filter(({ tests }) => tests.length === 0).map(({ name }) => name);
  t.strictSame(without, []);
});

t.test('the tests of the rules are there', async (t) => {
  for (const { name, tests, rest } of rules) {
    t.equal(rest, '', `${name}: nothing but tests`);
    for (const { path, title } of tests) {
      const there = existsSync(join(ROOT, path)) && hasTest(path, title);
      t.ok(there, `${name}: ${path} has "${title}"`);
    }
  }
});

t.test('examples of rules are named in the table', async (t) => {
  const listed = new Set(rules.flatMap(({ tests }) => tests.map(({ title }) => title)));
  for (const path of ['flows', 'probation', 'fragments', 'cookies'].map(
    (file) => `test/rules/${file}.test.ts`,
  )) {
    const titles = [...textOf(path).matchAll(/t\.test\(\s*'([A-Z]\d+: [^']+)',\s*async/g)];
    t.ok(titles.length > 0, path);
    t.strictSame(
      titles.map(([, title = '']) => title).filter((title) => !listed.has(title)),
      [],
    );
  }
});
