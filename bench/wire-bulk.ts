// A few flows of full packets, as TCP and UDP senders make them: UDP super-packets into the endpoint's
// device. Inner packets for a second of the gateway's CPU: towards a target that throws everything
// away, and there and back with one that returns the trains as they come. Beside it the same chain of
// system calls in C, which looks nothing up and sums nothing: what the kernel alone takes.
import { setTimeout as sleep } from 'node:timers/promises';
import { kill } from '../server/dist/lab/processes.js';
import { prove, quick, report, wanted } from './harness.js';
import { cpuNs, enterNamespaces, WireLab } from './wire-lab.js';
import type { Counters, GatewayRole } from './wire-role.js';
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

const SUITE = 'wire-bulk';
const BYTES = 1400;
const INNER_HEADERS = 28;
const FLOWS = 4;
const CHAIN = 'C chain';
const ROUNDS = quick ? 1 : 7;
const SECONDS = quick ? '0.2' : '1.5';
const WAYS = { 'wire bulk to targets': false, 'wire bulk there and back': true } as const;
const chosen = Object.entries(WAYS).filter(([name]) => wanted(SUITE, name));

interface Forwarder {
  pid: number;
  /** Inner packets that went through so far. */
  done: () => Promise<number>;
}

/** Inner packets for a second of the forwarder's CPU. */
async function blast(lab: WireLab, names: Names, { pid, done }: Forwarder): Promise<number> {
  const [before, spent] = [await done(), cpuNs(pid)];
  const { sent } = await lab.measure(
    ...['blast', names.client, SERVER, SECONDS, `${BYTES}`, `${FLOWS}`],
  );
  await sleep(100);
  const [after, all] = [await done(), cpuNs(pid)];
  prove('packets go through', sent > 0 && after - before > 0, true);
  return ((after - before) * 1e9) / (all - spent);
}

async function sample(lab: WireLab, names: Names, forwarder: Forwarder): Promise<number> {
  await inspect(lab, names, true);
  await blast(lab, names, forwarder);
  const rate = await blast(lab, names, forwarder);
  await inspect(lab, names, false);
  return rate;
}

/** The C chain's device, and what was read from it. */
async function sampleChain(lab: WireLab, names: Names): Promise<number> {
  const { router } = names;
  await lab.ip(router, [
    `tuntap add dev ${TUN} mode tun vnet_hdr`,
    `link set ${TUN} mtu ${MTU} up`,
  ]);
  const child = lab.tool('chain', router, TUN, names.gateway, GATEWAY, APPLIANCE);
  const done = async () => {
    const shown = await lab.run(router, 'ip', '-j', '-s', 'link', 'show', TUN);
    const [{ stats64 }] = JSON.parse(shown) as [{ stats64: { tx: Record<string, number> } }];
    const { bytes, packets } = stats64.tx;
    return (bytes - packets * INNER_HEADERS) / (BYTES - INNER_HEADERS);
  };
  const rate = await sample(lab, names, { pid: child.pid!, done });
  await kill(child);
  await lab.ip(router, [`tuntap del dev ${TUN} mode tun`]);
  return rate;
}

/** The next hop throws away whatever is for `address`: it is there, and not its own. */
async function throwAway(
  lab: WireLab,
  [from, device]: readonly [string, string],
  to: string,
  address: string,
): Promise<void> {
  const shown = await lab.run(to, 'ip', '-j', 'link', 'show', 'eth0');
  const [{ address: hardware }] = JSON.parse(shown) as [{ address: string }];
  await lab.ip(from, [`neigh replace ${address} lladdr ${hardware} dev ${device}`]);
  await lab.ip(to, [`addr del ${address}/24 dev eth0`]);
}

async function compare(name: string, back: boolean): Promise<void> {
  const lab = new WireLab();
  const samples = new Map<string, number[]>([
    ['gwlb', []],
    ['offloads off', []],
    ...(back ? [] : [[CHAIN, []] as [string, number[]]]),
  ]);
  let granted: string[] = [];
  try {
    const names = await buildNetwork(lab, '');
    if (back) lab.tool('reflect', names.appliance, APPLIANCE);
    else await throwAway(lab, [names.gateway, 'eth0'], names.appliance, APPLIANCE);
    await throwAway(lab, [names.router, 'to2'], names.server, SERVER);
    const tun = { name: TUN, netns: names.router, mtu: MTU };
    const options = { address: GATEWAY, netns: names.gateway, target: APPLIANCE, tun };
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const [kind, values] of samples) {
        if (kind === CHAIN) {
          values.push(await sampleChain(lab, names));
          continue;
        }
        const gateway: GatewayRole = { ...options, offloads: kind === 'gwlb' };
        const own = await lab.role('gateway', gateway);
        const counters = () => own.call<Counters>('counters');
        if (kind === 'gwlb') granted = (await counters()).offloads;
        const done = async () => (await counters())[back ? 'out' : 'toTargets'];
        values.push(await sample(lab, names, { pid: own.pid, done }));
        await kill(own.child);
      }
    }
  } finally {
    await lab.close();
  }
  report(
    {
      suite: SUITE,
      name,
      unit: 'packets/CPU s',
      lessIsBetter: false,
      note: `inner packets of ${BYTES} bytes, ${FLOWS} flows; granted: ${granted.join(', ') || 'nothing'}`,
    },
    samples,
  );
}

if (chosen.length > 0) {
  await enterNamespaces(import.meta.url);
  for (const [name, back] of chosen) await compare(name, back);
}
process.exit(0);
