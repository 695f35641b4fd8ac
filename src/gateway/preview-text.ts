/** A preview for people. */
import type { FlowPreview, ZonePreview } from './preview-types.js';

export function previewText(
  told: readonly string[],
  zones: readonly ZonePreview[],
  flows: FlowPreview | null,
): string {
  const lines = told.length > 0 ? [...told] : ['no change'];
  for (const { zone, rows, moved, moves, targets } of zones) {
    const percent = (part: number) => `${((part / rows) * 100).toFixed(1)} %`;
    const name = zone === null ? 'all zones' : `zone ${zone}`;
    lines.push(`  ${name}: ${moved} of ${rows} rows move (${percent(moved)})`);
    for (const { target, before, after } of targets) {
      lines.push(`    ${target}: ${percent(before)} of new flows, then ${percent(after)}`);
    }
    for (const { from, to, rows: count } of moves) {
      lines.push(`    ${from ?? 'nobody'} > ${to ?? 'nobody'}: ${count} rows`);
    }
  }
  if (!flows) return lines.join('\n');
  const { total, stay, move, reset, noTarget } = flows;
  lines.push(
    `  ${total} live flows: ${stay} stay, ${move} move, ${reset} are reset, ${noTarget} find no target`,
  );
  for (const { from, to, fate, flows: count } of flows.moves) {
    const what = fate === 'moves' ? ` > ${to}: ${count} move` : `: ${count} ${VERBS[fate]}`;
    lines.push(`    ${from ?? 'a former target'}${what}`);
  }
  return lines.join('\n');
}

const VERBS = { stays: 'stay', reset: 'are reset', no_target: 'find no target' };
