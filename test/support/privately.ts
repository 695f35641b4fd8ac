/**
 * Test files that make network namespaces run again inside private mount, network and process
 * namespaces, so that nothing is left behind however they end. Such a file must not import tap
 * before: the outer process only hands through what the inner one says.
 */
import { fileURLToPath } from 'node:url';
import {
  followParent,
  isInside,
  runInside,
  whyNoNamespaces,
} from '../../server/src/lab/sandbox.js';

const INSIDE = 'GWLB_TEST_INSIDE';

/**
 * Inside returns null; where there can be no namespaces, the reason. Otherwise runs the file inside
 * and ends this process as that one ended.
 */
export async function runPrivately(file: string): Promise<string | null> {
  if (isInside(INSIDE)) {
    followParent();
    return null;
  }
  const reason = whyNoNamespaces();
  if (reason !== null) return reason;
  process.exit(await runInside([fileURLToPath(file)], INSIDE));
}
