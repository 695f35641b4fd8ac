/** Programs that run inside of network namespaces. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const TRAFFIC = fileURLToPath(new URL('./traffic.ts', import.meta.url));

export interface Ended {
  /** Exit code; null where it was killed. */
  status: number | null;
  out: string;
  err: string;
}

/** Runs a program to its end, at most `seconds`. */
export function run(program: string, args: readonly string[], seconds = 60): Promise<Ended> {
  const options = { timeout: seconds * 1000, maxBuffer: 1 << 28 };
  return new Promise((resolve) => {
    const child = execFile(program, args as string[], options, (_, out, err) =>
      resolve({ status: child.exitCode, out, err }),
    );
  });
}

/** The same inside of a namespace. */
export function runIn(
  namespace: string,
  program: string,
  args: readonly string[],
  seconds?: number,
): Promise<Ended> {
  return run('ip', ['netns', 'exec', namespace, program, ...args], seconds);
}

function trafficCommand(args: readonly string[]): string[] {
  return [process.execPath, ...process.execArgv, TRAFFIC, ...args];
}

/** Runs one of the roles of traffic.ts to its end; returns what it found out. */
export async function traffic<T>(
  namespace: string,
  args: readonly string[],
  seconds?: number,
): Promise<T> {
  const [program, ...rest] = trafficCommand(args);
  const { status, out, err } = await runIn(namespace, program, rest, seconds);
  if (status !== 0)
    throw new Error(`traffic ${args.join(' ')}: exit code ${status}: ${err || out}`);
  return JSON.parse(out) as T;
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

/** Starts the servers of traffic.ts. */
export function startServers(namespace: string): Promise<ChildProcess> {
  return start('ip', ['netns', 'exec', namespace, ...trafficCommand(['serve'])]);
}
