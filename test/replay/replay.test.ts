/** Captures through a gateway in simulated time: every kind of packet, what it becomes, and when. */
import t from 'tap';
import { encodeGeneve, PcapWriter, replay, tuplePacket } from '../../src/index.js';
import { fragments4, fragments6 } from '../support/emitted.js';
import {
  ACK,
  CLIENT,
  captureOf,
  FIN,
  fates,
  linesOf,
  RST,
  SERVER,
  SYN,
  tcp,
  udp,
  uncut,
} from './rig.js';

const KEY = '5-tuple tcp 10.0.2.10:443 203.0.113.9:40000';

t.test('a connection has one flow in both directions, and each packet comes back', async (t) => {
  const lines = linesOf([
    { at: 0, bytes: tcp(SYN) },
    { at: 0.0005, bytes: tcp(SYN | ACK, 40_000, true) },
    { at: 1.25, bytes: tcp(ACK) },
  ]);
  const [first] = lines;
  t.match(first.target, /^10\.0\.1\.1[01]$/);
  t.equal(first.cookie !== null && first.cookie >>> 20, first.target === '10.0.1.10' ? 0 : 1);
  const { target, cookie } = first;
  const common = { target, cookie, verdict: 'forward', reason: null };
  const flow = { id: 1, key: KEY, new: false };
  t.strictSame(lines, [
    { frame: 1, time: 0, direction: 'ingress', ...common, flow: { ...flow, new: true } },
    { frame: 1, time: 0, direction: 'return', ...common, flow },
    { frame: 2, time: 0.0005, direction: 'ingress', ...common, flow },
    { frame: 2, time: 0.0005, direction: 'return', ...common, flow },
    { frame: 3, time: 1.25, direction: 'ingress', ...common, flow },
    { frame: 3, time: 1.25, direction: 'return', ...common, flow },
  ]);
});

t.test('flows are numbered in the order they are opened', async (t) => {
  const lines = linesOf([
    { at: 0, bytes: tcp(SYN) },
    { at: 0.1, bytes: udp() },
    { at: 0.2, bytes: tcp(ACK) },
    { at: 0.3, bytes: tcp(SYN, 40_001) },
    { at: 0.4, bytes: udp() },
    { at: 0.5, bytes: tcp(SYN) },
  ]);
  t.strictSame(
    lines.filter((line) => line.direction === 'ingress').map(({ flow }) => [flow?.id, flow?.new]),
    [
      [1, true],
      [2, true],
      [1, false],
      [3, true],
      [2, false],
      [4, true],
    ],
    'the last SYN is a new connection on the tuple of the first',
  );
  const cookies = lines.filter(({ frame }) => frame === 1 || frame === 6).map((l) => l.cookie ?? 0);
  t.equal(((cookies.at(-1) ?? 0) >>> 16) & 15, 1, 'with the next incarnation');
  t.equal((cookies[0] >>> 16) & 15, 0);
});

t.test('flows end in capture time', async (t) => {
  const ids = (seconds: readonly number[], bytes = udp()) =>
    linesOf(seconds.map((at) => ({ at, bytes })))
      .filter((line) => line.direction === 'ingress')
      .map(({ flow }) => flow?.id);
  t.strictSame(ids([0, 119.9, 239.8]), [1, 1, 1], 'refreshed');
  t.strictSame(ids([0, 120]), [1, 2], 'idle for 120 s');
  t.strictSame(ids([0, 0.5, 120.9]), [1, 1, 1], 'looked at at whole seconds of the capture');
  t.strictSame(ids([0, 0.5, 121.1]), [1, 1, 2]);
  t.strictSame(ids([0, 349.9], tcp(ACK)), [1, 1], 'TCP has 350 s');
  t.strictSame(ids([0, 350], tcp(ACK)), [1, 2]);
  t.strictSame(ids([0, 1e8, 2e8 + 1]), [1, 2, 3], 'gaps of years');
  const closed = linesOf([
    { at: 0, bytes: tcp(SYN) },
    { at: 1, bytes: tcp(FIN | ACK) },
    { at: 2, bytes: tcp(FIN | ACK, 40_000, true) },
    { at: 16.5, bytes: tcp(ACK) },
    { at: 32, bytes: tcp(ACK) },
  ]);
  t.strictSame(
    fates(closed).map((fate) => fate.slice(0, 1)),
    ['1', '1', '1', '1', '2'],
  );
});

