/** `gwlb run` with a flow log and keys, as its operator uses it; over 127.0.0.0/8. */

import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeGeneve, encodeGeneve, tuplePacket } from 'gwlb';
import t from 'tap';
import { bound } from '../../../test/support/bound.js';
import type { Teardown } from '../../../test/support/teardown.js';
import { until } from '../../../test/support/until.js';
import { askGateway } from '../../src/api/client.js';
import { parseConfig, pathText } from '../../src/config/config.js';
import { type Entry, type Line, type Running, start } from '../support/running.js';

const folder = mkdtempSync(join(tmpdir(), 'gwlb-flow-run-'));
const file = join(folder, 'gateway.yaml');
const flows = join(folder, 'flows.jsonl');
const socket = join(folder, 'control.sock');
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

const GATEWAY = '127.87.0.1';
const TARGET = '127.87.0.2';
const PEER = '127.87.0.9';
const ID = 'vpce-00000000000000001';
const UDP = { protocol: 'udp', source: '10.0.0.1:5000', destination: '10.0.0.2:53' };
const KEY = '000102030405060708090a0b0c0d0e0f';

function write(gateway: string, more: string): void {
  writeFileSync(
    file,
    `gateway:
  address: ${GATEWAY}
  limits: { flows: 4096 }
  idleTimeout: { otherSeconds: 4 }
${gateway}
targetGroup: { name: firewalls, healthCheck: false, targets: [{ address: ${TARGET} }] }
endpoints: [{ id: ${ID}, geneve: { peer: ${PEER}, vni: 7 } }]
control: { socket: ${socket} }
${more}
`,
  );
}

async function started(t: Teardown): Promise<Running> {
  const running = start(t, 'run', file);
  await running.event('started');
  return running;
}

/** What becomes of a reload. */
const reload = async (running: Running) => (await running.reload()).at(-1) as Entry;

const records = (path: string): Line[] =>
  existsSync(path)
    ? readFileSync(path, 'utf8')
        .split('\n')
        .filter(Boolean)
        .map((l) => JSON.parse(l))
    : [];

