/** Wireshark reads what the gateway says itself to a packet's sender: RST and "too big". */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import {
  Gateway,
  type GatewayBaseOptions,
  PacketBatch,
  REASON_NAMES,
  TargetGroup,
  tuplePacket,
  Verdict,
} from '../../src/index.js';
import { checksum } from '../support/emitted.js';
import { writePackets } from '../support/kernel.js';
import { COMPLAINT_FIELDS, complaints, GOOD, tshark } from '../support/tshark.js';
import { cannotRun, whyNotWide } from '../support/wide.js';

const FIELDS = [
  ...['frame.protocols', 'frame.len', 'ip.src', 'ip.dst', 'ip.flags.df', 'ip.ttl'],
  ...['ipv6.src', 'ipv6.dst', 'ipv6.hlim', 'tcp.srcport', 'tcp.dstport', 'tcp.flags'],
  ...['tcp.seq_raw', 'tcp.ack_raw', 'tcp.hdr_len', 'tcp.len', 'icmp.type', 'icmp.code'],
  ...['icmp.mtu', 'icmpv6.type', 'icmpv6.code', 'icmpv6.mtu', 'udp.length'],
  ...COMPLAINT_FIELDS,
] as const;

const [FIN, SYN, RST, PSH, ACK] = [1, 2, 4, 8, 16];
const ENDS = {
  4: ['203.0.113.9', '10.0.2.10'],
  6: ['2001:db8::9', '2001:db8::10'],
} as const;
const PORTS = [40001, 443] as const;
const VERSIONS = [4, 6] as const;
/** No-operation, no-operation, timestamps (RFC 7323). */
const TIMESTAMPS = [1, 1, 8, 10, 0, 0, 1, 2, 0, 0, 3, 4];
/** An IPv6 header of destination options with nothing but padding (RFC 8200 section 4.6). */
const PADDING = [6, 0, 1, 4, 0, 0, 0, 0];

interface Segment {
  name: string;
  version: 4 | 6;
  flags: number;
  sequence: number;
  acknowledgment: number;
  bytes: number;
  /** Bytes of TCP options. */
  options?: readonly number[];
  /** What stands between IPv6's header and TCP's. */
  extension?: readonly number[];
}

const socketAddress = (version: 4 | 6, address: string, port: number) =>
  version === 4 ? `${address}:${port}` : `[${address}]:${port}`;

/** A segment with correct checksums. */
function build(segment: Segment): Uint8Array {
  const { version, flags, options = [], extension = [] } = segment;
  const [source, destination] = ENDS[version].map((address, i) =>
    socketAddress(version, address, PORTS[i]),
  );
  const rest = new Uint8Array(options.length + segment.bytes).fill(0x5a);
  rest.set(options);
  const plain = tuplePacket({ protocol: 'tcp', source, destination }, flags, rest);
  const at = version === 4 ? 20 : 40;
  const view = new DataView(plain.buffer);
  view.setUint32(at + 4, segment.sequence);
  view.setUint32(at + 8, segment.acknowledgment);
  view.setUint8(at + 12, ((20 + options.length) / 4) << 4);
  view.setUint16(at + 16, 0);
  const tcp = plain.subarray(at);
  const addresses = plain.subarray(version === 4 ? 12 : 8, at);
  view.setUint16(
    at + 16,
    checksum(Uint8Array.from([...addresses, 0, 6, tcp.length >> 8, tcp.length & 255, ...tcp])),
  );
  if (extension.length === 0) return plain;
  const packet = Uint8Array.from([...plain.subarray(0, 40), ...extension, ...tcp]);
  packet[6] = 60;
  new DataView(packet.buffer).setUint16(4, packet.length - 40);
  return packet;
}

