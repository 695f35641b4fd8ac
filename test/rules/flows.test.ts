/** Rules K, C, P of docs/rules.md, each by example. */
import t from 'tap';
import { ACK, FIN, type Packet, packet, RST, reversed, SYN } from '../model/packets.js';
import { answer, CLIENT, CLIENT6, FlowRig, SERVER, SERVER6, tcp, udp } from './flow-rig.js';

function ends({ source, destination, sourcePort, destinationPort }: Packet) {
  return { source, destination, sourcePort, destinationPort };
}

t.test('K1: both directions of a 5-tuple are one flow, by default', async (t) => {
  const rig = new FlowRig(t);
  const there = rig.trip(udp());
  const back = rig.trip(reversed(udp()));
  t.equal(back.cookie, there.cookie);
  t.equal(back.target, there.target);
  t.not(rig.trip(udp(50_001)).cookie, there.cookie);
  t.not(rig.trip(tcp()).cookie, there.cookie);
  const echo = packet({ source: CLIENT, destination: SERVER, protocol: 1 });
  const gre = packet({ source: CLIENT6, destination: SERVER6, protocol: 47 });
  t.equal(rig.trip(reversed(echo)).cookie, rig.trip(echo).cookie);
  t.equal(rig.trip(reversed(gre)).cookie, rig.trip(gre).cookie);
  t.equal(rig.gateway.flows, 5);
});

t.test('K1: with 3-tuples and 2-tuples fewer fields make a flow', async (t) => {
  const three = new FlowRig(t, {}, { stickiness: '3-tuple' });
  t.equal(three.trip(udp(1)).cookie, three.trip(udp(2)).cookie);
  t.not(three.trip(tcp()).cookie, three.trip(udp()).cookie);
  t.equal(three.gateway.flows, 2);
  const two = new FlowRig(t, {}, { stickiness: '2-tuple' });
  t.equal(two.trip(tcp()).cookie, two.trip(udp()).cookie);
  t.equal(two.gateway.flows, 1);
});

t.test('K2: equal tuples of two endpoints are two flows; one with scope gateway', async (t) => {
  const apart = new FlowRig(t);
  t.not(apart.trip(udp(), 0).cookie, apart.trip(udp(), 1).cookie);
  t.equal(apart.gateway.flows, 2);
  const together = new FlowRig(t, {}, { scope: 'gateway' });
  t.equal(together.trip(udp(), 0).cookie, together.trip(reversed(udp()), 1).cookie);
  t.equal(together.gateway.flows, 1);
});

t.test('K3: the first packet pins the flow to its row, whatever the rows become', async (t) => {
  const rig = new FlowRig(t);
  const ports = Array.from({ length: 60 }, (_, i) => 1 + i);
  const before = ports.map((port) => rig.send(udp(port)));
  t.ok(before.every(({ isNew }) => isNew));
  rig.group.register({ address: '10.0.1.12', weight: 10 });
  const after = ports.map((port) => rig.send(udp(port)));
  t.same(
    after.map(({ target }) => target),
    before.map(({ target }) => target),
  );
  t.ok(after.every(({ isNew, moved }) => !isNew && !moved));
  const fresh = ports.map((port) => rig.send(udp(1000 + port)).target);
  t.ok(fresh.includes('10.0.1.12'), 'new flows take the rows as they are');
});

t.test('K4: without a target the first packet is rejected, and leaves no entry', async (t) => {
  const rig = new FlowRig(t, {}, { deregistrationDelaySeconds: 0 });
  rig.group.deregister('10.0.1.10', '10.0.1.11');
  t.match(rig.send(tcp()), { verdict: 'drop', reason: 'no_targets' });
  t.match(rig.send(udp()), { verdict: 'drop', reason: 'no_targets' });
  t.equal(rig.gateway.flows, 0);
  t.match(rig.gateway.counters(), { flowsRejected: 2, flowsRejectedTcp: 1, flowsNew: 0 });
});

t.test('C1: a SYN opens a connection, and only that', async (t) => {
  for (const flags of [ACK, SYN | ACK, RST, FIN, SYN | FIN, SYN | RST, 0]) {
    const rig = new FlowRig(t);
    t.match(rig.send(tcp(flags)), { verdict: 'drop', reason: 'tcp_not_syn' }, `flags ${flags}`);
    t.equal(rig.gateway.flows, 0);
  }
  const rig = new FlowRig(t);
  t.match(rig.send(tcp(SYN)), { verdict: 'forward', isNew: true });
  t.match(rig.send(answer(SYN | ACK)), { verdict: 'forward', isNew: false });
  t.same(rig.said(), ['opened new']);
});

