/** Capture filters on all inner packets of the captures: what tcpdump selects, we select. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { CaptureFilter, PcapWriter, readCapture } from '../../src/index.js';
import { randomFrom } from '../appliance/filter-model.js';
import { capturesBelow, sortByGateway } from '../support/partition.js';
import { CORPUS } from '../support/places.js';
import { cannotRun, whyNotWide } from '../support/wide.js';

const PACKETS_MAX = 20_000;
const EXPRESSIONS = 250;

const reason =
  whyNotWide('tcpdump') ?? (existsSync(CORPUS) ? null : `the captures are missing: ${CORPUS}`);

const EXTENSIONS = new Set([0, 43, 44, 51, 60, 135, 139, 140]);

/**
 * What libpcap and we read alike. It looks at the first header behind IPv6's only, and does not know
 * ports of UDP-Lite; we go to the end of the chain.
 */
function comparable(packet: Uint8Array): boolean {
  if (!new CaptureFilter('').matches(packet)) return false;
  if (packet[0] >>> 4 === 4) return packet[9] !== 136;
  return !EXTENSIONS.has(packet[6]) && packet[6] !== 136;
}

function packetsOfCorpus(): Uint8Array[] {
  const packets: Uint8Array[] = [];
  for (const capture of capturesBelow(CORPUS)) {
    const found = sortByGateway(CORPUS, capture).packets.filter(comparable);
    packets.push(...found.slice(0, 500));
  }
  return packets.slice(0, PACKETS_MAX);
}

interface Ends {
  addresses: string[];
  ports: number[];
}

function endsOf(packets: readonly Uint8Array[]): Ends {
  const addresses = new Set<string>();
  const ports = new Set<number>([0, 65_535]);
  for (const packet of packets) {
    const v4 = packet[0] >>> 4 === 4;
    const text = (at: number): string =>
      v4
        ? [...packet.subarray(at, at + 4)].join('.')
        : Array.from({ length: 8 }, (_, k) =>
            ((packet[at + 2 * k] << 8) | packet[at + 2 * k + 1]).toString(16),
          ).join(':');
    for (const at of v4 ? [12, 16] : [8, 24]) addresses.add(text(at));
    const transport = v4 ? (packet[0] & 15) * 4 : 40;
    ports.add((packet[transport] << 8) | packet[transport + 1]);
    ports.add((packet[transport + 2] << 8) | packet[transport + 3]);
  }
  return { addresses: [...addresses], ports: [...ports].filter((port) => port >= 0) };
}

/** Expressions about what is in the captures. */
function expressions(ends: Ends): string[] {
  const random = randomFrom(Number(process.env.GWLB_SEED ?? 7));
  const pick = <T>(of: readonly T[]): T => of[random(of.length)];
  const direction = () => pick(['', 'src ', 'dst ', 'src or dst ', 'src and dst ']);
  const net = (): string => {
    const address = pick(ends.addresses);
    if (address.includes(':')) return `${address}/128`;
    const bytes = address.split('.').map(Number);
    const prefix = random(33);
    const kept = prefix === 0 ? 0 : (0xffffffff << (32 - prefix)) >>> 0;
    const word = ((bytes[0] << 24) | (bytes[1] << 16) | (bytes[2] << 8) | bytes[3]) & kept;
    const dotted = (value: number) =>
      [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.');
    return random(2) === 0 ? `${dotted(word)}/${prefix}` : `${dotted(word)} mask ${dotted(kept)}`;
  };
  const primitive = (): string => {
    const port = pick(ends.ports);
    switch (random(8)) {
      case 0:
        return pick(['ip', 'ip6', 'tcp', 'udp', 'icmp', 'icmp6', 'sctp', 'igmp', 'esp', 'ah']);
      case 1:
        return `${pick(['', 'ip ', 'ip6 '])}proto ${random(140)}`;
      case 2:
        return `${direction()}host ${pick(ends.addresses)}`;
      case 3:
      case 4:
        return `${direction()}net ${net()}`;
      case 5:
        return `${direction()}portrange ${port}-${pick(ends.ports)}`;
      default:
        return `${pick(['', 'tcp ', 'udp '])}${direction()}port ${port}`;
    }
  };
  const tree = (depth: number): string => {
    if (depth === 0 || random(4) === 0) return primitive();
    if (random(4) === 0) return `${pick(['not ', '! '])}(${tree(depth - 1)})`;
    const right = random(2) === 0 ? primitive() : `(${tree(depth - 1)})`;
    return `${tree(depth - 1)} ${pick(['and', 'or', '&&', '||'])} ${right}`;
  };
  const fixed = [
    'tcp and dst port 443 and not net 10.0.0.0/8',
    'port 53 or 443',
    'port (53 or 80) and not tcp',
    'not port 53 or 443',
    'tcp port 80 or 8080 or 443',
    'ip6 or tcp and port 80',
    'src 10.0.0.1 or dst net 192.168',
    'net 10 or net 172.16.0.0/12',
    'host (10.0.0.1 or 10.0.0.2)',
    'ip proto \\tcp',
  ];
  return [...fixed, ...Array.from({ length: EXPRESSIONS }, () => tree(random(5)))];
}

function selectedByTcpdump(file: string, out: string, expression: string): number[] {
  const run = spawnSync('tcpdump', ['-r', file, '-w', out, expression], { encoding: 'utf8' });
  // What its optimizer sees cannot match, it does not run at all.
  if (run.stderr.includes('expression rejects all packets')) return [];
  if (run.status !== 0) throw new Error(`tcpdump '${expression}': ${run.stderr}`);
  return Array.from(readCapture(out), ({ timeNs }) => Number(timeNs / 1000n));
}

if (reason !== null) {
  cannotRun(t, reason);
} else {
  t.test('tcpdump selects the same packets', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'gwlb-filter-'));
    t.teardown(() => rmSync(folder, { recursive: true }));
    const packets = packetsOfCorpus();
    t.ok(packets.length > 500, `${packets.length} packets`);
    const file = join(folder, 'packets.pcap');
    const writer = new PcapWriter(file);
    // Its time, in microseconds, is a packet's number.
    for (const [i, packet] of packets.entries()) writer.write(packet, BigInt(i) * 1000n);
    writer.close();
    let some = 0;
    for (const expression of expressions(endsOf(packets))) {
      const filter = new CaptureFilter(expression);
      const ours = [...packets.keys()].filter((i) => filter.matches(packets[i]));
      const theirs = selectedByTcpdump(file, join(folder, 'selected.pcap'), expression);
      if (ours.length > 0 && ours.length < packets.length) some += 1;
      t.strictSame(ours, theirs, `${expression}: ${ours.length}`);
    }
    t.ok(some > EXPRESSIONS / 3, `${some} expressions select some packets, not all`);
  });
}
