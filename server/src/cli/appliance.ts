/** `gwlb appliance`: passes packets, drops what rules say; for testing gateways. */
import { Appliance, type DropRule, GatewayError, limitPrivileges, parseDropRule } from 'gwlb';
import { TO_RETURN, TO_START } from '../service/privileges.js';
import { onSignal, untilStopped } from '../service/signals.js';
import { numberArgument } from './decode.js';

export interface ApplianceArguments {
  listen: string;
  port: string;
  healthPort: string;
  drop: string[];
  optionClass: string;
  netns?: string;
}

/** The argument that sets an option of the library. */
const ARGUMENT_OF: Readonly<Record<string, string>> = {
  'options.address': '--listen',
  'options.netns': '--netns',
};

/** The same error about the argument; others as they are. */
function aboutArgument(error: unknown): unknown {
  if (!(error instanceof GatewayError) || error.field === undefined) return error;
  const field = ARGUMENT_OF[error.field];
  return field === undefined ? error : error.at(field);
}

function dropArgument(rule: string): DropRule {
  try {
    return parseDropRule(rule);
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    throw error.at('--drop');
  }
}

/** Resolves with the exit code, when it was stopped. */
export async function appliance(given: ApplianceArguments): Promise<number> {
  const { listen: address, netns = null } = given;
  if (netns !== null && given.healthPort !== 'off') {
    const expected = 'off together with --netns (health checks are answered outside of it only)';
    throw GatewayError.invalidArgument('--health-port', expected, given.healthPort);
  }
  const healthCheck =
    given.healthPort === 'off'
      ? (false as const)
      : { port: numberArgument('--health-port', given.healthPort, 1, 65_535) };
  const options = {
    address,
    port: numberArgument('--port', given.port, 1, 65_535),
    optionClass: numberArgument('--option-class', given.optionClass, 0, 0xffff),
    drop: given.drop.map(dropArgument),
    netns,
    healthCheck,
  };
  const stopped = untilStopped();
  limitPrivileges(TO_START);
  const running = await Appliance.listen(options).catch((error) => {
    throw aboutArgument(error);
  });
  limitPrivileges(TO_RETURN);
  const failed = new Promise<unknown>((resolve) => {
    running.once('error', resolve);
  });
  const tell = (): void => console.log(countersText(running));
  const offSignal = onSignal('SIGUSR1', tell);
  const host = running.address.includes(':') ? `[${running.address}]` : running.address;
  const health = healthCheck ? `health checks on port ${healthCheck.port}` : 'no health checks';
  console.log(`gwlb appliance ready on ${host}:${running.port}, ${health}`);
  const failure = await Promise.race([stopped.then(() => null), failed]);
  await running.close();
  tell();
  offSignal();
  if (failure !== null) throw failure;
  return 0;
}

/** What there is to count without an inspector. */
const SHOWN = [
  'packetsReceived',
  'bytesReceived',
  'packetsReturned',
  'bytesReturned',
  'packetsRewritten',
] as const;

/** One line; only the drops that occurred. */
function countersText(running: Appliance): string {
  const { drops, ...counters } = running.counters();
  const named = SHOWN.map((name) => `${name} ${counters[name]}`);
  const dropped = Object.entries(drops)
    .filter(([, count]) => count > 0)
    .map(([reason, count]) => `${reason} ${count}`);
  return `${named.join(', ')}; dropped: ${dropped.join(', ') || 'none'}`;
}
