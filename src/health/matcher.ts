/** Which HTTP status codes count as healthy: `200`, `200,301`, `200-399`, `200-204,301-302`. */
import { invalidArgument } from '../base/errors.js';

const CODE_MIN = 200;
const CODE_MAX = 599;

export class StatusMatcher {
  /** As it was written. */
  readonly text: string;
  readonly #ranges: readonly (readonly [number, number])[];

  constructor(text: string, ranges: readonly (readonly [number, number])[]) {
    this.text = text;
    this.#ranges = ranges;
  }

  matches(code: number): boolean {
    return this.#ranges.some(([first, last]) => code >= first && code <= last);
  }
}

/** `value` is the text, or a number for a single code (YAML reads `matcher: 200` as one). */
export function parseMatcher(field: string, value: unknown): StatusMatcher {
  const expected = `HTTP codes ${CODE_MIN}–${CODE_MAX} such as "200", "200,301" or "200-399"`;
  const text = typeof value === 'number' ? String(value) : value;
  if (typeof text !== 'string') throw invalidArgument(field, expected, value);
  const ranges = text.split(',').map((part): readonly [number, number] => {
    const match = /^\s*(\d{3})(?:\s*-\s*(\d{3}))?\s*$/.exec(part);
    if (!match) throw invalidArgument(field, expected, value);
    const first = Number(match[1]);
    const last = Number(match[2] ?? match[1]);
    if (first < CODE_MIN || last > CODE_MAX || first > last) {
      throw invalidArgument(field, expected, value);
    }
    return [first, last];
  });
  return new StatusMatcher(text, ranges);
}
