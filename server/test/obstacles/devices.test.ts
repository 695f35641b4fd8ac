/** The TUN devices of `gwlb run`: over crashes and stops, lost and made again; in namespaces. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CLI } from '../../../test/support/places.js';
import { runPrivately } from '../../../test/support/privately.js';
import { startAppliance } from '../../../test/support/processes.js';
import { cannotRun } from '../../../test/support/wide.js';
import { Lab } from '../../src/lab/lab.js';
import { run, runIn } from '../../src/lab/processes.js';
import { start } from '../support/running.js';

const reason = await runPrivately(import.meta.url);
const { default: t } = await import('tap');

const folder = mkdtempSync(join(tmpdir(), 'gwlb-devices-'));
const file = join(folder, 'gateway.yaml');
const ENDPOINT = 'vpce-00000000000000001';

function configure(tun = 'gwlbe0', workers = 1): void {
  writeFileSync(
    file,
    `gateway: { address: 127.0.0.1, netns: gw, workers: ${workers}, limits: { flows: 4096 } }
targetGroup: { healthCheck: false, targets: [{ address: 127.0.0.2 }] }
endpoints: [{ id: ${ENDPOINT}, tun: ${tun} }]
metrics: { listen: "127.0.0.1:9464" }
`,
  );
}

const ask = async (path: string) => (await fetch(`http://127.0.0.1:9464${path}`)).text();

/** Whether a packet that a route leads into the device is inspected and comes out of it again. */
async function carries(): Promise<boolean> {
  const before = await packetsOut();
  await runIn('gw', 'ping', ['-c', '1', '-W', '1', '10.9.1.1']);
  return (await packetsOut()) > before;
}

async function packetsOut(): Promise<number> {
  return Number(/^gwlb_packets_out_total (\d+)$/m.exec(await ask('/metrics'))?.[1]);
}

const hasDevice = async (name = 'gwlbe0') =>
  (await runIn('gw', 'ip', ['link', 'show', name])).status === 0;

async function wayTo(address: string): Promise<string> {
  return (await runIn('gw', 'ip', ['route', 'get', address])).out;
}

