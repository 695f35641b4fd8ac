/** A page of the documentation, by its code blocks: what stands under a heading is what a test runs. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../../test/support/places.js';

interface Block {
  heading: string;
  language: string;
  code: string;
}

function blocksOf(text: string): Block[] {
  const blocks: Block[] = [];
  let heading = '';
  let open: Block | null = null;
  for (const line of text.split('\n')) {
    const [, language] = /^```(\w*)$/.exec(line) ?? [];
    if (open && language === '') open = null;
    else if (open) open.code += `${line}\n`;
    else if (language !== undefined) {
      open = { heading, language, code: '' };
      blocks.push(open);
    } else if (/^#+ /.test(line)) heading = line.replace(/^#+ /, '').trim();
  }
  return blocks;
}

export class Page {
  readonly path: string;
  readonly #blocks: readonly Block[];

  /** A path from the project's root. */
  constructor(path: string) {
    this.path = path;
    this.#blocks = blocksOf(readFileSync(join(ROOT, path), 'utf8'));
  }

  /** The one code block of a language under a heading. */
  block(heading: string, language = 'sh'): string {
    const found = this.#blocks.filter(
      (one) => one.heading === heading && one.language === language,
    );
    if (found.length === 1) return found[0].code;
    throw new Error(
      `${this.path}: "${heading}" has ${found.length} blocks of ${language}, not one`,
    );
  }
}
