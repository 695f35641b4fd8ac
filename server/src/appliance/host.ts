/** The host as it is, for what a setup has to know and do: kernel settings, and commands of the system. */
import { access, readdir, readFile, writeFile } from 'node:fs/promises';
import { GatewayError } from 'gwlb';
import { runProgram } from './programs.js';

/** What a command may take, also on a machine that is busy. */
const COMMAND_MS = 10_000;

/** Programs of the system are not in every user's path. */
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

const isAbsent = (error: unknown) => (error as NodeJS.ErrnoException).code === 'ENOENT';

export class Host {
  /** Runs a command to its end; what it said. Rejects with a `GatewayError` where it failed. */
  async run(argv: readonly string[]): Promise<string> {
    const { ok, problem, output } = await this.#run(argv);
    if (ok) return output;
    throw new GatewayError('ERR_GWLB_SYSTEM', `${argv.join(' ')}: ${problem}`);
  }

  /** The same where nobody minds that it fails. */
  async attempt(argv: readonly string[]): Promise<void> {
    await this.#run(argv);
  }

  /** A kernel setting; null where there is none of this name. */
  async setting(netns: string | null, key: string): Promise<string | null> {
    const path = `/proc/sys/${key}`;
    if (netns === null) {
      return readFile(path, 'utf8').then(
        (text) => text.trim(),
        (error) => {
          if (isAbsent(error)) return null;
          throw GatewayError.fromSystemError(error, `read ${key}`);
        },
      );
    }
    const { ok, output } = await this.#run(inside(netns, ['cat', path]));
    return ok ? output.trim() : null;
  }

  async set(netns: string | null, key: string, value: string): Promise<void> {
    const path = `/proc/sys/${key}`;
    if (netns !== null) {
      await this.run(inside(netns, ['sh', '-c', 'echo "$1" > "$2"', 'sh', value, path]));
      return;
    }
    try {
      await writeFile(path, value);
    } catch (error) {
      throw GatewayError.fromSystemError(error, `set ${key} to ${value}`);
    }
  }

  /** Interfaces of the process's own namespace that have settings of IPv6. */
  async interfaces(): Promise<string[]> {
    const names = await readdir('/proc/sys/net/ipv6/conf').catch(() => []);
    return names.filter((name) => !['all', 'default', 'lo'].includes(name));
  }

  /** Whether a program of the system is there. */
  async has(program: string): Promise<boolean> {
    const found = PATH.split(':').map((folder) =>
      access(`${folder}/${program}`).then(
        () => true,
        () => false,
      ),
    );
    return (await Promise.all(found)).includes(true);
  }

  #run(argv: readonly string[]) {
    const env = { PATH: process.env.PATH ? `${process.env.PATH}:${PATH}` : PATH, LC_ALL: 'C' };
    return runProgram({ argv, env, timeoutMs: COMMAND_MS });
  }
}

function inside(netns: string, argv: readonly string[]): string[] {
  return ['ip', 'netns', 'exec', netns, ...argv];
}