async function tests(): Promise<void> {
  const lab = new Lab();
  t.teardown(() => lab.close());
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  await lab.namespace('outside');
  await lab.namespace('gw');
  await run('ip', ['link', 'set', 'lo', 'up']);
  await lab.cable('gw', 'wan', 'outside', 'wan');
  await lab.ip('gw', ['addr add 192.0.2.1/24 dev wan', 'route add default via 192.0.2.2']);
  const appliance = await startAppliance('gw', '127.0.0.2');
  t.teardown(() => appliance.kill('SIGKILL'));

  t.test('a crash leaves the device and its routes', async (t) => {
    configure();
    const first = start(t, 'run', file);
    const unready = await first.event('endpoint_readiness');
    t.match(unready, { level: 'warn', ready: false, obstacles: [{ reason: 'no_route' }] });
    t.match(await ask('/readyz'), /no route leads into TUN device gwlbe0 in network namespace gw/);
    t.equal(await ask('/healthz'), 'ok\n');
    await lab.ip('gw', ['route add 10.9.0.0/16 dev gwlbe0']);
    t.match(await first.event('endpoint_readiness'), { ready: true });
    t.match(await first.event('inspection_bypass'), {
      level: 'warn',
      device: 'gwlbe0',
      prefix: '10.9.0.0/16',
      to: 'default dev wan (table main)',
    });
    t.ok(await carries());
    await first.end('SIGKILL');
    t.match(await wayTo('10.9.1.1'), /dev gwlbe0/, 'after the crash');

    const checked = await run(process.execPath, [CLI, 'check', file]);
    t.match(
      checked.err,
      /warning: endpoints\[0\]\.tun: packets to 10\.9\.0\.0\/16 .* would go around/,
    );
    t.equal(checked.status, 0);

    configure('gwlbe0', 2);
    const second = start(t, 'run', file);
    await second.event('started');
    t.ok(await carries(), 'another number of workers, the same device and routes');
    t.equal(await second.end('SIGTERM'), 0);
    t.match(await wayTo('10.9.1.1'), /dev gwlbe0/, 'after the stop');
  });

  t.test('a lost device is told, made again, and forgotten', async (t) => {
    configure();
    const running = start(t, 'run', file);
    await running.event('started');
    for (const losses of [1, 2]) {
      await lab.ip('gw', ['link del gwlbe0']);
      t.match(await running.event('device_lost'), {
        level: 'error',
        endpoint: ENDPOINT,
        device: 'gwlbe0',
        msg: /^TUN device gwlbe0 in network namespace gw is gone \(deleted/,
      });
      await running.event('device_restored');
      t.equal(await ask('/healthz'), 'ok\n');
      t.match((await running.event('endpoint_readiness')).obstacles, [{ reason: 'no_route' }]);
      await lab.ip('gw', ['route add 10.9.0.0/16 dev gwlbe0']);
      t.match(await running.event('endpoint_readiness'), { ready: true });
      t.ok(await carries());
      t.match(
        await ask('/metrics'),
        `gwlb_endpoint_device_losses_total{endpoint="${ENDPOINT}",zone="default"} ${losses}`,
      );
    }
    t.equal(await running.end('SIGTERM'), 0);
  });

  t.test('a device that is set down waits for somebody, or a reload', async (t) => {
    configure();
    const running = start(t, 'run', file);
    await running.event('started');
    await lab.ip('gw', ['link set gwlbe0 down']);
    t.match(await running.event('device_down'), { level: 'error', msg: /ip link set gwlbe0 up/ });
    t.match(await ask('/healthz'), /TUN device gwlbe0 in network namespace gw is set down/);
    t.match(await ask('/readyz'), /not ready: TUN device gwlbe0/);
    const up = `gwlb_endpoint_device_up{endpoint="${ENDPOINT}",zone="default"}`;
    t.match(await ask('/metrics'), `${up} 0`);
    await lab.ip('gw', ['link set gwlbe0 up']);
    await running.event('device_restored');
    t.match(await ask('/metrics'), `${up} 1`);
    t.equal(await ask('/healthz'), 'ok\n');

    await lab.ip('gw', ['link set gwlbe0 down']);
    await running.event('device_down');
    running.child.kill('SIGHUP');
    await running.event('device_restored');
    t.equal(await ask('/healthz'), 'ok\n');

    await lab.ip('gw', ['link set gwlbe0 down']);
    await running.event('device_down');
    t.equal(await running.end('SIGTERM'), 1, 'it does not forward at its end');
  });

  t.test('a device that is taken by somebody else is tried for', async (t) => {
    configure();
    const running = start(t, 'run', file);
    await running.event('started');
    await lab.ip('gw', ['link del gwlbe0', 'link add gwlbe0 type veth peer name other0']);
    await running.event('device_lost');
    t.match(await running.event('failed'), {
      level: 'error',
      error: /make TUN device gwlbe0 .* work again/,
    });
    t.match(await ask('/healthz'), /a device of another kind has it/);
    await lab.ip('gw', ['link del gwlbe0']);
    await running.event('device_restored');
    t.equal(await ask('/healthz'), 'ok\n');
    t.equal(await running.end('SIGTERM'), 0);
  });

  t.test('devices are taken away where that is asked for', async (t) => {
    configure();
    t.ok(await hasDevice());
    const held = start(t, 'run', file, '--remove-devices');
    await held.event('started');
    const busy = await run(process.execPath, [CLI, 'device', 'remove', 'gwlbe0', '--netns', 'gw']);
    t.equal(busy.status, 1);
    t.match(busy.err, /cannot remove TUN device gwlbe0 .*another program uses the device/);
    t.equal(await held.end('SIGTERM'), 0);
    t.notOk(await hasDevice());

    const kept = start(t, 'run', file);
    await kept.event('started');
    t.equal(await kept.end('SIGINT'), 0);
    t.ok(await hasDevice());
    const removed = await run(process.execPath, [
      CLI,
      'device',
      'remove',
      'gwlbe0',
      '--netns',
      'gw',
    ]);
    t.match(removed, { status: 0, out: /^removed TUN device gwlbe0 in network namespace gw/ });
    t.notOk(await hasDevice());
    const again = await run(process.execPath, [CLI, 'device', 'remove', 'gwlbe0', '--netns', 'gw']);
    t.match(again, { status: 1, err: /no such device/ });

    configure('{ name: gwlbe0, persistent: false }');
    const short = start(t, 'run', file);
    await short.event('started');
    t.ok(await hasDevice());
    await short.end('SIGKILL');
    t.notOk(await hasDevice());
  });

  t.test('a device that an administrator made serves several workers', async (t) => {
    await lab.ip('gw', [
      'tuntap add dev gwlbe0 mode tun',
      'link set gwlbe0 up',
      'route add 10.9.0.0/16 dev gwlbe0',
    ]);
    configure('gwlbe0', 3);
    const running = start(t, 'run', file);
    await running.event('started');
    t.ok(await carries());
    t.equal(await running.end('SIGTERM'), 0);
  });
}

if (reason === null) await tests();
else cannotRun(t, reason);
