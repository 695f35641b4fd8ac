/** What the commands that talk to a running gateway have in common: finding its socket. */

import { GatewayError } from 'gwlb';
import { loadConfig, problemLine } from '../config/config.js';
import { checkSocketPath } from '../config/socket-path.js';

/** Where a gateway listens if nothing else is said. */
export const DEFAULT_SOCKET = '/run/gwlb/control.sock';

export interface AskArguments {
  socket?: string;
  config?: string;
  json: boolean;
}

/** The path of the socket that the arguments name. */
export function socketOf({ socket, config }: AskArguments): string {
  if (config === undefined) return checkSocketPath('--socket', socket ?? DEFAULT_SOCKET);
  const loaded = loadConfig(config);
  if (!loaded.ok) {
    const problems = loaded.problems.map((problem) => problemLine(config, problem)).join('\n');
    throw new GatewayError('ERR_GWLB_CONFIG', problems);
  }
  if (loaded.config.control === null) {
    throw new GatewayError(
      'ERR_GWLB_CONFIG',
      `${config}: expected control.socket, which tells where its gateway answers, received none`,
      { field: 'control.socket' },
    );
  }
  return loaded.config.control.socket;
}
