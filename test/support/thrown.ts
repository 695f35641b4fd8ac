/** What a call threw, where that is the question. */
import type { GatewayError } from '../../src/base/errors.js';

export function thrown(run: () => unknown): GatewayError {
  try {
    run();
  } catch (error) {
    return error as GatewayError;
  }
  throw new Error('nothing was thrown');
}
