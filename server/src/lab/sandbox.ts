/**
 * Where the demo's network can live: the process runs itself again inside private mount, network and
 * process namespaces (and a user namespace where it is not root), so that everything it makes is gone
 * when it ends, however it ends.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';

const INSIDE = 'GWLB_DEMO_INSIDE';

/** What `unshare` is asked for. */
function unshareArguments(): string[] {
  const asUser = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'];
  return [...asUser, '--mount', '--net', '--pid', '--fork', '--kill-child', '--mount-proc'];
}

/** Whether this process is the one inside. */
export function isInside(): boolean {
  return process.env[INSIDE] === '1';
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
export function spawnInside(argv: readonly string[], mark: string): ChildProcess {
  const command = 'mount -t tmpfs tmpfs /run && mkdir /run/netns && exec "$0" "$@"';
  const inner = [process.execPath, ...process.execArgv, ...argv];
  return spawn('unshare', [...unshareArguments(), 'sh', '-c', command, ...inner], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, [mark]: '1' },
  });
}

/**
 * Runs the same command inside; resolves with its exit code. Signals that end this process end the
 * inner one first, which tidies up; if this one is killed, the kernel ends all of them.
 */
export function runInside(argv: readonly string[]): Promise<number> {
  const child = spawnInside([process.argv[1], 'demo', ...argv], INSIDE);
  return new Promise((resolve, reject) => {
    const stop = () => askToStop(child);
    for (const signal of STOP_SIGNALS) process.on(signal, stop);
    child.once('error', reject);
    child.once('exit', (code) => {
      for (const signal of STOP_SIGNALS) process.off(signal, stop);
      resolve(code ?? 1);
    });
  });
}

const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

function askToStop(child: ChildProcess): void {
  if (child.connected) child.send({ stop: true });
}

/** Calls `stop` once, when this process is asked to end, directly or by the one outside. */
export function onStop(stop: () => void): void {
  let asked = false;
  const once = () => {
    if (asked) return;
    asked = true;
    stop();
  };
  for (const signal of STOP_SIGNALS) process.on(signal, once);
  if (!isInside()) return;
  process.on('message', (message) => {
    if ((message as { stop?: boolean }).stop) once();
  });
  process.on('disconnect', once);
  // The channel alone must not keep the process alive.
  process.channel?.unref();
}
