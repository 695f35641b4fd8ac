/** Whether endpoints can forward: what is said by whom, and when. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { parseConfig } from '../../src/config/config.js';
import { type Readiness, readinessOf, zoneObstacle } from '../../src/obstacles/readiness.js';
import { Service } from '../../src/service/service.js';
import { gwlb } from '../cli/rig.js';
import { logged } from '../observe/log-rig.js';

const folder = mkdtempSync(join(tmpdir(), 'gwlb-ready-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const net = `127.${64 + (process.pid % 100)}.${(process.pid >> 8) % 250}`;
const port = 20_000 + (process.pid % 10_000);
const socket = join(folder, 'control.sock');
const ID = 'vpce-00000000000000001';

const yaml = (targets: string, more = '') => `gateway:
  { address: ${net}.1, port: ${port}, limits: { flows: 4096 } }
targetGroup: { healthCheck: false, ${more}targets: [${targets}] }
endpoints:
  - id: ${ID}
    zone: b
    geneve: { peer: ${net}.9, port: ${port} }
metrics: { listen: "127.0.0.1:${port}" }
control: { socket: ${socket} }
`;
const IN_A = `{ address: ${net}.2, zone: a }`;
const IN_B = `{ address: ${net}.3, zone: b }`;

const POLICY = { crossZone: false, failOpen: false };

t.test('what is in the way of a zone', async (t) => {
  const at = (state: 'healthy' | 'unhealthy' | 'initial' | 'draining', weight = 1, zone = 'a') => ({
    zone,
    weight,
    state,
  });
  const reason = (targets: ReturnType<typeof at>[], policy = {}) =>
    zoneObstacle('a', targets, { ...POLICY, ...policy })?.reason ?? null;
  t.equal(reason([]), 'no_targets');
  t.equal(reason([at('healthy', 1, 'b')]), 'no_targets');
  t.equal(reason([at('healthy', 1, 'b')], { crossZone: true }), null);
  t.equal(reason([at('healthy', 0)]), 'no_targets');
  t.equal(reason([at('draining')]), 'no_targets');
  t.equal(reason([], { failOpen: true }), null, 'uninspected, as it was asked for');
  t.equal(reason([at('unhealthy'), at('healthy', 1, 'b')]), 'no_healthy_target');
  t.equal(reason([at('unhealthy'), at('initial')]), 'no_healthy_target');
  t.equal(reason([at('initial')]), 'targets_unchecked');
  t.equal(reason([at('unhealthy'), at('healthy')]), null);
});

t.test('devices, and gateways without endpoints', async (t) => {
  const of = (ids: string[]): Readiness =>
    readinessOf(
      ids.map((id) => ({ id, zone: 'a' })),
      [{ zone: 'a', weight: 1, state: 'healthy' }],
      POLICY,
      ({ id }) => (id === '2' ? [{ reason: 'device_gone', text: 'the device is gone' }] : []),
    );
  t.match(of([]), { ready: false, lines: ['there is no endpoint'] });
  t.match(of(['1']), { ready: true, lines: ['1 (zone a): ready'] });
  t.match(of(['1', '2']), {
    ready: false,
    endpoints: [{ ready: true }, { ready: false, obstacles: [{ reason: 'device_gone' }] }],
    lines: ['1 (zone a): ready', '2 (zone a): not ready: the device is gone'],
  });
});

t.test('the check of a configuration warns', async (t) => {
  const warned = (text: string) => {
    const loaded = parseConfig(text);
    if (!loaded.ok) throw new Error(JSON.stringify(loaded.problems));
    return loaded.warnings;
  };
  t.match(warned(yaml(IN_A)), [
    {
      path: ['endpoints', 0, 'zone'],
      line: 6,
      message: /^zone "b" has no target \(targets are in "a"\)/,
    },
  ]);
  t.strictSame(warned(yaml(`${IN_A}, ${IN_B}`)), []);
  t.strictSame(warned(yaml(IN_A, 'failOpen: true, ')), []);
  t.match(warned(`gateway: { address: ${net}.1 }`), [{ path: ['endpoints'], line: 1 }]);
});

async function started(t: Test, text: string) {
  const { log, entries } = logged();
  const loaded = parseConfig(text);
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.problems));
  const service = await Service.start(loaded.config, log, '1.2.3');
  t.teardown(() => service.stop('test'));
  const told = () => entries.splice(0).filter(({ event }) => event === 'endpoint_readiness');
  const reload = async (text: string) => {
    const again = parseConfig(text);
    if (!again.ok) throw new Error(JSON.stringify(again.problems));
    t.match(await service.reload(again.config), { applied: true });
  };
  return { told, reload };
}

async function get(path: string): Promise<[number, string]> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`);
  return [response.status, await response.text()];
}

t.test('a zone without targets: log, /readyz, metrics, status', async (t) => {
  const { told, reload } = await started(t, yaml(IN_A));
  t.match(told(), [
    { level: 'warn', endpoint: ID, ready: false, obstacles: [{ reason: 'no_targets' }] },
  ]);
  t.strictSame(await get('/healthz'), [200, 'ok\n'], 'it lives');
  const [status, text] = await get('/readyz');
  t.equal(status, 503);
  t.match(text, `${ID} (zone b): not ready: zone "b" has no target`);
  t.match((await get('/metrics'))[1], `gwlb_endpoint_ready{endpoint="${ID}",zone="b"} 0`);
  const shown = await gwlb('status', '--socket', socket);
  t.match(shown.stdout, `NOT READY: ${ID} (zone b): zone "b" has no target`);
  t.match(shown.stdout, new RegExp(`${ID} +b +geneve .* no +0 +0`));
  t.match(JSON.parse((await gwlb('status', '--json', '--socket', socket)).stdout), {
    ready: false,
    endpoints: [{ ready: false, obstacles: [{ reason: 'no_targets' }] }],
  });
  t.strictSame(told(), [], 'told once');

  await reload(yaml(`${IN_A}, ${IN_B}`));
  t.match(told(), [{ level: 'info', endpoint: ID, ready: true, obstacles: [] }], 'and on change');
  t.match(await get('/readyz'), [200, `${ID} (zone b): ready\n`]);
  t.match((await gwlb('status', '--socket', socket)).stdout, /^forwarding works$/m);
});

t.test('the command says it, too', async (t) => {
  const file = join(folder, 'gateway.yaml');
  writeFileSync(file, yaml(IN_A));
  const errors: string[] = [];
  const { error } = console;
  console.error = (line) => errors.push(line);
  t.teardown(() => {
    console.error = error;
  });
  const { status } = await gwlb('check', file);
  t.equal(status, 0, 'it is no mistake');
  t.match(errors, [/gateway\.yaml:6:5: endpoints\[0\]\.zone: warning: zone "b" has no target/]);
});
