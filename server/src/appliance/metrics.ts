/** Metrics of a running appliance, read from its counters when they are asked for. */
import type { ApplianceCounters, ApplianceTunDevice } from 'gwlb';
import { Registry } from 'prom-client';
import { buildInfo, type Sample, sampledCounter, sampledGauge } from '../observe/sampled.js';
import type { ApplianceView } from './view.js';

type CountedAll = Exclude<keyof ApplianceCounters, 'drops'>;
type CountedOfDevice = Exclude<keyof ApplianceTunDevice['counters'], 'drops'>;

/** One sample without labels. */
const single = (value: number): Sample[] => [{ labels: {}, value }];

export class ApplianceMetrics {
  readonly #registry = new Registry();
  readonly #view: ApplianceView;
  /** One reading of the counters for all metrics of a scrape. */
  #counters: ApplianceCounters;
  #devices: readonly ApplianceTunDevice[] = [];

  constructor(view: ApplianceView, version: string) {
    this.#view = view;
    this.#counters = view.appliance.counters();
    buildInfo(this.#registry, version);
    this.#addTotals();
    this.#addHealth();
    if (view.tun) this.#addDevices();
    if (view.capture) this.#addCapture();
  }

  /** Everything in the Prometheus text format. */
  async text(): Promise<string> {
    this.#counters = this.#view.appliance.counters();
    this.#devices = this.#view.tun?.devices ?? [];
    return this.#registry.metrics();
  }

  #counter(name: string, help: string, read: () => Sample[], labels: string[] = []): void {
    sampledCounter(this.#registry, { name: `gwlb_appliance_${name}_total`, help, labels, read });
  }

  #gauge(name: string, help: string, read: () => Sample[], labels: string[] = []): void {
    sampledGauge(this.#registry, { name: `gwlb_appliance_${name}`, help, labels, read });
  }

  #addTotals(): void {
    const add = (name: string, help: string, key: CountedAll) =>
      this.#counter(name, help, () => single(this.#counters[key]));
    add('packets_received', 'Datagrams received from gateways.', 'packetsReceived');
    add('bytes_received', 'Bytes of inner packets in them.', 'bytesReceived');
    add('packets_returned', 'Packets returned to the gateway.', 'packetsReturned');
    add('bytes_returned', 'Bytes of inner packets returned.', 'bytesReturned');
    add('packets_rewritten', 'Packets returned with changed contents.', 'packetsRewritten');
    add('packets_other_port', 'Packets returned from the own port.', 'packetsOtherPort');
    this.#counter(
      'drops',
      'Packets dropped, by reason.',
      () =>
        Object.entries(this.#counters.drops).map(([reason, value]) => ({
          labels: { reason },
          value,
        })),
      ['reason'],
    );
  }

  #addHealth(): void {
    const { health, deviceProgram } = this.#view;
    this.#gauge('healthy', 'Whether health checks are told that all is well (1) or not (0).', () =>
      single(health.now.healthy ? 1 : 0),
    );
    this.#gauge('draining', 'Whether it is about to stop (1) or not (0).', () =>
      single(health.now.draining ? 1 : 0),
    );
    this.#counter('health_changes', 'How often that changed.', () => single(health.changes));
    if (!deviceProgram) return;
    this.#counter('device_program_failures', 'Runs of the --on-endpoint program that failed.', () =>
      single(deviceProgram.failures),
    );
  }

  #addDevices(): void {
    const labels = ['device', 'endpoint'];
    const labelled = ({ name, endpoint }: ApplianceTunDevice) => {
      return { device: name, endpoint: endpoint ?? '' };
    };
    const add = (name: string, help: string, key: CountedOfDevice) =>
      this.#counter(
        `device_${name}`,
        help,
        () => this.#devices.map((one) => ({ labels: labelled(one), value: one.counters[key] })),
        labels,
      );
    add('packets_to_kernel', 'Packets that entered the kernel by the device.', 'packetsToKernel');
    add('bytes_to_kernel', 'Bytes of them.', 'bytesToKernel');
    add('packets_from_kernel', 'Packets that came back out of the device.', 'packetsFromKernel');
    add('bytes_from_kernel', 'Bytes of them.', 'bytesFromKernel');
    add('packets_returned', 'Of those, packets returned to the gateway.', 'packetsReturned');
    add('bytes_returned', 'Bytes of them.', 'bytesReturned');
    this.#counter(
      'device_drops',
      'Packets of the device that were dropped, by reason; only reasons that occurred.',
      () =>
        this.#devices.flatMap((one) =>
          Object.entries(one.counters.drops)
            .filter(([, value]) => value > 0)
            .map(([reason, value]) => ({ labels: { ...labelled(one), reason }, value })),
        ),
      [...labels, 'reason'],
    );
    this.#gauge(
      'device_up',
      'Whether the device is there and up (1) or not (0).',
      () =>
        this.#devices.map((one) => ({ labels: labelled(one), value: one.state === 'up' ? 1 : 0 })),
      labels,
    );
    const { devices, tun } = this.#view;
    this.#counter('device_losses', 'How often a device was lost or set down.', () =>
      single(devices?.losses ?? 0),
    );
    this.#counter('host_setup_failures', 'Devices that the host could not be set up for.', () =>
      single(devices?.setupFailures ?? 0),
    );
    this.#gauge(
      'flows_active',
      'Flows whose way back is known, by IP version.',
      () => {
        const flows = tun?.flows() ?? { ipv4: 0, ipv6: 0 };
        return Object.entries(flows).map(([family, value]) => ({ labels: { family }, value }));
      },
      ['family'],
    );
  }

  #addCapture(): void {
    const { capture } = this.#view;
    this.#counter(
      'captured_packets',
      'Packets of the capture, by result: written, lost.',
      () => [
        { labels: { result: 'written' }, value: capture?.written ?? 0 },
        { labels: { result: 'lost' }, value: capture?.lost ?? 0 },
      ],
      ['result'],
    );
  }
}
