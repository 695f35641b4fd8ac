/**
 * A laboratory: network namespaces, links between them and processes in them, for the demo, tests and
 * benchmarks. Everything is named, and ends with `close`.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { inNamespace, kill, run } from './processes.js';
import { Remote } from './remote.js';

/** Runs `ip` (or another command) to its end; what it printed. Rejects with what it said where it failed. */
async function output(program: string, args: readonly string[], input?: string): Promise<string> {
  const { status, out, err } = await run(program, args, undefined, input);
  if (status === 0) return out;
  const said = err.trim() || out.trim() || `exit code ${status}`;
  throw new Error(`${program} ${args.join(' ')}: ${said}`);
}

export class Lab {
  readonly #namespaces: string[] = [];
  readonly #children = new Set<ChildProcess>();

  /** Makes a namespace with its loopback up and runs `ip` commands in it, one a line. */
  async namespace(name: string, lines: readonly string[] = []): Promise<void> {
    await output('ip', ['netns', 'add', name]);
    this.#namespaces.push(name);
    await this.ip(name, ['link set lo up', ...lines]);
  }

  /** A namespace that forwards IPv4, takes any way back and sends nobody another way. */
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

  /** `ip` commands inside of a namespace. */
  async ip(namespace: string, lines: readonly string[]): Promise<void> {
    await output('ip', ['-n', namespace, '-batch', '-'], `${lines.join('\n')}\n`);
  }

  /** A cable between two namespaces; both ends are set up. */
  async cable(a: string, aName: string, b: string, bName: string): Promise<void> {
    await this.ip(a, [`link add ${aName} type veth peer name ${bName} netns ${b}`]);
    await this.ip(a, [`link set ${aName} up`]);
    await this.ip(b, [`link set ${bName} up`]);
  }

  /** Kernel settings of a namespace, such as `net.ipv4.ip_forward=1`. */
  async sysctl(namespace: string, settings: readonly string[]): Promise<void> {
    const script = settings
      .map((setting) => {
        const [key, value] = setting.split('=');
        return `echo ${value} > /proc/sys/${key.replaceAll('.', '/')}`;
      })
      .join(' && ');
    await this.run(namespace, 'sh', '-c', script);
  }

  /**
   * Runs a program to its end in a namespace, or (null) where we are; resolves with what it printed and
   * rejects with what it said where it failed.
   */
  run(namespace: string | null, program: string, ...args: string[]): Promise<string> {
    return output(...inNamespace(namespace, [program, ...args]));
  }

  /** Starts a program that runs until the end. */
  begin(namespace: string | null, program: string, ...args: string[]): ChildProcess {
    const [first, rest] = inNamespace(namespace, [program, ...args]);
    return this.#keep(spawn(first, rest, { stdio: 'ignore' }));
  }

  /** Starts a module of ours that serves calls (`serve`), in a namespace or (null) where we are. */
  start(
    command: readonly string[],
    name: string,
    namespace: string | null,
    onNote: (note: string, value: unknown) => void = () => {},
  ): Remote {
    const node = [process.execPath, ...process.execArgv, ...command];
    const [program, args] = inNamespace(namespace, node);
    const child = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    return new Remote(this.#keep(child), name, onNote);
  }

  #keep(child: ChildProcess): ChildProcess {
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    return child;
  }

  /** Ends every process and removes every namespace. */
  async close(): Promise<void> {
    await Promise.all([...this.#children].map((child) => kill(child)));
    for (const name of this.#namespaces.splice(0).reverse()) {
      await output('ip', ['netns', 'del', name]).catch(() => {});
    }
  }
}
