/** Wireshark's dissector reads what we send as clean: what the core makes, and what is on the wire. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inNamespace, kill, runIn, start } from '../../server/src/lab/processes.js';
import { decodeFrame, type GatewayCounters } from '../../src/index.js';
import { ATTACHMENT, type Emitted, emit, LINK_RAW_IP, writeCapture } from '../support/emitted.js';
import { CLIENT, Fleet, GATEWAY, SERVER } from '../support/fleet.js';
import { runPrivately } from '../support/privately.js';
import { startServers, traffic } from '../support/processes.js';
import { COMPLAINT_FIELDS, complaints, type Row as TsharkRow, tshark } from '../support/tshark.js';
import { cannotRun, whyNotWide } from '../support/wide.js';

const reason = whyNotWide('tshark', 'tcpdump', 'ethtool') ?? (await runPrivately(import.meta.url));
const { default: t } = await import('tap');

const FIELDS = [
  ...['frame.protocols', 'ip.src', 'ip.dst', 'udp.srcport', 'udp.dstport'],
  ...['geneve.version', 'geneve.flags.oam', 'geneve.flags.critical', 'geneve.flags.reserved'],
  ...['geneve.proto_type', 'geneve.vni'],
  ...['geneve.option.class', 'geneve.option.type', 'geneve.option.length'],
  ...['geneve.option.unknown.data', 'eth.src', 'eth.dst', 'ipv6.src', 'ipv6.dst'],
  ...COMPLAINT_FIELDS,
] as const;

type Row = TsharkRow<(typeof FIELDS)[number]>;

const read = (path: string) => tshark(path, FIELDS, ['--disable-protocol', 'dns']);

const OPTIONS = {
  'geneve.option.class': ['0x0108', '0x0108', '0x0108'],
  'geneve.option.type': ['0x01', '0x02', '0x03'],
  // The block first, then each with its header.
  'geneve.option.length': ['32', '12', '12', '8'],
};

function expectedRow(packet: Emitted): Partial<Row> {
  const decoded = decodeFrame(packet.bytes, { link: LINK_RAW_IP });
  const { inner } = decoded!;
  const [source, destination] =
    inner!.version === 4 ? ['ip.src', 'ip.dst'] : ['ipv6.src', 'ipv6.dst'];
  const outer = inner!.version === 4 ? ['10.99.0.1', '10.99.0.2'] : [];
  return {
    ...OPTIONS,
    'geneve.version': ['0'],
    'geneve.flags.oam': ['0'],
    'geneve.flags.critical': ['0'],
    'geneve.flags.reserved': ['0'],
    'geneve.vni': ['0x000000'],
    'geneve.proto_type': [packet.ethernet ? '0x6558' : inner!.version === 4 ? '0x0800' : '0x86dd'],
    'geneve.option.unknown.data': [
      packet.endpointId.slice('vpce-0'.length),
      ATTACHMENT.toString(16).padStart(16, '0'),
      packet.cookie.toString(16).padStart(8, '0'),
    ],
    'eth.src': packet.ethernet ? ['02:00:00:00:00:01'] : [],
    'eth.dst': packet.ethernet ? ['02:00:00:00:00:02'] : [],
    [source]: [...outer.slice(0, 1), inner!.source],
    [destination]: [...outer.slice(1), inner!.destination],
  };
}

/** What is inside of GENEVE, as Wireshark names it. */
function innerProtocols({ name, ethernet, inner }: Emitted): RegExp {
  const version = inner[0] >> 4 === 4 ? 'ip' : 'ipv6';
  const link = ethernet ? 'eth:ethertype:' : '';
  if (name.includes('fragment 0')) return new RegExp(`geneve:${link}${version}(:ipv6.fraghdr)?`);
  if (name.includes('fragment')) return new RegExp(`geneve:${link}${version}`);
  const [, protocol] = /^IPv[46] (\w+),/.exec(name)!;
  const transport = protocol === 'icmp' && version === 'ipv6' ? 'icmpv6' : protocol;
  return new RegExp(`geneve:${link}${version}:${transport}`);
}