t.test('flows are logged, and the file is rotated', async (t) => {
  const [peer, target] = [await bound(t, PEER), await bound(t, TARGET)];
  const packet = tuplePacket(UDP, 0, new Uint8Array(72));
  const enter = async () => {
    const arrived = once(target, 'message');
    peer.send(Buffer.concat([encodeGeneve({ vni: 7 }), packet]), 6081, GATEWAY);
    return arrived;
  };
  const began = Date.now();
  write('', `flowLog: { path: ${flows} }`);
  const running = await started(t);
  await enter();
  const [datagram, from] = await enter();
  const back = once(peer, 'message');
  target.send(datagram, 6081, from.address);
  await back;
  await until(() => records(flows).length > 0, 'a record of the flow');
  const [record] = records(flows);
  const cookie = decodeGeneve(datagram).gateway?.cookie;
  t.match(record, {
    type: 'end',
    gateway: 'gateway',
    endpoint: ID,
    protocol: 'udp',
    ends: ['10.0.0.1:5000', '10.0.0.2:53'],
    target: `${TARGET}:6081`,
    previousTargets: [],
    cookie: `0x${cookie?.toString(16).padStart(8, '0')}`,
    packetsTo: 2,
    bytesTo: 200,
    packetsFrom: 1,
    bytesFrom: 100,
    end: 'idle',
  });
  const [opened, ended] = [Date.parse(String(record.start)), Date.parse(String(record.time))];
  t.ok(opened >= began - 1000 && opened <= ended && ended <= Date.now() + 1000, 'in wall time');
  t.equal(ended - opened, record.durationMs);

  renameSync(flows, `${flows}.1`);
  write(
    '  sendTcpReset: { onIdleTimeout: true }',
    `flowLog: { path: ${flows}, intervalSeconds: 1 }`,
  );
  t.equal((await reload(running)).event, 'reloaded');
  t.match(await askGateway(socket, '/v1/status'), { sendTcpReset: { onIdleTimeout: true } });
  await enter();
  await until(() => records(flows).some(({ type }) => type === 'live'), 'a report in the new file');
  t.equal(records(`${flows}.1`).length, 1);

  write('', '');
  t.match((await reload(running)).problems, [/^flowLog: a change needs a restart \(\{.*→ null\)$/]);
  write('', `flowLog: { path: ${join(folder, 'none', 'flows')} }`);
  t.match((await reload(running)).problems, [/^flowLog\.path: cannot write the flow log .*ENOENT/]);
  await enter();
  await running.end();
  const last = records(flows).filter(({ type }) => type === 'end');
  t.match(last, [{ end: 'stopped', ends: ['10.0.0.1:5000', '10.0.0.2:53'], packetsTo: Number }]);
});

t.test('standard output takes it as well', async (t) => {
  const [peer, target] = [await bound(t, PEER), await bound(t, TARGET)];
  write('', 'flowLog: { path: "-" }');
  const running = await started(t);
  const arrived = once(target, 'message');
  const datagram = Buffer.concat([encodeGeneve({ vni: 7 }), tuplePacket(UDP)]);
  peer.send(datagram, 6081, GATEWAY);
  await arrived;
  const record = await running.line(({ type }) => type !== undefined, 'a record');
  t.match(record, { type: 'end', end: 'idle', packetsTo: 1, packetsFrom: 0 });
  t.equal((await reload(running)).event, 'reloaded', 'there is nothing to rotate');
  write('', `flowLog: { path: ${flows} }`);
  t.match((await reload(running)).problems, [/^flowLog\.path: a change needs a restart \("-" → /]);
  await running.end();
});

t.test('with the same keys a restart chooses the same, and a cookie key can change', async (t) => {
  const keyFile = join(folder, 'cookie-key');
  writeFileSync(keyFile, `${KEY}\n`);
  const ask = async () => (await askGateway(socket, '/v1/explain', UDP)) as Line;
  const hashes: unknown[] = [];
  for (let i = 0; i < 2; i += 1) {
    write(`  hashKey: "${KEY}"\n  cookieKey: { file: ${keyFile} }`, '');
    const running = await started(t);
    hashes.push((await ask()).hash);
    if (i === 1) {
      writeFileSync(keyFile, 'f'.repeat(32));
      t.equal((await reload(running)).event, 'reloaded');
      write(`  hashKey: "${'1'.repeat(32)}"\n  cookieKey: { file: ${keyFile} }`, '');
      t.strictSame((await reload(running)).problems, [
        'gateway.hashKey: a change needs a restart ((secret) → (secret))',
      ]);
    }
    await running.end();
  }
  t.equal(hashes[0], hashes[1]);
});

t.test('keys and options that are wrong', async (t) => {
  const missing = join(folder, 'no-key');
  const short = join(folder, 'short-key');
  writeFileSync(short, 'secret');
  const wrong: [string, string, RegExp][] = [
    ['hashKey: abc', 'gateway.hashKey', /^expected 32 hexadecimal digits.*received 3 characters$/],
    ['hashKey: 12345678901234567890123456789012', 'gateway.hashKey', /received a number$/],
    [`cookieKey: "${'x'.repeat(32)}"`, 'gateway.cookieKey', /received 32 characters$/],
    [`cookieKey: { file: ${missing} }`, 'gateway.cookieKey', /expected a file that can .*ENOENT/],
    [`cookieKey: { file: ${short} }`, 'gateway.cookieKey', /in .*short-key, received 6 characters/],
    [`cookieKey: { path: ${short} }`, 'gateway.cookieKey', /one of the options file/],
    ['midStream: never', 'gateway.midStream', /^expected "auto", "drop" or "pickup"/],
    ['cookieCheck: none', 'gateway.cookieCheck', /^expected "lenient" or "strict"/],
    ['promotion: both', 'gateway.promotion', /^expected "return" or "ingress"/],
    ['pathMtuDiscovery: 1', 'gateway.pathMtuDiscovery', /^expected true or false/],
    ['clampMss: yes', 'gateway.clampMss', /^expected "off", "auto" or a number of 88–8460/],
    ['clampMss: 87', 'gateway.clampMss', /88/],
    [
      'sendTcpReset: { onIdleTimeout: 1 }',
      'gateway.sendTcpReset.onIdleTimeout',
      /^expected true or false/,
    ],
    ['sendTcpReset: { onUnhealthy: true }', 'gateway.sendTcpReset.onUnhealthy', /unknown key/],
  ];
  for (const [key, path, message] of wrong) {
    const loaded = parseConfig(`gateway:\n  address: ${GATEWAY}\n  ${key}\n`);
    if (loaded.ok) throw new Error(`${key} was taken`);
    t.strictSame(
      loaded.problems.map((problem) => pathText(problem.path)),
      [path],
      key,
    );
    t.match(loaded.problems[0], { message, line: 3 });
    t.notMatch(loaded.problems[0].message, /secret|xxx/, 'secrets are not shown');
  }
  for (const more of ['flowLog: {}', 'flowLog: { path: "" }']) {
    const loaded = parseConfig(`gateway: { address: ${GATEWAY} }\n${more}\n`);
    t.match(loaded, { ok: false, problems: [{ path: ['flowLog', 'path'] }] });
  }
  const often = parseConfig(
    `gateway: { address: ${GATEWAY} }\nflowLog: { path: a, intervalSeconds: -1 }`,
  );
  t.match(often, { problems: [{ message: 'expected 0–86400, received -1' }] });
});
