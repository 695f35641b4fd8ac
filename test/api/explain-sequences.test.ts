/** In whatever state a gateway is, what explain says of a packet is what then becomes of it. */
import fc from 'fast-check';
import t from 'tap';
import { tuplePacket } from '../../src/index.js';
import { ACK, FIN, Rig, RST, SYN, TCP, UDP } from './explain-rig.js';

const ICMP = { protocol: 'icmp', source: '203.0.113.9', destination: '10.0.2.10' };
const FLOWS = [TCP, { ...TCP, source: '203.0.113.9:1' }, UDP, ICMP];
const SPARE = '10.0.1.20';

const flow = fc.nat(FLOWS.length - 1);
const which = fc.nat(2);

/** One thing that happens. */
const happening = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      packet: flow,
      flags: fc.constantFrom(SYN, ACK, FIN, RST, SYN | ACK),
      back: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ quoting: flow }) },
  { weight: 3, arbitrary: fc.constant({ returns: true }) },
  { weight: 2, arbitrary: fc.record({ wait: fc.constantFrom(1, 9000, 20_000, 130_000, 360_000) }) },
  fc.record({ fail: which }),
  fc.record({ heal: which }),
  fc.record({ deregister: which }),
  fc.record({ weigh: which, weight: fc.constantFrom(0, 1, 5) }),
  fc.constant({ spare: true }),
  fc.constant({ drained: true }),
  fc.record({
    policy: fc.constantFrom(
      { failover: 'rebalance' as const, sendTcpReset: {} },
      { failover: 'no_rebalance' as const, sendTcpReset: {} },
      {
        failover: 'no_rebalance' as const,
        sendTcpReset: { onUnhealthy: true, onDeregistration: true },
      },
      { failOpen: true },
      { failOpen: false },
    ),
  }),
  fc.record({ onIdleTimeout: fc.boolean() }),
);

type Happening = typeof happening extends fc.Arbitrary<infer T> ? T : never;

/** A packet's way, as explain words it and as it went. */
type Way = [decision: string, detail: string | number | undefined];

function packetOf(one: { packet: number; flags: number; back: boolean }): Uint8Array {
  const { protocol, source, destination } = FLOWS[one.packet];
  const tuple = one.back
    ? { protocol, source: destination, destination: source }
    : FLOWS[one.packet];
  return tuplePacket(tuple, one.flags);
}

function errorAbout(index: number): Uint8Array {
  const quoted = tuplePacket(FLOWS[index], ACK).subarray(0, 28);
  const packet = tuplePacket(
    { protocol: 'icmp', source: '10.0.2.10', destination: '203.0.113.9' },
    0,
    quoted,
  );
  packet.set([3, 3], 20);
  return packet;
}

/** What explain says, and what happens then. */
function compared(rig: Rig, packet: Uint8Array, seen: Set<string>): [Way, Way] {
  const { decision, dropReason, target, cookie } = rig.gateway.explain(packet);
  seen.add(decision);
  const went = rig.send(packet);
  if (decision === 'dropped' || decision === 'refused') {
    const expected = decision === 'dropped' ? 'drop' : 'reply';
    return [
      [expected, dropReason ?? 'none'],
      [String(went), rig.reason],
    ];
  }
  if (decision === 'bypassed') {
    return [
      ['bypass', undefined],
      [String(went), undefined],
    ];
  }
  const told = decision === 'pinned' ? cookie?.value : undefined;
  const carried = decision === 'pinned' ? rig.cookie : undefined;
  const verdict = typeof went === 'string' && went !== 'a former target' ? went : rig.slot;
  return [
    [String(target?.slot), told],
    [String(verdict), carried],
  ];
}

function happen(rig: Rig, one: Happening): void {
  const targets = rig.group.targets();
  const named = (index: number) => targets.slice(index, index + 1);
  if ('returns' in one) rig.returns();
  else if ('wait' in one) rig.wait(one.wait);
  else if ('fail' in one) rig.fail(...named(one.fail));
  else if ('heal' in one) rig.heal(...named(one.heal));
  else if ('deregister' in one) rig.group.deregister(...named(one.deregister));
  else if ('weigh' in one) for (const it of named(one.weigh)) rig.group.setWeight(it, one.weight);
  else if ('spare' in one) {
    if (!targets.some(({ address }) => address === SPARE)) {
      rig.group.register({ address: SPARE, zone: 'a' });
    }
  } else if ('drained' in one) rig.world.advance(300_000);
  else if ('policy' in one) rig.group.update(one.policy);
  else if ('onIdleTimeout' in one) rig.gateway.setTcpReset(one);
}

t.test('explain and the packet agree', async (t) => {
  let packets = 0;
  const seen = new Set<string>();
  fc.assert(
    fc.property(
      fc.constantFrom('auto' as const, 'drop' as const, 'pickup' as const),
      fc.array(happening, { minLength: 1, maxLength: 60, size: 'max' }),
      (midStream, happenings) => {
        const undo: (() => unknown)[] = [];
        const rig = new Rig({ teardown: (action) => undo.push(action) }, {}, { midStream });
        for (const one of happenings) {
          if (!('packet' in one) && !('quoting' in one)) {
            happen(rig, one);
            continue;
          }
          const packet = 'packet' in one ? packetOf(one) : errorAbout(one.quoting);
          const [told, went] = compared(rig, packet, seen);
          packets += 1;
          if (JSON.stringify(told) !== JSON.stringify(went)) {
            throw new Error(`told ${told}, went ${went}`);
          }
        }
        for (const action of undo) action();
      },
    ),
    { numRuns: 60 },
  );
  t.ok(packets > 300, 'enough packets were explained');
  t.ok(seen.size >= 6, `for enough reasons: ${[...seen]}`);
});
