// Which suite has which cases: a run builds and starts only the suites that its filter names.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Suite } from './suites.js';

/** The names of each suite's cases, those of quick runs too, by `language name`. */
export type CaseRecord = Record<string, string[]>;

const LINE_MAX = 100;

const pathOf = (root: string) => join(root, 'bench/cases.json');

export const UPDATE_CASES = 'npm run bench -- --list --update';

export const titleOf = (suite: Suite): string => `${suite.language} ${suite.name}`;

export function readCases(root: string): CaseRecord {
  return JSON.parse(readFileSync(pathOf(root), 'utf8'));
}

/** As the formatter of this project would have it. */
export function textOfCases(cases: CaseRecord): string {
  const suites = Object.entries(cases).map(([title, names]) => {
    const quoted = names.map((name) => JSON.stringify(name));
    const line = `  ${JSON.stringify(title)}: [${quoted.join(', ')}]`;
    if (line.length < LINE_MAX) return line;
    return `  ${JSON.stringify(title)}: [\n    ${quoted.join(',\n    ')}\n  ]`;
  });
  return `{\n${suites.join(',\n')}\n}\n`;
}

export function writeCases(root: string, cases: CaseRecord): void {
  writeFileSync(pathOf(root), textOfCases(cases));
}

/** The recorded cases of a suite that a filter leaves, which the suites themselves read alike. */
export function casesOf(cases: CaseRecord, suite: Suite, filter: string): string[] {
  return (cases[titleOf(suite)] ?? []).filter((name) => `${suite.name} ${name}`.includes(filter));
}

/** A sentence for each suite whose cases are not the recorded ones. */
export function changedCases(record: CaseRecord, now: CaseRecord): string[] {
  return [...new Set([...Object.keys(record), ...Object.keys(now)])].flatMap((title) => {
    const before = record[title] ?? [];
    const after = now[title] ?? [];
    const gone = before.filter((name) => !after.includes(name));
    const added = after.filter((name) => !before.includes(name));
    if (gone.length === 0 && added.length === 0) return [];
    const list = (word: string, names: string[]) =>
      names.length === 0 ? [] : [`${word} ${names.map((name) => `"${name}"`).join(', ')}`];
    return [`${title}: ${[...list('new', added), ...list('gone', gone)].join('; ')}`];
  });
}
