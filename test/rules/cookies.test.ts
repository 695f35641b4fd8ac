/** Rules W of docs/rules.md, each by example. */
import t from 'tap';
import { ACK, reversed, SYN } from '../model/packets.js';
import { answer, FlowRig, OTHER_KEY, tcp, udp } from './flow-rig.js';

const other = (target: string) => (target === '10.0.1.10' ? '10.0.1.11' : '10.0.1.10');
const slotOf = (cookie: number) => cookie >>> 20;

/** A flow with rebalance that has moved; the way before, and after. */
function moved(rig: FlowRig) {
  const before = rig.trip(tcp(SYN));
  rig.group.setHealth(before.target, 'unhealthy');
  const after = rig.send(tcp(ACK));
  return { before, after };
}

t.test('W1: slot, incarnation and a keyed tag; one cookie for both directions', async (t) => {
  const rig = new FlowRig(t);
  const { cookie, target } = rig.trip(tcp(SYN));
  t.equal(rig.group.targetInSlot(slotOf(cookie))?.address, target);
  t.equal((cookie >>> 16) & 15, 0);
  t.equal(cookie, rig.signed(tcp(SYN), slotOf(cookie), 0));
  t.equal(rig.trip(answer(SYN | ACK)).cookie, cookie);
  t.equal(rig.trip(tcp(ACK)).cookie, cookie);
  rig.wait(300_000);
  t.equal(rig.trip(tcp(ACK)).cookie, cookie, 'for the flow’s life at its target');
});

t.test('W2: the flow’s cookie from the flow’s target goes out, from another one not', async (t) => {
  const rig = new FlowRig(t);
  const way = rig.send(tcp(SYN));
  t.equal(rig.back(way), 'forward');
  t.equal(rig.back(way, { from: other(way.target) }), 'wrong_target');
  t.equal(rig.back(way, { from: '10.0.1.99' }), 'unknown_source');
  t.equal(rig.back(way, { packet: reversed(way.packet) }), 'forward', 'an appliance that answers');
});

t.test('W3: an older incarnation goes out, unless cookies are checked strictly', async (t) => {
  for (const cookieCheck of ['lenient', 'strict'] as const) {
    const rig = new FlowRig(t, { cookieCheck });
    const first = rig.trip(tcp(SYN));
    rig.trip(tcp(ACK));
    t.not(rig.trip(tcp(SYN)).cookie, first.cookie);
    t.equal(rig.back(first), cookieCheck === 'strict' ? 'wrong_cookie' : 'forward');
    t.equal(rig.back(first, { cookie: first.cookie ^ 0x1 }), 'wrong_cookie', 'a bad tag');
    t.equal(rig.back(first, { cookie: first.cookie ^ 0x50000 }), 'wrong_cookie', 'not signed');
  }
});

t.test('W4: the cookie of another slot is welcome for 30 s after a move', async (t) => {
  const rig = new FlowRig(t, {}, { failover: 'rebalance' });
  const { before, after } = moved(rig);
  t.match(after, { moved: true, target: other(before.target) });
  t.equal(rig.back(after), 'forward');
  t.equal(rig.back(before), 'forward');
  t.equal(rig.back(before, { from: after.target }), 'wrong_target');
  rig.now += 29_800;
  t.equal(rig.back(before), 'forward');
  rig.now += 200;
  t.equal(rig.back(before), 'wrong_target');
  t.equal(rig.back(after), 'forward');
});

t.test('W4: and only from where the flow was', async (t) => {
  const rig = new FlowRig(t);
  const way = rig.trip(tcp(SYN));
  const slot = slotOf(way.cookie) === 0 ? 1 : 0;
  const cookie = rig.signed(tcp(SYN), slot, 0);
  t.equal(rig.back(way, { cookie, from: other(way.target) }), 'wrong_target');
  t.equal(rig.back(way, { cookie: cookie ^ 1, from: other(way.target) }), 'wrong_cookie');
});

t.test('W5: what is returned of no flow is dropped', async (t) => {
  const rig = new FlowRig(t);
  const way = rig.send(tcp(SYN));
  rig.wait(350_000);
  t.equal(rig.back(way), 'no_flow');
  t.equal(rig.gateway.flows, 0);
});

t.test('W5: while learning, a good tag from its own target pins the flow', async (t) => {
  const rig = new FlowRig(t, { midStream: 'auto' });
  // The gateway before this one had sent the packet to the target in slot 1.
  const way = { ...rig.send(udp(1)), packet: tcp(ACK), target: '10.0.1.11' };
  const cookie = rig.signed(tcp(ACK), 1, 3);
  t.equal(rig.back(way, { cookie: cookie ^ 1 }), 'no_flow');
  t.equal(rig.back(way, { cookie, from: '10.0.1.10' }), 'no_flow');
  t.equal(rig.back(way, { cookie }), 'forward');
  t.same(rig.said(), ['opened new', 'opened learnt']);
  t.match(rig.send(tcp(ACK)), { target: '10.0.1.11', cookie, isNew: false });
  rig.now += 350_000;
  const late = { ...way, packet: tcp(ACK, 2) };
  t.equal(rig.back(late, { cookie: rig.signed(tcp(ACK, 2), 1, 0) }), 'no_flow');
});

t.test('W6: another key signs new cookies; those that are there stay', async (t) => {
  const rig = new FlowRig(t);
  const old = rig.trip(tcp(SYN));
  rig.gateway.rotateCookieKey({ key: OTHER_KEY, overlapSeconds: 60 });
  t.equal(rig.trip(tcp(ACK)).cookie, old.cookie);
  const reopened = rig.trip(tcp(SYN));
  t.equal(reopened.cookie, rig.signed(tcp(SYN), slotOf(old.cookie), 1, OTHER_KEY));
  rig.now += 59_999;
  t.equal(rig.back(old), 'forward', 'signed with the key before');
  rig.now += 1;
  t.equal(rig.back(old), 'wrong_cookie');
  t.equal(rig.back(reopened), 'forward');
});

t.test('W6: a cookie in the table needs no key at all', async (t) => {
  const rig = new FlowRig(t);
  const way = rig.trip(tcp(SYN));
  rig.gateway.rotateCookieKey({ overlapSeconds: 0 });
  rig.gateway.rotateCookieKey({ overlapSeconds: 0 });
  rig.now += 1000;
  t.equal(rig.back(way), 'forward');
});
