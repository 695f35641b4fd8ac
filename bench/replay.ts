// What `replay` costs for a packet of a new flow: beside tshark, which says of the same packets what is
// in them, and beside reading the capture and deciding about each packet alone.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  Gateway,
  PacketBatch,
  PcapWriter,
  readCapture,
  replay,
  TargetGroup,
  tuplePacket,
} from 'gwlb';
import { prove, quick, report, timeNs, wanted } from './harness.js';

const SUITE = 'replay';
const NAME = 'replay new flows';
const PACKETS = quick ? 2_000 : 40_000;
const ROUNDS = quick ? 2 : 9;

/** A SYN of a connection of its own in each packet. */
function writeCapture(path: string): void {
  const writer = new PcapWriter(path);
  for (let i = 0; i < PACKETS; i += 1) {
    const host = `203.0.${(i >> 8) & 0xff}.${i & 0xff}`;
    const packet = tuplePacket(
      { protocol: 6, source: `${host}:${40_000 + (i >> 16)}`, destination: '10.0.3.10:443' },
      2,
    );
    writer.write(packet, 1_700_000_000_000_000_000n + BigInt(i) * 10_000n);
  }
  writer.close();
}

function replayed(capture: string): number {
  let forwarded = 0;
  for (const { verdict, direction } of replay({ capture })) {
    if (direction === 'ingress' && verdict === 'forward') forwarded += 1;
  }
  return forwarded;
}

/** The same packets there and back, and nothing told of them. */
function decided(capture: string): number {
  const targetGroup = new TargetGroup({ healthCheck: false });
  targetGroup.register({ address: '10.0.1.10' }, { address: '10.0.1.11' });
  const gateway = new Gateway({ targetGroup, limits: { flows: 262_144 } });
  const endpoint = gateway.createEndpoint();
  const batch = new PacketBatch({ packets: 1 });
  let forwarded = 0;
  for (const { data } of readCapture(capture)) {
    batch.clear();
    batch.add(data);
    gateway.toTargets(batch, endpoint, 1);
    gateway.fromTargets(batch, 1);
    if (batch.verdict[0] === 1) forwarded += 1;
  }
  void gateway.close();
  return forwarded;
}

/** CPU seconds of a command, its own and the kernel's for it; null where it is not installed. */
function cpuSeconds(command: string): number | null {
  const { stdout, status } = spawnSync(
    'bash',
    ['-c', `${command} >/dev/null 2>&1 || exit 1; times`],
    {
      encoding: 'utf8',
    },
  );
  if (status !== 0) return null;
  const children = stdout.trim().split('\n')[1] ?? '';
  const parts = [...children.matchAll(/(\d+)m([\d.]+)s/g)];
  prove('times of the shell', parts.length, 2);
  return parts.reduce(
    (sum, [, minutes, seconds]) => sum + Number(minutes) * 60 + Number(seconds),
    0,
  );
}

function run(): void {
  const folder = mkdtempSync(join(tmpdir(), 'gwlb-bench-'));
  try {
    const capture = join(folder, 'new-flows.pcap');
    writeCapture(capture);
    prove('packets that were replayed', replayed(capture), PACKETS);
    prove('packets that were decided about', decided(capture), PACKETS);
    const samples = new Map<string, number[]>([
      ['replay', []],
      ['tshark', []],
      ['reading and deciding', []],
    ]);
    for (let round = 0; round < ROUNDS; round += 1) {
      samples.get('replay')!.push(timeNs(() => replayed(capture)) / 1000 / PACKETS);
      samples.get('reading and deciding')!.push(timeNs(() => decided(capture)) / 1000 / PACKETS);
      const seconds = cpuSeconds(`tshark -n -r '${capture}'`);
      if (seconds !== null) samples.get('tshark')!.push((seconds * 1e6) / PACKETS);
    }
    const missing: Record<string, string> = {};
    if (samples.get('tshark')!.length === 0) {
      samples.delete('tshark');
      missing.tshark = 'tshark';
    }
    const note = 'CPU time; of ours that of its thread';
    report({ suite: SUITE, name: NAME, unit: 'us', note, missing }, samples);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

if (wanted(SUITE, NAME)) run();
