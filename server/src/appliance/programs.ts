/**
 * Programs of the operator's and of the system: arguments instead of a shell line, an end in time, and
 * output that is bounded whatever they write.
 */
import { type ChildProcess, spawn } from 'node:child_process';

export interface ProgramCall {
  /** The program and its arguments. */
  readonly argv: readonly string[];
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** After it the program, and what it started, are ended. */
  readonly timeoutMs: number;
  /** Ends it early. */
  readonly signal?: AbortSignal;
  /** Called with its lines, of both outputs, as they come. */
  readonly onLine?: (line: string) => void;
}

export interface ProgramResult {
  /** Whether it ended by itself with exit code 0. */
  readonly ok: boolean;
  /** Why not, with the last line that it said; empty where all is well. */
  readonly problem: string;
  /** What it wrote to standard output: of more than 1 MiB the beginning. */
  readonly output: string;
}

/** Characters of a line, and lines, that are told; the rest is read and forgotten. */
const LINE_MAX = 500;
const LINES_MAX = 200;
const OUTPUT_MAX = 1 << 20;

/** From the request to end until it is ended. */
const GRACE_MS = 1_000;

/** Runs it to its end. Never rejects: what cannot be started is a result too. */
export function runProgram(call: ProgramCall): Promise<ProgramResult> {
  const { argv, env, timeoutMs, signal } = call;
  const [program = '', ...args] = argv;
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
      // A group of its own, so that what it started ends with it.
      detached: true,
    });
    const said = new Said(child, call.onLine);
    let ended = '';
    let killer: NodeJS.Timeout | undefined;
    const end = (why: string) => {
      if (ended !== '') return;
      ended = why;
      killGroup(child, 'SIGTERM');
      killer = setTimeout(() => killGroup(child, 'SIGKILL'), GRACE_MS);
    };
    const timer = setTimeout(() => end(`no end within ${timeoutMs / 1000} s`), timeoutMs);
    const stop = () => end('it was not waited for');
    if (signal?.aborted) stop();
    signal?.addEventListener('abort', stop, { once: true });
    let over = false;
    const finish = (problem: string) => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      clearTimeout(killer);
      signal?.removeEventListener('abort', stop);
      said.end();
      const told = problem !== '' && said.last !== '' ? `${problem}: ${said.last}` : problem;
      resolve({ ok: problem === '', problem: told, output: said.output });
    };
    child.once('error', (error) => finish(`cannot be started: ${error.message}`));
    child.once('exit', (code, killedBy) => {
      // A descendant may still hold its outputs: nobody waits for that one.
      if (ended !== '') killGroup(child, 'SIGKILL');
      setImmediate(() => {
        child.stdout?.destroy();
        child.stderr?.destroy();
        finish(ended !== '' ? ended : endText(code, killedBy));
      });
    });
  });
}

function endText(code: number | null, signal: NodeJS.Signals | null): string {
  if (signal !== null) return `ended by ${signal}`;
  return code === 0 ? '' : `exit code ${code}`;
}

/** What a program writes: its first lines as they come, the last one, and the beginning of it all. */
class Said {
  /** Of standard output. */
  output = '';
  /** The last line of either output that is not empty. */
  last = '';
  readonly #tell: ((line: string) => void) | undefined;
  readonly #ends: (() => void)[] = [];
  #lines = 0;

  constructor({ stdout, stderr }: ChildProcess, tell: ((line: string) => void) | undefined) {
    this.#tell = tell;
    stdout?.on('data', (text: string) => {
      this.output += text.slice(0, OUTPUT_MAX - this.output.length);
    });
    for (const stream of [stdout, stderr]) {
      if (!stream) continue;
      let line = '';
      stream.setEncoding('utf8').on('error', () => {});
      stream.on('data', (text: string) => {
        const pieces = text.split('\n');
        for (const [i, piece] of pieces.entries()) {
          line = (line + piece).slice(0, LINE_MAX + 1);
          if (i === pieces.length - 1) break;
          this.#line(line);
          line = '';
        }
      });
      this.#ends.push(() => this.#line(line));
    }
  }

  /** What was begun is a line too. */
  end(): void {
    for (const end of this.#ends.splice(0)) end();
  }

  #line(text: string): void {
    const line = text.length > LINE_MAX ? `${text.slice(0, LINE_MAX)}…` : text.trimEnd();
    if (line === '') return;
    this.last = line;
    this.#lines += 1;
    if (this.#lines <= LINES_MAX) this.#tell?.(line);
  }
}

function killGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // It is gone already.
  }
}
