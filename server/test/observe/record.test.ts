/** `gwlb run --record`: what it writes is what `gwlb replay` repeats. Over 127.0.0.0/8. */

import { spawnSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeFrame, encodeGeneve, type ReplayLine, readCapture, tuplePacket } from 'gwlb';
import t from 'tap';
import { bound } from '../../../test/support/bound.js';
import { CLI } from '../../../test/support/places.js';
import { start } from '../support/running.js';

const folder = mkdtempSync(join(tmpdir(), 'gwlb-record-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const file = join(folder, 'gateway.yaml');
const dumps = join(folder, 'dumps');

const net = `127.${164 + (process.pid % 80)}.${(process.pid >> 8) % 250}`;
const port = 30_000 + (process.pid % 10_000);
const ENDPOINT = 'vpce-00000000000000002';
const [A, B] = [`${net}.2`, `${net}.3`];

function configure(targets: string[], workers: number, healthCheck = 'false'): void {
  writeFileSync(
    file,
    `gateway: { address: ${net}.1, port: ${port}, workers: ${workers}, limits: { flows: 4096 } }
targetGroup:
  healthCheck: ${healthCheck}
  port: ${port}
  failover: rebalance
  deregistrationDelaySeconds: 0
  targets: [${targets.map((address) => `{ address: ${address} }`).join(', ')}]
endpoints:
  - { id: vpce-00000000000000001, geneve: { peer: ${net}.9, port: ${port}, vni: 6 } }
  - { id: ${ENDPOINT}, geneve: { peer: ${net}.9, port: ${port}, vni: 7 } }
`,
  );
}

const FLOWS = 16;

for (const workers of [1, 2]) {
  t.test(`${workers} workers`, async (t) => {
    rmSync(dumps, { recursive: true, force: true });
    mkdirSync(dumps);
    configure([A, B], workers);
    const consumer = await bound(t, `${net}.9`, port);
    const targets = new Map([A, B].map((address) => [address, bound(t, address, port)]));
    /** Who got each packet, in the order they were sent. */
    const live: string[] = [];
    let arrived: (() => void) | null = null;
    for (const [address, made] of targets) {
      const socket = await made;
      socket.on('message', (message, from) => {
        live.push(address);
        socket.send(message, port, from.address);
        arrived?.();
      });
    }
    const running = start(t, 'run', file, '--record', '60', '--record-dir', dumps);
    await running.event('recording');
    const send = async (flow: number, size: number) => {
      const packet = tuplePacket(
        { protocol: 'udp', source: `10.0.${flow}.1:5000`, destination: '10.1.0.2:53' },
        undefined,
        new Uint8Array(size).fill(0x5a),
      );
      const came = new Promise<void>((resolve) => {
        arrived = resolve;
      });
      consumer.send(Buffer.concat([encodeGeneve({ vni: 7 }), packet]), port, `${net}.1`);
      await came;
    };
    for (let flow = 0; flow < FLOWS; flow += 1) await send(flow, 10);
    t.ok(live.includes(A) && live.includes(B), 'both targets have flows');

    configure([B], workers);
    t.match((await running.reload()).at(-1), { event: 'reloaded' });
    for (let flow = 0; flow < FLOWS; flow += 1) await send(flow, 1000);
    t.notOk(live.slice(FLOWS).includes(A), 'all flows moved');

    running.child.kill('SIGUSR2');
    const told = await running.event('recorded');
    t.match(told, { cause: 'SIGUSR2', packets: 2 * FLOWS, lost: 0 });
    const capture = String(told.file);
    const events = capture.replace(/pcap$/, 'jsonl');
    t.match(
      readdirSync(dumps).sort().join(' '),
      /^gwlb-\d{8}T\d{6}Z\.jsonl gwlb-\d{8}T\d{6}Z\.pcap$/,
    );
    for (const path of [capture, events]) t.equal(statSync(path).mode & 0o777, 0o600);

    const frames = [...readCapture(capture)];
    t.equal(frames.length, 2 * FLOWS);
    const decoded = frames.map(({ data, length, link }) =>
      decodeFrame(data, { link, wireLength: length, port }),
    );
    t.ok(decoded.every((frame) => frame?.gateway?.endpointId === ENDPOINT && frame.error === null));
    t.equal(frames[FLOWS].data.length, 28 + 40 + 128, 'headers only');
    t.equal(frames[FLOWS].length, 28 + 40 + 1028, 'and their length');
    const lines = readFileSync(events, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    t.match(lines, [
      { at: 0, keys: { hash: /^[0-9a-f]{32}$/, cookie: /^[0-9a-f]{32}$/ } },
      { at: 0, register: { address: A, port, zone: 'default', weight: 1 } },
      { at: Number, target: `${A}:${port}`, deregister: true },
    ]);
    t.equal(lines.length, 3);

    const again = spawnSync(
      process.execPath,
      [CLI, 'replay', capture, '--events', events, '--config', file, '--json'],
      { encoding: 'utf8' },
    );
    t.equal(again.status, 0, again.stderr);
    const replayed = again.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as ReplayLine)
      .filter(({ direction }) => direction === 'ingress');
    // Of two workers' packets in one millisecond nobody knows which came first.
    const half = (from: number) =>
      replayed
        .slice(from, from + FLOWS)
        .map(({ flow, target }) => [Number(/10\.0\.(\d+)\.1/.exec(flow?.key ?? '')?.[1]), target])
        .sort(([a], [b]) => Number(a) - Number(b));
    const sent = (from: number) => live.slice(from, from + FLOWS).map((target, i) => [i, target]);
    t.strictSame([half(0), half(FLOWS)], [sent(0), sent(FLOWS)], 'each packet goes where it went');

    running.child.kill('SIGUSR2');
    t.match(await running.event('recorded'), { packets: 2 * FLOWS }, 'it is still there');
    t.equal(readdirSync(dumps).length, 4, 'in files of their own');
    t.equal(await running.end(), 0);
    await running.event('stopped');
  });
}

t.test('an anomaly is written by itself, and what strangers send is none', async (t) => {
  rmSync(dumps, { recursive: true, force: true });
  mkdirSync(dumps);
  configure([], 1);
  const consumer = await bound(t, `${net}.9`, port);
  const stranger = await bound(t, `${net}.8`, port);
  const args = ['--record', '3600', '--record-dir', dumps, '--record-keep', '1'];
  const running = start(t, 'run', file, ...args);
  await running.event('recording');
  const udp = { protocol: 'udp', source: '10.0.0.1:5000', destination: '10.1.0.2:53' };
  const junk = Buffer.concat([encodeGeneve({ vni: 7 }), Buffer.alloc(28)]);
  const good = Buffer.concat([encodeGeneve({ vni: 7 }), tuplePacket(udp)]);
  let going = true;
  const flood = async (socket: typeof consumer, datagram: Uint8Array) => {
    while (going) {
      for (let i = 0; i < 200; i += 1) socket.send(datagram, port, `${net}.1`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  const strangers = [flood(consumer, junk), flood(stranger, good)];
  await new Promise((resolve) => setTimeout(resolve, 3000));
  t.strictSame(readdirSync(dumps), []);
  const all = [...strangers, flood(consumer, good)];
  t.match(await running.event('recorded'), { cause: 'drops: no_targets', lost: 0, removed: 0 });
  going = false;
  await Promise.all(all);
  running.child.kill('SIGUSR2');
  t.match(await running.event('recorded'), { cause: 'SIGUSR2', removed: 1 });
  await running.end();
  t.equal(readdirSync(dumps).length, 2, 'the newest one is kept');
});

t.test('so is a target that turns unhealthy', async (t) => {
  rmSync(dumps, { recursive: true, force: true });
  mkdirSync(dumps);
  // Nobody listens there.
  configure([A], 1, `{ profile: fast, port: ${port} }`);
  const running = start(t, 'run', file, '--record', '10', '--record-dir', dumps);
  const told = await running.event('recorded');
  t.match(told, { cause: 'target unhealthy', packets: 0 });
  const events = readFileSync(String(told.file).replace(/pcap$/, 'jsonl'), 'utf8');
  t.match(events, `"target":"${A}:${port}","health":"unhealthy"`);
  await running.end();
});

t.test('wrong arguments', async (t) => {
  configure([A], 1);
  const run = (...args: string[]) => {
    const { status, stderr } = spawnSync(process.execPath, [CLI, 'run', file, ...args], {
      encoding: 'utf8',
    });
    t.equal(status, 2);
    return stderr;
  };
  t.match(run('--record', '0'), /--record: expected 1–3600, received 0/);
  t.match(run('--record', '5', '--record-keep', '0'), /--record-keep: expected 1–/);
  t.match(run('--record', '5', '--record-bytes', '1'), /--record-bytes: expected 134217728–/);
  t.match(run('--record', 'all'), /--record: expected a number 1–3600, received "all"/);
  t.match(
    run('--record', '5', '--record-dir', join(folder, 'nowhere')),
    /--record-dir: expected a folder that can be written to/,
  );
});
