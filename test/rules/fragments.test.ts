/** Rules F, I, M, N and E of docs/rules.md, each by example. */
import t from 'tap';
import { PacketBatch } from '../../src/index.js';
import { VERDICTS } from '../../src/packet/names.js';
import {
  ACK,
  bytesOf,
  errorAbout,
  internetChecksum,
  type Packet,
  reversed,
  SYN,
  TCP,
  transportChecksum,
} from '../model/packets.js';
import { decapsulatedEcn } from '../model/returns.js';
import { staysOnLink } from '../model/scope.js';
import { CLIENT6, FlowRig, pieces, SERVER6, tcp, udp, type Way } from './flow-rig.js';

const ROUTER = '192.0.2.1';
const ENDS6 = { source: CLIENT6, destination: SERVER6 };
const udp6 = (port?: number, more: Partial<Packet> = {}) =>
  udp(port, { ...more, version: 6, ...ENDS6 });

t.test('F1: later fragments go where the first one of their train goes', async (t) => {
  for (const whole of [udp(), udp6()]) {
    const rig = new FlowRig(t);
    const { head, tail } = pieces(whole);
    const flow = rig.trip(whole);
    t.equal(rig.trip(head).cookie, flow.cookie);
    rig.now += 29_999;
    t.equal(rig.trip(tail).cookie, flow.cookie);
    t.equal(rig.gateway.flows, 1);
    rig.trip(head);
    rig.now += 30_000;
    t.match(rig.send(tail), { verdict: 'held' }, 'a train lives 30 s');
  }
});

t.test('F1: another id, protocol, source or endpoint is another train', async (t) => {
  const rig = new FlowRig(t);
  rig.send(pieces(udp()).head);
  const { tail } = pieces(udp());
  t.match(rig.send(tail), { verdict: 'forward' });
  t.match(rig.send(pieces(udp(), 8).tail), { verdict: 'held' });
  t.match(rig.send({ ...tail, source: '203.0.113.10' }), { verdict: 'held' });
  t.match(rig.send(pieces(reversed(udp())).tail), { verdict: 'held' });
  t.match(rig.send({ ...tail, protocol: 136 }), { verdict: 'held' });
  t.match(rig.send(tail, 1), { verdict: 'held' });
  // RFC 8200: of IPv6 datagrams the later fragments need not show the protocol.
  const { cookie } = rig.send(pieces(udp6()).head);
  t.match(rig.send({ ...pieces(udp6()).tail, protocol: 60 }), { verdict: 'forward', cookie });
});

t.test('F2: a later fragment waits for its first one', async (t) => {
  const rig = new FlowRig(t);
  const { head, tail } = pieces(udp());
  t.match(rig.send(tail), { verdict: 'held' });
  rig.now += 49;
  t.same(rig.takeHeld(), []);
  const first = rig.send(head);
  const [freed] = rig.takeHeld();
  t.match(freed, { verdict: 'forward', cookie: first.cookie, target: first.target });
  t.same(freed.bytes.subarray(40), bytesOf(tail));
  t.equal(rig.gateway.flows, 1);
  t.match(rig.gateway.counters(), { packetsIn: 2, packetsHeld: 1 });
});

t.test('F2: not longer than 50 ms; then its train goes without ports', async (t) => {
  const rig = new FlowRig(t);
  const { head, tail } = pieces(udp());
  rig.send(tail);
  rig.now += 50;
  const [given] = rig.takeHeld();
  t.match(given, { verdict: 'forward', isNew: true });
  t.match(rig.send(tail), { verdict: 'forward', cookie: given.cookie }, 'and so does the rest');
  const first = rig.send(head);
  t.not(first.cookie, given.cookie);
});

t.test('F2: at most 64 wait', async (t) => {
  const rig = new FlowRig(t);
  for (let id = 0; id < 64; id++) {
    t.match(rig.send(pieces(udp(), id).tail), { verdict: 'held' });
  }
  t.match(rig.send(pieces(udp(), 64).tail), { verdict: 'forward' });
  rig.now += 50;
  t.equal(rig.takeHeld().length, 64);
});

