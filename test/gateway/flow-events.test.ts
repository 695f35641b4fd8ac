/** Flow events on their way to listeners: bounded in each turn, and complete when a gateway is closed. */
import t from 'tap';
import { FlowEventPump } from '../../src/gateway/flow-events.js';
import { type FlowEvent, Gateway, PacketBatch, TargetGroup, tuplePacket } from '../../src/index.js';
import type { NativeFlowEvent } from '../../src/native/binding.js';

const EVENT = {} as NativeFlowEvent;

/** A gateway in which something happens all the time. */
class Flood {
  discarded = 0;
  drained = 0;
  left = Number.POSITIVE_INFINITY;
  /** Live flows, in places of which every second one is free. */
  places = 0;
  readonly drainEvents = (max: number) => {
    const count = Math.min(max, this.left);
    this.left -= count;
    this.drained += count;
    return Array<NativeFlowEvent>(count).fill(EVENT);
  };
  readonly discardEvents = () => {
    this.discarded += 1;
  };
  readonly endFlows = (cursor: number, positions: number) => {
    const end = Math.min(this.places, cursor + positions);
    const events = Array<NativeFlowEvent>(Math.ceil((end - cursor) / 2)).fill(EVENT);
    return { events, cursor: end === this.places ? 0 : end };
  };
}

const pumpOf = (flood: Flood, deliver: () => void) => new FlowEventPump(flood, () => {}, deliver);

t.test('a flood does not hold the event loop', async (t) => {
  const flood = new Flood();
  let delivered = 0;
  const pump = pumpOf(flood, () => {
    delivered += 1;
  });
  pump.start();
  t.teardown(() => pump.stop());
  t.equal(flood.discarded, 1, 'what happened before is forgotten');
  t.equal(flood.drained, 0, 'and not fetched for that');
  t.equal(pump.flush(), false, 'there is more than one turn takes');
  t.ok(delivered > 0 && delivered <= 16_384 + 1024, `${delivered} events in one turn`);
  t.equal(flood.drained, delivered);
});

t.test('the end takes as many turns as it needs, and leaves the loop to others', async (t) => {
  const flood = new Flood();
  flood.left = 40_000;
  flood.places = 10_000;
  let delivered = 0;
  const pump = pumpOf(flood, () => {
    delivered += 1;
  });
  pump.start();
  let turns = 0;
  const count = () => {
    turns += 1;
    if (pump.running) setImmediate(count);
  };
  setImmediate(count);
  await pump.finish();
  t.equal(delivered, 45_000);
  t.ok(turns >= 10, `${turns} turns of others meanwhile`);
  t.notOk(pump.running);
});

t.test('nobody is told who has stopped to listen', async (t) => {
  const flood = new Flood();
  flood.left = 0;
  flood.places = 10_000;
  let delivered = 0;
  const pump = pumpOf(flood, () => {
    delivered += 1;
    pump.stop();
  });
  pump.start();
  await pump.finish();
  t.equal(delivered, 1);
});

function rig() {
  const targetGroup = new TargetGroup({ healthCheck: false });
  targetGroup.setTargets([{ address: '10.0.1.10' }]);
  const gateway = new Gateway({ targetGroup, flowCounters: true });
  const endpoint = gateway.createEndpoint();
  const batch = new PacketBatch({ packets: 1 });
  const enter = (port: number, six = false, now = 1000) => {
    const [a, b] = six ? ['[2001:db8::1]', '[2001:db8::2]'] : ['203.0.113.9', '10.0.2.10'];
    batch.clear();
    batch.add(tuplePacket({ protocol: 'udp', source: `${a}:${port}`, destination: `${b}:53` }));
    gateway.toTargets(batch, endpoint, now);
  };
  return { gateway, enter };
}

t.test('closing a gateway ends the flows that are there', async (t) => {
  const { gateway, enter } = rig();
  enter(1);
  const events: FlowEvent[] = [];
  gateway.on('flow', (event) => events.push(event));
  let closed = 0;
  gateway.on('close', () => {
    closed += 1;
    void gateway.close();
  });
  enter(2);
  enter(2);
  enter(3, true, 2500);
  await gateway.close();
  t.strictSame(
    events.map(({ type, cause, end, nowMs }) => [type, cause, end, nowMs]),
    [
      ['opened', 'new', null, 1000],
      ['opened', 'new', null, 2500],
      ['ended', 'stopped', 'stopped', 2500],
      ['ended', 'stopped', 'stopped', 2500],
      ['ended', 'stopped', 'stopped', 2500],
    ],
    'also of the flow that was opened before anybody listened, not its beginning',
  );
  const counted = events.filter(({ ends }) => ends[1].endsWith(':2') || ends[0].endsWith(':2'));
  t.match(counted.at(-1)?.counters, { packetsTo: 2 });
  t.equal(closed, 1);
  t.equal(gateway.flows, 0);
  await gateway.close();
  t.equal(closed, 1);
});

t.test('memory is given back when a gateway is closed, not when it is collected', async (t) => {
  const { gateway, enter } = rig();
  enter(1);
  const before = process.memoryUsage().rss;
  const bytes = gateway.memoryBytes;
  t.ok(bytes > 1e6);
  void gateway.close();
  t.equal(gateway.memoryBytes, 0);
  t.ok(before - process.memoryUsage().rss > bytes * 0.8, 'before anything else happens');
  t.throws(() => enter(2), { code: 'ERR_GWLB_CLOSED' });
  t.throws(() => gateway.sweep(), { code: 'ERR_GWLB_CLOSED' });
  t.equal(gateway.counters().packetsIn, 1, 'counters stay');
  t.doesNotThrow(() => gateway.shares());
});

t.test(
  'explaining leaves no memory behind, and builds no table where there is no choice',
  async (t) => {
    for (const count of [0, 1, 2]) {
      const targetGroup = new TargetGroup({ healthCheck: false });
      targetGroup.setTargets(
        Array.from({ length: count }, (_, i) => ({ address: `10.0.1.${i + 1}` })),
      );
      const gateway = new Gateway({ targetGroup, limits: { flows: 1024 } });
      gateway.createEndpoint();
      const flow = { protocol: 'tcp', source: '203.0.113.9:1', destination: '10.0.2.10:443' };
      gateway.explain(flow);
      const before = process.memoryUsage().rss;
      // Of 133 kB each.
      for (let i = 0; i < 3000; i += 1) gateway.explain(flow);
      const grown = process.memoryUsage().rss - before;
      t.ok(grown < 200e6, `${count} targets: ${Math.round(grown / 1e6)} MB`);
      await gateway.close();
    }
  },
);
