/** Congestion on the way back from a target (RFC 6040): the kernel's VXLAN device does the same. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Lab } from '../../server/src/lab/lab.js';
import {
  Gateway,
  PacketBatch,
  REASON_NAMES,
  TargetGroup,
  tuplePacket,
  Verdict,
} from '../../src/index.js';
import { checksum } from '../support/emitted.js';
import { inject, Recorder, writePackets } from '../support/kernel.js';
import { runPrivately } from '../support/privately.js';
import { cannotRun, whyNotWide } from '../support/wide.js';

const reason = whyNotWide('tcpdump', 'python3') ?? (await runPrivately(import.meta.url));
const { default: t } = await import('tap');

const ECN = ['Not-ECT', 'ECT(1)', 'ECT(0)', 'CE'];
const CODE_POINTS = [0, 1, 2, 3];
const VERSIONS = [4, 6] as const;
/** Something in the class beside the two bits, which must stay: EF. */
const DSCP = 46 << 2;
const NAMESPACE = 'tunnel';
const TUNNEL = { near: '10.97.0.2', far: '10.97.0.1', port: 4789, mac: '02:00:00:00:00:99' };
const TARGET = 0x0a630002;
const LAST_PORT = 9999;

interface Cell {
  version: 4 | 6;
  outer: number;
  inner: number;
  packet: Uint8Array;
}

/** Changes a packet's class, and IPv4's checksum with it. */
function withClass(packet: Uint8Array, tos: number): Uint8Array {
  if (packet[0] >> 4 === 6) {
    packet[0] = 0x60 | (tos >> 4);
    packet[1] = (packet[1] & 0x0f) | ((tos & 15) << 4);
    return packet;
  }
  packet[1] = tos;
  packet[10] = packet[11] = 0;
  new DataView(packet.buffer).setUint16(10, checksum(packet.subarray(0, 20)));
  return packet;
}

function innerPacket(version: 4 | 6, ecn: number, port: number): Uint8Array {
  const [source, destination] =
    version === 4
      ? [`10.96.0.1:${port}`, '10.96.0.2:7777']
      : [`[fd96::1]:${port}`, '[fd96::2]:7777'];
  const packet = tuplePacket({ protocol: 'udp', source, destination }, 0, new Uint8Array(11));
  return withClass(packet, DSCP | ecn);
}

/** All 16 combinations, each a flow of its own. */
function table(version: 4 | 6): Cell[] {
  return CODE_POINTS.flatMap((outer) =>
    CODE_POINTS.map((inner) => ({
      version,
      outer,
      inner,
      packet: innerPacket(version, inner, 1000 + outer * 10 + inner),
    })),
  );
}

const name = ({ version, outer, inner }: Cell) =>
  `IPv${version}, outer ${ECN[outer]}, inner ${ECN[inner]}`;

