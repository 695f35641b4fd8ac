/** What the gateway puts on the wire, for judges to read. */
import { Gateway, PacketBatch, PcapWriter, TargetGroup, tuplePacket } from '../../src/index.js';

export const LINK_RAW_IP = 101;
export const MACS = { sourceMac: '02:00:00:00:00:01', destinationMac: '02:00:00:00:00:02' };
export const ADDRESS = '10.99.0.1';
export const TARGET = '10.99.0.2';
export const ATTACHMENT = 0x1122334455667788n;

export interface Emitted {
  name: string;
  /** The inner packet as it was given in. */
  inner: Uint8Array;
  ethernet: boolean;
  endpointId: string;
  cookie: number;
  sourcePort: number;
  /** From the outer IPv4 header on. */
  bytes: Uint8Array;
}

/** RFC 1071. */
export function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i] << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** The pieces of an IPv4 packet without options (RFC 791), `size` bytes of payload each. */
export function fragments4(packet: Uint8Array, size: number, id: number): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let at = 20; at < packet.length; at += size) {
    const payload = packet.subarray(at, at + size);
    const piece = new Uint8Array(20 + payload.length);
    piece.set(packet.subarray(0, 20));
    piece.set(payload, 20);
    const view = new DataView(piece.buffer);
    view.setUint16(2, piece.length);
    view.setUint16(4, id);
    view.setUint16(6, ((at + size < packet.length ? 1 : 0) << 13) | ((at - 20) >> 3));
    view.setUint16(10, 0);
    view.setUint16(10, checksum(piece.subarray(0, 20)));
    pieces.push(piece);
  }
  return pieces;
}

/** The same of an IPv6 packet without extension headers (RFC 8200 §4.5). */
export function fragments6(packet: Uint8Array, size: number, id: number): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let at = 40; at < packet.length; at += size) {
    const payload = packet.subarray(at, at + size);
    const piece = new Uint8Array(48 + payload.length);
    piece.set(packet.subarray(0, 40));
    piece.set(payload, 48);
    const view = new DataView(piece.buffer);
    view.setUint16(4, 8 + payload.length);
    view.setUint8(6, 44);
    view.setUint8(40, packet[6]);
    view.setUint16(42, (at - 40) | (at + size < packet.length ? 1 : 0));
    view.setUint32(44, id);
    pieces.push(piece);
  }
  return pieces;
}

function tuple(version: 4 | 6, protocol: string): Parameters<typeof tuplePacket>[0] {
  const [a, b] = version === 4 ? ['203.0.113.9', '10.0.2.10'] : ['2001:db8::9', '2001:db8::10'];
  if (protocol === 'icmp') return { protocol, source: a, destination: b };
  const [c, d] = version === 4 ? [a, b] : [`[${a}]`, `[${b}]`];
  return { protocol, source: `${c}:40001`, destination: `${d}:8443` };
}

function innerPackets(): { name: string; inner: Uint8Array }[] {
  const packets: { name: string; inner: Uint8Array }[] = [];
  for (const version of [4, 6] as const) {
    for (const protocol of ['tcp', 'udp', 'icmp']) {
      for (const size of [0, 1, 1200, 8400]) {
        const payload = new Uint8Array(size).fill(0x5a);
        const inner = tuplePacket(tuple(version, protocol), undefined, payload);
        packets.push({ name: `IPv${version} ${protocol}, ${size} bytes`, inner });
      }
    }
    const large = tuplePacket(tuple(version, 'udp'), undefined, new Uint8Array(3000).fill(7));
    const cut = version === 4 ? fragments4 : fragments6;
    cut(large, 1232, 0x4321).forEach((inner, i) => {
      packets.push({ name: `IPv${version} udp, fragment ${i}`, inner });
    });
  }
  return packets;
}

/** Every kind of inner packet through one gateway, IP or Ethernet inside. */
export async function emit(inner: 'ip' | 'ethernet'): Promise<Emitted[]> {
  const ethernet = inner === 'ethernet';
  const targetGroup = new TargetGroup({ healthCheck: false, inner, ...(ethernet ? MACS : {}) });
  targetGroup.register({ address: TARGET });
  const gateway = new Gateway({
    targetGroup,
    outerHeaders: true,
    address: ADDRESS,
    attachmentId: ATTACHMENT,
    limits: { flows: 1024, flowsIpv6: 1024 },
  });
  const endpoint = gateway.createEndpoint();
  const packets = innerPackets();
  const batch = new PacketBatch({ packets: packets.length, jumbo: true });
  for (const packet of packets) batch.add(packet.inner);
  gateway.toTargets(batch, endpoint);
  const emitted = packets.map((packet, i) => ({
    ...packet,
    ethernet,
    endpointId: endpoint.id,
    cookie: batch.cookie[i],
    sourcePort: gateway.sourcePort(batch, i),
    bytes: batch.bytes(i).slice(),
  }));
  const { packetsToTargets } = gateway.counters();
  await gateway.close();
  if (packetsToTargets !== packets.length) {
    throw new Error(`${packetsToTargets} of ${packets.length} packets were sent on`);
  }
  return emitted;
}

/** Writes packets to a capture. */
export function writeCapture(path: string, packets: readonly Emitted[]): void {
  using writer = new PcapWriter(path, { link: LINK_RAW_IP });
  for (const { bytes } of packets) writer.write(bytes);
}