t.test('time never goes back, and lines say what the capture says', async (t) => {
  const lines = linesOf([
    { at: 5, bytes: udp() },
    { at: 4, bytes: udp() },
    { at: 124.5, bytes: udp() },
  ]);
  t.strictSame(
    lines.filter((line) => line.direction === 'return').map(({ time, flow }) => [time, flow?.id]),
    [
      [0, 1],
      [-1, 1],
      [119.5, 1],
    ],
    'the second packet refreshed the flow at 5, not at 4',
  );
});

t.test('what does not go on has a reason', async (t) => {
  const packets = [tcp(ACK), tcp(RST, 40_001), uncut(udp(1, 8480))];
  const frames = packets.map((bytes, i) => ({ at: i, bytes }));
  const lines = linesOf(frames, { gateway: { midStream: 'drop' } });
  t.strictSame(fates(lines), [
    '-  drop tcp_not_syn',
    '-  drop tcp_not_syn',
    '-  drop inner_too_big',
  ]);
  t.strictSame(lines[0].flow, { id: null, key: KEY, new: false }, 'the key that it would have had');
  t.equal(lines.length, 3, 'nothing comes back');
  const reset = linesOf(frames, {
    gateway: { midStream: 'drop', sendTcpReset: { onIdleTimeout: true } },
  });
  t.strictSame(fates(reset), [
    '-  reset tcp_not_syn',
    '-  drop tcp_not_syn',
    '-  drop inner_too_big',
  ]);
  const long = linesOf([{ at: 0, bytes: udp(1, 8480) }]);
  t.match(fates(long), [/^1 new forward/], 'live it would go on in fragments');
  t.equal(long.length, 2, 'and come back');
  t.strictSame(fates(linesOf([frames[0]], { targets: [] })), ['-  drop no_targets']);
  t.strictSame(fates(linesOf([frames[0]], { targets: [], targetGroup: { failOpen: true } })), [
    '-  bypass ',
  ]);
});

t.test('frames: link types, VLAN tags, what is no IP', async (t) => {
  const ethernet = (type: number[], packet: Uint8Array) =>
    Buffer.concat([Buffer.alloc(12, 2), Buffer.from(type), packet]);
  const frames = [
    ethernet([0x08, 0x00], udp()),
    ethernet([0x81, 0x00, 0x00, 0x05, 0x08, 0x00], udp()),
    ethernet([0x88, 0xa8, 0x00, 0x05, 0x81, 0x00, 0x00, 0x06, 0x08, 0x00], udp()),
    ethernet([0x08, 0x06], new Uint8Array(28)),
    ethernet([0x08, 0x00], new Uint8Array([0x45, 0, 0])),
    new Uint8Array(5),
  ].map((bytes, i) => ({ at: i, bytes }));
  const lines = linesOf(captureOf(frames, 1));
  t.strictSame(
    fates(lines).map((fate) => fate.replace(/10\.0\.1\.\d+/, 'T')),
    [
      '1 new forward T',
      '1  forward T',
      '1  forward T',
      '-  drop not_ip',
      '-  drop inner_truncated',
      '-  drop inner_truncated',
    ],
  );
  t.equal(lines.at(-3)?.flow, null);
  const cooked = Buffer.concat([Buffer.alloc(14), Buffer.from([0x08, 0x00]), udp()]);
  for (const [link, family] of [
    [0, [2, 0, 0, 0]],
    [0, [0, 0, 0, 2]],
    [108, [0, 0, 0, 2]],
  ] as const) {
    const loop = Buffer.concat([Buffer.from(family), udp()]);
    t.match(fates(linesOf(captureOf([{ at: 0, bytes: loop }], link)))[0], /^1 new forward/);
  }
  t.match(fates(linesOf(captureOf([{ at: 0, bytes: cooked }], 113)))[0], /^1 new forward/);
});

t.test('a link type that is not read is named', async (t) => {
  const capture = captureOf([{ at: 0, bytes: udp() }], 147);
  const unknown = replay({ capture });
  t.strictSame(fates([...unknown]), ['-  drop unknown_link']);
  t.strictSame(unknown.summary.drops, { unknown_link: 1 });
  t.match(unknown.error, /^link type 147 \(1 frame\) is not read: expected one of 0 NULL, 1 Eth/);
  const high = Buffer.from(capture);
  high.writeUInt32LE(65_540, 20);
  const wide = replay({ capture: high });
  t.strictSame(fates([...wide]), ['-  drop unknown_link']);
  t.match(wide.error, /^link type 65540 \(1 frame\)/);
});