t.test('F2: within one batch order does not matter', async (t) => {
  const rig = new FlowRig(t);
  const { head, tail } = pieces(udp());
  const [last, first] = rig.sendAll([tail, head]);
  t.match(last, { verdict: 'forward', cookie: first.cookie, target: first.target });
});

t.test('F3: fragments are forwarded as they are', async (t) => {
  const rig = new FlowRig(t);
  const { head, tail } = pieces(udp6());
  for (const piece of [head, tail]) {
    const way = rig.send(piece);
    t.same(way.bytes.subarray(40), bytesOf(piece));
    t.same(rig.backBytes(way).bytes, bytesOf(piece));
  }
});

t.test('F4: fragments that hide ports or flags are dropped', async (t) => {
  const rig = new FlowRig(t, { midStream: 'pickup' });
  const fragment = (offset: number, length: number) => ({ id: 1, offset, length, more: true });
  const attacks = [
    { ...tcp(ACK, 1, { payload: 60 }), fragment: fragment(8, 16) },
    { ...tcp(SYN, 1, { payload: 60 }), fragment: fragment(0, 8) },
    { ...udp(1, { payload: 60 }), fragment: fragment(0, 0) },
  ];
  for (const attack of attacks) {
    t.match(rig.send(attack), { verdict: 'drop', reason: 'inner_bad_fragment' });
  }
  t.match(rig.send({ ...udp(1, { payload: 60 }), fragment: fragment(0, 8) }), { reason: 'none' });
});

t.test('F6: an IPv6 atomic fragment is a whole packet', async (t) => {
  const rig = new FlowRig(t);
  const { cookie } = rig.trip(udp6());
  const atomic = { ...udp6(), fragment: { id: 1, offset: 0, length: 1000, more: false } };
  t.match(rig.send(atomic), { cookie, isNew: false });
  t.match(rig.send(pieces(udp6(), 1).tail), { verdict: 'held' }, 'it begins no train');
});

t.test('F7: fragments open no connection', async (t) => {
  for (const onIdleTimeout of [false, true]) {
    const rig = new FlowRig(t, { sendTcpReset: { onIdleTimeout } });
    const { head, tail } = pieces(tcp(ACK));
    const verdict = onIdleTimeout ? 'reply' : 'drop';
    t.match(rig.send(head), { verdict, reason: 'tcp_not_syn' });
    t.match(
      rig.send(tail),
      { verdict: 'drop', reason: 'tcp_not_syn' },
      'it has no header to answer',
    );
    t.equal(rig.gateway.flows, 0);
  }
  const rig = new FlowRig(t, { midStream: 'pickup' });
  const { head, tail } = pieces(tcp(ACK));
  const { cookie } = rig.trip(head);
  t.equal(rig.trip(tail).cookie, cookie);
  t.equal(rig.gateway.counters().flowsPickedUp, 1);
});

t.test('F8: a train is over when its datagram is complete', async (t) => {
  for (const kind of [udp, (port: number) => udp(port, { version: 6, ...ENDS6 })]) {
    const rig = new FlowRig(t);
    const [first, second] = [kind(1), kind(2)].map((whole) => ({
      ...pieces(whole),
      flow: rig.trip(whole),
    }));
    rig.trip(first.head);
    t.equal(rig.trip(first.tail).cookie, first.flow.cookie);
    rig.now += 5_000;
    // The identification is used again, and the tail overtakes.
    t.match(rig.send(second.tail), { verdict: 'held' });
    t.equal(rig.trip(second.head).cookie, second.flow.cookie);
    const [freed] = rig.takeHeld();
    t.match(freed, { verdict: 'forward', cookie: second.flow.cookie });
    t.equal(rig.gateway.flows, 2);
  }
});

