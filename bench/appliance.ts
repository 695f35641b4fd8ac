// Appliances on the loopback against a plain echo in C with the same system calls (bench/native/echo.cc)
// and a Node dgram appliance. The generator keeps a window of packets under way and compares every one
// that comes back, byte by byte and in its flow's order. Contenders take turns; each runs on one core,
// the generator on the other. The dgram appliance answers from its own port, so nothing but the time of
// its answers is looked at there.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { crossing } from './appliance-crossing.js';
import { prove, quick, report, wanted } from './harness.js';
import { programPath } from './programs.js';

const SUITE = 'appliance';
const FLOWS = 64;
const PORTS = 8;
const WINDOW = 1024;
const ROUNDS = quick ? 1 : 7;
const WARM_MS = quick ? 100 : 500;
const MEASURE_MS = quick ? 200 : 1500;
const SIZES = [92, 1400];
const READY_MS = 15_000;

const ECHO = programPath('echo');
const ROLE = fileURLToPath(new URL('./appliance-role.js', import.meta.url));
const net = `127.${100 + (process.pid % 100)}.${(process.pid >>> 7) % 250}`;
const TARGET = `${net}.2`;
const GATEWAY = `${net}.1`;

const CONTENDERS = ['pass', 'flow', 'inspect', 'echo', 'dgram'] as const;
type Contender = (typeof CONTENDERS)[number];

interface Measured {
  packets: number;
  ns: number;
  cpuNs: number;
  mainCpuNs: number;
  lost: number;
  wrong: number;
}

/** On a core of its own, where there are two. */
function onCore(core: number, command: string, args: readonly string[]): ChildProcess {
  const pinned = availableParallelism() > 1 ? ['taskset', '-c', String(core)] : [];
  const [program, ...rest] = [...pinned, command, ...args];
  return spawn(program, rest, { stdio: ['ignore', 'pipe', 'inherit'] });
}

async function firstLine(child: ChildProcess): Promise<string> {
  const lines = createInterface({ input: child.stdout! });
  const [line] = (await once(lines, 'line', { signal: AbortSignal.timeout(READY_MS) })) as [string];
  return line;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

async function measure(contender: Contender, bytes: number): Promise<Measured> {
  const appliance =
    contender === 'echo'
      ? onCore(1, ECHO, ['echo', TARGET, String(PORTS)])
      : onCore(1, process.execPath, [ROLE, contender, TARGET]);
  try {
    prove(`${contender} is ready`, await firstLine(appliance), 'ready');
    const numbers = [FLOWS, PORTS, bytes, WINDOW, WARM_MS, MEASURE_MS, appliance.pid!];
    const generator = onCore(0, ECHO, ['generate', GATEWAY, TARGET, ...numbers.map(String)]);
    try {
      const measured = JSON.parse(await firstLine(generator)) as Measured;
      prove(`${contender}: packets come back`, measured.packets > 100, true);
      if (contender !== 'dgram') {
        prove(`${contender}: all as they were, in order`, [measured.wrong, measured.lost], [0, 0]);
      }
      return measured;
    } finally {
      await end(generator);
    }
  } finally {
    await end(appliance);
  }
}

const OWN: Readonly<Partial<Record<Contender, string>>> = {
  pass: 'pass-through',
  flow: 'passFlow at the first packet',
  inspect: 'inspect every packet',
};
const nameOf = (contender: Contender, bytes: number) => `appliance ${OWN[contender]}, ${bytes} B`;
const NOTE = `one core, ${FLOWS} flows from ${PORTS} source ports, ${WINDOW} packets under way`;

for (const bytes of SIZES) {
  const mine = CONTENDERS.filter((one) => OWN[one] !== undefined);
  const cases = mine.flatMap((one) => [nameOf(one, bytes), `${nameOf(one, bytes)}, CPU`]);
  // All are asked, since each prints its name with --list.
  if (cases.map((name) => wanted(SUITE, name)).every((one) => !one)) continue;
  const rounds: Record<Contender, Measured[]> = {
    pass: [],
    flow: [],
    inspect: [],
    echo: [],
    dgram: [],
  };
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const one of CONTENDERS) rounds[one].push(await measure(one, bytes));
  }
  const rates = (one: Contender) => rounds[one].map(({ packets, ns }) => (packets * 1e9) / ns);
  const costs = (one: Contender) => rounds[one].map(({ packets, cpuNs }) => cpuNs / packets);
  const samples = (one: Contender, of: (one: Contender) => number[]) =>
    new Map([
      ['gwlb', of(one)],
      ['plain C echo', of('echo')],
      ['Node dgram', of('dgram')],
    ]);
  for (const one of mine) {
    const name = nameOf(one, bytes);
    report(
      { suite: SUITE, name, unit: 'packets/s', lessIsBetter: false, note: NOTE },
      samples(one, rates),
    );
    report({ suite: SUITE, name: `${name}, CPU`, unit: 'ns', note: NOTE }, samples(one, costs));
  }
}

const INSPECTOR = "appliance an inspector's packet, JavaScript thread";
if (wanted(SUITE, INSPECTOR)) {
  const numbers = [FLOWS, PORTS, SIZES[0], 4 * WINDOW, 600_000, 0].map(String);
  const costs = await crossing(
    TARGET,
    [ECHO, 'generate', GATEWAY, TARGET, ...numbers],
    quick ? 5 : 60,
  );
  report(
    {
      suite: SUITE,
      name: INSPECTOR,
      unit: 'ns',
      note: 'CPU time; its callback reads the 5-tuple; packets wait for it',
    },
    new Map([['gwlb', costs]]),
  );
}
