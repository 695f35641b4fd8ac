// TCP from a client through a gateway and an appliance whose kernel forwards it by stateful rules of nftables;
// against the appliance that passes everything in native code, and against itself one packet a system call, as
// AWS's sample handler works. Everything on this machine's cores.
import { kill } from '../server/dist/lab/processes.js';
import { prove, quick, report, wanted } from './harness.js';
import { enterNamespaces, needs, WireLab } from './wire-lab.js';
import type { ApplianceRole, Counters, GatewayRole } from './wire-role.js';
import {
  APPLIANCE,
  buildNetwork,
  GATEWAY,
  inspect,
  iperf,
  MTU,
  type Names,
  SERVER,
  serveIperf,
  TUN,
} from './wire-topology.js';

const SUITE = 'wire-kernel';
const NAME = "wire tcp through a kernel's firewall";
const ROUNDS = quick ? 1 : 5;
const SECONDS = quick ? 1 : 3;
const DEVICE = 'gwlb0';

const RULES = [
  'add table inet firewall',
  'add chain inet firewall forward { type filter hook forward priority 0; policy drop; }',
  'add rule inet firewall forward ct state established,related accept',
  'add rule inet firewall forward tcp dport 5201 accept',
].join('; ');

/** What of the appliance's own side differs. */
const CONTENDERS: Readonly<Record<string, Pick<ApplianceRole, 'tun' | 'offloads'>>> = {
  gwlb: { tun: DEVICE },
  'pass-through': {},
  'offloads off': { tun: DEVICE, offloads: false },
};

/** Gbit/s. */
async function sample(
  lab: WireLab,
  names: Names,
  own: Pick<ApplianceRole, 'tun' | 'offloads'>,
): Promise<number> {
  const tun = { name: TUN, netns: names.router, mtu: MTU };
  const role: ApplianceRole = { address: APPLIANCE, netns: names.appliance, ...own };
  const gateway: GatewayRole = { address: GATEWAY, netns: names.gateway, target: APPLIANCE, tun };
  const appliance = await lab.role('appliance', role);
  const balancer = await lab.role('gateway', gateway);
  if (own.tun) await lab.ip(names.appliance, [`route replace default dev ${own.tun}`]);
  await inspect(lab, names, true);
  const rate = await iperf(lab, names.client, SERVER, SECONDS);
  // Super-packets count as what they stand for.
  const { out } = await balancer.call<Counters>('counters');
  prove('all of it went through the gateway', out * MTU * 8 > rate * 1e9 * SECONDS * 0.95, true);
  const { kernel } = await appliance.call<Counters>('counters');
  prove('and, or not, through the kernel', kernel > 0, own.tun !== undefined);
  await inspect(lab, names, false);
  await kill(balancer.child);
  await kill(appliance.child);
  return rate;
}

async function compare(): Promise<void> {
  const lab = new WireLab();
  const samples = new Map<string, number[]>(Object.keys(CONTENDERS).map((name) => [name, []]));
  try {
    const names = await buildNetwork(lab, '');
    await lab.sysctl(names.appliance, [
      'net.ipv4.ip_forward=1',
      'net.ipv4.conf.all.rp_filter=0',
      'net.ipv4.conf.default.rp_filter=0',
      'net.ipv4.conf.all.send_redirects=0',
      'net.ipv4.conf.default.send_redirects=0',
    ]);
    await lab.run(names.appliance, 'nft', RULES);
    await serveIperf(lab, names.server);
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const [name, values] of samples) {
        values.push(await sample(lab, names, CONTENDERS[name]));
      }
    }
  } finally {
    await lab.close();
  }
  report(
    {
      suite: SUITE,
      name: NAME,
      unit: 'Gbit/s',
      lessIsBetter: false,
      note: `one TCP connection, MTU ${MTU}, all processes on the same cores`,
    },
    samples,
  );
}

if (wanted(SUITE, NAME)) {
  needs(NAME, { iperf3: 'iperf3', nft: 'nftables' });
  await enterNamespaces(import.meta.url);
  await compare();
}
process.exit(0);
