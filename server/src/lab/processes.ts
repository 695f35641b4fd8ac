/** Programs in network namespaces: run to their end, or until they are ended. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** Most bytes of what a program says. */
const OUTPUT_MAX = 1 << 28;

/** The command that runs another one in a namespace; null: where we are. */
export function inNamespace(
  namespace: string | null,
  [program, ...args]: readonly string[],
): [string, string[]] {
  if (namespace === null) return [program, args];
  return ['ip', ['netns', 'exec', namespace, program, ...args]];
}

/** What became of a program. */
export interface Ended {
  /** Exit code; null where it was killed. */
  status: number | null;
  out: string;
  err: string;
}

/** Runs a program to its end, at most `seconds`. */
export function run(
  program: string,
  args: readonly string[],
  seconds = 60,
  input?: string,
): Promise<Ended> {
  const options = { timeout: seconds * 1000, maxBuffer: OUTPUT_MAX };
  return new Promise((resolve) => {
    const child = execFile(program, args as string[], options, (error, out, err) =>
      resolve({ status: child.exitCode, out, err: err || (error?.message ?? '') }),
    );
    if (input !== undefined) child.stdin?.end(input);
  });
}

/** The same inside of a namespace. */
export function runIn(
  namespace: string,
  program: string,
  args: readonly string[],
  seconds?: number,
): Promise<Ended> {
  return run(...inNamespace(namespace, [program, ...args]), seconds);
}

/** Starts a program that says something when it is ready, and then runs until it is killed. */
export async function start(program: string, args: readonly string[]): Promise<ChildProcess> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise<void>((resolve, reject) => {
    createInterface({ input: child.stdout }).once('line', () => resolve());
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`${program} ended with exit code ${code}`)));
  });
  return child;
}

/** Ends a process, by default without a word to it, and waits until it is gone. */
export async function kill(child: ChildProcess, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill(signal);
  await gone;
}
