/** Metrics of a running gateway, read from its counters when they are asked for. */
import type {
  DeviceEvent,
  GatewayCounters,
  GatewayLoadBalancer,
  ProbeEvent,
  TargetState,
} from 'gwlb';
import { Counter, Histogram, Registry } from 'prom-client';
import type { Readiness } from '../obstacles/readiness.js';
import type { FlowLogTotals } from './flow-log.js';
import { buildInfo, type Sample, sampledCounter, sampledGauge } from './sampled.js';

const STATES: readonly TargetState[] = [
  'initial',
  'healthy',
  'unhealthy',
  'unavailable',
  'draining',
  'unused',
];

const CHECK_SECONDS = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120,
];

type Read = (counters: GatewayCounters) => Sample[];

/** `packetsIn` of the gateway's totals, without labels. */
function total(key: Exclude<keyof GatewayCounters, 'drops' | 'targets' | 'endpoints'>): Read {
  return (counters) => [{ labels: {}, value: counters[key] }];
}

export class GatewayMetrics {
  /** Reloads by result: applied or refused. */
  readonly reloads: Counter<'result'>;
  /** What the flow log has done; nothing without one. */
  flowLog: Readonly<FlowLogTotals> = { records: 0, recordsLost: 0, eventsLost: 0 };
  /** Nothing before somebody knows. */
  readiness: () => Pick<Readiness, 'endpoints'> = () => ({ endpoints: [] });
  readonly #registry = new Registry();
  readonly #gateway: GatewayLoadBalancer;
  readonly #checks: Histogram<'zone' | 'result'>;
  readonly #onProbe = (event: ProbeEvent) => this.#observe(event);
  readonly #losses: Counter<'endpoint' | 'zone'>;
  readonly #onDevice = ({ endpoint: { id, zone }, state }: DeviceEvent) => {
    if (state !== 'up') this.#losses.inc({ endpoint: id, zone });
  };
  /** One reading of the counters for all metrics of a scrape. */
  #counters: GatewayCounters;

  constructor(gateway: GatewayLoadBalancer, version: string) {
    this.#gateway = gateway;
    this.#counters = gateway.counters();
    const registers = [this.#registry];
    buildInfo(this.#registry, version);
    this.#addTotals();
    this.#addPeaks();
    this.#addByTarget();
    this.#addByEndpoint();
    this.#addTargetStates();
    this.reloads = new Counter({
      name: 'gwlb_reloads_total',
      help: 'Configurations read again on SIGHUP, by result.',
      labelNames: ['result'],
      registers,
    });
    this.#counter('gwlb_flow_log_records_total', 'Flow log records, by result.', ['result'], () => [
      { labels: { result: 'written' }, value: this.flowLog.records },
      { labels: { result: 'lost' }, value: this.flowLog.recordsLost + this.flowLog.eventsLost },
    ]);
    for (const result of ['applied', 'refused']) this.reloads.inc({ result }, 0);
    this.#checks = new Histogram({
      name: 'gwlb_health_check_duration_seconds',
      help: 'Duration of health checks, by zone of the target and result.',
      labelNames: ['zone', 'result'],
      buckets: CHECK_SECONDS,
      registers,
    });
    this.#losses = new Counter({
      name: 'gwlb_endpoint_device_losses_total',
      help: 'How often the TUN device of the endpoint was lost or set down.',
      labelNames: ['endpoint', 'zone'],
      registers,
    });
    gateway.targetGroup.on('probe', this.#onProbe);
    gateway.on('device', this.#onDevice);
  }

  /** Everything in the Prometheus text format. */
  async text(): Promise<string> {
    this.#counters = this.#gateway.counters();
    return this.#registry.metrics();
  }

  close(): void {
    this.#gateway.targetGroup.off('probe', this.#onProbe);
    this.#gateway.off('device', this.#onDevice);
  }

  #observe({ target, ok, durationMs, failure }: ProbeEvent): void {
    const result = ok ? 'success' : failure === 'internal' ? 'impeded' : 'failure';
    const labels = { zone: target.zone, result };
    this.#checks.observe(labels, durationMs / 1000);
  }

  #counter(name: string, help: string, labels: string[], read: Read): void {
    sampledCounter(this.#registry, { name, help, labels, read: () => read(this.#counters) });
  }

  #gauge(name: string, help: string, labels: string[], read: Read): void {
    sampledGauge(this.#registry, { name, help, labels, read: () => read(this.#counters) });
  }

  #addTotals(): void {
    const plain = (name: string, help: string, key: Parameters<typeof total>[0]) =>
      this.#counter(`gwlb_${name}_total`, help, [], total(key));
    plain('packets_in', 'Packets that entered by an endpoint.', 'packetsIn');
    plain('bytes_in', 'Bytes of packets that entered by an endpoint.', 'bytesIn');
    plain('packets_out', 'Packets that left by an endpoint.', 'packetsOut');
    plain('bytes_out', 'Bytes of packets that left by an endpoint.', 'bytesOut');
    plain('packets_to_targets', 'Packets sent to a target.', 'packetsToTargets');
    plain('packets_from_targets', 'Datagrams received from targets.', 'packetsFromTargets');
    plain('probes_returned', 'Health checks over GENEVE among them.', 'probesReturned');
    plain('packets_bypassed', 'Packets forwarded uninspected (failOpen).', 'packetsBypassed');
    plain('packets_replied', 'Packets answered by the gateway itself.', 'packetsReplied');
    plain('resets_sent', 'RST packets among those answers.', 'resetsSent');
    plain('replies_unsent', 'Answers that could not be sent.', 'repliesUnsent');
    plain('packets_held', 'Later fragments that waited for their first one.', 'packetsHeld');
    plain(
      'packets_fragmented',
      "Packets longer than the endpoint's MTU that left in fragments.",
      'packetsFragmented',
    );
    plain('mss_clamped', 'SYN packets that left with a lower maximum segment size.', 'mssClamped');
    plain('flows_new', 'Flows opened.', 'flowsNew');
    plain('flows_ended', 'Flows closed, expired or evicted.', 'flowsEnded');
    plain('flows_moved', 'Flows that moved to another target.', 'flowsMoved');
    plain('flows_rejected', 'First packets of flows that got no target.', 'flowsRejected');
    plain('flows_rejected_tcp', 'The TCP ones among them.', 'flowsRejectedTcp');
    plain('flows_picked_up', 'TCP flows picked up in mid-stream.', 'flowsPickedUp');
    plain('flows_evicted', 'Flows in probation that gave way to newer ones.', 'flowsEvicted');
    plain(
      'flows_refused',
      'Flows whose packets were answered with a RST, since their target was lost.',
      'flowsRefused',
    );
    plain(
      'packets_untracked',
      'Packets forwarded without an entry because the flow table was full.',
      'packetsUntracked',
    );
    this.#gauge('gwlb_packets_waiting', 'Later fragments that wait now.', [], (c) => [
      { labels: {}, value: c.packetsWaiting },
    ]);
    this.#gauge('gwlb_flows_active', 'Flows in the table, by IP version.', ['family'], (c) => [
      { labels: { family: 'ipv4' }, value: c.flowsActiveIpv4 },
      { labels: { family: 'ipv6' }, value: c.flowsActiveIpv6 },
    ]);
    this.#counter('gwlb_drops_total', 'Packets dropped, by reason.', ['reason'], ({ drops }) =>
      Object.entries(drops).map(([reason, value]) => ({ labels: { reason }, value })),
    );
  }

  /** The busiest 10 s of the last minute, as AWS has it; absent until it was measured. */
  #addPeaks(): void {
    const add = (unit: string, key: 'PeakBytesPerSecond' | 'PeakPacketsPerSecond') =>
      this.#gauge(
        `gwlb_peak_${unit}_per_second`,
        `Most ${unit} to and from targets a second, in 10 s of the last minute.`,
        [],
        () => {
          const value = this.#gateway.awsMetrics()[key];
          return value === null ? [] : [{ labels: {}, value }];
        },
      );
    add('bytes', 'PeakBytesPerSecond');
    add('packets', 'PeakPacketsPerSecond');
  }

  #addByTarget(): void {
    type Key = keyof GatewayCounters['targets'][string];
    const labels = ['target', 'zone'];
    const read =
      (key: Key): Read =>
      ({ targets }) =>
        Object.entries(targets).map(([target, counters]) => {
          const zone = this.#gateway.targetGroup.target(target)?.zone ?? '';
          return { labels: { target, zone }, value: counters[key] };
        });
    const add = (name: string, help: string, key: Key) =>
      this.#counter(`gwlb_target_${name}_total`, help, labels, read(key));
    add('packets_sent', 'Packets sent to the target.', 'packetsTo');
    add('bytes_sent', 'Bytes of inner packets sent to the target.', 'bytesTo');
    add('packets_received', 'Packets the target returned.', 'packetsFrom');
    add('bytes_received', 'Bytes of inner packets the target returned.', 'bytesFrom');
    add('flows_new', 'Flows opened on the target, and those that moved to it.', 'flowsNew');
    this.#gauge('gwlb_target_flows_active', 'Flows pinned to it.', labels, read('flowsActive'));
  }

  #addByEndpoint(): void {
    type Key = keyof GatewayCounters['endpoints'][string];
    const add = (name: string, help: string, key: Key) =>
      this.#counter(`gwlb_endpoint_${name}_total`, help, ['endpoint', 'zone'], ({ endpoints }) =>
        Object.entries(endpoints).map(([endpoint, counters]) => {
          const zone = this.#gateway.endpoint(endpoint)?.zone ?? '';
          return { labels: { endpoint, zone }, value: counters[key] };
        }),
      );
    add('packets_in', 'Packets that entered by the endpoint.', 'packetsIn');
    add('bytes_in', 'Bytes of packets that entered by the endpoint.', 'bytesIn');
    add('packets_out', 'Packets that left by the endpoint.', 'packetsOut');
    add('bytes_out', 'Bytes of packets that left by the endpoint.', 'bytesOut');
    this.#gauge(
      'gwlb_endpoint_ready',
      'Whether the endpoint can forward (1) or something is in its way (0).',
      ['endpoint', 'zone'],
      () =>
        this.readiness().endpoints.map(({ endpoint, zone, ready }) => ({
          labels: { endpoint, zone },
          value: ready ? 1 : 0,
        })),
    );
    this.#addDevices();
  }

  #addDevices(): void {
    this.#gauge(
      'gwlb_endpoint_device_up',
      'Whether the TUN device of the endpoint is there and up (1) or not (0).',
      ['endpoint', 'zone'],
      () =>
        this.#gateway.endpoints().flatMap((endpoint) => {
          const status = this.#gateway.deviceStatus(endpoint);
          const value = status?.state === 'up' ? 1 : 0;
          return status ? [{ labels: { endpoint: endpoint.id, zone: endpoint.zone }, value }] : [];
        }),
    );
  }

  #addTargetStates(): void {
    this.#gauge('gwlb_targets', 'Targets, by zone and state.', ['zone', 'state'], () => {
      const targets = this.#gateway.targetGroup.targets();
      const zones = new Set(targets.map(({ zone }) => zone));
      for (const { zone } of this.#gateway.endpoints()) zones.add(zone);
      return [...zones].flatMap((zone) =>
        STATES.map((state) => ({
          labels: { zone, state },
          value: targets.filter((target) => target.zone === zone && target.state === state).length,
        })),
      );
    });
  }
}
