/** Appliances that read raw sockets over veth: they see what the kernel leaves to a device. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Test } from 'tap';
import { Lab } from '../../server/src/lab/lab.js';
import { inNamespace, runIn } from '../../server/src/lab/processes.js';
import { GatewayLoadBalancer, type ListenOptions, TargetGroup } from '../../src/index.js';
import { runPrivately } from '../support/privately.js';
import { until } from '../support/until.js';
import { cannotRun, whyNotWide } from '../support/wide.js';

const reason = whyNotWide('python3') ?? (await runPrivately(import.meta.url));
const { default: t } = await import('tap');

const READER = join(ROOT, 'test/support/raw-reader.py');
const GATEWAY = '10.99.0.1';
const APPLIANCE = '10.99.0.11';
const DATAGRAMS = 40;
/** Odd and even lengths, and more than one segment of a super-packet would have. */
const SEND = `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for k in range(${DATAGRAMS}): s.sendto(bytes(range(1 + k % 7)) * (1 + 5 * k), ("10.50.2.10", 1000 + k % 4))
`;

import { join } from 'node:path';
import { ROOT } from '../support/places.js';

interface Seen {
  right: number;
  none: number;
  wrong: number;
}

/** What a reader behind a veth sees of this gateway, and what came back of it. */
async function readRaw(t: Test, options: Partial<ListenOptions>) {
  const lab = new Lab();
  t.teardown(() => lab.close());
  await lab.namespace('gateway');
  await lab.namespace('appliance');
  await lab.cable('gateway', 'eth0', 'appliance', 'eth0');
  await lab.ip('gateway', [`addr add ${GATEWAY}/24 dev eth0`]);
  await lab.ip('appliance', [`addr add ${APPLIANCE}/24 dev eth0`]);
  const targetGroup = new TargetGroup({ healthCheck: false });
  targetGroup.register({ address: APPLIANCE });
  const listen = { address: GATEWAY, netns: 'gateway', targetGroup, ...options };
  const gateway = await GatewayLoadBalancer.listen(listen);
  t.teardown(() => gateway.close());
  await gateway.createEndpoint({ tun: 'endpoint0', netns: 'gateway' });
  await lab.ip('gateway', [
    'addr add 10.50.1.9/32 dev endpoint0',
    'route add 10.50.2.0/24 dev endpoint0',
  ]);
  const child = spawn(
    ...inNamespace('appliance', ['python3', READER, 'eth0', '6081', String(DATAGRAMS)]),
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  t.teardown(() => child.kill('SIGKILL'));
  const lines = createInterface({ input: child.stdout });
  await once(lines, 'line');
  const told = once(lines, 'line');
  const { status, err } = await runIn('gateway', 'python3', ['-c', SEND]);
  t.equal(status, 0, err);
  const seen = JSON.parse((await told)[0]) as Seen;
  await until(
    () => gateway.counters(),
    ({ packetsOut }) => packetsOut === seen.right + seen.none,
    'what was returned comes back',
  );
  return { seen, counters: gateway.counters() };
}

async function tests(): Promise<void> {
  for (const workers of [1, 2]) {
    t.test(`without offloads checksums are finished, ${workers} workers`, async (t) => {
      const { seen, counters } = await readRaw(t, { offloads: false, workers });
      t.strictSame(seen, { right: DATAGRAMS, none: 0, wrong: 0 });
      t.match(counters, { packetsToTargets: DATAGRAMS, packetsOut: DATAGRAMS });
    });
  }

  t.test('without UDP checksums there is nothing to finish', async (t) => {
    const { seen, counters } = await readRaw(t, { udpChecksum: false });
    t.strictSame(seen, { right: 0, none: DATAGRAMS, wrong: 0 });
    t.match(counters, { packetsToTargets: DATAGRAMS, packetsOut: DATAGRAMS });
  });

  t.test('with offloads such a reader gets what a device would have finished', async (t) => {
    const { seen, counters } = await readRaw(t, {});
    // Trains are one packet there.
    t.ok(seen.wrong > 0 && seen.right === 0 && seen.none === 0, 'none of it can be used');
    t.match(counters, { packetsToTargets: DATAGRAMS, packetsFromTargets: 0 });
  });
}

if (reason === null) await tests();
else cannotRun(t, reason);
