/** The chapter about the appliance that is a Linux firewall. */
import type { Promises } from './promises.js';
import type { Report } from './report.js';
import { KERNEL_PORT } from './types.js';
import type { World } from './world.js';

/** Each goes to one appliance of three: as many are tried as it takes, hardly ever more than ten. */
const TRIES_MAX = 60;
const TRY_MS = 300;

/** Asks for the port that its rule drops until a connection has gone that way. */
export async function tellFirewall(
  world: World,
  report: Report,
  promises: Promises,
): Promise<void> {
  const { client, addresses, firewall } = world.place;
  report.chapter('One of the appliances is a Linux firewall');
  const obstacle = firewall ? firewall.obstacle : 'that needs network namespaces';
  if (!firewall || obstacle !== null) {
    report.event('firewall', { obstacle }, `not here: ${obstacle}; all are programs of ours`);
    return;
  }
  const { name, rule } = firewall;
  let tries = 0;
  let open = false;
  while (tries < TRIES_MAX && (await firewall.dropped()) === 0) {
    const address = addresses[tries++ % addresses.length];
    const asked = { address, port: KERNEL_PORT, timeoutMs: TRY_MS };
    open ||= await client.call<boolean>('tryPort', asked);
  }
  const packets = await firewall.dropped();
  report.event(
    'firewall',
    { appliance: name, rule, tries, packets, open },
    `${name} hands its packets to its kernel, which forwards them, or not: ${rule}`,
    `${tries} connections to TCP port ${KERNEL_PORT} tried, until one went through ${name}: nftables dropped ${packets} packets`,
  );
  const held = packets > 0 && !open;
  promises.check('a Linux firewall drops what its rule forbids', held, `${packets} packets`);
}
