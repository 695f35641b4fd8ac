/** Tables and ages, as the commands print them. */
import { createRequire } from 'node:module';
import type Table from 'cli-table3';

const require = createRequire(import.meta.url);

const BORDERS = [
  'top',
  'top-mid',
  'top-left',
  'top-right',
  'bottom',
  'bottom-mid',
  'bottom-left',
  'bottom-right',
  'left',
  'left-mid',
  'mid',
  'mid-mid',
  'right',
  'right-mid',
] as const;

/** Columns without borders; those from `numbers` on are numbers. */
export function table(head: string[], rows: string[][], numbers: number): string {
  const CliTable = require('cli-table3') as typeof Table;
  const plain = new CliTable({
    head,
    chars: { ...Object.fromEntries(BORDERS.map((border) => [border, ''])), middle: '  ' },
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] },
    colAligns: head.map((_, i) => (i < numbers ? 'left' : 'right')),
  });
  plain.push(...rows);
  return plain.toString();
}

/** `12 s`, `5 min`, `3 h`, `2 d` */
export function age(since: number, now: number): string {
  const seconds = Math.max(0, Math.floor((now - since) / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172_800
    ? `${Math.floor(seconds / 3600)} h`
    : `${Math.floor(seconds / 86_400)} d`;
}
