// Forwarding over sockets of the loopback. Two gateways are each other's GENEVE endpoint, each with an
// appliance: gateway A → appliance A → gateway A → gateway B → appliance B → gateway B → gateway A …
// A fixed number of packets goes round for ever, so nothing that generates traffic can be the limit,
// and no queue can overflow. Ours, four processes, against the same four with Node's dgram.
import { type ChildProcess, fork } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { PORT, type Progress, VNI } from './forwarding-role.js';
import { prove, quick, report, wanted } from './harness.js';
import { udpPacket } from './traffic.js';

const SUITE = 'forwarding';
const NAME = 'forwarding gateway and appliance, loopback';
const WINDOW = 256;
const PROOF_BURST = 32;
const ROUNDS = quick ? 1 : 5;
const WARM_MS = quick ? 300 : 800;
const MEASURE_MS = quick ? 700 : 2000;
const ANSWER_MS = 15_000;

type Kind = 'gwlb' | 'dgram';

/** Addresses of this run: two runs at a time rarely meet. */
const net = `127.${100 + (process.pid % 100)}.${(process.pid >>> 7) % 250}`;
const gatewayA = `${net}.1`;
const applianceA = `${net}.2`;
const gatewayB = `${net}.3`;
const applianceB = `${net}.4`;

async function answer<T>(child: ChildProcess, what: string): Promise<T> {
  const limit = AbortSignal.timeout(ANSWER_MS);
  const gone = once(child, 'exit', { signal: limit }).then(([code]) => {
    throw new Error(`${what} ended with exit code ${code}`);
  });
  const message = once(child, 'message', { signal: limit }) as Promise<[T]>;
  return (await Promise.race([message, gone]))[0];
}

async function start(...role: string[]): Promise<ChildProcess> {
  const path = fileURLToPath(new URL('./forwarding-role.js', import.meta.url));
  const child = fork(path, role, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  prove(`${role.join(' ')} is ready`, await answer(child, role.join(' ')), 'ready');
  return child;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

async function progressOf(child: ChildProcess): Promise<Progress> {
  const told = answer<Progress>(child, 'a process of the benchmark');
  child.send('counters');
  return told;
}

function datagram(flow: number): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt16BE(0x0800, 2);
  header.writeUInt32BE(VNI << 8, 4);
  return Buffer.concat([header, udpPacket(flow)]);
}

/** Stands where gateway B will be: every packet must come back from gateway A as it went. */
async function proveLoop(): Promise<void> {
  const socket = createSocket('udp4');
  socket.bind(PORT, gatewayB);
  await once(socket, 'listening');
  const came = new Set<string>();
  const all = Array.from({ length: WINDOW }, (_, i) => datagram(i));
  const sent = all.map((packet) => packet.toString('hex')).sort();
  socket.on('message', (message) => came.add(message.toString('hex')));
  // By parts: this socket's buffer is an ordinary one.
  for (let from = 0; from < WINDOW; from += PROOF_BURST) {
    for (const packet of all.slice(from, from + PROOF_BURST)) socket.send(packet, PORT, gatewayA);
    const until = performance.now() + 5000;
    while (came.size < from + PROOF_BURST && performance.now() < until) await sleep(1);
  }
  socket.close();
  prove('every packet comes back through gateway and appliance', [...came].sort(), sent);
}

/** Sends the packets that go round; they enter at gateway A as if gateway B had sent them. */
async function inject(): Promise<void> {
  const socket = createSocket('udp4');
  socket.bind(0, gatewayB);
  await once(socket, 'listening');
  for (let flow = 0; flow < WINDOW; flow += 1) {
    await new Promise<void>((resolve, reject) => {
      socket.send(datagram(flow), PORT, gatewayA, (error) => (error ? reject(error) : resolve()));
    });
  }
  socket.close();
}

/** Packets a second that left the two gateways, after the way through an appliance. */
async function measure(kind: Kind): Promise<number> {
  const children: ChildProcess[] = [];
  const begin = async (...role: string[]) => {
    const child = await start(kind, ...role);
    children.push(child);
    return child;
  };
  try {
    const a = await begin('gateway', gatewayA, applianceA, gatewayB);
    await begin('appliance', applianceA);
    await proveLoop();
    await begin('appliance', applianceB);
    const b = await begin('gateway', gatewayB, applianceB, gatewayA);
    await inject();
    await sleep(WARM_MS);
    const out = async () => (await progressOf(a)).out + (await progressOf(b)).out;
    const [before, started] = [await out(), performance.now()];
    await sleep(MEASURE_MS);
    const [after, ended] = [await out(), performance.now()];
    const drops = await Promise.all(children.map(async (child) => (await progressOf(child)).drops));
    prove(`${kind}: nothing is dropped`, drops, [0, 0, 0, 0]);
    const rate = ((after - before) * 1000) / (ended - started);
    prove(`${kind}: packets go round`, rate > 0, true);
    return rate;
  } finally {
    await Promise.all(children.map(end));
  }
}

if (wanted(SUITE, NAME)) {
  const samples = new Map<string, number[]>([
    ['gwlb', []],
    ['Node dgram', []],
  ]);
  for (let round = 0; round < ROUNDS; round += 1) {
    samples.get('gwlb')!.push(await measure('gwlb'));
    samples.get('Node dgram')!.push(await measure('dgram'));
  }
  report(
    {
      suite: SUITE,
      name: NAME,
      unit: 'packets/s',
      lessIsBetter: false,
      note: `two gateways and two appliances, one process each, ${WINDOW} packets go round; a packet counts when it leaves a gateway after its appliance`,
    },
    samples,
  );
}
