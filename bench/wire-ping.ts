// Round trips of single packets: through gateway and appliance, and through two plain C programs that
// block as often (device, socket, socket, socket, and back).
import { quick, report, wanted } from './harness.js';
import { enterNamespaces, needs, WireLab } from './wire-lab.js';
import type { ApplianceRole, GatewayRole } from './wire-role.js';
import {
  APPLIANCE,
  buildNetwork,
  GATEWAY,
  inspect,
  MTU,
  type Names,
  SERVER,
  TUN,
} from './wire-topology.js';

const SUITE = 'wire-ping';
const NAME = 'wire ping round trip';
const ROUNDS = quick ? 1 : 7;
const PINGS = quick ? 100 : 500;

/** Microseconds of each ping. */
async function ping(lab: WireLab, { client }: Names): Promise<number[]> {
  const text = await lab.run(client, 'ping', '-i', '0.002', '-c', `${PINGS}`, '-W', '1', SERVER);
  const times = [...text.matchAll(/time=([\d.]+) ms/g)].map((match) => Number(match[1]) * 1000);
  if (times.length < PINGS * 0.99) throw new Error(`${times.length} of ${PINGS} pings came back`);
  return times;
}

async function compare(): Promise<void> {
  const lab = new WireLab();
  try {
    const own = await buildNetwork(lab, '');
    const appliance: ApplianceRole = { address: APPLIANCE, netns: own.appliance };
    await lab.role('appliance', appliance);
    const tun = { name: TUN, netns: own.router, mtu: MTU };
    const gateway: GatewayRole = { address: GATEWAY, netns: own.gateway, target: APPLIANCE, tun };
    await lab.role('gateway', gateway);
    await inspect(lab, own, true);

    const plain = await buildNetwork(lab, 'c');
    lab.tool('echo', plain.appliance, APPLIANCE, 'blocking');
    await lab.ip(plain.router, [`tuntap add dev ${TUN} mode tun`, `link set ${TUN} up`]);
    lab.tool('relay', plain.router, TUN, plain.gateway, GATEWAY, APPLIANCE);
    await inspect(lab, plain, true);

    const samples = new Map<string, number[]>([
      ['gwlb', []],
      ['C relay', []],
    ]);
    await ping(lab, own);
    await ping(lab, plain);
    for (let round = 0; round < ROUNDS; round += 1) {
      samples.get('gwlb')!.push(...(await ping(lab, own)));
      samples.get('C relay')!.push(...(await ping(lab, plain)));
    }
    report(
      {
        suite: SUITE,
        name: NAME,
        unit: 'us',
        note: 'each way through the tunnel and back; every ping is a sample',
      },
      samples,
    );
  } finally {
    await lab.close();
  }
}

if (wanted(SUITE, NAME)) {
  needs(NAME, { ping: 'iputils-ping' });
  await enterNamespaces(import.meta.url);
  await compare();
}
process.exit(0);
