/** Scapy builds what we read, and reads what we build. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import {
  type DecodedFrame,
  decodeFrame,
  decodeGeneve,
  Gateway,
  PacketBatch,
  REASON_NAMES,
  readCapture,
  TargetGroup,
  Verdict,
} from '../../src/index.js';
import { ATTACHMENT, emit, LINK_RAW_IP, writeCapture } from '../support/emitted.js';
import { ROOT } from '../support/places.js';
import { cannotRun, whyNotWide } from '../support/wide.js';

/** The system's, which Debian's python3-scapy belongs to. */
const PYTHON = '/usr/bin/python3';
const JUDGE = join(ROOT, 'test/wide/scapy-judge.py');
const ETHERNET_BYTES = 14;
const OUTER_BYTES = ETHERNET_BYTES + 20 + 8;

/** A capture shows them whole; only who acts on them refuses them. */
const REFUSED = ['geneve_control', 'geneve_critical_option', 'outer_bad_checksum'];

interface Judged {
  outer: DecodedFrame['outer'];
  geneve: {
    version: number;
    oam: boolean;
    critical: boolean;
    protocolType: number;
    vni: number;
    options: { class: number; type: number; data: string }[];
  } | null;
  inner: Omit<NonNullable<DecodedFrame['inner']>, 'protocol'> | null;
  ethernet: { source: string; destination: string; vlan: number[] } | null;
}

interface Built extends Judged {
  name: string;
  reason: string | null;
}

function judge<T>(command: 'build' | 'read', path: string): T[] {
  const told = execFileSync(PYTHON, [JUDGE, command, path], { encoding: 'utf8', timeout: 100_000 });
  return JSON.parse(told) as T[];
}

/** Our reading in the judge's words. */
function inItsWords(decoded: DecodedFrame): Judged {
  const { outer, geneve, inner, ethernet } = decoded;
  return {
    outer,
    geneve: geneve && {
      ...geneve,
      protocolType: Number(geneve.protocolType),
      options: geneve.options.map(({ class: cls, type, data }) => ({
        class: Number(cls),
        type,
        data,
      })),
    },
    inner: inner && {
      version: inner.version,
      source: inner.source,
      destination: inner.destination,
      sourcePort: inner.sourcePort,
      destinationPort: inner.destinationPort,
      length: inner.length,
    },
    ethernet: ethernet
      ? { source: ethernet.source, destination: ethernet.destination, vlan: ethernet.vlan }
      : null,
  };
}

function tests(): void {
  const folder = mkdtempSync(join(tmpdir(), 'gwlb-scapy-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));

  t.test('we read what scapy builds', async (t) => {
    const path = join(folder, 'built.pcap');
    const built = judge<Built>('build', path);
    const frames = [...readCapture(path)];
    t.ok(built.length > 35);
    t.equal(frames.length, built.length);
    for (const [i, { name, reason, ...said }] of built.entries()) {
      const decoded = decodeFrame(frames[i].data, { link: frames[i].link });
      const fault = reason !== null && REFUSED.includes(reason) ? null : reason;
      t.equal(decoded?.error?.reason ?? null, fault, `${name}: ${reason ?? 'faultless'}`);
      if (decoded === null) continue;
      if (reason === null) t.strictSame(inItsWords(decoded), said, name);
      else if (said.outer) t.strictSame(decoded.outer, said.outer, `${name}: the outer headers`);
      const { header, error } = decodeGeneve(frames[i].data.subarray(OUTER_BYTES));
      t.equal(header?.vni, decoded.geneve?.vni, `${name}: the header by itself`);
      const ofHeader = reason?.startsWith('geneve_') ? reason : undefined;
      t.equal(error?.reason, ofHeader, `${name}: its fault`);
    }
  });

  t.test('a gateway drops what scapy built wrong, for that reason', async (t) => {
    const path = join(folder, 'faulty.pcap');
    const built = judge<Built>('build', path);
    const frames = [...readCapture(path)].map(({ data }) => data.subarray(ETHERNET_BYTES));
    const targetGroup = new TargetGroup({ healthCheck: false });
    targetGroup.register({ address: '192.0.2.1' });
    const limits = { flows: 1024, flowsIpv6: 1024 };
    const gateway = new Gateway({ targetGroup, limits, outerHeaders: true, address: '192.0.2.2' });
    t.teardown(() => gateway.close());
    gateway.createEndpoint({ id: 'vpce-00123456789abcdef' });
    const batch = new PacketBatch();
    for (const frame of frames) batch.add(frame);
    gateway.fromTargets(batch);
    for (const [i, { name, reason }] of built.entries()) {
      t.equal(batch.verdict[i], Verdict.drop, `${name}: dropped, for there is no such flow`);
      if (reason) t.equal(REASON_NAMES[batch.reason[i]], reason, `${name}: ${reason}`);
    }
    const { drops, packetsFromTargets, packetsOut } = gateway.counters();
    // What is wrong outside is not known to be a target's.
    const outside = built.filter(({ reason }) => reason?.startsWith('outer_')).length;
    t.equal(packetsFromTargets, built.length - outside);
    t.equal(packetsOut, 0);
    const dropped = Object.values(drops).reduce((sum, count) => sum + count, 0);
    t.equal(dropped, built.length, 'each counted once');
  });

  for (const inner of ['ip', 'ethernet'] as const) {
    t.test(`scapy reads what we build, inner ${inner}`, async (t) => {
      const path = join(folder, `emitted-${inner}.pcap`);
      const emitted = await emit(inner);
      writeCapture(path, emitted);
      const said = judge<Judged>('read', path);
      t.equal(said.length, emitted.length);
      for (const [i, packet] of emitted.entries()) {
        const { outer, geneve } = said[i];
        const decoded = decodeFrame(packet.bytes, { link: LINK_RAW_IP });
        if (decoded === null) throw new Error(`${packet.name}: not GENEVE`);
        t.equal(decoded.error, null);
        t.strictSame(said[i], withoutFragmentPorts(inItsWords(decoded), said[i]), packet.name);
        t.notMatch(outer, { checksum: 'bad' });
        t.equal(outer?.sourcePort, packet.sourcePort);
        t.strictSame(
          geneve?.options.map(({ class: cls, type, data }) => [cls, type, data]),
          [
            [0x0108, 1, packet.endpointId.slice('vpce-0'.length)],
            [0x0108, 2, ATTACHMENT.toString(16).padStart(16, '0')],
            [0x0108, 3, packet.cookie.toString(16).padStart(8, '0')],
          ],
          `${packet.name}: the three options`,
        );
      }
    });
  }
}

/** Scapy does not look behind the fragment header of IPv6. */
function withoutFragmentPorts(ours: Judged, said: Judged): Judged {
  if (ours.inner === null || ours.inner.version !== 6 || said.inner?.sourcePort !== null) {
    return ours;
  }
  return { ...ours, inner: { ...ours.inner, sourcePort: null, destinationPort: null } };
}

const scapy = spawnSync(PYTHON, ['-c', 'import scapy.contrib.geneve'], { timeout: 60_000 });
const reason = whyNotWide() ?? (scapy.status === 0 ? null : 'not installed: python3-scapy');
if (reason === null) tests();
else cannotRun(t, reason);
