/** What a gateway does with few descriptors: it forwards and checks first, and says what it lacks. */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { CLI } from '../../../test/support/places.js';
import { ImpededChecks } from '../../src/observe/impeded.js';
import { connectionsFor, descriptors, shortage } from '../../src/service/descriptors.js';
import { logged } from '../observe/log-rig.js';
import { Running } from '../support/running.js';

const folder = mkdtempSync(join(tmpdir(), 'gwlb-files-'));
const file = join(folder, 'gateway.yaml');
const socketPath = join(folder, 'gateway.sock');
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const net = `127.${64 + (process.pid % 100)}.${(process.pid >> 8) % 250}`;

const limited = (files: number, ...args: string[]) =>
  ['-c', `ulimit -n ${files} && exec "$0" "$@"`, process.execPath, CLI, ...args] as const;

function write(targets: string): void {
  writeFileSync(
    file,
    `gateway: { address: ${net}.1, limits: { flows: 4096 } }
targetGroup:
  healthCheck: { profile: fast, intervalSeconds: 0.2, timeoutSeconds: 0.2, port: 8080, suspicion: false }
  targets: [${targets}]
endpoints: [{ id: vpce-00000000000000001, geneve: { peer: ${net}.9 } }]
metrics: { listen: "${net}.1:9464" }
control: { socket: ${socketPath} }
`,
  );
}

t.test('what is left for connections', async (t) => {
  const of = (limit: number, open: number, targets = 0) =>
    connectionsFor({ limit, open }, targets, 2, 32);
  t.equal(of(1024, 280), 32);
  t.equal(of(Number.POSITIVE_INFINITY, 0), 32);
  t.equal(of(336, 280), 20);
  t.equal(of(336, 280, 20), 10, 'each target has one');
  t.equal(of(280, 280), 4, 'an operator can ask always');
  t.equal(shortage({ limit: 1024, open: 280 }, 300, 2), null);
  const told = shortage({ limit: 1024, open: 280 }, 4096, 2);
  t.match(told, /^this process may have 1024 files open and may need 4400: 280 are open, .* 4096 /);
  const { limit, open } = descriptors();
  t.ok(open >= 3 && open < limit, `${open} of ${limit}`);
});

t.test('a start with too few ends with a sentence', async (t) => {
  write(`{ address: ${net}.2 }`);
  for (const files of [60, 100]) {
    const { status, stderr } = spawnSync('bash', limited(files, 'run', file), { encoding: 'utf8' });
    t.equal(status, 1, `${files} files`);
    t.match(stderr, /^gwlb: .*too many open files: raise the limit of this process/);
    t.notMatch(stderr, /\n +at /, 'no stack');
  }
});

/** Requests that are never finished, at both listeners by turns. */
async function halfOpen(t: Test, count: number): Promise<void> {
  const sockets = Array.from({ length: count }, (_, i) => {
    const socket = i % 2 === 0 ? connect(9464, `${net}.1`) : connect(socketPath);
    return socket.on('error', () => {}).on('connect', () => socket.write('GET /met'));
  });
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
  });
  await Promise.all(sockets.map((socket) => once(socket, 'connect').catch(() => {})));
}

/** The limit of open files, and connections of strangers. */
const PRESSURE = [
  [1024, 1500],
  [340, 200],
] as const;

for (const [files, connections] of PRESSURE) {
  const name = `${connections} half-open connections at a limit of ${files} files`;
  t.test(`${name} take none from health checks and reloads`, (t) =>
    underPressure(t, files, connections),
  );
}

async function underPressure(t: Test, files: number, connections: number): Promise<void> {
  const appliance = createServer((socket) => socket.on('error', () => {}).end());
  appliance.listen(8080, `${net}.2`);
  await once(appliance, 'listening');
  const target = `{ address: ${net}.2 }`;
  write(target);
  const running = new Running(t, 'bash', limited(files, 'run', file));
  await running.event('started');
  t.match(await running.event('target_health'), { state: 'healthy' });
  await halfOpen(t, connections);
  write(`${target}, { address: ${net}.3 }`);
  t.match((await running.reload()).at(-1), { event: 'reloaded', targets: 2 });
  appliance.close();
  for (;;) {
    const { target, state } = await running.event('target_health');
    if (target !== `${net}.2:6081`) continue;
    t.equal(state, 'unhealthy', 'a dead appliance is seen');
    break;
  }
  await running.end();
  await running.event('stopped');
}

t.test('checks that cannot be made are told once, and that they are made again', async (t) => {
  const { log, entries } = logged();
  const impeded = new ImpededChecks(log);
  const seen = (id: string, failure: 'internal' | 'timeout' | null) =>
    impeded.seen({
      target: { id, state: 'healthy' },
      ok: failure === null,
      failure,
      detail: 'EMFILE',
      durationMs: 0,
    } as never);
  seen('a', null);
  seen('a', 'internal');
  seen('b', 'internal');
  seen('a', 'internal');
  t.match(entries.splice(0), [
    { level: 'warn', event: 'health_checks_impeded', target: 'a', detail: 'EMFILE' },
  ]);
  seen('a', 'timeout');
  t.strictSame(entries, []);
  impeded.forget('b');
  t.match(entries, [{ level: 'info', event: 'health_checks_made_again' }]);
});