/** Returns what the gateway had counted when the capture began. */
async function capture(fleet: Fleet, path: string): Promise<GatewayCounters> {
  // What the kernel leaves to the device would be captured unfinished.
  for (const name of ['client', 'server', 'gateway', 'appliance0', 'appliance1']) {
    await runIn(name, 'ethtool', ['-K', 'eth0', 'tx', 'off', 'tso', 'off', 'gso', 'off']);
  }
  const command = `tcpdump -i br0 -w '${path}' --immediate-mode -U -B 65536 udp port 6081 2>&1`;
  const tcpdump = await start(...inNamespace('fabric', ['sh', '-c', `exec ${command}`]));
  const before = fleet.gateway.counters();
  const server = await startServers('server');
  await traffic('client', ['ask', SERVER.v4, '10', '3', '0']);
  await traffic('client', ['ask', SERVER.v6, '5', '2', '3000']);
  await traffic('client', ['send', SERVER.v4, '300000']);
  await traffic('client', ['send', SERVER.v6, '300000']);
  await runIn('client', 'ping', ['-c', '5', '-i', '0.1', SERVER.v4]);
  await new Promise((resolve) => setTimeout(resolve, 1000));
  server.kill('SIGKILL');
  await kill(tcpdump, 'SIGINT');
  return before;
}

async function tests(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'gwlb-tshark-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));

  for (const inner of ['ip', 'ethernet'] as const) {
    t.test(`what the core makes, inner ${inner}`, async (t) => {
      const path = join(folder, `emitted-${inner}.pcap`);
      const emitted = await emit(inner);
      writeCapture(path, emitted);
      const rows = await read(path);
      t.equal(rows.length, emitted.length);
      for (const [i, packet] of emitted.entries()) {
        t.strictSame(complaints(rows[i]), [], `${packet.name}: nothing to complain of`);
        t.hasStrict(rows[i], expectedRow(packet), packet.name);
        t.match(rows[i]['frame.protocols'][0], innerProtocols(packet), packet.name);
        t.equal(rows[i]['udp.srcport'][0], String(packet.sourcePort));
        t.equal(rows[i]['udp.dstport'][0], '6081');
      }
    });
  }

  t.test('what is on the wire, to the appliances and back', async (t) => {
    const path = join(folder, 'wire.pcap');
    const fleet = await Fleet.build();
    t.teardown(() => fleet.close());
    const before = await capture(fleet, path);
    const rows = await read(path);
    const after = fleet.gateway.counters();
    // The kernel may have announced itself on the endpoint's device before there was a capture.
    const to = rows.filter((row) => row['ip.src'][0] === GATEWAY).length;
    const from = rows.length - to;
    t.ok(to >= after.packetsToTargets - before.packetsToTargets, 'all of them are captured');
    t.ok(to <= after.packetsToTargets, 'and none that the gateway does not know');
    t.ok(from >= after.packetsFromTargets - before.packetsFromTargets, 'the same of the answers');
    t.ok(from <= after.packetsFromTargets);
    t.ok(to > 500);

    const bad = rows.filter((row) => complaints(row).length > 0);
    t.strictSame(bad.slice(0, 3), [], 'nothing to complain of');
    for (const [field, value] of Object.entries(OPTIONS)) {
      const others = rows.filter((row) => row[field as keyof Row].join() !== value.join());
      t.strictSame(others.slice(0, 3), [], field);
    }
    for (const end of [CLIENT.v4, CLIENT.v6, SERVER.v4, SERVER.v6]) {
      const seen = rows.some((row) => row['ip.src'][1] === end || row['ipv6.src'][0] === end);
      t.ok(seen, `packets of ${end}`);
    }
    const kinds = new Set(rows.flatMap((row) => row['frame.protocols']));
    for (const kind of [/geneve:ip:tcp/, /geneve:ip:udp/, /geneve:ip:icmp/, /geneve:ipv6:tcp/]) {
      t.ok(
        [...kinds].some((one) => kind.test(one)),
        String(kind),
      );
    }
  });
}

if (reason === null) await tests();
else cannotRun(t, reason);
