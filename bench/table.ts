// The table: a line for every pair of us and another, ratios first, each beside its bar.
import type { Bars } from './bars.js';
import type { Figure, Row } from './row.js';

/** The middle 80 % of the rounds reach further than this from the median: do not quote it. */
const NOISY_PERCENT = 20;

export type Verdict = 'reached' | 'not reached' | 'no bar' | 'not judged' | 'missing';

export interface Line {
  case: string;
  /** A peer, `limit`, or '' for our figure alone. */
  other: string;
  ratio: number | null;
  bar: number | null;
  verdict: Verdict;
  lessIsBetter: boolean;
  unit: string;
  ours: Figure;
  theirs: Figure | null;
  /** What brings a missing peer. */
  missing?: string;
}

function verdictOf(value: number, bar: number | undefined, row: Row, judged: boolean): Verdict {
  if (bar === undefined) return 'no bar';
  if (!judged) return 'not judged';
  return (row.lessIsBetter ? value <= bar : value >= bar) ? 'reached' : 'not reached';
}

/** The lines of a row. Nothing is judged where the figures are no results (`--quick`). */
export function linesOf(row: Row, bars: Bars = {}, judged = true): Line[] {
  const common = { case: row.case, lessIsBetter: row.lessIsBetter, unit: row.unit, ours: row.ours };
  const others: Record<string, Figure> = {
    ...(row.limit ? { limit: row.limit } : {}),
    ...row.peers,
  };
  const lines: Line[] = Object.entries(others).map(([other, theirs]) => ({
    ...common,
    other,
    theirs,
    ratio: row.ratios[other],
    bar: bars[other] ?? null,
    verdict: verdictOf(row.ratios[other], bars[other], row, judged),
  }));
  for (const [other, missing] of Object.entries(row.missing ?? {})) {
    const bar = bars[other] ?? null;
    lines.push({ ...common, other, theirs: null, ratio: null, bar, verdict: 'missing', missing });
  }
  if (bars.ours !== undefined || lines.length === 0) {
    const verdict = verdictOf(row.ours.median, bars.ours, row, judged);
    lines.unshift({
      ...{ ...common, other: '', theirs: null, ratio: null },
      ...{ bar: bars.ours ?? null, verdict },
    });
  }
  return lines;
}

function number(value: number): string {
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en');
  return value.toPrecision(3);
}

function ratioText({ ratio, lessIsBetter }: Line): string {
  if (ratio === null) return '';
  const better = lessIsBetter ? 1 / ratio : ratio;
  const word = better >= 1 ? 'better' : 'worse';
  return `${number(ratio)} (${number(Math.max(better, 1 / better))}x ${word})`;
}

function barText({ bar, lessIsBetter, other, unit }: Line): string {
  if (bar === null) return '';
  return `${lessIsBetter ? '<=' : '>='} ${other === '' ? `${number(bar)} ${unit}` : bar.toFixed(2)}`;
}

/** How far the middle 80 % of the rounds reach from the median, the worse of the two, in percent. */
export function spreadPercent(...figures: readonly Figure[]): number {
  const each = figures.map(({ median, p10, p90 }) =>
    median === 0 ? 0 : (100 * Math.max(p90 - median, median - p10)) / Math.abs(median),
  );
  return Math.max(...each);
}

function spreadText({ ours, theirs }: Line): string {
  const percent = spreadPercent(ours, ...(theirs ? [theirs] : []));
  return `${percent > NOISY_PERCENT ? 'noisy ' : ''}±${percent.toFixed(0)} %`;
}

function cells(line: Line): string[] {
  const { missing, theirs, unit } = line;
  return [
    ratioText(line),
    barText(line),
    line.verdict,
    line.case,
    line.other,
    `${number(line.ours.median)} ${unit}`,
    missing ? `not installed: ${missing}` : theirs ? `${number(theirs.median)} ${unit}` : '',
    spreadText(line),
  ];
}

export function aligned(table: readonly (readonly string[])[]): string[] {
  const widths = table[0].map((_, i) => Math.max(...table.map((line) => line[i].length)));
  const text = (line: readonly string[]) =>
    line
      .map((cell, i) => cell.padEnd(widths[i]))
      .join('  ')
      .trimEnd();
  const rule = widths.map((width) => '-'.repeat(width)).join('  ');
  return [text(table[0]), rule, ...table.slice(1).map(text)];
}

const HEAD = ['gwlb / other', 'bar', '', 'case', 'other', 'gwlb', 'other', 'spread'];

/** The whole table and what to know about it. */
export function tableText(lines: readonly Line[], rows: readonly Row[]): string {
  const out = aligned([HEAD, ...lines.map(cells)]);
  const notes = rows.filter(({ note }) => note !== undefined);
  if (notes.length > 0) out.push('');
  for (const { case: name, note } of notes) out.push(`${name}: ${note}`);
  const count = (verdict: Verdict) => lines.filter((line) => line.verdict === verdict).length;
  out.push(
    '',
    'The ratio is ours divided by the other; medians of rounds that took turns. The spread is that of',
    'the middle 80 % of the rounds.',
    count('not judged') > 0
      ? 'Quick figures are no results: no bar is judged.'
      : `Bars: ${count('reached')} reached, ${count('not reached')} not reached` +
          (count('missing') > 0 ? `, ${count('missing')} with a peer that is missing.` : '.'),
  );
  return out.join('\n');
}

/** A machine's limits: what, how much. */
export function limitsText(rows: readonly Row[]): string {
  const body = rows.map((row) => [
    row.case,
    `${number(row.ours.median)} ${row.unit}`,
    `${number(row.ours.p10)} .. ${number(row.ours.p90)}`,
    row.note ?? '',
  ]);
  return aligned([['limit', 'median', 'p10 .. p90', ''], ...body]).join('\n');
}