t.test('C2: with onIdleTimeout it is answered with a RST, unless it is one', async (t) => {
  const rig = new FlowRig(t, { sendTcpReset: { onIdleTimeout: true } });
  for (const flags of [ACK, SYN | ACK, FIN | ACK]) {
    t.match(rig.send(tcp(flags)), { verdict: 'reply', reason: 'tcp_not_syn' });
  }
  t.match(rig.send(tcp(RST)), { verdict: 'drop', reason: 'tcp_not_syn' });
  t.match(rig.gateway.counters(), { resetsSent: 3, drops: { tcp_not_syn: 4 } });
  const { bytes } = rig.send(tcp(ACK));
  const view = new DataView(bytes.buffer);
  t.equal(view.getUint16(20), 443, 'as if from the server');
  t.equal(view.getUint16(22), 50_000);
  t.equal(view.getUint32(24), 77_000, 'with the number the client waits for');
  t.equal(bytes[33], RST);
});

t.test('C3: while learning, connections are picked up where they are', async (t) => {
  const rig = new FlowRig(t, { midStream: 'auto' });
  t.match(rig.send(tcp(ACK)), { verdict: 'forward', isNew: true });
  t.match(rig.send(tcp(RST, 2)), { verdict: 'drop' });
  rig.now += 349_999;
  t.match(rig.send(tcp(ACK, 3)), { verdict: 'forward', isNew: true });
  rig.now += 1;
  t.match(rig.send(tcp(ACK, 4)), { verdict: 'drop', reason: 'tcp_not_syn' });
  t.same(rig.said(), ['opened picked-up', 'opened picked-up']);
  t.equal(rig.gateway.counters().flowsPickedUp, 2);
  const always = new FlowRig(t, { midStream: 'pickup' });
  always.send(udp());
  always.now += 10_000_000;
  t.match(always.send(tcp(ACK)), { verdict: 'forward', isNew: true });
});

t.test('C3: learning begins with the first packet, not with a sweep before it', async (t) => {
  const rig = new FlowRig(t, { midStream: 'auto' });
  // Route changes bring running connections long after the gateway was started and swept.
  rig.wait(0);
  rig.wait(350_000);
  t.match(rig.send(tcp(ACK)), { verdict: 'forward', isNew: true });
});

t.test('C3: connections that were carried without an entry are picked up', async (t) => {
  const rig = new FlowRig(t, {}, { failOpen: true, deregistrationDelaySeconds: 0 });
  rig.group.deregister('10.0.1.10', '10.0.1.11');
  t.match(rig.send(tcp(SYN)), { verdict: 'bypass' });
  rig.group.register({ address: '10.0.1.12' });
  rig.now += 349_999;
  t.match(rig.send(tcp(ACK)), { verdict: 'forward', isNew: true });
  rig.now += 1;
  t.match(rig.send(tcp(ACK, 2)), { verdict: 'drop', reason: 'tcp_not_syn' });
});

t.test('C4: a SYN after the handshake is a new flow at the same target', async (t) => {
  const rig = new FlowRig(t);
  const first = rig.trip(tcp(SYN));
  t.equal(rig.trip(tcp(SYN)).cookie, first.cookie, 'sent again');
  rig.trip(tcp(ACK));
  const second = rig.trip(tcp(SYN));
  t.equal(second.target, first.target);
  t.equal((second.cookie >>> 16) & 15, 1, 'another incarnation');
  t.same(rig.said(), ['opened new', 'ended replaced', 'opened reopened']);
  for (let i = 2; i <= 16; i++) {
    rig.trip(tcp(ACK));
    t.equal((rig.trip(tcp(SYN)).cookie >>> 16) & 15, i % 16);
  }
  t.equal(rig.gateway.flows, 1);
});

