/**
 * Numbers that are lent: slots of targets, indices of endpoints. They are part of flow cookies and
 * flow keys, so a number that belonged to another is given out as late as possible: first numbers
 * that never carried traffic, then the one that was given back longest ago, and none before its
 * quarantine is over.
 */

/** Longer than most flows live after their target left. */
export const SLOT_QUARANTINE_MS = 600_000;

/** Longer than the longest idle timeout: an index is used again when no flow of it is left. */
export const INDEX_QUARANTINE_MS = 6_060_000;

/** A number that was given back. */
export interface FreeNumber {
  readonly number: number;
  /** When, in milliseconds since 1970; null where it never carried traffic. */
  readonly since: number | null;
}

export interface Numbers {
  /** There are the numbers from 0 to this less 1. */
  readonly capacity: number;
  readonly quarantineMs: number;
  /** The lowest that was never given out. */
  next: number;
  /** Given back without having carried traffic. */
  clean: number[];
  /** Given back otherwise, oldest first; `keptFor`: who had it before a restart, and gets it again. */
  waiting: { readonly number: number; readonly since: number; readonly keptFor?: string }[];
}

/** None is lent. */
export function freshNumbers(capacity: number, quarantineMs: number): Numbers {
  return { capacity, quarantineMs, next: 0, clean: [], waiting: [] };
}

/** How many can be given out at `now`. */
export function available(numbers: Numbers, now: number): number {
  const { capacity, next, clean, waiting } = numbers;
  let over = 0;
  while (over < waiting.length && isOver(numbers, over, now)) over++;
  return capacity - next + clean.length + over;
}

/** A number, or -1 where none is available. */
export function take(numbers: Numbers, now: number): number {
  const clean = numbers.clean.pop();
  if (clean !== undefined) return clean;
  if (numbers.next < numbers.capacity) return numbers.next++;
  if (isOver(numbers, 0, now)) return numbers.waiting.shift()?.number ?? -1;
  return -1;
}

/** Whether one is kept for this owner. */
export function isKept({ waiting }: Numbers, owner: string): boolean {
  return waiting.some(({ keptFor }) => keptFor === owner);
}

/** The number that is kept for this owner, or another; -1 where none is available. */
export function takeFor(numbers: Numbers, owner: string, now: number): number {
  const at = numbers.waiting.findIndex(({ keptFor }) => keptFor === owner);
  return at < 0 ? take(numbers, now) : numbers.waiting.splice(at, 1)[0].number;
}

/** `clean`: no flow ever had to do with it, so that it needs no quarantine. */
export function giveBack(numbers: Numbers, number: number, now: number, clean: boolean): void {
  if (clean) numbers.clean.push(number);
  else numbers.waiting.push({ number, since: now });
}

function isOver({ waiting, quarantineMs }: Numbers, i: number, now: number): boolean {
  const given = waiting[i];
  return given !== undefined && now - given.since >= quarantineMs;
}
