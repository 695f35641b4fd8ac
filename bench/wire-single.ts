// Small packets of many flows, one by one and without offloads, through an appliance whose kernel forwards
// them: out of GENEVE into a device, and back. Against a plain C program that makes the same crossings
// (bench/native/echo.cc). CPU time of the appliance's process a packet; it has a core of its own, and the
// generator compares every packet that comes back, byte by byte and in its flow's order.
import type { ChildProcess } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { inNamespace, kill, start } from '../server/dist/lab/processes.js';
import { prove, quick, report, wanted } from './harness.js';
import { programPath } from './programs.js';
import { enterNamespaces, WireLab } from './wire-lab.js';
import type { ApplianceRole, Counters } from './wire-role.js';
import { APPLIANCE, cableNodes, GATEWAY } from './wire-topology.js';

const SUITE = 'wire-single';
const NAME = 'wire single packets through a kernel';
const PEER = 'plain C';
const ROUNDS = quick ? 1 : 9;
const FLOWS = 64;
const PORTS = 8;
const BYTES = 92;
const WINDOW = 1024;
const WARM_MS = quick ? 100 : 500;
const MEASURE_MS = quick ? 200 : 1500;
const DEVICE = 'gwlb0';
const ECHO = programPath('echo');
const [GENERATOR_NS, APPLIANCE_NS] = ['gw', 'ap'];

interface Measured {
  packets: number;
  cpuNs: number;
  lost: number;
  wrong: number;
}

interface Contender {
  child: ChildProcess;
  /** Packets that went through its kernel, where it counts them. */
  kernel: () => Promise<number | null>;
}

type Start = (lab: WireLab) => Promise<Contender>;

const STARTS: Readonly<Record<string, Start>> = {
  gwlb: async (lab) => {
    const own: ApplianceRole = {
      address: APPLIANCE,
      netns: APPLIANCE_NS,
      tun: DEVICE,
      offloads: false,
    };
    const remote = await lab.role('appliance', own);
    const kernel = async () => (await remote.call<Counters>('counters')).kernel;
    return { child: remote.child, kernel };
  },
  [PEER]: async () => {
    const cross = [ECHO, 'cross', APPLIANCE, String(PORTS), DEVICE];
    const child = await start(...inNamespace(APPLIANCE_NS, cross));
    return { child, kernel: async () => null };
  },
};

/** The appliance's; the generator has the first one. */
const CORE = String(Math.min(1, availableParallelism() - 1));

/** Nanoseconds of CPU time a packet. */
async function sample(lab: WireLab, name: string): Promise<number> {
  const { child, kernel } = await STARTS[name](lab);
  try {
    await lab.run(null, 'taskset', '-acp', CORE, String(child.pid));
    await lab.ip(APPLIANCE_NS, [`link set ${DEVICE} up`, `route replace default dev ${DEVICE}`]);
    const numbers = [FLOWS, PORTS, BYTES, WINDOW, WARM_MS, MEASURE_MS, child.pid!].map(String);
    const generate = ['generate', GATEWAY, APPLIANCE, ...numbers, 'routed'];
    const said = await lab.run(GENERATOR_NS, 'taskset', '-c', '0', ECHO, ...generate);
    const measured = JSON.parse(said) as Measured;
    const { packets, cpuNs, lost, wrong } = measured;
    prove(`${name}: packets come back`, packets > 100, true);
    prove(`${name}: all as they were but for the TTL, in order`, [wrong, lost], [0, 0]);
    const entered = await kernel();
    prove(`${name}: through the kernel`, entered === null || entered >= packets, true);
    return cpuNs / packets;
  } finally {
    await kill(child);
  }
}

async function compare(): Promise<void> {
  const lab = new WireLab();
  const samples = new Map<string, number[]>(Object.keys(STARTS).map((name) => [name, []]));
  try {
    await lab.namespace(GENERATOR_NS);
    await lab.router(APPLIANCE_NS);
    await cableNodes(lab, GENERATOR_NS, APPLIANCE_NS);
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const [name, values] of samples) values.push(await sample(lab, name));
    }
  } finally {
    await lab.close();
  }
  const note = `CPU time; ${FLOWS} flows from ${PORTS} source ports, ${BYTES} B, ${WINDOW} packets under way, no offloads`;
  report({ suite: SUITE, name: NAME, unit: 'ns', note }, samples);
}

if (wanted(SUITE, NAME)) {
  await enterNamespaces(import.meta.url);
  await compare();
}
process.exit(0);