t.test('C4: one on an entry that is over, or whose target is, chooses anew', async (t) => {
  const ports = Array.from({ length: 30 }, (_, i) => 1 + i);
  const ends = {
    closed: (rig: FlowRig, port: number) => {
      rig.trip(tcp(FIN | ACK, port));
      rig.trip(answer(FIN | ACK, port));
    },
    reset: (rig: FlowRig, port: number) => void rig.trip(tcp(RST, port)),
    open: () => {},
  };
  for (const [name, end] of Object.entries(ends)) {
    const rig = new FlowRig(t);
    const before = ports.map((port) => rig.trip(tcp(SYN, port)).target);
    for (const port of ports) end(rig, port);
    rig.group.register({ address: '10.0.1.12', weight: 1000 });
    const after = ports.map((port) => {
      if (name === 'open') rig.trip(tcp(ACK, port));
      return rig.trip(tcp(SYN, port)).target;
    });
    if (name === 'open') t.same(after, before, 'a living one keeps its target');
    else t.ok(after.includes('10.0.1.12'), name);
  }
  const rig = new FlowRig(t);
  const halfOpen = ports.map((port) => rig.trip(tcp(SYN, port)));
  rig.group.deregister('10.0.1.10');
  for (const { packet: syn, target } of halfOpen) {
    t.match(rig.send(syn), { target: '10.0.1.11', isNew: target === '10.0.1.10' });
  }
});

/** What may become of a target without its connections being over. */
const RETIREMENTS: Record<string, (rig: FlowRig, target: string) => void> = {
  draining: (rig, target) => void rig.group.deregister(target),
  'weight 0': (rig, target) => void rig.group.setWeight(target, 0),
  'as it was': () => {},
};

t.test('C4: a stray SYN leaves a living connection where it is', async (t) => {
  for (const [name, retire] of Object.entries(RETIREMENTS)) {
    for (const begin of ['connect', 'pick up'] as const) {
      const rig = new FlowRig(t, { midStream: 'pickup' });
      const { target, cookie } = begin === 'connect' ? rig.connect() : rig.trip(tcp(ACK));
      rig.said();
      retire(rig, target);
      for (const sequence of [1000, 77_777]) {
        const stays = { target, cookie, isNew: false };
        t.match(rig.send(tcp(SYN, 50_000, { sequence })), stays, `${name}, ${begin}: the SYN`);
        t.match(rig.send(answer(ACK)), stays, 'its other end says that it lives');
        t.match(rig.send(tcp(ACK)), stays);
        t.match(rig.send({ ...answer(SYN | ACK), ...ends(tcp()) }), stays, 'the wrong end');
      }
      t.same(rig.said(), []);
    }
  }
});

t.test('C4: a SYN-ACK says that there is a new connection', async (t) => {
  for (const [name, retire] of Object.entries(RETIREMENTS)) {
    const rig = new FlowRig(t);
    const { target, cookie } = rig.connect();
    rig.said();
    retire(rig, target);
    t.match(rig.send(tcp(SYN)), { target, cookie, isNew: false });
    const reopened = rig.trip(answer(SYN | ACK));
    t.equal(reopened.target === target, name === 'as it was', name);
    t.equal((reopened.cookie >>> 16) & 15, 1, 'another incarnation');
    t.same(rig.said(), ['ended replaced', 'opened reopened']);
    rig.trip(tcp(ACK));
    rig.wait(300_000);
    t.match(rig.send(tcp(ACK)), { cookie: reopened.cookie }, 'established');
  }
});

t.test('C4: where its target is lost the SYN alone chooses anew', async (t) => {
  const rig = new FlowRig(t);
  const { target } = rig.connect();
  rig.group.setHealth(target, 'unhealthy');
  t.match(rig.send(tcp(ACK)), { target }, 'no_rebalance');
  const other = target === '10.0.1.10' ? '10.0.1.11' : '10.0.1.10';
  t.match(rig.send(tcp(SYN)), { target: other, isNew: true });
  const gone = new FlowRig(t, {}, { deregistrationDelaySeconds: 0 });
  const before = gone.connect();
  gone.group.deregister(before.target);
  t.match(gone.send(tcp(ACK)), { target: before.target }, 'no_rebalance');
  t.match(gone.send(tcp(SYN)), { isNew: true });
});

