/** Rules P1 to P3 of docs/rules.md, each by example. */
import t from 'tap';
import { ACK, FIN, packet, RST, reversed, SYN } from '../model/packets.js';
import { answer, CLIENT, FlowRig, SERVER, tcp, udp } from './flow-rig.js';

/** A quarter of the table. */
const QUARTER = 256;

function flood(rig: FlowRig, count: number, first = 10_000): void {
  for (let i = 0; i < count; i++) rig.send(tcp(SYN, first + i));
}

/** Whether the flow of this port keeps its entry in a flood of first packets. */
function isSafe(rig: FlowRig, sent = tcp(ACK, 1)): boolean {
  flood(rig, QUARTER);
  const { verdict, isNew } = rig.send(sent);
  return verdict === 'forward' && !isNew;
}

t.test('P1: a connection is in probation until its SYN-ACK is acknowledged', async (t) => {
  const answered = (rig: FlowRig) => {
    rig.trip(tcp(SYN, 1));
    rig.trip(answer(SYN | ACK, 1));
  };
  const half: Record<string, (rig: FlowRig) => void> = {
    'a SYN that was returned': (rig) => void rig.trip(tcp(SYN, 1)),
    'and its SYN-ACK': answered,
    'an acknowledgment without a SYN-ACK': (rig) => {
      rig.trip(tcp(SYN, 1));
      for (let i = 0; i < 5; i++) rig.trip(tcp(ACK, 1));
    },
    'one of another number': (rig) => {
      answered(rig);
      for (const beside of [-1_000_000, -2, 16_384, 1_000_000]) {
        rig.trip(tcp(ACK, 1, { acknowledgment: 77_000 + beside }));
      }
    },
    'one of the wrong end': (rig) => {
      answered(rig);
      rig.trip({ ...answer(ACK, 1), acknowledgment: 77_000 });
      rig.trip({ ...answer(ACK, 1), acknowledgment: 1001 });
    },
    'a RST of whoever was asked for it': (rig) => {
      answered(rig);
      rig.trip(tcp(RST, 1));
    },
    'a FIN in its place': (rig) => {
      answered(rig);
      rig.trip(tcp(FIN, 1));
    },
    'a SYN-ACK of the wrong end': (rig) => {
      rig.trip(tcp(SYN, 1));
      rig.trip(tcp(SYN | ACK, 1, { sequence: 76_999 }));
      rig.trip(tcp(ACK, 1));
    },
  };
  for (const [name, begin] of Object.entries(half)) {
    const rig = new FlowRig(t);
    begin(rig);
    t.notOk(isSafe(rig), name);
  }
  const whole: Record<string, (rig: FlowRig) => void> = {
    returned: (rig) => void rig.connect(1),
    'not returned': (rig) => {
      for (const sent of [tcp(SYN, 1), answer(SYN | ACK, 1), tcp(ACK, 1)]) rig.send(sent);
    },
    'by an appliance that answers itself': (rig) => {
      const way = rig.send(tcp(SYN, 1));
      t.equal(rig.back(way, { packet: answer(SYN | ACK, 1) }), 'forward');
      rig.send(tcp(ACK, 1));
    },
    'with the first bytes': (rig) => {
      answered(rig);
      rig.send(tcp(ACK | FIN, 1, { payload: 100, acknowledgment: 78_400 }));
    },
  };
  for (const [name, begin] of Object.entries(whole)) {
    const rig = new FlowRig(t);
    begin(rig);
    t.ok(isSafe(rig), name);
  }
});

t.test('P1: other flows until an end that was answered goes on', async (t) => {
  const once = new FlowRig(t);
  once.trip(udp(1));
  for (let i = 0; i < 5; i++) once.trip(reversed(udp(1)));
  t.notOk(isSafe(once, udp(1)), 'a question, and an answer in many packets');
  const talking = new FlowRig(t);
  talking.talk(udp(1));
  t.ok(isSafe(talking, udp(1)));
  const unseen = new FlowRig(t);
  for (const sent of [udp(1), reversed(udp(1)), udp(1)]) unseen.send(sent);
  t.notOk(isSafe(unseen, udp(1)), 'its target returns nothing');
  const echo = packet({ source: CLIENT, destination: SERVER, protocol: 1 });
  const pinging = new FlowRig(t);
  pinging.talk(echo);
  t.ok(isSafe(pinging, echo));
});

t.test('P1: a running connection that was picked up likewise, RST apart', async (t) => {
  const rig = new FlowRig(t, { midStream: 'pickup' });
  rig.trip(tcp(ACK, 1));
  rig.trip(answer(RST, 1));
  rig.trip(tcp(ACK, 2));
  rig.trip(answer(ACK, 2));
  rig.trip(tcp(ACK, 2));
  for (let i = 0; i < 8; i++) rig.trip(tcp(ACK, 3));
  flood(rig, QUARTER);
  t.match(rig.send(tcp(ACK, 1)), { isNew: true }, 'an answer that says there is none');
  t.match(rig.send(tcp(ACK, 2)), { isNew: false });
  t.match(rig.send(tcp(ACK, 3)), { isNew: true }, 'one end alone');
});

t.test('P1: and one that was learnt is in probation too', async (t) => {
  const rig = new FlowRig(t, { midStream: 'auto' });
  const way = { ...rig.send(udp(1)), packet: tcp(SYN, 1), target: '10.0.1.11' };
  t.equal(rig.back(way, { cookie: rig.signed(tcp(SYN, 1), 1, 0) }), 'forward');
  t.same(rig.said(), ['opened new', 'opened learnt']);
  flood(rig, QUARTER);
  t.ok(rig.said().includes('ended evicted'));
  t.match(rig.send(tcp(SYN, 1)), { isNew: true });
});

