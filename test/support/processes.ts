/** The ends of traffic, and appliances, as processes of their own in network namespaces. */
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Lab } from '../../server/src/lab/lab.js';
import { inNamespace, runIn, start } from '../../server/src/lab/processes.js';
import type { Remote } from '../../server/src/lab/remote.js';
import { CLI, ROOT } from './places.js';
import type { Line, Sent } from './talker.ts';
import { until } from './until.js';

const PROBE = join(ROOT, 'test/support/probe.py');
const TRAFFIC = fileURLToPath(new URL('./traffic.js', import.meta.url));

/** Long enough for any of them on a busy machine. */
const HANGS_SECONDS = 300;

/** Makes rules of nftables in a namespace, a command each. */
export async function nft(namespace: string, ...commands: readonly string[]): Promise<void> {
  const { status, err } = await runIn(namespace, 'nft', [commands.join('; ')]);
  if (status !== 0) throw new Error(`nft in ${namespace}: ${err}`);
}

function trafficCommand(args: readonly string[]): string[] {
  return [process.execPath, TRAFFIC, ...args];
}

/** Runs one of the roles of traffic.ts to its end; returns what it found out. */
export async function traffic<T>(namespace: string, args: readonly string[]): Promise<T> {
  const [program, ...rest] = trafficCommand(args);
  const { status, out, err } = await runIn(namespace, program, rest, HANGS_SECONDS);
  if (status !== 0)
    throw new Error(`traffic ${args.join(' ')}: exit code ${status}: ${err || out}`);
  return JSON.parse(out) as T;
}

/** Starts an appliance as a process of its own, so that it can die; it answers health checks. */
export function startAppliance(namespace: string, address: string): Promise<ChildProcess> {
  const command = [process.execPath, CLI, 'appliance', '--listen', address];
  return start(...inNamespace(namespace, command));
}

/** Starts the servers of traffic.ts. */
export function startServers(namespace: string): Promise<ChildProcess> {
  return start(...inNamespace(namespace, trafficCommand(['serve'])));
}

/** Runs one of the roles of probe.py to its end; returns what it found out. */
export async function probe<T>(
  namespace: string,
  role: string,
  ...args: readonly (string | number)[]
): Promise<T> {
  const { status, out, err } = await runIn(
    namespace,
    'python3',
    [PROBE, role, ...args.map(String)],
    HANGS_SECONDS,
  );
  if (status !== 0) throw new Error(`probe ${role}: exit code ${status}: ${err}`);
  return JSON.parse(out) as T;
}

/** Starts the server of probe.py. */
export function startCounter(namespace: string, port: number): Promise<ChildProcess> {
  const command = ['python3', PROBE, 'count', String(port)];
  return start(...inNamespace(namespace, command));
}

const TALKER = fileURLToPath(new URL('./talker.js', import.meta.url));
/** An end of TCP connections inside of a namespace; see talker.ts. */
export class Talker {
  readonly namespace: string;
  readonly #remote: Remote;

  constructor(namespace: string) {
    this.namespace = namespace;
    this.#remote = new Lab().start([TALKER], `talker in ${namespace}`, namespace);
  }

  listen(port: number): Promise<void> {
    return this.#remote.call('listen', port);
  }

  dial(host: string, port: number, localPort: number): Promise<void> {
    return this.#remote.call('dial', { host, port, localPort });
  }

  send(port: number, bytes: number): Promise<void> {
    return this.#remote.call('send', { port, bytes });
  }

  pump(port: number): Promise<void> {
    return this.#remote.call('pump', port);
  }

  /** Begins to send random bytes at a steady pace. */
  stream(port: number): Promise<void> {
    return this.#remote.call('stream', port);
  }

  /** Ends what `stream` began; returns what was sent. */
  finish(port: number): Promise<Sent> {
    return this.#remote.call('finish', port);
  }

  /** Forgets the longest pauses so far. */
  mark(): Promise<void> {
    return this.#remote.call('mark');
  }

  line(port: number): Promise<Line | null> {
    return this.#remote.call('line', port);
  }

  /** Waits until the connection is as it should be. */
  until(port: number, isEnough: (line: Line) => boolean, what: string): Promise<Line | null> {
    return until(
      () => this.line(port),
      (line) => line !== null && isEnough(line),
      `${what}, port ${port} in ${this.namespace}`,
    );
  }

  /** Ends it as a crash would: the kernel closes its connections. */
  close(): void {
    this.#remote.child.kill('SIGKILL');
  }
}
