/** What the demo says: a story for people, or one JSON object a line for programs. */
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

export interface Style {
  bold(text: string): string;
  dim(text: string): string;
  green(text: string): string;
  red(text: string): string;
  yellow(text: string): string;
  cyan(text: string): string;
}

const plain = (text: string) => text;
const PLAIN: Style = {
  bold: plain,
  dim: plain,
  green: plain,
  red: plain,
  yellow: plain,
  cyan: plain,
};

export class Report {
  readonly style: Style;
  readonly #json: boolean;
  readonly #began = performance.now();

  constructor(json: boolean) {
    this.#json = json;
    this.style = json ? PLAIN : (require('picocolors') as Style);
  }

  /** Milliseconds since the demo began. */
  get elapsed(): number {
    return performance.now() - this.#began;
  }

  /** A heading of the story. */
  chapter(title: string): void {
    if (!this.#json) process.stdout.write(`\n${this.style.bold(title)}\n`);
  }

  /** Something that happened: `data` for programs, `lines` for people. */
  event(name: string, data: object, ...lines: string[]): void {
    if (this.#json) {
      const at = Math.round(this.elapsed);
      process.stdout.write(`${JSON.stringify({ at, event: name, ...data })}\n`);
      return;
    }
    const stamp = this.style.dim(`${(this.elapsed / 1000).toFixed(1).padStart(6)} s  `);
    lines.forEach((line, i) => {
      process.stdout.write(`${i === 0 ? stamp : ' '.repeat(10)}${line}\n`);
    });
  }

  /** A picture or table, for people only. */
  show(text: string): void {
    if (!this.#json) process.stdout.write(`${text}\n`);
  }
}

export const ms = (value: number): string =>
  value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value).toLocaleString('en')} ms`;
export const count = (value: number): string => value.toLocaleString('en');
export const hex = (cookie: number): string => `0x${cookie.toString(16).padStart(8, '0')}`;
