/** `gwlb preview`: what a change would do, asked of the running gateway. */
import { GatewayError, WEIGHT_MAX } from 'gwlb';
import { askGateway } from '../api/client.js';
import { numberArgument } from '../errors.js';
import { type AskArguments, socketOf } from './socket-of.js';

/** Prints the answer; resolves with the exit code. */
export async function runPreview(
  change: Readonly<Record<string, unknown>>,
  given: AskArguments,
): Promise<number> {
  const asked = askGateway(socketOf(given), '/v1/preview', { changes: [change] });
  const answer = (await asked.catch((error) => {
    throw aboutArgument(error);
  })) as { text: string };
  console.log(given.json ? JSON.stringify(answer) : answer.text);
  return 0;
}

/** Kinds of changes that are given a target, or its name. */
const OF_A_TARGET = new Set<unknown>(['register', 'deregister', 'drainOver', 'fail', 'recover']);

/** `changes[0].update.failover` is `failover` on the command line. */
function aboutArgument(error: unknown): unknown {
  if (!(error instanceof GatewayError) || error.field === undefined) return error;
  const [first, , kind, ...rest] = error.path;
  if (first !== 'changes' || kind === undefined) return error;
  const keys = rest[0] === 0 ? rest.slice(1) : rest;
  return error.at(keys.length > 0 ? keys : [OF_A_TARGET.has(kind) ? 'target' : kind]);
}

/** The target that `register` is asked about. */
export function targetOf(
  address: string,
  { port, zone, weight }: { port?: string; zone?: string; weight?: string },
): Record<string, unknown> {
  return {
    address,
    ...(port !== undefined && { port: numberArgument('--port', port, 1, 65_535) }),
    ...(zone !== undefined && { zone }),
    ...(weight !== undefined && { weight: numberArgument('--weight', weight, 0, WEIGHT_MAX) }),
  };
}

export function weightOf(text: string): number {
  return numberArgument('weight', text, 0, WEIGHT_MAX);
}

/** Options from `key=value`; a dot leads into an option of options. */
export function policyArgument(pairs: readonly string[]): Record<string, unknown> {
  const policy: Record<string, unknown> = {};
  for (const pair of pairs) {
    const match = /^([A-Za-z]+)(?:\.([A-Za-z]+))?=(.*)$/.exec(pair);
    if (!match)
      throw GatewayError.invalidArgument('update', 'KEY=VALUE, such as failover=rebalance', pair);
    const [, key = '', inner, text = ''] = match;
    if (inner === undefined) policy[key] = argumentValue(text);
    else policy[key] = { ...(policy[key] as object | undefined), [inner]: argumentValue(text) };
  }
  return policy;
}

function argumentValue(text: string): string | number | boolean {
  if (text === 'true' || text === 'false') return text === 'true';
  return /^\d+(?:\.\d+)?$/.test(text) ? Number(text) : text;
}
