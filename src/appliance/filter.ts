/** Capture filters, compiled for native code. */

import { checkBytes, native } from '../base/checks.js';
import { checkString, mismatch } from '../base/errors.js';
import { binding } from '../native/binding.js';
import { type Direction, type FilterTest, type FilterTree, parseFilter } from './filter-parser.js';

/** As in native/appliance/filter.h. */
const WORDS = 12;
const TESTS_MAX = 1024;
/** Characters of an expression. */
const TEXT_MAX = 1_000_000;
const EXPECTED = `an expression as text, at most ${TEXT_MAX} characters`;
const ACCEPT = 0xffff;
const REJECT = 0xfffe;
const DIRECTIONS: Readonly<Record<Direction, number>> = {
  source: 1,
  destination: 2,
  either: 3,
  both: 4,
};

/** Where a test goes on: a place that is known once what lies before it has been written. */
interface Label {
  at: number;
}

interface Row {
  test: FilterTest;
  onTrue: Label;
  onFalse: Label;
}

function write(tree: FilterTree, onTrue: Label, onFalse: Label, rows: Row[]): void {
  switch (tree.kind) {
    case 'test':
      rows.push({ test: tree.test, onTrue, onFalse });
      return;
    case 'not':
      write(tree.operand, onFalse, onTrue, rows);
      return;
    default: {
      const second: Label = { at: 0 };
      if (tree.kind === 'and') write(tree.left, second, onFalse, rows);
      else write(tree.left, onTrue, second, rows);
      second.at = rows.length;
      write(tree.right, onTrue, onFalse, rows);
    }
  }
}

function writeAddress(words: Uint32Array, at: number, bytes: Uint8Array, prefix: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let k = 0; k < bytes.length / 4; k += 1) {
    const kept = Math.min(Math.max(prefix - k * 32, 0), 32);
    words[at + 4 + k] = view.getUint32(k * 4);
    words[at + 8 + k] = kept === 0 ? 0 : (0xffffffff << (32 - kept)) >>> 0;
  }
}

function writeRow(words: Uint32Array, at: number, { test, onTrue, onFalse }: Row): void {
  words[at + 1] = (onTrue.at | (onFalse.at << 16)) >>> 0;
  switch (test.kind) {
    case 'version':
      words[at] = test.version << 16;
      return;
    case 'protocol':
      words[at] = 1;
      words[at + 2] = test.protocol | (test.protocol << 16);
      return;
    case 'address':
      words[at] = 2 | (DIRECTIONS[test.direction] << 8) | ((test.bytes.length === 4 ? 4 : 6) << 16);
      writeAddress(words, at, test.bytes, test.prefix);
      return;
    case 'port':
      words[at] = 3 | (DIRECTIONS[test.direction] << 8);
      words[at + 2] = (test.low | (test.high << 16)) >>> 0;
  }
}

function compile(tree: FilterTree | null): Uint32Array {
  if (tree === null) return new Uint32Array(0);
  const rows: Row[] = [];
  write(tree, { at: ACCEPT }, { at: REJECT }, rows);
  if (rows.length > TESTS_MAX) {
    throw mismatch(
      'ERR_GWLB_OUT_OF_RANGE',
      'filter',
      `at most ${TESTS_MAX} tests`,
      `${rows.length}`,
    );
  }
  const words = new Uint32Array(rows.length * WORDS);
  for (const [i, row] of rows.entries()) writeRow(words, i * WORDS, row);
  return words;
}

/**
 * A capture filter: the common part of pcap-filter(7), which tcpdump and Wireshark's capture filters
 * speak, about inner packets. Immutable. See docs/api/capture-filter.md.
 *
 * ```ts
 * const web = new CaptureFilter('tcp port (80 or 443) and not src net 10.0.0.0/8');
 * web.matches(packet.bytes);
 * ```
 */
export class CaptureFilter {
  /** The expression as given. */
  readonly text: string;
  readonly #words: Uint32Array;

  /**
   * Throws `ERR_GWLB_INVALID_ARGUMENT` where the expression is not understood, with the column and a
   * mark below it. An empty one matches everything.
   */
  constructor(text: string) {
    this.text = checkString('filter', text, { min: 0, max: TEXT_MAX, expected: EXPECTED });
    this.#words = compile(parseFilter(text));
  }

  /** @internal Whether it is one of this copy of the package, whatever a proxy says. */
  static is(value: unknown): value is CaptureFilter {
    return typeof value === 'object' && value !== null && #words in value;
  }

  /** Whether a packet, from its IP header on, matches; not where the bytes are no IP packet. */
  matches(packet: Uint8Array): boolean {
    checkBytes('packet', packet);
    return native(() => binding.matchFilter(this.#words, packet));
  }

  /** The expression as given. */
  toString(): string {
    return this.text;
  }

  /** @internal A copy of the program. */
  compiled(): Uint32Array {
    return this.#words.slice();
  }
}