t.test('F8: not before, and in any order', async (t) => {
  const rig = new FlowRig(t);
  const whole = udp(50_000, { payload: 60 });
  const flow = rig.trip(whole);
  const piece = (offset: number, length: number, more = true) => ({
    ...whole,
    fragment: { id: 7, offset, length, more },
  });
  const [head, middle, tail] = [piece(0, 24), piece(24, 16), piece(40, 28, false)];
  for (const rest of [
    [middle, tail],
    [tail, middle],
    [tail, tail, piece(24, 8), piece(24, 24)],
  ]) {
    rig.trip(head);
    for (const sent of rest) t.equal(rig.trip(sent).cookie, flow.cookie);
    t.match(rig.send(tail), { verdict: 'held' }, 'complete');
    // A copy is what it was when nothing else comes.
    rig.now += 50;
    t.match(rig.takeHeld(), [{ verdict: 'forward', cookie: flow.cookie }]);
  }
  rig.trip(head);
  rig.trip(tail);
  t.match(rig.send(tail), { verdict: 'forward' }, 'a hole');
});

t.test('F8: what is returned finds its flow in any order', async (t) => {
  const rig = new FlowRig(t);
  const { head, tail } = pieces(udp());
  const [first, last] = [rig.send(head), rig.send(tail)];
  for (const way of [last, last, first, last]) t.equal(rig.back(way), 'forward');
  t.match(rig.send(tail), { verdict: 'held' }, 'and begins nothing that enters');
});

t.test('F8: of a train that was given up', async (t) => {
  const rig = new FlowRig(t);
  const { head, tail } = pieces(udp());
  rig.send(tail);
  rig.now += 50;
  const [alone] = rig.takeHeld();
  const flow = rig.send(head);
  t.not(flow.cookie, alone.cookie);
  rig.trip(head);
  t.equal(rig.trip(tail).cookie, flow.cookie, 'the next datagram goes as one');
});

t.test('I1: ICMP errors go with the packet they quote, in both directions', async (t) => {
  for (const whole of [udp(), tcp(), udp6()]) {
    const rig = new FlowRig(t);
    const flow = rig.trip(whole);
    const router = whole.version === 4 ? ROUTER : '2001:db8:ffff::1';
    for (const quote of [whole, reversed(whole)]) {
      const about = rig.send(errorAbout(quote, router, 48));
      t.match(about, { verdict: 'forward', cookie: flow.cookie, target: flow.target });
      t.equal(rig.back(about), 'forward');
    }
    // The appliance itself says that it cannot send a packet on.
    t.equal(rig.back(flow, { packet: errorAbout(whole, router, 48) }), 'forward');
  }
});

t.test('I2: they create, refresh and move no flow', async (t) => {
  const rig = new FlowRig(t, {}, { failover: 'rebalance' });
  const error = errorAbout(udp(), ROUTER, 28);
  t.match(rig.send(error), { verdict: 'drop', reason: 'icmp_no_flow' });
  const flow = rig.send(udp());
  rig.wait(60_000);
  const about = rig.send(error);
  t.equal(rig.back(about), 'forward');
  rig.group.setHealth(flow.target, 'unhealthy');
  t.match(rig.send(error), { reason: 'icmp_no_flow' }, 'its flow is about to move');
  rig.group.setHealth(flow.target, 'healthy');
  t.match(rig.send(error), { target: flow.target });
  rig.wait(60_000);
  t.equal(rig.gateway.flows, 0);
  t.equal(rig.back(about), 'icmp_no_flow');
});

t.test('I5: about a connection that is carried without an entry they go by its row', async (t) => {
  const rig = new FlowRig(t, { limits: { flows: 1024, flowsIpv6: 1024 } });
  const error = errorAbout(tcp(ACK), ROUTER, 48);
  t.match(rig.send(error), { verdict: 'drop', reason: 'icmp_no_flow' }, 'nothing is carried so');
  for (let port = 0; rig.gateway.counters().packetsUntracked === 0; port++) {
    rig.connect(1 + port);
  }
  const connection = rig.send(tcp(SYN, 50_000));
  const [flows, untracked] = [rig.gateway.flows, rig.gateway.counters().packetsUntracked];
  for (const quote of [tcp(ACK), reversed(tcp(ACK))]) {
    const about = rig.send(errorAbout(quote, ROUTER, 48));
    t.match(about, { verdict: 'forward', cookie: connection.cookie, target: connection.target });
    t.equal(rig.back(about), 'forward');
    t.equal(rig.back(about, { cookie: about.cookie ^ 1 }), 'icmp_no_flow', 'its tag is looked at');
  }
  const after = rig.gateway.counters();
  t.same([rig.gateway.flows, after.packetsUntracked], [flows, untracked], 'it leaves nothing');
});

