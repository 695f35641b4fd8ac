/**
 * Where a laboratory can live: the process runs itself again inside private mount, network and process
 * namespaces (and a user namespace where it is not root), so that everything it makes is gone when it
 * ends, however it ends.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';

/** What `unshare` is asked for. */
function unshareArguments(): string[] {
  const asUser = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'];
  return [...asUser, '--mount', '--net', '--pid', '--fork', '--kill-child', '--mount-proc'];
}

/** Whether this process is the one inside; `mark` is the variable that says so. */
export function isInside(mark: string): boolean {
  return process.env[mark] === '1';
}

/** Why namespaces cannot be had here, as one sentence; null where they can. */
export function whyNoNamespaces(): string | null {
  if (spawnSync('ip', ['-V']).error) {
    return 'The command `ip` (package iproute2) is not installed.';
  }
  if (spawnSync('unshare', ['--version']).error) {
    return 'The command `unshare` (package util-linux) is not installed.';
  }
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK);
  } catch {
    return 'This user may not open /dev/net/tun, which the endpoints need.';
  }
  const script =
    'mount -t tmpfs tmpfs /run && mkdir /run/netns && ip netns add probe && ' +
    'ip netns exec probe ip tuntap add dev probe0 mode tun';
  const probe = spawnSync('unshare', [...unshareArguments(), 'sh', '-c', script], {
    encoding: 'utf8',
    timeout: 10_000,
  });
  if (probe.status === 0) return null;
  const said = `${probe.stderr ?? ''}`.trim().split('\n').at(-1) || `exit code ${probe.status}`;
  return `This system does not allow private network namespaces (${said}).`;
}

/** Starts Node with these arguments inside; it has an IPC channel to this process. */
function spawnInside(argv: readonly string[], mark: string): ChildProcess {
  const command = 'mount -t tmpfs tmpfs /run && mkdir /run/netns && exec "$0" "$@"';
  const inner = [process.execPath, ...process.execArgv, ...argv];
  return spawn('unshare', [...unshareArguments(), 'sh', '-c', command, ...inner], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, [mark]: '1' },
  });
}

/** The signals that end a process which tidies up. */
export const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Runs Node with these arguments inside; resolves with its exit code. Signals that end this process are
 * told by `stop`, which by default kills the first process inside, and with it the kernel ends all others.
 */
export function runInside(
  argv: readonly string[],
  mark: string,
  stop: (child: ChildProcess) => void = (child) => child.kill('SIGKILL'),
): Promise<number> {
  const child = spawnInside(argv, mark);
  return new Promise((resolve, reject) => {
    const told = () => stop(child);
    for (const signal of STOP_SIGNALS) process.on(signal, told);
    child.once('error', reject);
    child.once('exit', (code) => {
      for (const signal of STOP_SIGNALS) process.off(signal, told);
      resolve(code ?? 1);
    });
  });
}

/** Inside: calls `end` when the process outside is gone. The channel alone keeps nobody alive. */
export function followParent(end: () => void = () => process.exit(1)): void {
  process.on('disconnect', end);
  process.channel?.unref();
}
