/** `gwlb appliance`: passes packets, drops what rules say; for testing gateways. */
import { Appliance } from '../appliance/appliance.js';
import { parseDropRule } from '../appliance/drop-rule.js';
import { numberArgument } from './decode.js';
import { untilStopped } from './signals.js';

export interface ApplianceArguments {
  listen: string;
  port: string;
  healthPort: string;
  drop: string[];
  optionClass: string;
  netns?: string;
}

/** Resolves with the exit code, when it was stopped. */
export async function appliance(given: ApplianceArguments): Promise<number> {
  const { listen: address, netns = null } = given;
  const healthCheck =
    given.healthPort === 'off'
      ? (false as const)
      : { port: numberArgument('--health-port', given.healthPort, 1, 65_535) };
  const options = {
    address,
    port: numberArgument('--port', given.port, 1, 65_535),
    optionClass: numberArgument('--option-class', given.optionClass, 0, 0xffff),
    drop: given.drop.map(parseDropRule),
    netns,
    healthCheck,
  };
  const stopped = untilStopped();
  const running = await Appliance.listen(options);
  const failed = new Promise<unknown>((resolve) => {
    running.once('error', resolve);
  });
  const tell = (): void => console.log(countersText(running));
  process.on('SIGUSR1', tell);
  const health = healthCheck ? `health checks on port ${healthCheck.port}` : 'no health checks';
  console.log(`gwlb appliance ready on ${running.address}:${running.port}, ${health}`);
  const failure = await Promise.race([stopped.then(() => null), failed]);
  await running.close();
  tell();
  process.off('SIGUSR1', tell);
  if (failure !== null) throw failure;
  return 0;
}

/** One line; only the drops that occurred. */
function countersText(running: Appliance): string {
  const { drops, ...counters } = running.counters();
  const named = Object.entries(counters).map(([name, count]) => `${name} ${count}`);
  const dropped = Object.entries(drops)
    .filter(([, count]) => count > 0)
    .map(([reason, count]) => `${reason} ${count}`);
  return `${named.join(', ')}; dropped: ${dropped.join(', ') || 'none'}`;
}