t.test('cut packets are padded with zeros: headers count as far as they are there', async (t) => {
  const whole = udp(40_000, 1000);
  const cut = (bytes: number) =>
    linesOf([{ at: 0, bytes: whole.subarray(0, bytes), length: whole.length }])[0];
  t.match(cut(64), {
    verdict: 'forward',
    flow: { key: `5-tuple udp ${SERVER}:53 ${CLIENT}:40000` },
  });
  t.match(cut(28), {
    verdict: 'forward',
    flow: { key: `5-tuple udp ${SERVER}:53 ${CLIENT}:40000` },
  });
  t.match(cut(20), { verdict: 'forward', flow: { key: `5-tuple udp ${SERVER}:0 ${CLIENT}:0` } });
  t.match(cut(19), { verdict: 'drop', reason: 'inner_truncated', flow: null });
  const short = linesOf([{ at: 0, bytes: whole.subarray(0, 64) }]);
  t.match(
    short,
    [{ verdict: 'drop', reason: 'inner_truncated' }],
    'cut by its sender, not by capture',
  );
  const sent: number[] = [];
  const capture = captureOf([{ at: 0, bytes: whole.subarray(0, 64), length: whole.length }]);
  for (const _ of replay({ capture, onSent: (bytes) => sent.push(bytes.length) }));
  t.strictSame(sent, [whole.length + 68], 'and it goes on with all of its length');
});

t.test(
  'the inner packets of a GENEVE capture, by the endpoint that their option names',
  async (t) => {
    const geneve = (endpointId: string, packet: Uint8Array) =>
      tuplePacket(
        { protocol: 'udp', source: '192.0.2.1:33000', destination: '192.0.2.2:6081' },
        undefined,
        Buffer.concat([encodeGeneve({ gateway: { endpointId, cookie: 1 } }), packet]),
      );
    const [a, b, c] = ['1', '2', '3'].map((n) => `vpce-0000000000000000${n}`);
    const frames = [a, b, c, b].map((id, i) => ({ at: i, bytes: geneve(id, udp()) }));
    const endpoints = [
      { id: a, zone: 'a' },
      { id: b, zone: 'b' },
    ];
    const targets = [
      { address: '10.0.1.10', zone: 'a' },
      { address: '10.0.1.11', zone: 'b' },
    ];
    t.strictSame(fates(linesOf(frames, { endpoints, targets })), [
      '1 new forward 10.0.1.10',
      '2 new forward 10.0.1.11',
      '1  forward 10.0.1.10',
      '2  forward 10.0.1.11',
    ]);
    t.match(linesOf(frames, { gateway: { port: 6082 } })[0].flow?.key, /192\.0\.2\.1:33000/);
    const arp = geneve(a, new Uint8Array(28));
    arp.set([0x08, 0x06], 30);
    t.strictSame(fates(linesOf([{ at: 0, bytes: arp }])), ['-  drop geneve_bad_protocol']);
  },
);

t.test('fragments that come before their first one', async (t) => {
  for (const cut of [fragments4, fragments6]) {
    const v6 = cut === fragments6;
    const flow = v6
      ? { protocol: 'udp', source: '[2001:db8::9]:40000', destination: '[2001:db8::10]:53' }
      : { protocol: 'udp', source: `${CLIENT}:40000`, destination: `${SERVER}:53` };
    const packet = tuplePacket(flow, undefined, new Uint8Array(2992));
    const [first, second, third] = cut(packet, 1232, 77);
    const order = linesOf([
      { at: 0, bytes: udp(9) },
      { at: 0.01, bytes: second },
      { at: 0.02, bytes: third },
      { at: 0.03, bytes: udp(9) },
      { at: 0.04, bytes: first },
    ]);
    const seen = (lines: typeof order) =>
      lines.filter((l) => l.direction === 'ingress').map((l) => [l.frame, l.time, l.flow?.id]);
    t.strictSame(
      seen(order),
      [
        [1, 0, 1],
        [4, 0.03, 1],
        [5, 0.04, 2],
        [2, 0.04, 2],
        [3, 0.04, 2],
      ],
      'they wait for it and go on after it',
    );
    t.equal(order.length, 10);
    const alone = linesOf([
      { at: 0, bytes: second },
      { at: 0.0305, bytes: third },
      { at: 0.07, bytes: udp(9) },
    ]);
    t.strictSame(
      seen(alone),
      [
        [1, 0.05, 1],
        [2, 0.05, 1],
        [3, 0.07, 2],
      ],
      'not longer than 50 ms; then the train goes on as it is',
    );
    t.match(alone[0].flow?.key, /^3-tuple udp/);
    t.strictSame(seen(linesOf([{ at: 0, bytes: second }])), [[1, 0.05, 1]], 'also at the end');
  }
});

