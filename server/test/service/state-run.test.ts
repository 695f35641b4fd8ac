/** `gwlb run --state`: a gateway that is killed goes on where it was; over 127.0.0.0/8. */
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeGeneve, tuplePacket } from 'gwlb';
import t from 'tap';
import { bound } from '../../../test/support/bound.js';
import { until } from '../../../test/support/until.js';
import { type Running, start } from '../support/running.js';

const root = mkdtempSync(join(tmpdir(), 'gwlb-state-run-'));
const file = join(root, 'gateway.yaml');
const state = join(root, 'state');
t.teardown(() => rmSync(root, { recursive: true, force: true }));

const net = `127.${64 + (process.pid % 100)}.${(process.pid >> 8) % 250}`;
const port = 20_000 + (process.pid % 10_000);
const ID = (n: number) => `vpce-0000000000000000${n}`;

interface Says {
  targets: readonly number[];
  endpoints: readonly number[];
  cookieKey?: string;
}

function write({ targets, endpoints, cookieKey }: Says): void {
  const key = cookieKey ? `, cookieKey: "${cookieKey}"` : '';
  writeFileSync(
    file,
    `gateway: { address: ${net}.1, port: ${port}, limits: { flows: 4096 }${key} }
targetGroup:
  healthCheck: false
  port: ${port}
  targets: [${targets.map((n) => `{ address: ${net}.${n} }`).join(', ')}]
endpoints:
${endpoints.map((n) => `  - { id: ${ID(n)}, geneve: { peer: ${net}.9, port: ${port}, vni: ${n} } }`).join('\n')}
`,
  );
}

const flow = (n: number) =>
  tuplePacket({ protocol: 'udp', source: `10.0.0.1:${5000 + n}`, destination: '10.0.0.2:53' });

t.test('killed with -9: slots, numbers, keys and choices are those of before', async (t) => {
  const consumer = await bound(t, `${net}.9`, port);
  const appliances = await Promise.all([2, 3, 4].map((n) => bound(t, `${net}.${n}`, port)));
  /** Sends a packet of each of 24 flows by endpoint 2; what each target got. */
  const sent = async (first: number) => {
    const count = 24;
    const got = appliances.map((socket) => {
      const datagrams: Buffer[] = [];
      const keep = (datagram: Buffer) => datagrams.push(datagram);
      socket.on('message', keep);
      return { datagrams, end: () => socket.off('message', keep) };
    });
    for (let n = 0; n < count; n++) {
      consumer.send(Buffer.concat([encodeGeneve({ vni: 2 }), flow(first + n)]), port, `${net}.1`);
    }
    const all = () => got.reduce((total, { datagrams }) => total + datagrams.length, 0);
    while (all() < count) await Promise.race(appliances.map((socket) => once(socket, 'message')));
    for (const { end } of got) end();
    return got.map(({ datagrams }) => datagrams);
  };
  const portsOf = (datagrams: readonly Buffer[]) =>
    datagrams
      .map((datagram) => datagram.readUInt16BE(datagram.length - flow(0).length + 20))
      .sort();
  /** A packet that was held comes back to the gateway. */
  const returned = async (datagram: Buffer, by: number) => {
    appliances[by].send(datagram, port, `${net}.1`);
    const [back] = await once(consumer, 'message');
    return Buffer.from(back).subarray(-flow(0).length).readUInt16BE(20);
  };
  const started = async (): Promise<Running> => {
    const running = start(t, 'run', file, '--state', state);
    await running.event('started');
    return running;
  };

  write({ targets: [2, 3, 4], endpoints: [1, 2] });
  const first = await started();
  // Slots and numbers that a process which begins anew would give to others.
  write({ targets: [3, 4], endpoints: [2], cookieKey: '00112233445566778899aabbccddeeff' });
  const held = await sent(0);
  t.match((await first.reload()).at(-1), { event: 'reloaded' });
  const before = await sent(100);
  t.equal(before[0].length, 0, 'it drains');
  await first.end('SIGKILL');

  const second = await started();
  const after = await sent(100);
  t.strictSame(after.map(portsOf), before.map(portsOf), 'the same targets');
  for (const by of [1, 2]) {
    t.equal(await returned(before[by][0], by), portsOf([before[by][0]])[0], 'a cookie of before');
  }
  const late = held[0][0];
  t.equal(await returned(late, 0), portsOf([late])[0], 'of the key before, from one that drains');
  await second.end('SIGKILL');

  write({ targets: [4, 3, 2], endpoints: [1, 2] });
  const third = await started();
  t.equal(await returned(before[2][0], 2), portsOf([before[2][0]])[0], 'of two processes before');
  t.equal(await third.end(), 0);
});

t.test('what cannot be opened is told, and nothing starts', async (t) => {
  write({ targets: [2], endpoints: [2] });
  const journal = join(state, 'journal');
  writeFileSync(journal, `x${readFileSync(journal, 'utf8')}`);
  const running = start(t, 'run', file, '--state', state);
  const { error } = await running.event('failed');
  t.equal(error, `${journal}:1: expected a line with its checksum, received a damaged one`);
  await until(() => running.child.exitCode !== null, 'its end');
  t.equal(running.child.exitCode, 1);
});
