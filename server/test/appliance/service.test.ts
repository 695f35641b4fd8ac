/**
 * `gwlb appliance --tun` behind our gateway: a Linux kernel as a firewall and as a NAT instance, in namespaces,
 * with real connections through it.
 */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GatewayLoadBalancer, readCapture, TargetGroup } from 'gwlb';
import type { Test } from 'tap';
import {
  buildFabric,
  buildRoad,
  GATEWAY,
  leadThrough,
  SERVER,
} from '../../../test/support/fleet.js';
import { CLI } from '../../../test/support/places.js';
import { runPrivately } from '../../../test/support/privately.js';
import { nft, probe, startServers, traffic } from '../../../test/support/processes.js';
import type { Questions, Transfer } from '../../../test/support/traffic.js';
import { until } from '../../../test/support/until.js';
import { cannotRun, whyMissing, whyNoOtherUser } from '../../../test/support/wide.js';
import type { ApplianceStatus } from '../../src/appliance/view.js';
import { Lab } from '../../src/lab/lab.js';
import { inNamespace, kill, runIn } from '../../src/lab/processes.js';
import { Running } from '../support/running.js';

const reason = (await runPrivately(import.meta.url)) ?? whyMissing('nft', 'curl', 'bash');
const { default: t } = await import('tap');

const APPLIANCE = '10.99.0.11';
const NETNS = 'appliance0';
const ID = 'vpce-0123456789abcdef0';
const folder = mkdtempSync(join(tmpdir(), 'gwlb-appliance-'));
const socket = join(folder, 'appliance.sock');
const lab = new Lab();

/** In its namespace. */
function start(t: Test, ...args: string[]): Running {
  const own = ['appliance', '--listen', APPLIANCE, '--socket', socket, ...args];
  const command = ['env', '-u', 'NODE_OPTIONS', process.execPath, CLI, ...own];
  return new Running(t, ...inNamespace(NETNS, command));
}

async function status(): Promise<ApplianceStatus> {
  const [program, args] = inNamespace(NETNS, [
    ...[process.execPath, CLI, 'appliance', 'status', '--socket', socket, '--json'],
  ]);
  return JSON.parse(await lab.run(null, program, ...args));
}

async function health(): Promise<[number, string]> {
  const { out } = await runIn(NETNS, 'curl', ['-s', '-w', ' %{http_code}', `${APPLIANCE}:80/`]);
  const at = out.lastIndexOf(' ');
  return [Number(out.slice(at)), out.slice(0, at).trim()];
}

/** What the appliance may have changed in its namespace. */
const LOOK = `cd /proc/sys/net && grep -rH '' ipv4/conf/all ipv6/conf/all ipv4/conf/eth0 ipv6/conf/eth0 \
  ipv4/fwmark_reflect ipv6/fwmark_reflect ipv4/ip_forward 2>/dev/null | grep -v stable_secret | sort
  for v in -4 -6; do ip $v rule; ip $v route show table all | grep -v -e fe80: -e 'ff00::/8 dev gw' | sort; done
  nft list ruleset`;
const look = () => lab.run(NETNS, 'sh', '-c', LOOK);

const send = (host: string, megabytes: number) =>
  traffic<Transfer>('client', ['send', host, String(megabytes * 1_000_000)]);