t.test('P1: a silent end is made up for by four packets; of TCP with ingress only', async (t) => {
  const rig = new FlowRig(t);
  for (let i = 0; i < 4; i++) rig.trip(udp(1));
  for (let i = 0; i < 3; i++) rig.trip(udp(2));
  flood(rig, QUARTER);
  t.match(rig.send(udp(1)), { isNew: false });
  t.match(rig.send(udp(2)), { isNew: true });
  const ingress = new FlowRig(t, { promotion: 'ingress' });
  ingress.send(tcp(SYN, 1));
  for (let i = 0; i < 4; i++) ingress.send(tcp(ACK, 1));
  ingress.send(tcp(SYN, 2));
  for (let i = 0; i < 3; i++) ingress.send(tcp(ACK, 2));
  for (let i = 0; i < 8; i++) ingress.send(tcp(SYN, 3));
  ingress.send(tcp(SYN, 4));
  ingress.send(answer(SYN | ACK, 4));
  for (let i = 0; i < 8; i++) ingress.send(tcp(ACK, 4, { acknowledgment: 5 }));
  flood(ingress, QUARTER);
  t.match(ingress.send(tcp(ACK, 1)), { verdict: 'forward' });
  t.match(ingress.send(tcp(ACK, 2)), { reason: 'tcp_not_syn' });
  t.match(ingress.send(tcp(ACK, 3)), { reason: 'tcp_not_syn' }, 'a SYN sent again');
  t.match(ingress.send(tcp(ACK, 4)), { reason: 'tcp_not_syn' }, 'the other end is not silent');
});

t.test('P1: with promotion ingress what enters counts, and not what is returned', async (t) => {
  const rig = new FlowRig(t, { promotion: 'ingress' });
  for (const sent of [udp(1), reversed(udp(1)), udp(1)]) rig.send(sent);
  const way = rig.send(udp(2));
  for (let i = 0; i < 8; i++) rig.back(way);
  flood(rig, QUARTER);
  t.match(rig.send(udp(1)), { isNew: false });
  t.match(rig.send(udp(2)), { isNew: true });
});

t.test('P1: a flow that moves stays in probation', async (t) => {
  const rig = new FlowRig(t, {}, { failover: 'rebalance' });
  const { target } = rig.send(udp(1));
  rig.group.setHealth(target, 'unhealthy');
  t.match(rig.send(udp(1)), { moved: true });
  t.notOk(isSafe(rig, udp(1)));
});

t.test('P2: a quarter of the table is for probation, and the oldest gives way', async (t) => {
  const rig = new FlowRig(t);
  rig.send(tcp(SYN, 1));
  flood(rig, QUARTER - 1);
  t.equal(rig.gateway.flows, QUARTER);
  t.match(rig.send(tcp(ACK, 1)), { verdict: 'forward' }, 'still there');
  rig.send(tcp(SYN, 2));
  t.match(rig.send(tcp(ACK, 1)), { reason: 'tcp_not_syn' });
  t.equal(rig.gateway.flows, QUARTER);
  t.equal(rig.gateway.counters().flowsEvicted, 1);
  t.match(rig.said().slice(-2), ['ended evicted', 'opened new']);
  flood(rig, 10 * QUARTER, 20_000);
  t.equal(rig.gateway.flows, QUARTER, 'a flood fills no more than that');
});

t.test('P2: half-open connections fill no more, whoever returns what', async (t) => {
  const rig = new FlowRig(t);
  for (let port = 10_000; port < 11_100; port++) {
    rig.trip(tcp(SYN, port));
    rig.trip(answer(SYN | ACK, port));
  }
  t.equal(rig.gateway.flows, QUARTER);
  const ports = Array.from({ length: 8 }, (_, i) => 1 + i);
  const before = ports.map((port) => rig.connect(port).target);
  rig.group.register({ address: '10.0.1.12', weight: 1000 });
  const after = ports.map((port) => rig.send(tcp(ACK, port)));
  t.same(
    after.map(({ target }) => target),
    before,
  );
  t.equal(rig.gateway.counters().packetsUntracked, 0);
});

t.test('P3: in a full table a new flow takes the place of the oldest in probation', async (t) => {
  const rig = new FlowRig(t);
  const confirmed = 1024 - 10;
  for (let i = 0; i < confirmed; i++) rig.talk(udp(1 + i));
  flood(rig, 10);
  t.equal(rig.gateway.flows, 1024);
  // The places of the confirmed ones in the queue are passed first, 64 for each new flow.
  for (let i = 0; i < 4; i++) rig.send(udp(30_000 + i));
  t.match(rig.gateway.counters(), { flowsEvicted: 1, packetsUntracked: 3 });
  t.equal(rig.gateway.flows, 1024);
  t.match(rig.send(tcp(ACK, 10_000)), { verdict: 'forward' }, 'picked up: see C3');
});

t.test('P3: where all are confirmed, a new flow is carried without an entry', async (t) => {
  const rig = new FlowRig(t);
  for (let i = 0; i < 1024; i++) rig.talk(udp(1 + i));
  const way = rig.send(udp(30_000));
  t.match(way, { verdict: 'forward', isNew: false });
  t.equal(rig.back(way), 'forward', 'its cookie is signed well');
  t.equal(rig.back(way, { cookie: way.cookie ^ 1 }), 'no_flow');
  const other = way.target === '10.0.1.10' ? '10.0.1.11' : '10.0.1.10';
  t.equal(rig.back(way, { from: other }), 'no_flow');
  t.equal(rig.gateway.counters().packetsUntracked, 1);
  t.equal(rig.gateway.flows, 1024);
});