t.test('I5: and while learning, before a packet of its connection has come', async (t) => {
  const rig = new FlowRig(t, { midStream: 'auto' });
  for (const quote of [tcp(ACK), udp(), udp6()]) {
    const router = quote.version === 4 ? ROUTER : '2001:db8:ffff::1';
    const about = rig.send(errorAbout(quote, router, 48));
    t.match(about, { verdict: 'forward' });
    t.equal(rig.back(about), 'forward');
    t.equal(rig.send(quote).cookie, about.cookie, 'where its connection goes');
  }
  rig.group.deregister('10.0.1.10', '10.0.1.11');
  rig.group.update({ deregistrationDelaySeconds: 0 });
  t.match(rig.send(errorAbout(tcp(ACK, 7), ROUTER, 48)), { reason: 'no_targets' });
});

t.test('I3: a quoted later fragment goes with its train', async (t) => {
  const rig = new FlowRig(t);
  const { head, tail } = pieces(udp());
  const flow = rig.trip(head);
  t.match(rig.send(errorAbout(tail, ROUTER, 28)), { verdict: 'forward', cookie: flow.cookie });
  const unknown = pieces(udp(), 99).tail;
  t.match(rig.send(errorAbout(unknown, ROUTER, 28)), { reason: 'icmp_no_flow' });
  rig.send(unknown);
  rig.now += 50;
  const [alone] = rig.takeHeld();
  t.match(rig.send(errorAbout(unknown, ROUTER, 28)), { cookie: alone.cookie }, 'the 3-tuple');
});

t.test('I4: bad quotes are counted', async (t) => {
  const rig = new FlowRig(t);
  rig.trip(udp());
  const short = errorAbout(udp(), ROUTER, 19);
  const nested = errorAbout(errorAbout(udp(), ROUTER, 28), ROUTER, 56);
  const mixed = { ...errorAbout(udp(), ROUTER, 48), quote: udp6() };
  for (const bad of [short, nested, mixed]) {
    t.match(rig.send(bad), { verdict: 'drop', reason: 'icmp_bad_quote' });
  }
  t.equal(rig.gateway.counters().drops.icmp_bad_quote, 3);
});

function tooBig(rig: FlowRig, more = {}): Way {
  return rig.send(udp(50_000, { payload: 1000 - 28 + 1, ...more }));
}

t.test('M1: what is longer than the MTU is dropped, and its sender told', async (t) => {
  const rig = new FlowRig(t, { mtu: 1000 });
  t.match(rig.send(udp(50_000, { payload: 1000 - 28 })), { verdict: 'forward' });
  const way = tooBig(rig);
  t.match(way, { verdict: 'reply', reason: 'inner_too_big' });
  const view = new DataView(way.bytes.buffer);
  t.equal(way.bytes.length, 576);
  t.same([...way.bytes.subarray(12, 20)], [10, 0, 2, 10, 203, 0, 113, 9], 'as if from the server');
  t.equal(view.getUint16(20), 0x0304, 'fragmentation needed');
  t.equal(view.getUint16(26), 1000);
  t.equal(internetChecksum(way.bytes.subarray(20)), 0);
  t.same(way.bytes.subarray(28), bytesOf(way.packet).subarray(0, 548));
  t.match(rig.gateway.counters(), { packetsReplied: 1, drops: { inner_too_big: 1 } });
});

