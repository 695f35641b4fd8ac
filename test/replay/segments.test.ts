/**
 * Captures of hosts with segmentation offload: packets longer than any link takes, lengths of 0 and
 * checksums that nobody has computed.
 */
import t from 'tap';
import { type ReplayOptions, replay } from '../../src/index.js';
import {
  ACK,
  CLIENT,
  captureOf,
  type Frame,
  fates,
  linesOf,
  SERVER,
  SYN,
  tcp,
  udp,
  uncut,
} from './rig.js';

const PSH = 0x08;

interface Data {
  payload: number;
  flags?: number;
  toClient?: boolean;
  /** The IP header says 0. */
  lengthZero?: boolean;
}

function address(text: string): number[] {
  return text.split('.').map(Number);
}

/** A TCP packet over IPv4, of any size, without a checksum. */
function data({ payload, flags = PSH | ACK, toClient = false, lengthZero = false }: Data): Buffer {
  const packet = Buffer.alloc(40 + payload, 0x7a);
  packet.fill(0, 0, 40);
  packet.writeUInt32BE(0x4500_0000 + (lengthZero ? 0 : packet.length));
  packet.writeUInt32BE(0x0001_4000, 4);
  packet.writeUInt16BE(0x4006, 8);
  const ends = [address(CLIENT), address(SERVER)];
  const ports = [40_000, 443];
  if (toClient) for (const pair of [ends, ports]) pair.reverse();
  packet.set(ends.flat(), 12);
  for (const [i, port] of ports.entries()) packet.writeUInt16BE(port, 20 + 2 * i);
  packet.writeUInt32BE(1000, 24);
  packet[32] = 0x50;
  packet[33] = flags;
  return packet;
}

/** A SYN, or its answer, with an MSS option. */
function syn(mss: number, toClient = false): Buffer {
  const packet = data({ payload: 4, flags: toClient ? SYN | ACK : SYN, toClient });
  packet[32] = 0x60;
  packet.set([2, 4, mss >>> 8, mss & 0xff], 40);
  return packet;
}

/** What became of each frame in one word, and the bytes of IP packets that targets got. */
function run(bytes: readonly Uint8Array[], options: Omit<ReplayOptions, 'capture'> = {}) {
  const frames: Frame[] = bytes.map((frame, i) => ({ at: i / 100, bytes: frame }));
  const sent: Buffer[] = [];
  const capture = captureOf(frames);
  const onSent = (packet: Uint8Array) => sent.push(Buffer.from(packet.subarray(68)));
  const done = replay({ capture, onSent, ...options });
  const lines = [...done];
  const ingress = lines.filter(({ direction }) => direction === 'ingress');
  const verdicts = ingress.map(({ verdict, reason }) => reason ?? verdict);
  return { lines, verdicts, sent, summary: done.summary };
}

const mtu = (bytes: number) => ({ endpoints: [{ mtu: bytes }] });

t.test('a packet of many segments is one decision, and goes on as its segments', async (t) => {
  const { lines, verdicts, sent, summary } = run(
    [syn(1460), syn(1460, true), data({ payload: 14_480, toClient: true })],
    mtu(1500),
  );
  t.strictSame(verdicts, ['forward', 'forward', 'forward']);
  t.equal(lines.length, 6, 'one line each way');
  t.match(lines.at(-1), { frame: 3, direction: 'return', verdict: 'forward', reason: null });
  t.match(summary, { packets: 3, bytes: 44 + 44 + 14_520, verdicts: { forward: 3 } });
  const segments = sent.slice(2);
  t.strictSame(
    segments.map((packet) => packet.length),
    [...Array(9).fill(1500), 14_480 - 9 * 1460 + 40],
  );
  t.strictSame(
    segments.map((packet) => [packet.readUInt16BE(2), packet.readUInt32BE(24), packet[33]]),
    segments.map((packet, k) => [packet.length, 1000 + k * 1460, k < 9 ? ACK : PSH | ACK]),
  );
});

t.test('the MTU is held against a segment', async (t) => {
  const far = (one: number, other: number) =>
    run([syn(one), syn(other, true), data({ payload: 14_480, toClient: true })], mtu(1500))
      .verdicts[2];
  t.equal(far(1460, 1460), 'forward');
  t.equal(far(8960, 1460), 'forward', 'the smaller of what both take');
  t.equal(far(8960, 8960), 'inner_too_big');
  const { verdicts, sent } = run([data({ payload: 14_480 })], mtu(1500));
  t.strictSame(verdicts, ['forward'], 'where no SYN was captured they are taken to have fitted');
  t.ok(sent.every((packet) => packet.length <= 1500));
  const answers = run([syn(8960), syn(8960, true), data({ payload: 30_000 })], mtu(1500));
  t.equal(answers.sent.length, 2, 'nothing of one that is too big goes on');
  t.strictSame(answers.summary.drops, { inner_too_big: 1 }, 'and it is one drop');
});

t.test('a length of 0 is what was captured', async (t) => {
  const frames = [syn(1460), syn(1460, true)];
  const cases = [
    { payload: 2896, lengthZero: true, toClient: true },
    { payload: 100, lengthZero: true, toClient: true },
    { payload: 0, flags: ACK, lengthZero: true, toClient: true },
  ];
  const { verdicts, sent, summary } = run([...frames, ...cases.map(data)], mtu(1500));
  t.strictSame(verdicts, Array(5).fill('forward'));
  t.strictSame(
    sent.slice(2).map((packet) => [packet.length, packet.readUInt16BE(2)]),
    [1500, 1476, 140, 40].map((length) => [length, length]),
  );
  t.equal(summary.bytes, 2 * 44 + 2936 + 140 + 40);
  t.strictSame(
    run([data({ payload: 100_000, lengthZero: true })]).verdicts,
    ['forward'],
    'BIG TCP',
  );
  const other = Buffer.from(udp(1, 100));
  other[9] = 1;
  other.writeUInt16BE(0, 2);
  t.strictSame(run([other]).verdicts, ['forward'], 'also of other protocols');
});

t.test('checksums do not matter', async (t) => {
  const wrong = Buffer.from(tcp(ACK));
  wrong[36] ^= 0x55;
  const noHeaderSum = Buffer.from(tcp(ACK));
  noHeaderSum.fill(0, 10, 12);
  t.strictSame(run([tcp(SYN), wrong, noHeaderSum]).verdicts, ['forward', 'forward', 'forward']);
});

t.test('UDP: what no link takes has been put together', async (t) => {
  const { verdicts, sent } = run([udp(1, 30_000), uncut(udp(2, 8600))], mtu(1500));
  t.strictSame(verdicts, ['forward', 'inner_too_big']);
  t.equal(sent.length, Math.ceil(30_000 / 1472));
  t.ok(sent.every((packet) => packet.length === packet.readUInt16BE(24) + 20));
});

t.test('what is no super-packet is as before', async (t) => {
  const echo = Buffer.from(udp(1, 20_000));
  echo[9] = 1;
  t.strictSame(fates(linesOf([{ at: 0, bytes: echo }])), ['-  drop inner_too_big']);
  const cut = data({ payload: 14_480 }).subarray(0, 96);
  const frames = [{ at: 0, bytes: cut, length: 14_520 }];
  t.match(fates(linesOf(frames)), [/^1 new forward/], 'captured in part');
});
