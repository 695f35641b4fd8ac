/** Rules P1 to P3 of docs/rules.md, each by example. */
import t from 'tap';
import { ACK, SYN } from '../model/packets.js';
import { FlowRig, tcp, udp } from './flow-rig.js';

/** A quarter of the table. */
const QUARTER = 256;

function flood(rig: FlowRig, count: number, first = 10_000): void {
  for (let i = 0; i < count; i++) rig.send(tcp(SYN, first + i));
}

t.test('P1: a flow is in probation until its target returns a packet of it', async (t) => {
  const rig = new FlowRig(t);
  rig.trip(tcp(SYN, 1));
  rig.send(tcp(SYN, 2));
  rig.send(tcp(ACK, 2));
  flood(rig, QUARTER);
  t.match(rig.send(tcp(ACK, 1)), { verdict: 'forward' });
  t.match(rig.send(tcp(ACK, 2)), { reason: 'tcp_not_syn' }, 'evicted');
});

t.test('P1: with promotion ingress until its second packet, a SYN sent again apart', async (t) => {
  const rig = new FlowRig(t, { promotion: 'ingress' });
  rig.send(tcp(SYN, 1));
  rig.send(tcp(ACK, 1));
  rig.send(tcp(SYN, 2));
  rig.send(tcp(SYN, 2));
  flood(rig, QUARTER);
  t.match(rig.send(tcp(ACK, 1)), { verdict: 'forward' });
  t.match(rig.send(tcp(ACK, 2)), { reason: 'tcp_not_syn' });
});

t.test('P1: a flow that moves leaves probation', async (t) => {
  const rig = new FlowRig(t, {}, { failover: 'rebalance' });
  const { target } = rig.send(udp(1));
  rig.group.setHealth(target, 'unhealthy');
  t.match(rig.send(udp(1)), { moved: true });
  flood(rig, QUARTER);
  t.match(rig.send(udp(1)), { isNew: false });
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

t.test('P3: in a full table a new flow takes the place of the oldest in probation', async (t) => {
  const rig = new FlowRig(t);
  const confirmed = 1024 - 10;
  for (let i = 0; i < confirmed; i++) rig.trip(udp(1 + i));
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
  for (let i = 0; i < 1024; i++) rig.trip(udp(1 + i));
  const way = rig.send(udp(30_000));
  t.match(way, { verdict: 'forward', isNew: false });
  t.equal(rig.back(way), 'forward', 'its cookie is signed well');
  t.equal(rig.back(way, { cookie: way.cookie ^ 1 }), 'no_flow');
  const other = way.target === '10.0.1.10' ? '10.0.1.11' : '10.0.1.10';
  t.equal(rig.back(way, { from: other }), 'no_flow');
  t.equal(rig.gateway.counters().packetsUntracked, 1);
  t.equal(rig.gateway.flows, 1024);
});
