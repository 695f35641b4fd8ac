// TCP from a client through gateway and appliance to a server, everything on this machine's cores;
// against Open vSwitch at both ends of the tunnel, and against the router alone.
import { kill } from '../server/dist/lab/processes.js';
import { prove, quick, report, wanted } from './harness.js';
import { enterNamespaces, missingOf, needs, WireLab } from './wire-lab.js';
import type { ApplianceRole, Counters, GatewayRole } from './wire-role.js';
import {
  APPLIANCE,
  buildNetwork,
  buildSwitches,
  GATEWAY,
  inspect,
  iperf,
  MTU,
  OVS_PACKAGES,
  OVS_SERVER,
  SERVER,
  serveIperf,
  TUN,
} from './wire-topology.js';

const SUITE = 'wire-end-to-end';
const NAME = 'wire tcp end to end';
const ROUNDS = quick ? 1 : 5;
const SECONDS = quick ? 1 : 3;
const OVS = 'Open vSwitch';

async function compare(): Promise<void> {
  const lab = new WireLab();
  const missing = missingOf(OVS_PACKAGES);
  const packages = Object.values(missing);
  try {
    const names = await buildNetwork(lab, '');
    await serveIperf(lab, names.server);

    const contenders = new Map<string, () => Promise<number>>();
    const through = (offloads: boolean) => async () => {
      const tun = { name: TUN, netns: names.router, mtu: MTU };
      const gateway: GatewayRole = {
        ...{ address: GATEWAY, netns: names.gateway, target: APPLIANCE, tun, offloads },
      };
      const appliance: ApplianceRole = {
        ...{ address: APPLIANCE, netns: names.appliance, offloads },
      };
      const inspector = await lab.role('appliance', appliance);
      const balancer = await lab.role('gateway', gateway);
      await inspect(lab, names, true);
      const rate = await iperf(lab, names.client, SERVER, SECONDS);
      // Super-packets count as what they stand for.
      const { out } = await balancer.call<Counters>('counters');
      const received = rate * 1e9 * SECONDS;
      prove('all of it went through the gateway', out * MTU * 8 > received * 0.95, true);
      await inspect(lab, names, false);
      await kill(balancer.child);
      await kill(inspector.child);
      return rate;
    };
    contenders.set('gwlb', through(true));
    contenders.set('gwlb, offloads off', through(false));
    if (packages.length === 0) {
      const [client, server] = await buildSwitches(lab, 'o');
      await serveIperf(lab, server);
      await lab.run(client, 'ping', '-c3', '-i0.2', '-W2', OVS_SERVER);
      contenders.set(OVS, () => iperf(lab, client, OVS_SERVER, SECONDS));
    }
    contenders.set('routing, no inspection', () => iperf(lab, names.client, SERVER, SECONDS));

    const samples = new Map<string, number[]>([...contenders.keys()].map((name) => [name, []]));
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const [name, sample] of contenders) samples.get(name)!.push(await sample());
    }
    report(
      {
        suite: SUITE,
        name: NAME,
        unit: 'Gbit/s',
        lessIsBetter: false,
        note: `one TCP connection, MTU ${MTU}, all processes on the same cores`,
        missing: packages.length > 0 ? { [OVS]: packages[0] } : {},
      },
      samples,
    );
  } finally {
    await lab.close();
  }
}

if (wanted(SUITE, NAME)) {
  needs(NAME, { iperf3: 'iperf3' });
  await enterNamespaces(import.meta.url);
  await compare();
}
process.exit(0);
