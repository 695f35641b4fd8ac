/** Contexts of flows: one for both directions, ended once, bounded. */
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import {
  type FlowContextEnd,
  FlowContexts,
  type FlowContextsOptions,
  type InspectedPacket,
  InspectorTest,
  tuplePacket,
} from '../../src/index.js';
import type { Teardown } from '../support/teardown.js';

const CLIENT = '203.0.113.9';
const SERVER = '10.0.2.10';

const udp = (port: number, back = false, [client, server] = [CLIENT, SERVER]): Uint8Array =>
  tuplePacket({
    protocol: 'udp',
    source: back ? `${server}:53` : `${client}:${port}`,
    destination: back ? `${client}:${port}` : `${server}:53`,
  });

function tcp(port: number, flags: number, back = false): Uint8Array {
  const bytes = tuplePacket({
    protocol: 'tcp',
    source: back ? `${SERVER}:443` : `${CLIENT}:${port}`,
    destination: back ? `${CLIENT}:${port}` : `${SERVER}:443`,
  }).slice();
  bytes[33] = flags;
  return bytes;
}

const SYN = 2;
const ACK = 16;
const FIN_ACK = 17;
const RST = 4;

interface Context {
  name: string;
  packets: number;
}

/** Contexts behind an inspector, in a time that only the test moves. */
function rig(t: Teardown, options: Partial<FlowContextsOptions<Context>> = {}) {
  const ended: [string, FlowContextEnd][] = [];
  const clock = { ms: 1000 };
  const flows = new FlowContexts<Context>({
    create: (packet) => ({ name: `${packet.sourcePort}`, packets: 0 }),
    onEnd: ({ name }, why) => ended.push([name, why]),
    nowMs: () => clock.ms,
    ...options,
  });
  const seen: (string | null)[] = [];
  let look = (packet: InspectedPacket): void => {
    const context = flows.of(packet);
    if (context) context.packets += 1;
    seen.push(context && `${context.name}:${context.packets}`);
  };
  const test = new InspectorTest((packets) => {
    for (const packet of packets) look(packet);
  });
  t.teardown(() => {
    flows.close();
    test.close();
  });
  const setLook = (next: (packet: InspectedPacket) => void): void => {
    look = next;
  };
  const send = (...packets: Uint8Array[]) => test.send(packets);
  return { flows, ended, clock, seen, test, send, setLook };
}

t.test('both directions share one, other flows and endpoints have their own', async (t) => {
  const { flows, seen, send, test } = rig(t);
  await send(udp(1), udp(1, true), udp(2), udp(1), tcp(1, SYN));
  t.strictSame(seen, ['1:1', '1:2', '2:1', '1:3', '1:1']);
  await test.send([udp(1)], { endpointId: 'vpce-0123456789abcdef0' });
  t.equal(seen.at(-1), '1:1', 'the same tuple of another endpoint');
  const six: [string, string] = ['[fd00::9]', '[fd00::1]'];
  await send(udp(1, false, six), udp(1, true, six), udp(1, false, ['[fd00::a]', '[fd00::1]']));
  t.strictSame(seen.slice(-3), ['1:1', '1:2', '1:1']);
  t.equal(flows.size, 6);
});

t.test('what does not name its flow has none', async (t) => {
  const { flows, seen, send } = rig(t);
  const later = udp(1).slice();
  later[7] = 1;
  const quote = Buffer.concat([
    tuplePacket({ protocol: 'icmp', source: SERVER, destination: CLIENT }),
    udp(1),
  ]);
  quote[20] = 3;
  quote.writeUInt16BE(quote.length, 2);
  await send(later, quote);
  t.strictSame(seen, [null, null]);
  t.equal(flows.size, 0);
});