t.test('an identification that is used again, tail first', async (t) => {
  const ports = Array.from({ length: 16 }, (_, i) => 1000 + i);
  const pieces = (port: number, id: number) => fragments4(udp(port, 1592), 800, id);
  const frames = ports.map((port, i) => ({ at: i / 1000, bytes: udp(port) }));
  for (let i = 0; i < ports.length; i += 2) {
    const finished = pieces(ports[i], i);
    const [head, tail] = pieces(ports[i + 1], i);
    frames.push(...finished.map((bytes, k) => ({ at: 1 + i / 10 + k / 1000, bytes })));
    frames.push(...[tail, head].map((bytes, k) => ({ at: 6 + i / 10 + k / 1000, bytes })));
  }
  const ordered = frames.sort((a, b) => a.at - b.at);
  const flowOf = new Map<number, number | null | undefined>();
  for (const { direction, frame, flow } of linesOf(ordered)) {
    if (direction === 'ingress') flowOf.set(frame, flow?.id);
  }
  for (let i = 0; i < ordered.length - 1; i++) {
    const { at } = ordered[i];
    if (at < 6 || Math.round(at * 1000) % 100 === 1) continue;
    t.equal(flowOf.get(i + 1), flowOf.get(i + 2), `the tail at ${at} s goes with its own head`);
  }
  t.equal(new Set(flowOf.values()).size, ports.length, 'and none is a flow of its own');
});

/** Handshakes of so many connections. */
function handshakes(count: number): { at: number; bytes: Uint8Array }[] {
  return Array.from({ length: count }, (_, i) =>
    [tcp(SYN, 1000 + i), tcp(SYN | ACK, 1000 + i, true), tcp(ACK, 1000 + i)].map((bytes) => ({
      at: i / 1000,
      bytes,
    })),
  ).flat();
}

t.test('more flows than there is room for', async (t) => {
  const frames = handshakes(3000);
  const gateway = { limits: { flows: 1024, flowsIpv6: 1024 } };
  const ends = [frames[2], frames[8999]].map(({ bytes }) => ({ at: 3, bytes }));
  const lines = linesOf([...frames, ...ends], { gateway });
  const ingress = lines.filter((line) => line.direction === 'ingress');
  t.equal(ingress.filter(({ verdict }) => verdict === 'forward').length, 9002, 'all go on');
  const numbered = ingress.filter(({ flow }) => flow?.new).map(({ flow }) => flow?.id);
  t.strictSame(
    numbered,
    Array.from({ length: 1024 }, (_, i) => i + 1),
    'confirmed flows stay',
  );
  t.equal(ingress.at(-2)?.flow?.id, 1);
  t.strictSame(ingress.at(-1)?.flow?.id, null, 'those beyond have no entry, and no number');
});

t.test('a flood of half-open connections', async (t) => {
  const flood = handshakes(1100).filter((_, i) => i % 3 < 2);
  const ports = Array.from({ length: 8 }, (_, i) => 50_000 + i);
  const real = ports.flatMap((port) =>
    [tcp(SYN, port), tcp(SYN | ACK, port, true), tcp(ACK, port)].map((bytes) => ({ at: 3, bytes })),
  );
  const later = ports.map((port) => ({ at: 23, bytes: tcp(ACK, port) }));
  const gateway = { midStream: 'drop', limits: { flows: 1024, flowsIpv6: 1024 } } as const;
  const lines = linesOf([...flood, ...real, ...later], {
    gateway,
    events: '{"at":10,"register":{"address":"10.0.1.12","weight":1000}}',
  }).filter(({ direction, frame }) => direction === 'ingress' && frame > 2200);
  t.equal(lines.length, 32);
  ports.forEach((port, i) => {
    const [handshake, last] = [lines.slice(3 * i, 3 * i + 3), lines[24 + i]];
    t.ok(
      handshake.every(({ target }) => target === last.target),
      `${port} stays`,
    );
    t.equal(last.flow?.id, handshake[0].flow?.id, 'and has an entry');
    t.type(last.flow?.id, 'number');
  });
});

t.test('a stray SYN on a connection of a target that drains', async (t) => {
  const [syn, synAck, ack] = handshakes(1).map(({ bytes }) => bytes);
  const frames = [
    { at: 1, bytes: syn },
    { at: 1.05, bytes: synAck },
    { at: 1.1, bytes: ack },
    { at: 11, bytes: syn },
    { at: 11.01, bytes: tcp(ACK, 1000, true) },
    { at: 12, bytes: ack },
  ];
  const [{ target }] = linesOf(frames);
  const drained = linesOf(frames, { events: `{"at":5,"target":"${target}","deregister":true}` });
  t.ok(drained.every((line) => line.target === target));
});

