/** Runs the demo as a user does, and reads what it says. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { CLI } from '../../../test/support/places.js';

export interface DemoEvent {
  at: number;
  event: string;
  [key: string]: unknown;
}

export interface DemoRun {
  child: ChildProcess;
  events: DemoEvent[];
  stderr: () => string;
  /** Resolves with the exit code, or the signal's name. */
  ended: Promise<number | string>;
  /** Resolves when an event of this name was told; false where the demo ended before. */
  told(event: string): Promise<boolean>;
  /** Pids of its processes, whoever's child they are; waits a little for the last ones to go. */
  left(): Promise<number[]>;
}

export function startDemo(...args: string[]): DemoRun {
  const mark = `GWLB_TEST_MARK=${randomUUID()}`;
  const [name, value] = mark.split('=');
  const child = spawn(process.execPath, [CLI, 'demo', '--json', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, [name]: value },
  });
  const events: DemoEvent[] = [];
  const waiting = new Set<() => void>();
  let rest = '';
  let stderr = '';
  child.stdout?.on('data', (chunk) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    events.push(...lines.map((line) => JSON.parse(line) as DemoEvent));
    for (const look of waiting) look();
  });
  child.stderr?.on('data', (chunk) => {
    stderr += chunk;
  });
  let over = false;
  const ended = new Promise<number | string>((resolve) => {
    child.once('close', (code, signal) => {
      over = true;
      for (const look of waiting) look();
      resolve(code ?? signal ?? 'nothing');
    });
  });
  const told = (name: string) =>
    new Promise<boolean>((resolve) => {
      const look = () => {
        const found = events.some(({ event }) => event === name);
        if (!found && !over) return;
        waiting.delete(look);
        resolve(found);
      };
      waiting.add(look);
      look();
    });
  return { child, events, stderr: () => stderr, ended, told, left: () => processesLeft(mark) };
}

/** Processes that inherited the mark in their environment. */
function marked(mark: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'utf8').includes(mark);
      } catch {
        return false;
      }
    });
}

async function processesLeft(mark: string): Promise<number[]> {
  const deadline = Date.now() + 5000;
  for (;;) {
    const left = marked(mark);
    if (left.length === 0 || Date.now() > deadline) return left;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

export function one(run: DemoRun, name: string): DemoEvent {
  const found = run.events.find(({ event }) => event === name);
  if (!found) throw new Error(`the demo never told of "${name}"; stderr: ${run.stderr()}`);
  return found;
}
