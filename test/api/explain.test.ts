/** What explain says, held to what then happens. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import {
  type Explanation,
  type Target,
  type TargetGroupOptions,
  tuplePacket,
} from '../../src/index.js';
import { ROOT } from '../support/places.js';
import { ACK, BACK, FIN, ID, Rig, RST, SYN, TCP, UDP } from './explain-rig.js';

type Assert = Pick<typeof t, 'ok' | 'match'>;

const described = new Set(
  [...readFileSync(join(ROOT, 'docs/rules.md'), 'utf8').matchAll(/^\| ([A-Z]\d+) \|/gm)].map(
    ([, rule]) => rule,
  ),
);

/** The decision and its rule, which must be on the page of rules. */
function decided(t: Assert, explanation: Explanation): string {
  const { decision, rule, text } = explanation;
  t.ok(rule === null || described.has(rule), `${rule} is a rule of docs/rules.md`);
  t.match(text, `${decision}${rule === null ? '' : ` (${rule})`}`);
  return `${decision} ${rule}`;
}

t.test('a new flow, its entry, and its end', async (t) => {
  const rig = new Rig(t);
  const { gateway } = rig;
  const before = gateway.explain(TCP);
  t.equal(decided(t, before), 'new K3');
  t.equal(before.rows, 65_536);
  t.strictSame(
    [before.tcp, before.idle, before.moved, before.probation],
    [null, null, null, false],
  );
  t.match(before.ifTargetFails, { event: 'unhealthy', fate: 'chooses', rule: 'T1' });
  t.equal(before.ifTargetFails?.to, before.candidates[1].target, 'the next candidate');
  t.strictSame(before.policy, {
    failover: 'no_rebalance',
    sendTcpReset: { onUnhealthy: false, onDeregistration: false, onIdleTimeout: false },
    stickiness: '5-tuple',
    scope: 'endpoint',
    crossZone: false,
    failOpen: false,
    deregistrationDelaySeconds: 300,
    healthChecks: true,
  });

  t.equal(rig.send(tuplePacket(TCP, SYN)), before.target, 'it went where it was said to go');
  rig.wait(5000);
  const opened = gateway.explain(BACK);
  t.equal(decided(t, opened), 'pinned K3');
  t.strictSame(opened.tcp, { state: 'opening', finFrom: [] });
  t.equal(opened.probation, true);
  rig.returns();
  const answered = gateway.explain(TCP);
  t.strictSame(answered.probation, true, 'its target returned a packet, which says nothing');
  t.strictSame(answered.idle, { timeout: 'syn-seen', timeoutMs: 120_000, leftMs: 120_000 });
  t.match(answered.cookie, { slot: before.target?.slot, incarnation: 0, signed: true });

  rig.send(tuplePacket(BACK, SYN | ACK));
  t.match(gateway.explain(TCP), {
    tcp: { state: 'opening' },
    idle: { timeout: 'syn-ack-seen', timeoutMs: 60_000 },
  });
  rig.send(tuplePacket(TCP, ACK));
  t.match(gateway.explain(TCP), {
    probation: false,
    tcp: { state: 'established' },
    idle: { timeout: 'tcp', timeoutMs: 350_000 },
  });
  t.equal(decided(t, gateway.explain(tuplePacket(TCP, SYN))), 'pinned C4');
  rig.send(tuplePacket(TCP, FIN));
  t.strictSame(gateway.explain(TCP).tcp, { state: 'half-closed', finFrom: [TCP.source] });
  t.match(gateway.explain(TCP).text, /half-closed by 203\.0\.113\.9:52144/);
  rig.send(tuplePacket(BACK, FIN));
  const closing = gateway.explain(TCP);
  t.equal(closing.tcp?.state, 'closing');
  t.strictSame(closing.idle, { timeout: 'closing', timeoutMs: 15_000, leftMs: 15_000 });
  t.equal(decided(t, gateway.explain(tuplePacket(TCP, SYN))), 'reopened C4');
  rig.send(tuplePacket(TCP, RST));
  t.match(gateway.explain(TCP), { tcp: { state: 'reset' }, idle: { timeoutMs: 10_000 } });

  const udp = gateway.explain(UDP);
  t.equal(decided(t, udp), 'new K3');
  rig.send(tuplePacket(UDP));
  t.match(gateway.explain(UDP), { tcp: null, idle: { timeout: 'other', timeoutMs: 120_000 } });
});