async function tests(gateway: GatewayLoadBalancer): Promise<void> {
  t.test('a stateful firewall: one device, one rule, real connections both ways', async (t) => {
    const before = await look();
    const run = start(
      t,
      '--tun',
      'gwlb0',
      '--metrics',
      '127.0.0.1:9465',
      '--drain-seconds',
      '3600',
    );
    t.match(await run.event('host_set_up'), { device: 'gwlb0', table: 6081 });
    await run.event('started');
    await nft(
      NETNS,
      'add table inet fw',
      'add chain inet fw through { type filter hook forward priority 0 ; policy drop ; }',
      'add rule inet fw through ct state established,related accept',
      'add rule inet fw through tcp dport 9000 accept',
      'add rule inet fw through udp dport 4053 accept',
      'add rule inet fw through udp dport 33434-33600 accept',
      'add rule inet fw through tcp dport 9 reject with tcp reset',
    );
    for (const host of [SERVER.v4, SERVER.v6]) {
      const { sent, received } = await send(host, 5);
      t.strictSame(received, sent, `TCP to ${host}`);
      const asked = await traffic<Questions>('client', ['ask', host, '20', '5', '0']);
      t.strictSame(asked, { asked: 100, answered: 100 }, `UDP to ${host}`);
      const url = host.includes(':') ? `http://[${host}]:9/` : `http://${host}:9/`;
      const refused = await runIn('client', 'curl', ['-sv', '-m', '20', url]);
      t.match(refused.err, /Connection refused/, "the kernel's own RST returns");
    }
    const hops = await probe<{ type: number; from: string }[]>(
      'client',
      'hops',
      SERVER.v4,
      33_434,
      4,
    );
    t.match(
      hops[1],
      { type: 11, from: APPLIANCE },
      'time exceeded in the appliance, by its address',
    );
    t.match(hops.at(-1), { type: 3, from: SERVER.v4 });
    const now = await status();
    t.match(now, {
      health: { healthy: true },
      devices: [{ name: 'gwlb0', out: null, endpoint: null, state: 'up' }],
      failure: null,
    });
    t.ok((now.devices[0]?.counters.packetsReturned ?? 0) > 1000);
    t.ok((now.flows?.ipv4 ?? 0) > 0 && (now.flows?.ipv6 ?? 0) > 0);
    const text = (await runIn(NETNS, 'curl', ['-s', '127.0.0.1:9465/metrics'])).out;
    t.match(text, /^gwlb_appliance_device_up\{device="gwlb0",endpoint=""\} 1$/m);
    t.match(text, /^gwlb_appliance_healthy 1$/m);
    t.match(text, /^gwlb_appliance_device_packets_to_kernel_total\{[^}]*\} [1-9]/m);
    t.strictSame(await health(), [200, 'ok']);
    run.child.kill('SIGTERM');
    await run.event('draining');
    t.strictSame(await health(), [503, 'draining: it is about to stop']);
    t.strictSame((await send(SERVER.v4, 1)).received.bytes, 1_000_000, 'it still works');
    t.equal(await run.end(), 0);
    await nft(NETNS, 'delete table inet fw');
    t.equal(await look(), before, 'the host is as it was');
    t.match(await lab.run(NETNS, 'ip', 'link'), /gwlb0/, 'the device stays');
    t.equal(gateway.failure, null);
  });

  t.test(
    'as another user, with every capability but two given up; undone all the same',
    { skip: whyNoOtherUser() ?? false },
    async (t) => {
      const before = await look();
      const run = start(t, '--tun', 'gwlb0', '--user', 'nobody', '--remove-devices');
      await run.event('started');
      const own = readFileSync(`/proc/${run.child.pid}/status`, 'utf8');
      t.match(own, /^CapPrm:\s+0{12}1400$/m);
      t.match(own, /^CapAmb:\s+0{12}1000$/m);
      t.notMatch(own, /^Uid:\s+0/m);
      t.equal((await send(SERVER.v4, 1)).received.bytes, 1_000_000);
      await lab.ip(NETNS, ['link del gwlb0']);
      await run.event('host_set_up');
      t.equal(
        (await send(SERVER.v4, 1)).received.bytes,
        1_000_000,
        'the device is back, and set up',
      );
      t.equal(await run.end('SIGINT'), 0);
      t.equal(await look(), before);
      t.notMatch(await lab.run(NETNS, 'ip', 'link'), /gwlb0/);
    },
  );

  t.test('a NAT instance: out of another interface with its address, and back', async (t) => {
    const before = await look();
    await lab.ip('router', ['route add 203.0.113.0/24 dev endpoint0 table 100']);
    const run = start(t, '--tun', 'gwlb0', '--nat', 'eth1', '--remove-devices');
    await run.event('started');
    const { sent, received } = await send(INTERNET, 5);
    t.strictSame(received, sent);
    const asked = await traffic<Questions>('client', ['ask', INTERNET, '10', '5', '0']);
    t.strictSame(asked, { asked: 50, answered: 50 });
    t.equal(await run.end(), 0);
    t.equal(await look(), before);
  });

  t.test(
    'a device for each endpoint, a program that is told, a capture, and a hurry',
    async (t) => {
      const before = await look();
      const program = join(folder, 'program');
      const told = join(folder, 'told');
      const well = join(folder, 'well');
      const pcap = join(folder, 'a.pcap');
      writeFileSync(
        program,
        `#!/bin/sh\necho "$*" >> ${told}\nip link show "$2" > /dev/null && sleep 60\n`,
      );
      chmodSync(program, 0o755);
      writeFileSync(well, '');
      const each = ['--tun-per-endpoint', 'in=gwi%d,out=gwo%d', '--endpoints', ID];
      const run = start(
        t,
        ...[...each, '--on-endpoint', program, '--health-file', well, '--health-command', 'true'],
        ...['--pcap', pcap, '--pcap-filter', 'tcp port 9000', '--drain-seconds', '3600'],
      );
      await run.event('started');
      t.notMatch(await lab.run(NETNS, 'ip', 'link'), /gwi0/, 'nobody has sent a packet');
      t.equal((await send(SERVER.v4, 1)).received.bytes, 1_000_000);
      await run.event('host_set_up');
      t.match(await status(), {
        devices: [{ name: 'gwi0', out: 'gwo0', endpoint: ID, state: 'up' }],
      });
      await until(
        async () => (await health())[0],
        (code) => code === 200,
        'healthy',
      );
      rmSync(well);
      await until(
        async () => (await health())[1],
        (text) => text === `${well} is not there`,
        'unhealthy',
      );
      run.child.kill('SIGTERM');
      await run.event('draining');
      t.equal(await run.end('SIGTERM'), 0, 'a second signal ends the waiting, and the program');
      t.equal(readFileSync(told, 'utf8'), `create gwi0 gwo0 ${ID}\n`);
      t.ok([...readCapture(pcap)].length > 100);
      t.equal(await look(), before);
      t.notMatch(await lab.run(NETNS, 'ip', 'link'), /gwi0/);
    },
  );

  t.test('nothing goes past the kernel, also while it starts and stops', async (t) => {
    const drop =
      'add chain inet fw through { type filter hook forward priority 0 ; policy drop ; }';
    await nft(NETNS, 'add table inet fw', drop);
    const count = 'add chain inet seen in { type filter hook input priority 0 ; }';
    await nft(
      'server',
      'add table inet seen',
      count,
      'add rule inet seen in udp dport 4054 counter',
    );
    const script = `exec 3<>/dev/udp/${SERVER.v4}/4054; while :; do for i in 1 2 3 4 5 6 7 8; do echo x >&3; done; sleep 0.005; done`;
    const flood = lab.begin('client', 'bash', '-c', script);
    for (let i = 0; i < 2; i += 1) {
      const run = start(t, '--tun', 'gwlb0', '--remove-devices');
      await run.event('started');
      await until(
        async () => (await status()).devices[0]?.counters.packetsToKernel ?? 0,
        (packets) => packets > 100,
        'packets enter the kernel',
      );
      t.equal(await run.end(), 0);
    }
    await kill(flood);
    const seen = await lab.run('server', 'nft', 'list', 'table', 'inet', 'seen');
    t.match(seen, /udp dport 4054 counter packets 0 bytes 0/);
    await nft('server', 'delete table inet seen');
    await nft(NETNS, 'delete table inet fw');
  });

  t.test('what cannot be is a sentence, and leaves nothing', async (t) => {
    await lab.ip(NETNS, ['route add 198.18.0.0/15 dev eth1 table 100']);
    const before = await look();
    const refused = async (...args: string[]) => {
      const all = [process.execPath, CLI, 'appliance', '--listen', APPLIANCE, ...args];
      const { status: code, err } = await runIn(NETNS, 'env', ['-u', 'NODE_OPTIONS', ...all]);
      return [code, err.split('\n')[0]];
    };
    const asUser = whyNoOtherUser() === null ? ['--user', 'nobody'] : [];
    const [inUse, noInterface, tableInUse] = [
      await refused('--tun', 'eth0'),
      await refused('--tun', 'gwlb0', '--remove-devices', '--nat', 'eth9'),
      await refused('--tun', 'gwlb0', '--remove-devices', ...asUser, '--table', '100'),
    ];
    t.match(inUse, [1, /^gwlb: --tun: .*eth0/]);
    t.match(noInterface, [1, /eth9/]);
    t.match(tableInUse, [
      2,
      /^gwlb: --table: expected a routing table without routes, received 100/,
    ]);
    t.equal(await look(), before);
  });

  t.test('the printed commands do what it does', async (t) => {
    const before = await look();
    const print = [process.execPath, CLI, 'appliance', '--tun', 'gwlb7', '--print-setup'];
    const script = await lab.run(NETNS, 'env', '-u', 'NODE_OPTIONS', ...print);
    await lab.run(NETNS, 'sh', '-ec', script);
    const run = start(t, '--tun', 'gwlb7', '--no-setup');
    const events = (await run.entries('started')).map(({ event }) => event);
    t.strictSame(events, ['health', 'started']);
    t.equal((await send(SERVER.v4, 1)).received.bytes, 1_000_000);
    t.equal((await send(SERVER.v6, 1)).received.bytes, 1_000_000);
    t.equal(await run.end(), 0);
    t.not(await look(), before, 'what somebody else did stays');
  });
}

