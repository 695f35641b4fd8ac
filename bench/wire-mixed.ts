// Datagrams of many flows, one by one: a gateway that takes them from a GENEVE peer and sends them on
// to its target, against a plain C program that sends everything back with the same two system calls,
// one that sends each flow by its own source port as we do, and against Node's dgram. Packets for a second of the forwarder's CPU: its core is its own, and what
// generates the traffic is never the limit.
import type { ChildProcess } from 'node:child_process';
import { kill } from '../server/dist/lab/processes.js';
import { prove, quick, report, wanted } from './harness.js';
import { cpuNs, enterNamespaces, WireLab } from './wire-lab.js';
import type { DgramRole, GatewayRole } from './wire-role.js';

const SUITE = 'wire-mixed';
const ROUNDS = quick ? 1 : 7;
const SECONDS = quick ? '0.2' : '1.5';
const WINDOW = '512';
const [GENERATOR, FORWARDER, SINK, PEER] = ['127.1.0.1', '127.1.0.2', '127.1.0.3', '127.1.0.4'];

const FLOWS = 1024;
/** Source ports: our default. */
const PORTS = 64;
const ECHO = 'C echo';
const SPREAD = `C echo, ${PORTS} source ports`;

interface Traffic {
  name: string;
  bytes: number;
  /** Packets of a flow that follow each other. */
  run: number;
}
const TRAFFIC: readonly Traffic[] = [
  { name: 'wire mixed 64 bytes', bytes: 64, run: 1 },
  { name: 'wire mixed 1400 bytes', bytes: 1400, run: 1 },
  { name: 'wire mixed 1400 bytes, runs of 8', bytes: 1400, run: 8 },
];
const chosen = TRAFFIC.filter(({ name }) => wanted(SUITE, name));

interface Forwarder {
  pid: number;
  /** Where it sends to. */
  to: string;
  /** Whether it wants a GENEVE header in front. */
  geneve: boolean;
  child: ChildProcess;
}

type Start = (lab: WireLab) => Promise<Forwarder>;

const STARTS: Readonly<Record<string, Start>> = {
  gwlb: async (lab) => {
    const options: GatewayRole = { address: FORWARDER, netns: null, target: SINK, peer: GENERATOR };
    const { pid, child } = await lab.role('gateway', options);
    return { pid, to: SINK, geneve: true, child };
  },
  [ECHO]: async (lab) => {
    const child = lab.tool('echo', '-', PEER);
    return { pid: child.pid!, to: GENERATOR, geneve: false, child };
  },
  [SPREAD]: async (lab) => {
    const child = lab.tool('spread', '-', FORWARDER, SINK, String(PORTS));
    return { pid: child.pid!, to: SINK, geneve: false, child };
  },
  'Node dgram': async (lab) => {
    const options: DgramRole = { address: FORWARDER, to: SINK };
    const { pid, child } = await lab.role('dgram', options);
    return { pid, to: SINK, geneve: false, child };
  },
};

/** Packets for a second of the forwarder's CPU. */
async function sample(lab: WireLab, name: string, { bytes, run }: Traffic): Promise<number> {
  const { pid, to, geneve, child } = await STARTS[name](lab);
  try {
    const address = name === ECHO ? PEER : FORWARDER;
    const size = String(geneve ? bytes : bytes + 8);
    const generate = (seconds: string) =>
      lab.measure(
        ...['generate', GENERATOR, address, to, seconds, WINDOW, size, `${FLOWS}`, `${run}`],
        geneve ? '1' : '0',
      );
    await generate('0.2');
    const before = cpuNs(pid);
    const { came, sent } = await generate(SECONDS);
    const spent = (cpuNs(pid) - before) / 1e9;
    prove(`${name}: packets come through`, came > 0 && came >= sent * 0.95, true);
    return came / spent;
  } finally {
    await kill(child);
  }
}

async function compare(traffic: Traffic): Promise<void> {
  const lab = new WireLab();
  const samples = new Map<string, number[]>(Object.keys(STARTS).map((name) => [name, []]));
  try {
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const [name, values] of samples) values.push(await sample(lab, name, traffic));
    }
  } finally {
    await lab.close();
  }
  report(
    {
      suite: SUITE,
      name: traffic.name,
      unit: 'packets/CPU s',
      lessIsBetter: false,
      note: `${FLOWS} flows; ours parses, looks up and encapsulates, the others send on what they got`,
    },
    samples,
  );
}

if (chosen.length > 0) {
  await enterNamespaces(import.meta.url);
  await new WireLab().run(null, 'ip', 'link', 'set', 'lo', 'up');
  for (const traffic of chosen) await compare(traffic);
}
process.exit(0);