t.test('packets that do not go on, and why', async (t) => {
  const rig = new Rig(t, {}, { midStream: 'drop' });
  const { gateway } = rig;
  t.equal(decided(t, gateway.explain(tuplePacket(TCP, ACK))), 'dropped C2');
  t.equal(gateway.explain(tuplePacket(TCP, ACK)).ifTargetFails, null);
  gateway.setTcpReset({ onIdleTimeout: true });
  const refused = gateway.explain(tuplePacket(TCP, ACK));
  t.equal(decided(t, refused), 'refused C2');
  t.equal(refused.dropReason, 'tcp_not_syn');
  t.match(refused.text, /answered with a RST/);
  t.equal(rig.send(tuplePacket(TCP, ACK)), 'reply');

  const big = tuplePacket(UDP, 0, new Uint8Array(600));
  const small = gateway.createEndpoint({ zone: 'a', mtu: 600 });
  t.equal(decided(t, gateway.explain(big, { endpoint: small })), 'dropped M1');
  t.equal(decided(t, gateway.explain(big, { endpoint: ID })), 'new K3');
  gateway.removeEndpoint(small);
  const malformed = gateway.explain(big.subarray(0, 19));
  t.strictSame([malformed.decision, malformed.rule, malformed.excluded], ['dropped', null, []]);

  rig.group.deregister(...rig.group.targets());
  t.equal(decided(t, gateway.explain(TCP)), 'dropped K4');
  rig.group.update({ failOpen: true });
  t.equal(decided(t, gateway.explain(TCP)), 'bypassed T11');
  const picking = new Rig(t, {}, { midStream: 'pickup' });
  t.equal(decided(t, picking.gateway.explain(tuplePacket(TCP, ACK))), 'picked-up C3');
});

t.test('an ICMP error is told by the flow it quotes', async (t) => {
  const rig = new Rig(t, {}, { midStream: 'drop' });
  const quoted = tuplePacket(UDP).subarray(0, 28);
  const error = tuplePacket(
    { protocol: 'icmp', source: '10.0.2.10', destination: '203.0.113.9' },
    0,
    quoted,
  );
  error[20] = 3;
  error[21] = 3;
  t.equal(decided(t, rig.gateway.explain(error)), 'dropped I2');
  const target = rig.send(tuplePacket(UDP));
  const followed = rig.gateway.explain(error);
  t.equal(decided(t, followed), 'pinned I1');
  t.equal(followed.target, target);
  const learning = new Rig(t).gateway.explain(error);
  t.equal(decided(t, learning), 'new I5', 'its connection may be older than the gateway');
  t.equal(learning.target, learning.chosen);
});

t.test('targets that are no candidates, and why', async (t) => {
  const rig = new Rig(t, {}, {}, ['a', 'a', 'a', 'a', 'b']);
  const [one, two, three, four, five] = rig.group.targets();
  rig.fail(one);
  rig.group.deregister(two);
  rig.group.setWeight(three, 0);
  const { candidates, excluded, text } = rig.gateway.explain(TCP);
  t.strictSame(
    candidates.map(({ target }) => target),
    [four],
  );
  t.strictSame(
    excluded.map(({ target, why }) => [target.id, why]),
    [
      [one.id, 'unhealthy'],
      [two.id, 'draining'],
      [three.id, 'weight-0'],
      [five.id, 'other-zone'],
    ],
  );
  t.match(text, `no candidate: target ${one.id} (zone a), unhealthy since 1970-`);
  t.match(text, '(Target.ResponseCodeMismatch)');
  t.match(text, `no candidate: target ${three.id} (zone a), weight 0`);
  t.equal(rig.gateway.explain(TCP).ifTargetFails?.rule, 'T10', 'nobody healthy would be left');
});

