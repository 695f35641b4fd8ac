/** `gwlb appliance`: the other side of the tunnel, alone or in front of the kernel, until a signal ends it. */
import { type Appliance, type Capability, GatewayError, limitPrivileges } from 'gwlb';
import {
  type ApplianceArguments,
  type ApplianceSettings,
  applianceSettings,
} from '../appliance/options.js';
import { printedSetup } from '../appliance/print-setup.js';
import { ApplianceService } from '../appliance/service.js';
import { makeLogger } from '../observe/log.js';
import { TO_RETURN, TO_START } from '../service/privileges.js';
import { onSignal, untilStopped } from '../service/signals.js';

/** Resolves with the exit code, when it was stopped. */
export async function appliance(given: ApplianceArguments, version: string): Promise<number> {
  const settings = applianceSettings(given);
  if (settings.printSetup) {
    for (const line of await printedSetup(settings)) console.log(line);
    return 0;
  }
  const stopped = untilStopped();
  if (settings.dropPrivileges) becomeUser(settings);
  const log = makeLogger(settings.logLevel);
  const service = await ApplianceService.start(settings, log, version);
  if (settings.dropPrivileges) limitPrivileges(toGoOn(settings), undefined, inherited(settings));
  const tell = (): void => console.log(countersText(service.appliance));
  const offSignal = onSignal('SIGUSR1', tell);
  // Without devices it is for tests, whose readers want a line and not a log.
  if (settings.tun === null) console.log(readyText(service.appliance));
  const failure = await Promise.race([stopped.then(() => null), service.failed]);
  const again = failure === null ? untilStopped() : Promise.resolve();
  if (failure === null) await service.drain(again);
  await service.stop(again);
  if (settings.tun === null) tell();
  offSignal();
  if (failure !== null) throw failure;
  return 0;
}

/** What programs that it runs may do: set the host up, and whatever the operator's do for a device. */
function inherited({ tun }: ApplianceSettings): Capability[] {
  if (tun === null) return [];
  return tun.netns ? ['CAP_NET_ADMIN', 'CAP_SYS_ADMIN'] : ['CAP_NET_ADMIN'];
}

/** For as long as it runs: devices may be lost and made again, and the host is set up for each. */
function toGoOn(settings: ApplianceSettings): Capability[] {
  return [...TO_RETURN, ...inherited(settings)];
}

/** Keeps what a start needs, as this user where one is named. */
function becomeUser(settings: ApplianceSettings): void {
  try {
    limitPrivileges(TO_START, settings.user, inherited(settings));
  } catch (error) {
    throw error instanceof GatewayError && error.field === 'user' ? error.at('--user') : error;
  }
}

function readyText({ address, port, healthCheck }: Appliance): string {
  const host = address.includes(':') ? `[${address}]` : address;
  const health = healthCheck ? `health checks on port ${healthCheck.port}` : 'no health checks';
  return `gwlb appliance ready on ${host}:${port}, ${health}`;
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