t.test('an ICMP error about a connection that there is no room for', async (t) => {
  const frames = handshakes(1100);
  const [open, data] = [tcp(SYN, 50_000), tcp(ACK, 50_000, true)];
  const about = tuplePacket(
    { protocol: 'icmp', source: '192.0.2.254', destination: SERVER },
    0,
    data.subarray(0, 28),
  );
  about.set([3, 4], 20);
  frames.push({ at: 2, bytes: open }, { at: 3, bytes: data }, { at: 4, bytes: about });
  const gateway = { midStream: 'drop', limits: { flows: 1024, flowsIpv6: 1024 } } as const;
  const lines = linesOf(frames, { gateway }).filter(({ frame }) => frame > 3300);
  t.equal(lines.length, 6, 'all of them, there and back');
  const [{ target, cookie }] = lines;
  for (const line of lines) t.match(line, { verdict: 'forward', target, cookie });
});

t.test('packets to targets', async (t) => {
  const sent: { bytes: Buffer; timeNs: bigint }[] = [];
  const run = replay({
    capture: captureOf([
      { at: 0, bytes: udp() },
      { at: 0.25, bytes: new Uint8Array(20) },
      { at: 0.5, bytes: udp() },
    ]),
    onSent: (bytes, timeNs) => sent.push({ bytes: Buffer.from(bytes), timeNs }),
  });
  const lines = [...run];
  t.equal(sent.length, 2);
  t.equal(sent[1].timeNs - sent[0].timeNs, 500_000_000n, 'capture times');
  t.equal(sent[0].timeNs, 1_767_225_600_000_000_000n);
  // It reads as what it is, and as a capture for another replay.
  const pieces: Uint8Array[] = [];
  const writer = new PcapWriter((bytes) => pieces.push(bytes.slice()));
  for (const { bytes, timeNs } of sent) writer.write(bytes, timeNs);
  const again = linesOf(Buffer.concat(pieces));
  const kept = lines.filter(({ verdict }) => verdict === 'forward');
  t.strictSame(
    again.map((line) => ({ ...line, frame: 0 })),
    kept.map((line) => ({ ...line, frame: 0 })),
  );
});

t.test('equal input, equal output', async (t) => {
  const frames = Array.from({ length: 500 }, (_, i) => ({
    at: i * 0.7,
    bytes: i % 3 ? tcp(i % 5 ? ACK : SYN, 40_000 + (i % 17)) : udp(i % 11, i),
  }));
  const text = () => JSON.stringify(linesOf(frames));
  t.equal(text(), text());
});

t.test('the summary', async (t) => {
  const run = replay({
    capture: captureOf([
      { at: 0, bytes: tcp(SYN) },
      { at: 1.5, bytes: new Uint8Array([0x45]) },
    ]),
    targets: [{ address: '10.0.1.10' }],
  });
  t.equal([...run].length, 3);
  t.strictSame(run.summary, {
    frames: 2,
    seconds: 1.5,
    packets: 2,
    bytes: 41,
    flows: 1,
    verdicts: { forward: 1, drop: 1, reset: 0, bypass: 0 },
    drops: { inner_truncated: 1 },
    targets: { '10.0.1.10': { flows: 1, packets: 1, bytes: 40 } },
  });
});

t.test('wrong options and captures', async (t) => {
  const capture = captureOf([{ at: 0, bytes: udp() }]);
  t.throws(() => replay({ capture, seed: 1 } as never), { message: /options.seed/ });
  t.throws(() => replay({ capture, endpoints: [] }), { message: /options.endpoints/ });
  t.throws(() => replay({ capture, gateway: { mtu: 1 } }), { message: /options.mtu/ });
  t.throws(() => replay({ capture, events: 1 } as never), { message: /options.events/ });
  t.throws(() => replay({ capture: new Uint8Array(10) }), { message: /pcap/ });
  const cut = replay({
    capture: captureOf([1, 2].map((at) => ({ at, bytes: udp() }))).subarray(0, -3),
  });
  t.equal([...cut].length, 2, 'what is there is replayed');
  t.match(cut.error, /frame 2/);
  t.throws(() => [...cut], { message: /once/ });
  t.strictSame(linesOf([]), []);
});
