/** What `gwlb run` and `gwlb appliance` may still do once they run; in namespaces, as root of them. */
import type { ChildProcess } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CLI } from '../../../test/support/places.js';
import { runPrivately } from '../../../test/support/privately.js';
import { until } from '../../../test/support/until.js';
import { cannotRun, whyNoOtherUser } from '../../../test/support/wide.js';
import { Lab } from '../../src/lab/lab.js';
import { run } from '../../src/lab/processes.js';
import { toGoOn } from '../../src/service/privileges.js';
import { Running } from '../support/running.js';

const reason = await runPrivately(import.meta.url);
const { default: t } = await import('tap');

const folder = mkdtempSync(join(tmpdir(), 'gwlb-privileges-'));
const file = join(folder, 'gateway.yaml');

function configure(more: string): void {
  writeFileSync(
    file,
    `gateway: { address: 127.0.0.1, limits: { flows: 4096 } }
targetGroup: { healthCheck: false, targets: [{ address: 127.0.0.2 }] }
${more}`,
  );
  // For any user, as a configuration without secrets may be.
  chmodSync(folder, 0o755);
  chmodSync(file, 0o644);
}

const TUN = 'endpoints: [{ id: vpce-00000000000000001, tun: gwlbe0 }]\n';
const PEER =
  'endpoints: [{ id: vpce-00000000000000001, geneve: { peer: 127.0.0.9, port: 6082 } }]\n';

function start(...args: string[]): Running {
  return new Running(t, 'env', ['-u', 'NODE_OPTIONS', process.execPath, CLI, ...args]);
}

/** What each thread has of a line of its status, each once. */
function threads({ pid }: ChildProcess, key: string): string[] {
  const all = readdirSync(`/proc/${pid}/task`).map((thread) => {
    const status = readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8');
    return new RegExp(`^${key}:\\s*(.*)$`, 'm').exec(status)?.[1].split('\t')[0] ?? '';
  });
  return [...new Set(all)];
}

const NONE = '0000000000000000';
const NET_ADMIN = '0000000000001000';
const NET_BIND_SERVICE = '0000000000000400';

async function untilAllHave(running: Running, caps: string): Promise<void> {
  await until(
    () => threads(running.child, 'CapPrm'),
    (all) => all.length === 1 && all[0] === caps,
    `capabilities ${caps} in all threads`,
  );
}

async function tests(): Promise<void> {
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const lab = new Lab();
  t.teardown(() => lab.close());
  await run('ip', ['link', 'set', 'lo', 'up']);

  t.test('what is needed while it runs', async (t) => {
    const gateway = { netns: null } as never;
    t.strictSame(toGoOn({ gateway, endpoints: [] }), []);
    const tun = { id: 'vpce-00000000000000001', zone: 'a', tun: 'a', netns: null };
    t.strictSame(toGoOn({ gateway, endpoints: [tun] }), ['CAP_NET_ADMIN']);
    t.strictSame(toGoOn({ gateway, endpoints: [{ ...tun, netns: 'a' }] }), [
      'CAP_NET_ADMIN',
      'CAP_SYS_ADMIN',
    ]);
    t.strictSame(toGoOn({ gateway: { netns: 'a' } as never, endpoints: [] }), ['CAP_SYS_ADMIN']);
  });

  t.test('without TUN endpoints: nothing', async (t) => {
    configure(PEER);
    const running = start('run', file);
    await running.event('started');
    await untilAllHave(running, NONE);
    t.strictSame(threads(running.child, 'CapEff'), [NONE]);
    t.strictSame(threads(running.child, 'NoNewPrivs'), ['1']);
    configure(`${PEER.replace(' }]', ' },')} { id: vpce-00000000000000002, tun: gwlbe0 }]\n`);
    t.match((await running.reload()).at(-1), {
      event: 'reload_refused',
      problems: [/CAP_NET_ADMIN is needed for a TUN device/],
    });
    t.equal(await running.end(), 0);
  });

  t.test('with TUN devices, as another user where there is one: CAP_NET_ADMIN', async (t) => {
    const user = whyNoOtherUser() === null ? 'nobody' : null;
    configure(TUN);
    const running = start('run', file, ...(user === null ? [] : ['--user', user]));
    await running.event('started');
    await untilAllHave(running, NET_ADMIN);
    const { out } = await run('id', ['-u', user ?? 'root']);
    t.strictSame(threads(running.child, 'Uid'), [out.trim()]);
    t.strictSame(threads(running.child, 'NoNewPrivs'), ['1']);
    await run('ip', ['link', 'del', 'gwlbe0']);
    await running.event('device_restored');
    t.match((await running.reload()).at(-1), { event: 'reloaded' });
    t.equal(await running.end(), 0);
  });

  t.test('everything where that is asked for', async (t) => {
    configure(TUN);
    const running = start('run', file, '--no-drop-privileges');
    await running.event('started');
    t.strictSame(threads(running.child, 'NoNewPrivs'), ['0']);
    t.not(threads(running.child, 'CapPrm')[0], NET_ADMIN);
    t.equal(await running.end(), 0);
  });

  t.test('an appliance: CAP_NET_BIND_SERVICE', async (t) => {
    const running = start('appliance', '--listen', '127.0.0.2');
    await running.says('gwlb appliance ready');
    await untilAllHave(running, NET_BIND_SERVICE);
    t.equal(await running.end(), 0);
  });

  t.test('users that cannot be', async (t) => {
    configure(PEER);
    const unknown = await run(process.execPath, [CLI, 'run', file, '--user', 'no-such-user']);
    t.equal(unknown.status, 2);
    t.match(unknown.err, '--user: expected the name of a user of this system');
    const both = ['run', file, '--user', 'nobody', '--no-drop-privileges'];
    const senseless = await run(process.execPath, [CLI, ...both]);
    t.equal(senseless.status, 2);
    t.match(senseless.err, '--user: expected nothing together with --no-drop-privileges');
  });
}

if (reason === null) await tests();
else cannotRun(t, reason);
