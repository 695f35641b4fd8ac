/** Which packets are one flow: Community ID and the kernel's connection tracking sort like us. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Lab } from '../../server/src/lab/lab.js';
import { runIn } from '../../server/src/lab/processes.js';
import { KERNEL, writePackets } from '../support/kernel.js';
import {
  capturesBelow,
  differences,
  type Labels,
  sortByGateway,
  withGoodHeader,
  withTrains,
} from '../support/partition.js';
import { ALLOWED, type Judge } from '../support/partition-differences.js';
import { CORPUS } from '../support/places.js';
import { runPrivately } from '../support/privately.js';
import { nft } from '../support/processes.js';
import { tshark } from '../support/tshark.js';
import { cannotRun, whyNotWide } from '../support/wide.js';

function whyNot(): string | null {
  const missing = whyNotWide('tshark', 'nft', 'conntrack', 'python3');
  return missing ?? (existsSync(CORPUS) ? null : `the captures are missing: ${CORPUS}`);
}

const reason = whyNot() ?? (await runPrivately(import.meta.url));
const { default: t } = await import('tap');

const TSHARK = [
  '--enable-protocol',
  'communityid',
  ...['gre', 'vxlan'].flatMap((p) => ['--disable-protocol', p]),
];
const NAMESPACE = 'tracking';

/** The kernel takes every packet as its own, so that none is lost on the way to a connection. */
async function buildTracking(lab: Lab): Promise<void> {
  await lab.namespace(NAMESPACE, ['tuntap add dev in0 mode tun']);
  await lab.sysctl(NAMESPACE, [
    'net.ipv4.conf.all.rp_filter=0',
    'net.ipv4.conf.default.rp_filter=0',
    'net.ipv4.conf.in0.rp_filter=0',
    'net.ipv4.conf.all.accept_local=1',
    'net.ipv4.conf.all.route_localnet=1',
    'net.ipv6.conf.all.disable_ipv6=0',
    'net.ipv6.conf.default.disable_ipv6=0',
    'net.ipv6.conf.in0.disable_ipv6=0',
  ]);
  await lab.ip(NAMESPACE, ['addr add 192.0.2.254/32 dev in0', 'link set in0 up']);
  await lab.ip(NAMESPACE, [
    'route add local 0.0.0.0/0 dev lo table local',
    'route add local ::/0 dev lo table local',
  ]);
  const rules = `table inet judge {
    chain arriving {
      type filter hook prerouting priority mangle
      iifname != "in0" accept
      ct state { invalid, untracked } log group 1 queue-threshold 1 accept
      ct mark 0 ct mark set numgen inc mod 1000000 offset 1
      meta mark set ct mark log group 1 queue-threshold 1
    }
    chain leaving { type filter hook output priority raw; policy drop; }
  }`;
  await nft(NAMESPACE, rules);
  await lab.sysctl(NAMESPACE, [
    'net.netfilter.nf_conntrack_checksum=0',
    'net.netfilter.nf_conntrack_tcp_be_liberal=1',
  ]);
}

/** The connection of each packet, by the kernel. */
async function sortByKernel(paths: readonly string[]): Promise<Labels[]> {
  const args = [KERNEL, 'conntrack', 'in0', ...paths];
  const { status, out, err } = await runIn(NAMESPACE, 'python3', args);
  if (status !== 0) throw new Error(`conntrack: ${err}`);
  const told = JSON.parse(out) as (number | null)[][];
  return told.map((marks) => marks.map((mark) => (mark ? String(mark) : null)));
}

async function tests(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'gwlb-partition-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const lab = new Lab();
  t.teardown(() => lab.close());
  await buildTracking(lab);

  const captures = capturesBelow(CORPUS);
  const sorted = captures.map((capture) => sortByGateway(CORPUS, capture));
  const paths = sorted.map(({ packets }, i) => {
    const path = join(folder, `${i}.pcap`);
    writePackets(path, packets.map(withGoodHeader));
    return path;
  });
  const all = join(folder, 'all.pcap');
  writePackets(
    all,
    sorted.flatMap(({ packets }) => packets),
  );
  const ids = await tshark(all, ['communityid'], TSHARK);
  const byKernel = await sortByKernel(paths);
  let at = 0;
  const byCommunity = sorted.map(({ packets }) => {
    const labels = ids.slice(at, at + packets.length).map((row) => row.communityid[0] ?? null);
    at += packets.length;
    return labels;
  });

  for (const [judge, labels] of [
    ['Community ID', byCommunity],
    ['conntrack', sorted.map(({ packets }, i) => withTrains(packets, byKernel[i]))],
  ] as const) {
    t.test(`packets are sorted into flows as ${judge} sorts them`, async (t) => {
      for (const [i, capture] of captures.entries()) {
        const { frames, flows } = sorted[i];
        t.equal(labels[i].length, frames.length);
        const found = differences(frames, flows, labels[i]);
        t.strictSame(found, allowed(judge, capture), capture);
      }
      const named = ALLOWED.flatMap((one) => (one.judge === judge ? Object.keys(one.where) : []));
      t.strictSame(
        named.filter((capture) => !captures.includes(capture)),
        [],
        'no difference is allowed in a capture that is not there',
      );
      const sortedByBoth = sorted.flatMap(({ flows }, i) =>
        flows.filter((flow, k) => flow !== null && labels[i][k] !== null),
      );
      t.ok(sortedByBoth.length > 400, `${sortedByBoth.length} packets`);
    });
  }
}

/** In the order of their first frames, as they are found. */
function allowed(judge: Judge, capture: string): string[] {
  const all = ALLOWED.flatMap((one) => (one.judge === judge ? (one.where[capture] ?? []) : []));
  return all.sort((a, b) => firstFrame(a) - firstFrame(b));
}

const firstFrame = (difference: string) => Number(/\d+/.exec(difference)?.[0]);

if (reason === null) await tests();
else cannotRun(t, reason);