/** As a VXLAN sender puts it on the wire (RFC 7348). */
function inVxlan(packet: Uint8Array, outerEcn: number): Uint8Array {
  const mac = TUNNEL.mac.split(':').map((byte) => Number.parseInt(byte, 16));
  const type = packet[0] >> 4 === 4 ? [0x08, 0x00] : [0x86, 0xdd];
  const ethernet = [...mac, 2, 0, 0, 0, 0, 0x98, ...type];
  const vxlan = [8, 0, 0, 0, 0, 0, 7, 0];
  const payload = Uint8Array.from([...vxlan, ...ethernet, ...packet]);
  const source = `${TUNNEL.far}:5555`;
  const destination = `${TUNNEL.near}:${TUNNEL.port}`;
  return withClass(tuplePacket({ protocol: 'udp', source, destination }, 0, payload), outerEcn);
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** What comes out of each packet, or null where it does not come out. */
type Outcome = string | null;

/** By the kernel. */
async function kernelOutcomes(folder: string, cells: readonly Cell[]): Promise<Outcome[]> {
  const last = innerPacket(4, 0, LAST_PORT);
  const capture = join(folder, 'vxlan.pcap');
  writePackets(capture, [
    ...cells.map(({ packet, outer }) => inVxlan(packet, outer)),
    inVxlan(last, 0),
  ]);
  const recorder = await Recorder.start(NAMESPACE, 'vxlan0', join(folder, 'inner.pcap'));
  try {
    await inject(NAMESPACE, 'outer0', capture);
    const frames = await recorder.until(({ data }) => hex(data.subarray(14)) === hex(last));
    return cells.map(({ packet, version }) => {
      // The source port, which is the cell's own.
      const at = version === 4 ? 20 : 40;
      const port = hex(packet.subarray(at, at + 2));
      const type = version === 4 ? '0800' : '86dd';
      const out = frames.filter(
        ({ data }) =>
          hex(data.subarray(12, 14)) === type && hex(data.subarray(14 + at, 16 + at)) === port,
      );
      return out.length === 0 ? null : out.map(({ data }) => hex(data.subarray(14))).join();
    });
  } finally {
    await recorder.stop();
  }
}

/** By our gateway, and why. */
async function gatewayOutcomes(cells: readonly Cell[]) {
  const targetGroup = new TargetGroup({ healthCheck: false });
  targetGroup.register({ address: '10.99.0.2' });
  const gateway = new Gateway({ targetGroup, limits: { flows: 1024, flowsIpv6: 1024 } });
  try {
    const endpoint = gateway.createEndpoint();
    const batch = new PacketBatch();
    for (const { packet } of cells) batch.add(packet);
    gateway.toTargets(batch, endpoint);
    const sent = cells.map((_, i) => batch.bytes(i).slice());
    batch.clear();
    sent.forEach((bytes, i) => {
      batch.tos[batch.add(bytes, TARGET)] = DSCP | cells[i].outer;
    });
    gateway.fromTargets(batch);
    const outcomes: Outcome[] = cells.map((_, i) =>
      batch.verdict[i] === Verdict.forward ? hex(batch.bytes(i)) : null,
    );
    const reasons = cells.map((_, i) => REASON_NAMES[batch.reason[i]]);
    return { sent, outcomes, reasons, counters: gateway.counters() };
  } finally {
    await gateway.close();
  }
}

async function tests(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'gwlb-ecn-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const lab = new Lab();
  t.teardown(() => lab.close());
  const { near, far, port, mac } = TUNNEL;
  await lab.namespace(NAMESPACE, [
    'tuntap add dev outer0 mode tun',
    `addr add ${near}/24 dev outer0`,
    'link set outer0 up',
    `link add vxlan0 type vxlan id 7 dstport ${port} local ${near} remote ${far} nolearning`,
    `link set vxlan0 address ${mac} up`,
  ]);
  const cells = VERSIONS.flatMap(table);
  const kernel = await kernelOutcomes(folder, cells);
  const gateway = await gatewayOutcomes(cells);

  for (const version of VERSIONS) {
    t.test(`the congestion that a target reports is carried on, IPv${version}`, async (t) => {
      for (const [i, cell] of cells.entries()) {
        if (cell.version !== version) continue;
        t.equal(gateway.outcomes[i], kernel[i], `${name(cell)}: byte by byte what the kernel does`);
        const marked = cell.outer === 3 && cell.inner === 0;
        t.equal(kernel[i] === null, marked, `${name(cell)}: ${marked ? 'dropped' : 'passed on'}`);
        t.equal(gateway.reasons[i], marked ? 'ecn_not_capable' : 'none');
      }
    });
  }

  t.test('the judge tells code points apart', async (t) => {
    for (const version of VERSIONS) {
      const outcomes = kernel.filter((_, i) => cells[i].version === version);
      const changed = outcomes.filter(
        (out, i) => out !== null && out !== hex(table(version)[i].packet),
      );
      t.equal(changed.length, 3, `IPv${version}: ECT(0) and ECT(1) to CE, ECT(0) to ECT(1)`);
    }
    t.equal(gateway.counters.drops.ecn_not_capable, 2);
    t.equal(gateway.counters.packetsOut, 30);
  });

  t.test('what goes to a target keeps its class', async (t) => {
    for (const [i, cell] of cells.entries()) {
      const inner = gateway.sent[i].subarray(-cell.packet.length);
      t.equal(hex(inner), hex(cell.packet), name(cell));
    }
  });
}

if (reason === null) await tests();
else cannotRun(t, reason);
