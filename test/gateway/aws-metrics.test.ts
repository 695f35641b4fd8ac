/** The gateway's counters under the names of AWS. */
import t from 'tap';
import { PeakRates } from '../../src/gateway/aws-metrics.js';
import {
  type AwsMetrics,
  type Endpoint,
  Gateway,
  PacketBatch,
  TargetGroup,
  tuplePacket,
} from '../../src/index.js';

function setup(t: { teardown(undo: () => Promise<void>): void }) {
  const targetGroup = new TargetGroup({
    healthCheck: { suspicion: false },
    deregistrationDelaySeconds: 0,
  });
  const gateway = new Gateway({
    targetGroup,
    limits: { flows: 1024, flowsIpv6: 1024 },
    midStream: 'drop',
    sendTcpReset: { onIdleTimeout: true },
  });
  t.teardown(() => gateway.close());
  const batch = new PacketBatch({ packets: 16 });
  let now = 0;
  /** SYNs of new flows, or other packets of them; each is returned by its target. */
  const send = (endpoint: Endpoint, ports: number[], flags?: number): number => {
    batch.clear();
    for (const port of ports) {
      const source = `192.0.2.1:${port}`;
      batch.add(tuplePacket({ protocol: 'tcp', source, destination: '10.0.9.9:80' }, flags));
    }
    now += 1000;
    gateway.toTargets(batch, endpoint, now);
    const forwarded = [...ports.keys()].filter((i) => batch.address[i] !== 0);
    const packets = forwarded.map((i) => [batch.bytes(i).slice(), batch.address[i]] as const);
    batch.clear();
    for (const [bytes, address] of packets) {
      const i = batch.add(bytes);
      batch.address[i] = address;
      batch.port[i] = 6081;
    }
    gateway.fromTargets(batch, now);
    return packets.length;
  };
  return { targetGroup, gateway, send };
}

t.test('every metric, as a whole and by zone', async (t) => {
  const { targetGroup, gateway, send } = setup(t);
  const a = gateway.createEndpoint({ zone: 'a' });
  const b = gateway.createEndpoint({ zone: 'b' });
  const c = gateway.createEndpoint({ zone: 'c' });
  targetGroup.register({ address: '10.0.1.10', zone: 'a' }, { address: '10.0.1.11', zone: 'a' });
  targetGroup.register({ address: '10.0.1.12', zone: 'b' });
  t.equal(send(a, [1, 2, 3]), 3);
  t.equal(send(a, [1, 2, 3]), 3);
  t.equal(send(b, [4]), 1);
  t.equal(send(c, [5, 6]), 0, 'no target there');
  t.equal(send(a, [99], 0x10), 0, 'an ACK of no connection');
  const bytes = tuplePacket({
    protocol: 'tcp',
    source: '192.0.2.1:1',
    destination: '10.0.9.9:80',
  }).length;
  const peaks = { PeakBytesPerSecond: null, PeakPacketsPerSecond: null };
  const zone = (flows: number, packets: number) => ({
    ActiveFlowCount: flows,
    NewFlowCount: flows,
    ProcessedBytes: packets * bytes,
    ProcessedPackets: packets,
    HealthyHostCount: 0,
    UnHealthyHostCount: 0,
    ...peaks,
  });
  const expected: AwsMetrics = {
    ...zone(4, 14),
    RejectedFlowCount: 2,
    RejectedFlowCount_TCP: 2,
    TCP_ELB_Reset_Count: 1,
    zones: { a: zone(3, 12), b: zone(1, 2), c: zone(0, 0) },
  };
  t.strictSame(gateway.awsMetrics(), expected);
});

t.test('targets that leave or come again take nothing with them', async (t) => {
  const { targetGroup, gateway, send } = setup(t);
  const endpoint = gateway.createEndpoint({ zone: 'a' });
  targetGroup.register({ address: '10.0.1.10', zone: 'a' });
  send(endpoint, [1, 2, 3, 4]);
  const before = gateway.awsMetrics();
  t.match(before, { ProcessedPackets: 8, NewFlowCount: 4 });
  targetGroup.deregister('10.0.1.10');
  t.match(gateway.awsMetrics(), { ProcessedPackets: 8, zones: { a: { NewFlowCount: 4 } } });
  targetGroup.register({ address: '10.0.1.10', zone: 'a' });
  t.match(gateway.counters().targets, { '10.0.1.10:6081': { packetsTo: 0 } }, 'begins again');
  t.match(gateway.awsMetrics(), {
    ProcessedBytes: before.ProcessedBytes,
    zones: { a: { ProcessedPackets: 8, NewFlowCount: 4 } },
  });
  targetGroup.register({ address: '10.0.1.11', zone: 'b' });
  send(endpoint, [5]);
  t.match(gateway.awsMetrics(), {
    ProcessedPackets: 10,
    zones: { a: { ProcessedPackets: 10 }, b: { ProcessedPackets: 0 } },
  });
});

t.test('hosts by health, which AWS only reports where they are checked', async (t) => {
  const { targetGroup, gateway } = setup(t);
  targetGroup.register({ address: '10.0.1.10', zone: 'a' }, { address: '10.0.1.11', zone: 'b' });
  t.match(gateway.awsMetrics(), { HealthyHostCount: 0, UnHealthyHostCount: 0 });
  targetGroup.update({ healthCheck: false });
  t.match(gateway.awsMetrics(), { HealthyHostCount: null, UnHealthyHostCount: null });
  targetGroup.setHealth('10.0.1.10', 'unhealthy');
  targetGroup.update({ healthCheck: {} });
  t.match(gateway.awsMetrics(), {
    HealthyHostCount: 1,
    UnHealthyHostCount: 1,
    zones: { a: { HealthyHostCount: 0, UnHealthyHostCount: 1 }, b: { HealthyHostCount: 1 } },
  });
});

t.test('peaks: the busiest ten seconds of the last minute', async (t) => {
  const rates = new PeakRates();
  const none = { PeakBytesPerSecond: null, PeakPacketsPerSecond: null };
  let total = 0;
  const sample = (now: number, more: number) => {
    total += more;
    rates.sample({ ProcessedBytes: total * 100, ProcessedPackets: total }, now);
  };
  sample(1_000, 7_777);
  t.same(rates.peaks(), none, 'what was before is of no window');
  for (let now = 1_500; now < 11_000; now += 500) sample(now, 5);
  t.same(rates.peaks(), none);
  sample(11_000, 5);
  t.same(rates.peaks(), { PeakBytesPerSecond: 1_000, PeakPacketsPerSecond: 10 });
  sample(23_500, 1_250);
  t.same(rates.peaks(), { PeakBytesPerSecond: 10_000, PeakPacketsPerSecond: 100 }, 'a long window');
  for (let i = 1; i <= 5; i++) sample(23_500 + i * 10_000, i);
  t.match(rates.peaks(), { PeakPacketsPerSecond: 100 }, 'still among the last six');
  sample(83_500, 1);
  t.match(rates.peaks(), { PeakPacketsPerSecond: 0.5 }, 'forgotten');
});