function segments(version: 4 | 6): Segment[] {
  const plain = { version, sequence: 1000, acknowledgment: 77_000, bytes: 0 };
  const all: Segment[] = [
    { ...plain, name: 'an acknowledgment', flags: ACK },
    { ...plain, name: 'data', flags: PSH | ACK, bytes: 1001 },
    { ...plain, name: 'data with timestamps', flags: PSH | ACK, bytes: 7, options: TIMESTAMPS },
    { ...plain, name: 'the end', flags: FIN | ACK },
    { ...plain, name: 'an answer to SYN', flags: SYN | ACK },
    { ...plain, name: 'an acknowledgment of 0', flags: ACK, acknowledgment: 0 },
    { ...plain, name: 'an acknowledgment of 2^32 - 1', flags: ACK, acknowledgment: 0xffffffff },
    { ...plain, name: 'data that acknowledges nothing', flags: PSH, bytes: 1001 },
    { ...plain, name: 'an end that acknowledges nothing', flags: FIN, bytes: 3 },
    { ...plain, name: 'options without ACK', flags: PSH, bytes: 5, options: TIMESTAMPS },
    { ...plain, name: 'no flag at all', flags: 0, bytes: 1 },
    { ...plain, name: 'data across 2^32', flags: PSH, bytes: 32, sequence: 0xfffffff0 },
  ];
  if (version === 6) {
    all.push({ ...plain, name: 'data behind options', flags: ACK, bytes: 9, extension: PADDING });
  }
  return all;
}

/** Answers of a new gateway to packets that each enter by its endpoint; the packets' own bytes. */
async function answers(
  packets: readonly Uint8Array[],
  options: Omit<GatewayBaseOptions, 'targetGroup'>,
) {
  const targetGroup = new TargetGroup({ healthCheck: false });
  targetGroup.register({ address: '10.99.0.2' });
  const limits = { flows: 1024, flowsIpv6: 1024 };
  const gateway = new Gateway({ targetGroup, limits, ...options });
  try {
    const endpoint = gateway.createEndpoint();
    const batch = new PacketBatch();
    for (const packet of packets) batch.add(packet);
    gateway.toTargets(batch, endpoint);
    return packets.map((_, i) => ({
      answer: batch.verdict[i] === Verdict.reply ? batch.bytes(i).slice() : null,
      byItsEndpoint: batch.endpoint[i] === endpoint.index,
      reason: REASON_NAMES[batch.reason[i]],
    }));
  } finally {
    await gateway.close();
  }
}

/** RFC 9293 section 3.5.2: from where the packet says it is, or an acknowledgment of all of it. */
function expectedReset({ flags, sequence, acknowledgment, bytes }: Segment) {
  if ((flags & ACK) !== 0) return { flags: RST, sequence: acknowledgment, acknowledgment: 0 };
  const length = bytes + (flags & FIN ? 1 : 0);
  return { flags: RST | ACK, sequence: 0, acknowledgment: (sequence + length) >>> 0 };
}