t.test('C5: after FIN in both directions the entry ends in 15 s', async (t) => {
  const rig = new FlowRig(t);
  rig.connect();
  rig.trip(tcp(FIN | ACK));
  rig.wait(60_000);
  t.equal(rig.gateway.flows, 1, 'half closed');
  rig.trip(answer(FIN | ACK));
  rig.wait(14_999);
  rig.trip(tcp(ACK));
  rig.wait(14_999);
  t.equal(rig.gateway.flows, 1);
  rig.wait(1);
  t.equal(rig.gateway.flows, 0);
  t.same(rig.said(), ['opened new', 'ended closed']);
});

t.test('C6: after RST it ends in 10 s, unless its ends go on', async (t) => {
  const rig = new FlowRig(t);
  rig.connect();
  const way = rig.trip(tcp(RST));
  rig.wait(9_999);
  rig.trip(answer(ACK));
  rig.wait(60_000);
  t.equal(rig.gateway.flows, 1, 'the RST was forged');
  rig.trip(tcp(RST));
  rig.back(way);
  rig.wait(10_000);
  t.equal(rig.gateway.flows, 0);
  t.same(rig.said(), ['opened new', 'ended reset']);
});

t.test('C7: each protocol has its timeout, and every packet refreshes', async (t) => {
  const rig = new FlowRig(t);
  rig.connect();
  const query = rig.trip(udp());
  rig.wait(119_999);
  t.equal(rig.gateway.flows, 2);
  t.equal(rig.back(query), 'forward');
  rig.wait(119_999);
  t.equal(rig.gateway.flows, 2, 'a returned packet refreshes too');
  rig.wait(1);
  t.equal(rig.gateway.flows, 1);
  rig.gateway.setIdleTimeout({ tcpSeconds: 240 });
  rig.wait(1);
  t.equal(rig.gateway.flows, 0, 'changes count for flows that are there');
  t.same(rig.said(), ['opened new', 'opened new', 'ended idle', 'ended idle']);
});

t.test('C7: a connection that is not established ends earlier', async (t) => {
  const lasts = (begin: (rig: FlowRig) => void, ms: number, name: string, tcpSeconds = 350) => {
    const rig = new FlowRig(t);
    rig.gateway.setIdleTimeout({ tcpSeconds });
    begin(rig);
    rig.wait(ms - 1);
    t.equal(rig.gateway.flows, 1, name);
    rig.wait(1);
    t.equal(rig.gateway.flows, 0, name);
    t.same(rig.said().slice(-1), ['ended idle']);
  };
  const answered = (rig: FlowRig) => {
    rig.trip(tcp(SYN));
    rig.trip(answer(SYN | ACK));
  };
  const forged = (rig: FlowRig) => {
    answered(rig);
    rig.trip(tcp(ACK, 50_000, { acknowledgment: 5 }));
  };
  const resetAndBack = (rig: FlowRig) => {
    answered(rig);
    rig.trip(tcp(RST));
    rig.trip(tcp(ACK, 50_000, { acknowledgment: 5 }));
  };
  lasts((rig) => void rig.trip(tcp(SYN)), 120_000, 'a SYN');
  lasts(answered, 60_000, 'a SYN-ACK');
  lasts(forged, 60_000, 'an acknowledgment of nothing');
  lasts(resetAndBack, 60_000, 'a RST that was forged');
  lasts((rig) => void rig.connect(), 350_000, 'established');
  lasts((rig) => void rig.trip(tcp(SYN)), 90_000, 'a shorter idle timeout', 90);
});

t.test(
  'T9: a flow that was told to move, and may stay, stays when its target drains',
  async (t) => {
    // It had no packet between the failure and the recovery, so its pin is still the one of before.
    const rig = new FlowRig(t, {}, { failover: 'rebalance' });
    const { target } = rig.trip(udp());
    rig.group.setHealth(target, 'unhealthy');
    rig.group.setHealth(target, 'healthy');
    rig.group.deregister(target);
    t.match(rig.send(udp()), { target, moved: false }, 'T5: its flows stay for the delay');
  },
);

t.test(
  'T10: a flow that was told to move stays when all are unhealthy, and then one leaves',
  async (t) => {
    const rig = new FlowRig(t, {}, { failover: 'rebalance', deregistrationDelaySeconds: 0 });
    const { target } = rig.trip(udp());
    rig.group.setHealth(target, 'unhealthy');
    for (const { id } of rig.group.targets()) rig.group.setHealth(id, 'unhealthy');
    rig.group.deregister(target);
    t.match(rig.send(udp()), { target, moved: false });
  },
);
