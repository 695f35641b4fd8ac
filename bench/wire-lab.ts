// What the wire benchmarks share: private namespaces, processes in them, and CPU time.
import { type ChildProcess, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Lab } from '../server/dist/lab/lab.js';
import type { Remote } from '../server/dist/lab/remote.js';
import { followParent, isInside, runInside, whyNoNamespaces } from '../server/dist/lab/sandbox.js';
import { programPath } from './programs.js';

/** Of the GENEVE peers' endpoints. */
export const VNI = 7;
const MARK = 'GWLB_BENCH_INSIDE';
const TOOL = programPath('wire');
const ROLE = fileURLToPath(new URL('./wire-role.js', import.meta.url));

/**
 * Runs this benchmark again inside of private mount, network and process namespaces, so that nothing
 * is left however it ends; returns inside. Where there can be none it says why, and ends.
 */
export async function enterNamespaces(file: string): Promise<void> {
  if (isInside(MARK)) {
    followParent();
    return;
  }
  const reason = whyNoNamespaces();
  if (reason !== null) {
    process.stderr.write(`bench: no wire benchmarks: ${reason}\n`);
    process.exit(0);
  }
  process.exit(await runInside([fileURLToPath(file), ...process.argv.slice(2)], MARK));
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

/** Namespaces and processes; all of it ends with `close`. */
export class WireLab extends Lab {
  /** Starts a mode of bench/native/wire.cc that runs until the end. */
  tool(...args: string[]): ChildProcess {
    return this.begin(null, TOOL, ...args);
  }

  /** Runs a mode of bench/native/wire.cc that prints what it did. */
  async measure(...args: string[]): Promise<Record<string, number>> {
    return JSON.parse(await this.run(null, TOOL, ...args)) as Record<string, number>;
  }

  /** Starts a process of ours (wire-role.ts), which answers `counters`. */
  async role(kind: string, options: object): Promise<Remote> {
    const remote = this.start([ROLE, kind, JSON.stringify(options)], kind, null);
    await remote.call('counters');
    return remote;
  }
}