t.test('a flow that moved, and its cookie after a rotation', async (t) => {
  const rig = new Rig(t, { failover: 'rebalance' });
  const { gateway } = rig;
  const target = rig.connect();
  rig.fail(target);
  const about = gateway.explain(TCP);
  t.equal(decided(t, about), 'moved T3');
  t.match(about.why, target.id);
  const next = rig.send(tuplePacket(TCP, ACK));
  t.equal(next, about.target);
  rig.wait(6400);
  const moved = gateway.explain(TCP);
  t.equal(decided(t, moved), 'pinned K3');
  t.equal(moved.moved?.from, target);
  t.ok(moved.moved && Math.abs(moved.moved.agoMs - 6400) < 64);
  t.equal((moved.moved?.agoMs ?? 0) + (moved.moved?.graceLeftMs ?? 0), 30_000);
  t.match(moved.text, `ago from ${target.id}, whose returns are taken for 23.6 s more`);
  gateway.rotateCookieKey({ overlapSeconds: 10 });
  t.equal(gateway.explain(TCP).cookie?.signed, true, 'in the overlap');
  rig.wait(30_000);
  rig.send(tuplePacket(TCP, ACK));
  t.strictSame([gateway.explain(TCP).cookie?.signed, gateway.explain(TCP).moved], [false, null]);
  t.match(gateway.explain(TCP).text, /of an older key/);

  const gone = next as Target;
  rig.group.update({ deregistrationDelaySeconds: 0 });
  rig.group.deregister(gone);
  t.equal(decided(t, gateway.explain(TCP)), 'moved T7');
});

t.test('flows that stay on targets which take no new ones', async (t) => {
  const rig = new Rig(t);
  const { gateway, group } = rig;
  const target = rig.connect();
  rig.fail(target);
  t.equal(decided(t, gateway.explain(TCP)), 'pinned T2');
  t.match(gateway.explain(TCP).text, `${target.id} has failed: the flow stays`);
  rig.fail(...rig.others(target));
  t.equal(decided(t, gateway.explain({ ...TCP, source: '203.0.113.9:1' })), 'new T10');
  group.update({ failover: 'rebalance' });
  t.equal(decided(t, gateway.explain(TCP)), 'pinned T10', 'where should it go?');
  group.update({ failover: 'no_rebalance' });
  rig.heal(...group.targets());
  group.deregister(target);
  t.equal(decided(t, gateway.explain(TCP)), 'pinned T5');
  t.match(gateway.explain(TCP).ifTargetFails, { event: 'delay-over', fate: 'stays', rule: 'T6' });
  rig.world.advance(300_000);
  const former = gateway.explain(TCP);
  t.equal(decided(t, former), 'pinned T6');
  t.equal(former.ifTargetFails, null, 'it is gone already');
  t.match(former.text, `pinned to former target ${target.id}`);
});

t.test('connections that are reset', async (t) => {
  const rig = new Rig(t, { sendTcpReset: { onUnhealthy: true, onDeregistration: true } });
  const target = rig.connect();
  rig.fail(target);
  const failed = rig.gateway.explain(TCP);
  t.equal(decided(t, failed), 'refused T4');
  t.strictSame([failed.dropReason, failed.target], ['flow_refused', null]);
  rig.heal(target);
  rig.group.deregister(target);
  t.match(rig.gateway.explain(TCP).ifTargetFails, {
    event: 'delay-over',
    fate: 'refused',
    rule: 'T8',
  });
  rig.world.advance(300_000);
  t.equal(decided(t, rig.gateway.explain(TCP)), 'refused T8');
});

const POLICIES: TargetGroupOptions[] = [
  { failover: 'no_rebalance' },
  { failover: 'rebalance' },
  { sendTcpReset: { onUnhealthy: true } },
];

