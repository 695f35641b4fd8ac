// What the wire benchmarks share: private namespaces, processes in them, and CPU time.
import { type ChildProcess, execFile, fork, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Lab } from '../server/dist/lab/lab.js';
import { spawnInside, whyNoNamespaces } from '../server/dist/lab/sandbox.js';

/** Of the GENEVE peers' endpoints. */
export const VNI = 7;
const MARK = 'GWLB_BENCH_INSIDE';
const TOOL = fileURLToPath(new URL('../build-native/bench/wire', import.meta.url));
const ROLE = fileURLToPath(new URL('./wire-role.js', import.meta.url));
const run = promisify(execFile);

/**
 * Runs this benchmark again inside of private mount, network and process namespaces, so that nothing
 * is left however it ends; returns inside. Where there can be none it says why, and ends.
 */
export async function enterNamespaces(file: string): Promise<void> {
  if (process.env[MARK] === '1') {
    process.on('disconnect', () => process.exit(1));
    process.channel?.unref();
    return;
  }
  const reason = whyNoNamespaces();
  if (reason !== null) {
    process.stderr.write(`bench: no wire benchmarks: ${reason}\n`);
    process.exit(0);
  }
  const child = spawnInside([fileURLToPath(file), ...process.argv.slice(2)], MARK);
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    process.on(signal, () => child.kill('SIGKILL'));
  }
  const [code] = await once(child, 'exit');
  process.exit((code as number | null) ?? 1);
}

/** Programs that are not installed, each with its Debian package. */
export function missingOf(packages: Readonly<Record<string, string>>): Record<string, string> {
  const absent = ([program]: [string, string]) =>
    spawnSync('sh', ['-c', 'command -v "$0"', program]).status !== 0;
  return Object.fromEntries(Object.entries(packages).filter(absent));
}

/** Ends the benchmark, saying what to install, where one of these programs is not there. */
export function needs(name: string, packages: Readonly<Record<string, string>>): void {
  const [missing] = Object.values(missingOf(packages));
  if (missing === undefined) return;
  process.stderr.write(`bench: ${name}: not installed: ${missing}\n`);
  process.exit(0);
}

/** Nanoseconds of CPU that a process and its threads have had. */
export function cpuNs(pid: number): number {
  const tasks = `/proc/${pid}/task`;
  return readdirSync(tasks).reduce((total, task) => {
    const [ns] = readFileSync(`${tasks}/${task}/schedstat`, 'utf8').split(' ');
    return total + Number(ns);
  }, 0);
}

/** A process of ours (wire-role.ts) that answers questions. */
export class Role {
  readonly child: ChildProcess;

  constructor(child: ChildProcess) {
    this.child = child;
  }

  get pid(): number {
    return this.child.pid!;
  }

  async ask<T>(question: string): Promise<T> {
    const answer = once(this.child, 'message') as Promise<[T]>;
    this.child.send(question);
    return (await answer)[0];
  }
}

/** Namespaces and processes; all of it ends with `close`. */
export class WireLab extends Lab {
  readonly #running = new Set<ChildProcess>();

  /** Runs a program to its end in a namespace, or (null) where we are; returns what it printed. */
  async run(namespace: string | null, program: string, ...args: string[]): Promise<string> {
    const command = namespace === null ? [program] : ['ip', 'netns', 'exec', namespace, program];
    const [first, ...rest] = [...command, ...args];
    const { stdout } = await run(first, rest, { maxBuffer: 64 << 20 });
    return stdout;
  }

  /** Starts a program that runs until the end. */
  begin(namespace: string | null, program: string, ...args: string[]): ChildProcess {
    const command = namespace === null ? [program] : ['ip', 'netns', 'exec', namespace, program];
    const [first, ...rest] = [...command, ...args];
    const child = spawn(first, rest, { stdio: 'ignore' });
    this.#running.add(child);
    return child;
  }

  /** Starts a mode of bench/native/wire.cc that runs until the end. */
  tool(...args: string[]): ChildProcess {
    return this.begin(null, TOOL, ...args);
  }

  /** Runs a mode of bench/native/wire.cc that prints what it did. */
  async measure(...args: string[]): Promise<Record<string, number>> {
    return JSON.parse(await this.run(null, TOOL, ...args)) as Record<string, number>;
  }

  /** Starts a process of ours. */
  async role(kind: string, options: object): Promise<Role> {
    const child = fork(ROLE, [kind, JSON.stringify(options)], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    this.#running.add(child);
    const [ready] = await Promise.race([
      once(child, 'message'),
      once(child, 'exit').then(() => ['gone']),
    ]);
    if (ready !== 'ready') throw new Error(`${kind} did not start`);
    return new Role(child);
  }

  async end(child: ChildProcess): Promise<void> {
    this.#running.delete(child);
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }

  override async close(): Promise<void> {
    await Promise.all([...this.#running].map((child) => this.end(child)));
    await super.close();
  }

  /** A namespace of this kernel's own settings for a router: forwards, and takes any way back. */
  async router(name: string): Promise<void> {
    await this.namespace(name);
    await this.sysctl(name, [
      'net.ipv4.ip_forward=1',
      'net.ipv4.conf.all.rp_filter=0',
      'net.ipv4.conf.default.rp_filter=0',
      'net.ipv4.conf.all.send_redirects=0',
      'net.ipv4.conf.default.send_redirects=0',
    ]);
  }
}
