/** The metrics and the status of an appliance, of counters that are played. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DROP_REASONS, type DropReason } from 'gwlb';
import t from 'tap';
import { ROOT } from '../../../test/support/places.js';
import type { DeviceProgram } from '../../src/appliance/device-program.js';
import type { ApplianceDevices, AttachedTun } from '../../src/appliance/devices.js';
import { Health } from '../../src/appliance/health.js';
import { ApplianceMetrics } from '../../src/appliance/metrics.js';
import type { PacketFiles } from '../../src/appliance/packet-files.js';
import { type ApplianceView, statusOf } from '../../src/appliance/view.js';
import { applianceStatusText } from '../../src/cli/appliance-status.js';

const ID = 'vpce-0123456789abcdef0';

function drops(some: Partial<Record<DropReason, number>>): Record<DropReason, number> {
  const none = Object.keys(DROP_REASONS).map((reason) => [reason, 0]);
  return { ...Object.fromEntries(none), ...some };
}

function view(): ApplianceView {
  const counters = {
    packetsReceived: 10,
    packetsReturned: 7,
    drops: drops({ appliance_verdict: 2 }),
  };
  const ofDevice = {
    packetsToKernel: 8,
    packetsFromKernel: 7,
    packetsReturned: 6,
    drops: drops({ device_overflow: 1 }),
  };
  const device = {
    name: 'gwi0',
    out: 'gwo0',
    endpoint: ID,
    netns: null,
    ifindex: 3,
    outIfindex: 4,
  };
  const lost = { state: 'gone', error: new Error('gwi1 was deleted'), counters: ofDevice };
  const devices = [
    { ...device, state: 'up', error: null, counters: ofDevice },
    { ...device, ...lost, name: 'gwi1', out: null },
  ];
  const health = new Health(() => {});
  health.add({ name: 'file', problem: '/run/well is not there' });
  health.started();
  return {
    appliance: {
      address: '10.0.1.10',
      port: 6081,
      netns: null,
      healthCheck: { protocol: 'HTTP', port: 80, path: '/' },
      counters: () => counters as ReturnType<ApplianceView['appliance']['counters']>,
    },
    health,
    tun: { devices, flows: () => ({ ipv4: 3, ipv6: 1 }) } as unknown as AttachedTun,
    devices: { losses: 1, setupFailures: 0 } as ApplianceDevices,
    deviceProgram: { failures: 2 } as DeviceProgram,
    capture: { written: 5, lost: 1 } as PacketFiles,
  };
}

t.test('every metric is documented, and no other', async (t) => {
  const text = await new ApplianceMetrics(view(), '1.2.3').text();
  const documented = readFileSync(join(ROOT, 'docs/metrics.md'), 'utf8').split(
    '## An appliance',
  )[1];
  const rows = documented?.matchAll(/^\| `(gwlb_\w+)` \| (\w+) \| ([\w, ]*) \| (.*) \|$/gm) ?? [];
  const told = new Map(
    [...text.matchAll(/^# HELP (\S+) (.*)$/gm)].map(([, name, help]) => [name, help]),
  );
  t.strictSame(new Map([...rows].map(([, name, , , help]) => [name, help])), told);
  for (const line of [
    'gwlb_appliance_healthy 0',
    'gwlb_appliance_packets_received_total 10',
    'gwlb_appliance_drops_total{reason="appliance_verdict"} 2',
    `gwlb_appliance_device_packets_to_kernel_total{device="gwi0",endpoint="${ID}"} 8`,
    `gwlb_appliance_device_drops_total{device="gwi0",endpoint="${ID}",reason="device_overflow"} 1`,
    `gwlb_appliance_device_up{device="gwi0",endpoint="${ID}"} 1`,
    `gwlb_appliance_device_up{device="gwi1",endpoint="${ID}"} 0`,
    'gwlb_appliance_device_losses_total 1',
    'gwlb_appliance_flows_active{family="ipv4"} 3',
    'gwlb_appliance_captured_packets_total{result="lost"} 1',
    'gwlb_appliance_device_program_failures_total 2',
  ]) {
    t.ok(text.includes(`\n${line}\n`), line);
  }
  t.notMatch(text, /device_drops_total.*not_ip/, 'reasons that did not occur have no series');
});

t.test('its status for people', async (t) => {
  const startedAt = Date.parse('2026-01-02T03:04:05Z');
  const status = statusOf(view(), { version: '1.2.3', startedAt, failure: () => null });
  const text = applianceStatusText(JSON.parse(JSON.stringify(status)), startedAt + 11_000);
  t.equal(
    text,
    `appliance on 10.0.1.10:6081, gwlb 1.2.3, up 11 s
LOST: gwi1 was deleted
health checks (HTTP, port 80) are told: NOT HEALTHY: /run/well is not there

DEVICE      ENDPOINT                STATE  TO KERNEL  FROM KERNEL  RETURNED  DROPPED
gwi0, gwo0  vpce-0123456789abcdef0  up             8            7         6        1
gwi1        vpce-0123456789abcdef0  gone           8            7         6        1

flows: 3 of IPv4, 1 of IPv6
packets: 10 received, 7 returned
drops: appliance_verdict 2
capture: 5 packets, 1 lost`,
  );
});