t.test('idle, closed, reset, reopened', async (t) => {
  const { flows, ended, clock, send } = rig(t, {
    idleTimeout: { tcpSeconds: 60, otherSeconds: 5 },
  });
  await send(udp(1), tcp(2, SYN), tcp(3, SYN), tcp(4, SYN));
  await send(tcp(3, FIN_ACK), tcp(3, FIN_ACK, true), tcp(4, RST, true));
  clock.ms += 4999;
  flows.sweep();
  t.strictSame(ended, []);
  clock.ms += 1;
  flows.sweep();
  t.strictSame(ended, [['1', 'idle']]);
  clock.ms += 5000;
  flows.sweep();
  clock.ms += 5000;
  flows.sweep();
  t.strictSame(ended.slice(1), [
    ['4', 'reset'],
    ['3', 'closed'],
  ]);
  await send(tcp(2, SYN));
  t.equal(ended.length, 3, 'the first SYN again');
  await send(tcp(2, ACK), tcp(2, SYN));
  t.strictSame(ended.slice(3), [['2', 'reopened']]);
  clock.ms += 60_000;
  flows.sweep();
  t.strictSame(ended.slice(4), [['2', 'idle']]);
  t.equal(flows.size, 0);
});

t.test('a reset that traffic follows was forged', async (t) => {
  const { flows, ended, clock, send } = rig(t);
  await send(tcp(1, SYN), tcp(1, ACK), tcp(1, RST), tcp(1, ACK));
  clock.ms += 10_000;
  flows.sweep();
  t.strictSame(ended, []);
});

t.test('the one not seen for longest gives way', async (t) => {
  const { flows, ended, clock, send } = rig(t, { max: 3 });
  for (const port of [1, 2, 3]) {
    await send(udp(port));
    clock.ms += 2000;
  }
  await send(udp(1));
  clock.ms += 2000;
  await send(udp(4), udp(5));
  t.strictSame(ended, [
    ['2', 'evicted'],
    ['3', 'evicted'],
  ]);
  t.equal(flows.size, 3);
});

t.test('ended by hand, and all of them at the end', async (t) => {
  const { flows, ended, send, setLook } = rig(t);
  await send(udp(1), udp(2), udp(3));
  setLook((packet) => {
    t.equal(flows.end(packet), packet.sourcePort === 1);
  });
  await send(udp(1), udp(9));
  t.strictSame(ended, [['1', 'ended']]);
  flows.close();
  flows.close();
  t.strictSame(ended.slice(1), [
    ['2', 'ended'],
    ['3', 'ended'],
  ]);
  setLook((packet) => t.throws(() => flows.of(packet), { code: 'ERR_GWLB_CLOSED' }));
  await send(udp(1));
});

t.test('idle ones end by themselves, a part of them at a time', async (t) => {
  const mine = rig(t, { idleTimeout: { otherSeconds: 1 } });
  for (let n = 0; n < 30; n += 1) {
    await mine.send(...Array.from({ length: 100 }, (_, i) => udp(1 + n * 100 + i)));
  }
  t.equal(mine.flows.size, 3000);
  mine.clock.ms += 1000;
  const sizes = new Set<number>([3000, 1976, 952, 0]);
  do {
    await delay(50);
    if (!sizes.has(mine.flows.size)) t.fail(`${mine.flows.size} flows left`);
  } while (mine.flows.size > 0);
  t.equal(mine.ended.length, 3000);
});

t.test('what is wrong is named', async (t) => {
  const create = (): number => 1;
  const wrong = (options: object, field: string): void => {
    t.throws(() => new FlowContexts({ create, ...options }), { name: 'GatewayError', field });
  };
  wrong({ create: 1 }, 'options.create');
  wrong({ onEnd: 1 }, 'options.onEnd');
  wrong({ nowMs: 1 }, 'options.nowMs');
  wrong({ max: 0 }, 'options.max');
  wrong({ max: 2 ** 22 + 1 }, 'options.max');
  wrong({ idleTimeout: { tcpSeconds: 0 } }, 'options.idleTimeout.tcpSeconds');
  wrong({ size: 5 }, 'options.size');
  t.throws(() => new FlowContexts({ create }).of({} as never), {
    name: 'GatewayError',
    field: 'packet',
  });
});
