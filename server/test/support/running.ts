/** `gwlb` as a process of its own, as its operator has it, and what it says a line at a time. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { CLI } from '../../../test/support/places.js';
import type { Teardown } from '../../../test/support/teardown.js';
import { until } from '../../../test/support/until.js';

/** A line in JSON: an entry of the log, or a record of a flow log. */
export type Line = Record<string, unknown>;
export type Entry = Line & { event: string };

function parsed(text: string): Line {
  return text.startsWith('{') ? JSON.parse(text) : {};
}

export class Running {
  readonly child: ChildProcess;
  readonly #said: string[] = [];
  #silent = false;

  constructor(t: Teardown, program: string, args: readonly string[]) {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.child = child;
    t.teardown(() => child.kill('SIGKILL'));
    createInterface({ input: child.stdout })
      .on('line', (line) => this.#said.push(line))
      .on('close', () => {
        this.#silent = true;
      });
  }

  /** The next line with a text; what it said before is passed over. */
  async says(text: string): Promise<string> {
    const lines = await this.#upTo((line) => line.includes(text), text);
    return lines[lines.length - 1];
  }

  /** The next line in JSON that is wanted; what it said before is passed over. */
  async line(isWanted: (line: Line) => boolean, what: string): Promise<Line> {
    const lines = await this.#upTo((line) => isWanted(parsed(line)), what);
    return parsed(lines[lines.length - 1]);
  }

  /** The next entry of its log of one of these events; what it said before is passed over. */
  async event(...names: readonly string[]): Promise<Entry> {
    return (await this.entries(...names)).at(-1) as Entry;
  }

  /** All entries of its log that nobody has read yet, up to and with the next of one of these events. */
  async entries(...names: readonly string[]): Promise<Entry[]> {
    const isLast = (line: string) => names.includes(String(parsed(line).event));
    return (await this.#upTo(isLast, names.join(' or '))).map((line) => parsed(line) as Entry);
  }

  /** Has its configuration read again; what it logs until that is done, which is last. */
  reload(): Promise<Entry[]> {
    this.child.kill('SIGHUP');
    return this.entries('reloaded', 'reload_refused');
  }

  /** Sends a signal that ends it; its exit code, null where that signal killed it. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    const { child } = this;
    const over = () => child.exitCode !== null || child.signalCode !== null;
    const ended = over() ? null : once(child, 'exit');
    child.kill(signal);
    await ended;
    return child.exitCode;
  }

  async #upTo(isLast: (line: string) => boolean, what: string): Promise<string[]> {
    const find = () => this.#said.findIndex(isLast);
    const isOver = (at: number) => at >= 0 || this.#silent;
    await until(find, isOver, what);
    const at = find();
    if (at < 0) throw new Error(`it ended before ${what}, and said ${this.#said.join('\n')}`);
    return this.#said.splice(0, at + 1);
  }
}

/** Starts the command with these arguments. */
export function start(t: Teardown, ...args: readonly string[]): Running {
  return new Running(t, process.execPath, [CLI, ...args]);
}