const INTERNET = '203.0.113.10';

async function build(): Promise<GatewayLoadBalancer> {
  await buildRoad(lab);
  await buildFabric(lab, [
    { name: 'gateway', address: GATEWAY },
    { name: NETNS, address: APPLIANCE },
  ]);
  await lab.namespace('internet');
  await lab.cable(NETNS, 'eth1', 'internet', 'eth0');
  await lab.ip(NETNS, ['addr add 203.0.113.5/24 dev eth1']);
  await lab.ip('internet', [`addr add ${INTERNET}/24 dev eth0`]);
  const targetGroup = new TargetGroup({ healthCheck: false });
  targetGroup.register({ address: APPLIANCE });
  const limits = { flows: 4096 };
  const gateway = await GatewayLoadBalancer.listen({
    ...{ address: GATEWAY, netns: 'gateway', targetGroup, limits },
  });
  await gateway.createEndpoint({ id: ID, tun: 'endpoint0', netns: 'router' });
  await leadThrough(lab, 'endpoint0');
  return gateway;
}

if (reason !== null) {
  cannotRun(t, reason);
} else {
  chmodSync(folder, 0o777);
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  t.teardown(() => lab.close());
  const gateway = await build();
  t.teardown(() => gateway.close());
  for (const namespace of ['server', 'internet']) {
    const server = await startServers(namespace);
    t.teardown(() => kill(server));
  }
  await tests(gateway);
}