function tests(): void {
  const folder = mkdtempSync(join(tmpdir(), 'gwlb-answers-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));

  for (const version of VERSIONS) {
    const [client, server] = ENDS[version];
    const [source, destination] =
      version === 4 ? (['ip.src', 'ip.dst'] as const) : (['ipv6.src', 'ipv6.dst'] as const);

    t.test(`resets are what Wireshark expects, IPv${version}`, async (t) => {
      const given = segments(version);
      const packets = given.map(build);
      const got = await answers(packets, {
        midStream: 'drop',
        sendTcpReset: { onIdleTimeout: true },
      });
      const path = join(folder, `reset${version}.pcap`);
      writePackets(
        path,
        // The judge reads the packets as well: it has to find nothing wrong with those either.
        [...packets, ...got.map(({ answer }) => answer ?? new Uint8Array())],
      );
      const rows = await tshark(path, FIELDS);
      t.equal(rows.length, 2 * given.length);
      for (const [i, segment] of given.entries()) {
        t.equal(got[i].reason, 'tcp_not_syn', `${segment.name}: dropped`);
        t.ok(got[i].byItsEndpoint, 'answered by the endpoint that it came in by');
        t.strictSame(complaints(rows[i]), [], `${segment.name}: built well`);
        const row = rows[given.length + i];
        const expected = expectedReset(segment);
        t.strictSame(complaints(row), [], `${segment.name}: nothing to complain of the answer`);
        t.hasStrict(row, {
          'frame.protocols': [`raw:${version === 4 ? 'ip' : 'ipv6'}:tcp`],
          'frame.len': [String(version === 4 ? 40 : 60)],
          [source]: [server],
          [destination]: [client],
          'tcp.srcport': [String(PORTS[1])],
          'tcp.dstport': [String(PORTS[0])],
          'tcp.flags': [`0x${expected.flags.toString(16).padStart(4, '0')}`],
          'tcp.seq_raw': [String(expected.sequence)],
          'tcp.ack_raw': [String(expected.acknowledgment)],
          'tcp.hdr_len': ['20'],
          'tcp.len': ['0'],
          'tcp.checksum.status': [GOOD],
          'ip.checksum.status': version === 4 ? [GOOD] : [],
        });
      }
    });

    t.test(`"too big" is what Wireshark expects, IPv${version}`, async (t) => {
      const mtu = 1300;
      const protocols = ['udp', 'tcp', 'icmp'];
      const given = protocols.flatMap((protocol) =>
        [mtu + 1, 1500, 8400].map((length) => {
          const ends = ENDS[version].map((address, i) =>
            protocol === 'icmp' ? address : socketAddress(version, address, PORTS[i]),
          );
          const tuple = { protocol, source: ends[0], destination: ends[1] };
          const bytes = length - tuplePacket(tuple).length;
          return tuplePacket(tuple, ACK, new Uint8Array(bytes).fill(0x5a));
        }),
      );
      const got = await answers(given, { mtu });
      const path = join(folder, `too-big${version}.pcap`);
      writePackets(
        path,
        got.map(({ answer }) => answer ?? new Uint8Array()),
      );
      // Wireshark would sum up a quoted segment as if what is quoted were all of it.
      const rows = await tshark(path, FIELDS, ['-o', 'tcp.check_checksum:FALSE']);
      t.equal(rows.length, given.length);
      // RFC 1812 section 4.3.2.3; RFC 4443 section 3.2.
      const [headers, most] = version === 4 ? [28, 576] : [48, 1280];
      for (const [i, packet] of given.entries()) {
        const name = `${protocols[Math.floor(i / 3)]}, ${packet.length} bytes`;
        t.equal(got[i].reason, 'inner_too_big', `${name}: dropped`);
        t.ok(got[i].byItsEndpoint, 'answered by the endpoint that it came in by');
        t.strictSame(complaints(rows[i]), [], `${name}: nothing to complain of the answer`);
        const length = Math.min(headers + packet.length, most);
        const icmp =
          version === 4
            ? {
                'icmp.type': ['3', ...(name.startsWith('icmp') ? ['8'] : [])],
                'icmp.code': ['4', ...(name.startsWith('icmp') ? ['0'] : [])],
                'icmp.mtu': [String(mtu)],
              }
            : {
                'icmpv6.type': ['2', ...(name.startsWith('icmp') ? ['128'] : [])],
                'icmpv6.code': ['0', ...(name.startsWith('icmp') ? ['0'] : [])],
                'icmpv6.mtu': [String(mtu)],
              };
        t.hasStrict(rows[i], {
          ...icmp,
          'frame.len': [String(length)],
          [source]: [server, client],
          [destination]: [client, server],
        });
        const status = version === 4 ? 'icmp.checksum.status' : 'icmpv6.checksum.status';
        t.equal(rows[i][status][0], GOOD, 'its sum');
        t.strictSame(
          got[i].answer?.subarray(headers),
          packet.subarray(0, length - headers),
          'as much of the packet as there is room for, as it was',
        );
      }
    });
  }

  t.test('a reset is not answered', async (t) => {
    const given = VERSIONS.flatMap((version) =>
      [RST, RST | ACK].map((flags) =>
        build({ name: '', version, flags, sequence: 5, acknowledgment: 6, bytes: 0 }),
      ),
    );
    const options = { midStream: 'drop', sendTcpReset: { onIdleTimeout: true } } as const;
    for (const { answer, reason } of await answers(given, options)) {
      t.equal(answer, null);
      t.equal(reason, 'tcp_not_syn');
    }
  });
}

const reason = whyNotWide('tshark');
if (reason === null) tests();
else cannotRun(t, reason);