t.test('M1: at most 100 answers at once, then one each millisecond', async (t) => {
  const rig = new FlowRig(t, { mtu: 1000 });
  for (let i = 0; i < 100; i++) t.equal(tooBig(rig).verdict, 'reply');
  t.equal(tooBig(rig).verdict, 'drop');
  rig.now += 2;
  t.same(
    [tooBig(rig), tooBig(rig), tooBig(rig)].map(({ verdict }) => verdict),
    ['reply', 'reply', 'drop'],
  );
});

t.test(
  'M1: not about errors, later fragments and groups; not at all where turned off',
  async (t) => {
    const rig = new FlowRig(t, { mtu: 1000 });
    rig.trip(udp());
    const long = udp(50_000, { payload: 1200 });
    const unanswered = [
      errorAbout(long, ROUTER, 1100),
      { ...long, fragment: { id: 1, offset: 8, length: 1100, more: false } },
      { ...long, destination: '224.0.1.251' },
    ];
    for (const sent of unanswered) {
      t.match(rig.send(sent), { verdict: 'drop', reason: 'inner_too_big' });
    }
    const silent = new FlowRig(t, { mtu: 1000, pathMtuDiscovery: false });
    t.match(tooBig(silent), { verdict: 'drop', reason: 'inner_too_big' });
  },
);

/** A datagram of three pieces, for an MTU of 1000. */
const LONG = udp(50_000, { payload: 2_500 });

t.test('M2: what may be cut goes on in fragments', async (t) => {
  const rig = new FlowRig(t, { mtu: 1000 });
  t.match(rig.send(LONG), { verdict: 'reply', reason: 'inner_too_big' }, 'nobody would cut it');
  rig.gateway.cutsPackets = true;
  const endpoint = rig.gateway.createEndpoint();
  const batch = new PacketBatch({ packets: 1 });
  batch.add(bytesOf(LONG));
  rig.gateway.toTargets(batch, endpoint, rig.now);
  t.equal(VERDICTS[batch.verdict[0]], 'forward', 'as a whole: whoever sends it cuts it');
  t.same(batch.bytes(0).subarray(40), bytesOf(LONG));
  const explained = rig.gateway.explain(bytesOf(LONG), { endpoint });
  t.equal(explained.dropReason, null);
  t.match(rig.gateway.counters(), { packetsFragmented: 1, packetsToTargets: 1 });
  for (const whole of [{ ...LONG, dontFragment: true }, udp6(1, { payload: 2_500 })]) {
    batch.clear();
    batch.add(bytesOf(whole));
    rig.gateway.toTargets(batch, endpoint, rig.now);
    t.equal(VERDICTS[batch.verdict[0]], 'reply', 'Fragmentation Needed, or Packet Too Big');
    t.equal(rig.gateway.explain(bytesOf(whole), { endpoint }).dropReason, 'inner_too_big');
  }
  t.equal(rig.gateway.counters().packetsFragmented, 1);
});

/** A SYN or SYN-ACK that tells 8,940 bytes. */
function synWithMss(version: 4 | 6, flags: number): Packet {
  const ends = version === 4 ? {} : ENDS6;
  return tcp(flags, 50_000, { version, ...ends, options: [2, 4, 8_940 >> 8, 8_940 & 255] });
}

t.test('M3: with clampMss a connection is told no more than the path has room for', async (t) => {
  const rooms = [
    ['off', 8_940, 8_940],
    [false, 8_940, 8_940],
    ['auto', 960, 940],
    [1_220, 1_220, 1_220],
    [8_460, 8_460, 8_460],
  ] as const;
  for (const [clampMss, four, six] of rooms) {
    const rig = new FlowRig(t, { mtu: 1000, clampMss, midStream: 'pickup' });
    for (const version of [4, 6] as const) {
      for (const flags of [SYN, SYN | ACK]) {
        const bytes = rig.send(synWithMss(version, flags)).bytes.subarray(40);
        const header = version === 4 ? 20 : 40;
        t.equal((bytes[header + 22] << 8) | bytes[header + 23], version === 4 ? four : six);
        t.equal(transportChecksum(bytes, header, TCP), 0, 'its checksum is right');
      }
    }
    t.equal(rig.gateway.counters().mssClamped, four === 8_940 ? 0 : 4);
  }
  for (const clampMss of ['on', true, 87, 8_461, 1_220.5, Number.NaN]) {
    const wrong = () => new FlowRig(t, { clampMss: clampMss as 'auto' });
    t.throws(wrong, { message: /^options\.clampMss: expected/ }, `${clampMss}`);
  }
});

