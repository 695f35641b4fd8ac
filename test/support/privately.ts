/**
 * Test files that make network namespaces run again inside private mount, network and process
 * namespaces, so that nothing is left behind however they end. Such a file must not import tap
 * before: the outer process only hands through what the inner one says.
 */
import { fileURLToPath } from 'node:url';
import { spawnInside, whyNoNamespaces } from '../../server/src/lab/sandbox.js';

const INSIDE = 'GWLB_TEST_INSIDE';

/**
 * Inside returns null; where there can be no namespaces, the reason. Otherwise runs the file inside
 * and ends this process as that one ended.
 */
export async function runPrivately(file: string): Promise<string | null> {
  if (process.env[INSIDE] === '1') {
    process.on('disconnect', () => process.exit(1));
    process.channel?.unref();
    return null;
  }
  const reason = whyNoNamespaces();
  if (reason !== null) return reason;
  process.exit(await runInside(fileURLToPath(file)));
}

function runInside(file: string): Promise<number> {
  const child = spawnInside([file], INSIDE);
  // Killing unshare kills the first process inside, and with it the kernel ends all others.
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    process.on(signal, () => child.kill('SIGKILL'));
  }
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => resolve(code ?? 1));
  });
}