for (const policy of POLICIES) {
  for (const flow of ['tcp', 'udp', 'new'] as const) {
    for (const alone of [false, true]) {
      const name = `${JSON.stringify(policy)}, ${flow}, ${alone ? 'none else' : 'others'} healthy`;
      t.test(`what is foretold about a failure happens: ${name}`, async (t) => {
        const rig = new Rig(t, policy);
        const tuple = flow === 'udp' ? UDP : TCP;
        if (flow === 'tcp') rig.connect();
        if (flow === 'udp') rig.send(tuplePacket(UDP));
        const { target: pinned } = rig.gateway.explain(tuple);
        if (!pinned) throw new Error('it goes nowhere');
        if (alone) rig.fail(...rig.others(pinned));
        const told = rig.gateway.explain(tuple);
        t.equal(told.target, pinned);
        const foretold = told.ifTargetFails;
        if (!foretold) throw new Error('nothing is foretold');
        rig.fail(pinned);
        const packet = tuplePacket(tuple, flow === 'new' ? SYN : ACK);
        const now = rig.gateway.explain(packet);
        t.equal(now.target, foretold.to, 'explained now');
        t.equal(rig.send(packet), foretold.fate === 'refused' ? 'reply' : foretold.to);
        const fates = {
          stays: ['pinned'],
          moves: ['moved'],
          refused: ['refused'],
          chooses: ['new'],
        };
        t.ok(fates[foretold.fate].includes(now.decision), `${foretold.fate}: ${now.decision}`);
        t.ok(described.has(foretold.rule));
        t.match(told.text, `if ${pinned.id} failed now: ${foretold.text} (${foretold.rule})`);
      });
    }
  }
}

t.test('a flow that lives at another endpoint is told', async (t) => {
  const rig = new Rig(t);
  const other = rig.gateway.createEndpoint({ zone: 'a' });
  const asked = (tuple = TCP) => rig.gateway.explain(tuple, { endpoint: other });
  t.match(asked(), { elsewhere: [], decision: 'new' });
  rig.connect();
  t.strictSame(rig.gateway.explain(TCP, { endpoint: ID }).elsewhere, [], 'not where it is');
  for (const told of [
    asked(),
    asked(BACK),
    rig.gateway.explain(tuplePacket(BACK, ACK), { endpoint: other }),
  ]) {
    t.strictSame(told.elsewhere, [rig.endpoint], 'either direction, tuple or packet');
    t.notOk(told.pinned);
    t.match(
      told.text,
      `elsewhere: the same tuple is a flow of its own at ${ID} (zone a): packets of`,
    );
    t.strictSame(JSON.parse(JSON.stringify(told)).elsewhere, [ID]);
  }
  t.match(asked({ ...TCP, source: '203.0.113.9:52145' }).elsewhere, [], 'another tuple');

  const one = new Rig(t, { scope: 'gateway' });
  const second = one.gateway.createEndpoint({ zone: 'a' });
  one.connect();
  const told = one.gateway.explain(BACK, { endpoint: second });
  t.match(told, { pinned: true, elsewhere: [] }, 'with scope gateway it is one flow');
});

t.test('as JSON', async (t) => {
  const rig = new Rig(t);
  rig.connect();
  const explanation = rig.gateway.explain(TCP);
  const json = JSON.parse(JSON.stringify(explanation));
  t.match(json, {
    key: '5-tuple tcp 10.0.2.10:443 203.0.113.9:52144',
    hash: `0x${explanation.hash.toString(16).padStart(16, '0')}`,
    endpoint: ID,
    target: { id: explanation.target?.id, state: 'healthy', since: Number },
    cookie: { value: /^0x[0-9a-f]{8}$/, slot: explanation.target?.slot, signed: true },
    candidates: [{ score: /^0x/ }, {}, {}],
    tcp: { state: 'established' },
  });
  t.strictSame(Object.keys(json), Object.keys(explanation), 'every field is there');
});
