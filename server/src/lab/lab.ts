/** Network namespaces, links and processes; everything is named and ends with `close`. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { promisify } from 'node:util';
import { Remote } from './rpc.js';

const run = promisify(execFile);

/** Runs `ip` (or another command) and says what failed. */
async function command(program: string, args: readonly string[], input?: string): Promise<void> {
  const child = run(program, args as string[]);
  if (input !== undefined) child.child.stdin?.end(input);
  try {
    await child;
  } catch (error) {
    const { stderr } = error as { stderr?: string };
    throw new Error(`${program} ${args.join(' ')}: ${(stderr || String(error)).trim()}`);
  }
}

export class Lab {
  readonly #namespaces: string[] = [];
  readonly #children = new Set<ChildProcess>();

  /** Makes a namespace with its loopback up and runs `ip` commands in it, one a line. */
  async namespace(name: string, lines: readonly string[] = []): Promise<void> {
    await command('ip', ['netns', 'add', name]);
    this.#namespaces.push(name);
    await this.ip(name, ['link set lo up', ...lines]);
  }

  /** `ip` commands inside of a namespace. */
  async ip(namespace: string, lines: readonly string[]): Promise<void> {
    await command('ip', ['-n', namespace, '-batch', '-'], `${lines.join('\n')}\n`);
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
    await command('ip', ['netns', 'exec', namespace, 'sh', '-c', script]);
  }

  /** Starts a module of ours that serves calls (`serve`), in a namespace or (null) where we are. */
  start(
    command: readonly string[],
    name: string,
    namespace: string | null,
    onNote: (note: string, value: unknown) => void = () => {},
  ): Remote {
    const node = [process.execPath, ...command];
    const [program, ...args] = namespace ? ['ip', 'netns', 'exec', namespace, ...node] : node;
    const child = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    return new Remote(child, name, onNote);
  }

  /** Ends a process and waits until it is gone. */
  async stop(remote: Remote, signal: NodeJS.Signals): Promise<void> {
    const { child } = remote;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await gone;
  }

  /** Ends every process and removes every namespace. */
  async close(): Promise<void> {
    await Promise.all(
      [...this.#children].map((child) => {
        const gone = new Promise((resolve) => child.once('exit', resolve));
        child.kill('SIGKILL');
        return gone;
      }),
    );
    for (const name of this.#namespaces.splice(0).reverse()) {
      await command('ip', ['netns', 'del', name]).catch(() => {});
    }
  }
}