t.test('N1: what no router forwards is dropped, whatever it is of', async (t) => {
  const rig = new FlowRig(t);
  const ends4 = { source: udp().source, destination: udp().destination };
  const local4 = [
    '0.0.0.0',
    '0.1.2.3',
    '127.0.0.1',
    '127.255.0.1',
    '169.254.0.1',
    '169.254.169.254',
  ];
  const local6 = ['::', '::1', 'fe80::1', 'febf:ffff::1'];
  const dropped = [
    ...local4.flatMap((address) => [
      { ...ends4, source: address },
      { ...ends4, destination: address },
    ]),
    ...['224.0.0.1', '224.0.0.251', '255.255.255.255'].map((destination) => ({
      ...ends4,
      destination,
    })),
    ...['224.0.1.1', '239.1.1.1', '255.255.255.255'].map((source) => ({ ...ends4, source })),
    ...local6.flatMap((address) => [
      { ...ENDS6, source: address },
      { ...ENDS6, destination: address },
    ]),
    ...['ff01::1', 'ff02::2', 'ff02::16', 'ff12::1', 'ff00::1'].map((destination) => ({
      ...ENDS6,
      destination,
    })),
    ...['ff02::1', 'ff0e::1'].map((source) => ({ ...ENDS6, source })),
  ];
  for (const ends of dropped) {
    const version = ends.source.includes(':') ? (6 as const) : (4 as const);
    const sent = udp(undefined, { version, ...ends });
    const where = `${ends.source} to ${ends.destination}`;
    t.match(rig.send(sent), { verdict: 'drop', reason: 'never_forwarded' }, where);
    t.equal(staysOnLink(sent), true, `${where}: the model too`);
  }
  t.equal(rig.gateway.counters().drops.never_forwarded, dropped.length);
  t.equal(rig.gateway.flows, 0);

  const forwarded = [
    ...['1.0.0.1', '126.255.255.255', '128.0.0.1', '169.253.255.255', '169.255.0.0'].map(
      (address) => ({ ...ends4, source: address }),
    ),
    ...['224.0.1.1', '239.255.255.250', '240.0.0.1', '255.255.255.254'].map((destination) => ({
      ...ends4,
      destination,
    })),
    ...['::2', '::1:0:0:1', 'fe00::1', 'fec0::1'].map((source) => ({ ...ENDS6, source })),
    ...['ff03::1', 'ff05::2', 'ff0e::1', 'ff15::1'].map((destination) => ({
      ...ENDS6,
      destination,
    })),
  ];
  for (const ends of forwarded) {
    const version = ends.source.includes(':') ? (6 as const) : (4 as const);
    const sent = udp(undefined, { version, ...ends });
    t.match(rig.send(sent), { verdict: 'forward' }, `${ends.source} to ${ends.destination}`);
    t.equal(staysOnLink(sent), false);
  }
});

t.test('E1: congestion marks by RFC 6040; everything else inside stays', async (t) => {
  const rig = new FlowRig(t);
  for (const whole of [udp(), udp6()]) {
    for (let inner = 0; inner < 4; inner++) {
      for (let outer = 0; outer < 4; outer++) {
        const sent = { ...whole, ecn: inner };
        const way = rig.send(sent);
        t.same(way.bytes.subarray(40), bytesOf(sent), 'untouched on the way out');
        const ecn = decapsulatedEcn(inner, outer);
        const { reason, bytes } = rig.backBytes(way, { ecn: outer });
        if (ecn === null) t.equal(reason, 'ecn_not_capable');
        else t.same(bytes, bytesOf({ ...sent, ecn }), `inner ${inner}, outer ${outer}`);
      }
    }
  }
});
