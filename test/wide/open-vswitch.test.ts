/** Open vSwitch as an appliance: real traffic, inner Ethernet, cookies that come back. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Lab } from '../../server/src/lab/lab.js';
import { runIn } from '../../server/src/lab/processes.js';
import { GatewayLoadBalancer, TargetGroup } from '../../src/index.js';
import { MACS } from '../support/emitted.js';
import { buildFabric, buildRoad, GATEWAY, leadThrough, SERVER } from '../support/fleet.js';
import { OFFLOADS, OpenVswitch } from '../support/open-vswitch.js';
import { runPrivately } from '../support/privately.js';
import { startServers, traffic } from '../support/processes.js';
import type { Questions, Transfer } from '../support/traffic.js';
import { cannotRun, whyNotWide } from '../support/wide.js';

const PROGRAMS = ['ovs-vswitchd', 'ovsdb-server', 'ovs-vsctl', 'ovs-ofctl', 'ethtool', 'ping'];
const reason = whyNotWide(...PROGRAMS) ?? (await runPrivately(import.meta.url));
const { default: t } = await import('tap');

const SWITCH = '10.99.0.2';

async function tests(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'gwlb-switch-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const lab = new Lab();
  t.teardown(() => lab.close());
  await buildRoad(lab);
  await buildFabric(lab, [
    { name: 'gateway', address: GATEWAY },
    { name: 'switch', address: null },
  ]);
  const appliance = await OpenVswitch.start({ lab, namespace: 'switch', address: SWITCH, folder });
  t.teardown(() => appliance.close());
  // The switch takes packets as they are on the link: whole, and with their sums.
  const offloads = OFFLOADS.flatMap((name) => [name, 'off']);
  const changed = await runIn('gateway', 'ethtool', ['-K', 'eth0', ...offloads]);
  if (changed.status !== 0) throw new Error(`ethtool: ${changed.err}`);
  // No more under way than the socket of the switch holds: TCP otherwise sends until some are lost.
  await lab.sysctl('server', ['net.ipv4.tcp_rmem=4096 32768 32768']);
  // Each has to know the other's neighbour before the tunnel can send.
  const reached = await runIn('switch', 'ping', ['-c', '1', '-w', '10', GATEWAY]);
  if (reached.status !== 0) throw new Error(`no way to the gateway: ${reached.out}${reached.err}`);

  const targetGroup = new TargetGroup({ healthCheck: false, inner: 'ethernet', ...MACS });
  targetGroup.register({ address: SWITCH });
  const gateway = await GatewayLoadBalancer.listen({
    address: GATEWAY,
    netns: 'gateway',
    targetGroup,
    cookieCheck: 'strict',
    limits: { flows: 4096, flowsIpv6: 4096 },
  });
  t.teardown(() => gateway.close());
  await gateway.createEndpoint({ tun: 'endpoint0', netns: 'router' });
  await leadThrough(lab, 'endpoint0');
  const server = await startServers('server');
  t.teardown(() => server.kill('SIGKILL'));

  for (const host of [SERVER.v4, SERVER.v6]) {
    t.test(`UDP to ${host}`, async (t) => {
      const args = ['ask', host, '20', '10', '0'];
      const told = await traffic<Questions>('client', args);
      t.strictSame(told, { asked: 200, answered: 200 });
    });

    t.test(`TCP to ${host}`, async (t) => {
      const args = ['send', host, String(2_000_000)];
      const { sent, received } = await traffic<Transfer>('client', args);
      t.strictSame(received, sent);
    });

    t.test(`ping to ${host}`, async (t) => {
      const args = ['-q', '-c', '5', '-i', '0.1', '-W', '15', '-s', '3000', host];
      const { out } = await runIn('client', 'ping', args);
      t.match(out, /5 packets transmitted, 5 received/, 'in fragments');
    });
  }

  t.test('every packet came back with the cookie of its flow', async (t) => {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const counters = gateway.counters();
    t.ok(counters.packetsToTargets > 2000);
    t.equal(counters.packetsToTargets, counters.packetsIn);
    t.equal(counters.packetsFromTargets, counters.packetsToTargets);
    t.equal(counters.packetsOut, counters.packetsFromTargets);
    const dropped = Object.entries(counters.drops).filter(([, count]) => count > 0);
    t.strictSame(dropped, [], 'with no cookie, source or form to refuse');
    t.equal(await appliance.hairpinned(), counters.packetsToTargets, 'as the switch counts them');
  });
}

if (reason === null) await tests();
else cannotRun(t, reason);
