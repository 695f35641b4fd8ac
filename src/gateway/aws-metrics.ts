/**
 * The gateway's counters under the names of AWS (CloudWatch namespace `AWS/GatewayELB`). What AWS
 * reports a period of time for is counted since the start here; docs/metrics.md compares.
 */

import type { CounterReader, TargetCounters } from './counters.js';
import type { Target } from './target.js';
import type { TargetGroup } from './target-group.js';

/** What AWS has by zone as well. */
export interface AwsZoneMetrics {
  /** Flows in the table now. */
  ActiveFlowCount: number;
  /** Flows opened. In a zone: flows that its targets got, those included that moved to them. */
  NewFlowCount: number;
  /** Bytes to and from targets, inner packets; no health checks. */
  ProcessedBytes: number;
  /** Packets to and from targets; of health checks only those of `protocol: 'GENEVE'` that came back. */
  ProcessedPackets: number;
  /** Targets in the state `healthy` now; null where health checks are turned off. */
  HealthyHostCount: number | null;
  /** Targets in the state `unhealthy` now; null where health checks are turned off. */
  UnHealthyHostCount: number | null;
  /**
   * `ProcessedBytes` a second in the busiest 10 s of the last minute; null until it was measured, and
   * for a `Gateway`, which has no clock.
   */
  PeakBytesPerSecond: number | null;
  /** The same of `ProcessedPackets`. */
  PeakPacketsPerSecond: number | null;
}

/** The metrics of a gateway under their CloudWatch names, of all zones together; see docs/metrics.md. */
export interface AwsMetrics extends AwsZoneMetrics {
  /** First packets of flows that got no target. */
  RejectedFlowCount: number;
  /** The TCP ones among them. */
  RejectedFlowCount_TCP: number;
  /** RST packets the gateway has sent. */
  TCP_ELB_Reset_Count: number;
  /** By zone; a target counts, with all it did, for the zone that it is in. */
  zones: Record<string, AwsZoneMetrics>;
}

/** What has to be counted by zone; the flows in the table are not among it. */
type Carried = Pick<
  TargetCounters,
  'packetsTo' | 'bytesTo' | 'packetsFrom' | 'bytesFrom' | 'flowsNew'
>;

const CARRIED = ['packetsTo', 'bytesTo', 'packetsFrom', 'bytesFrom', 'flowsNew'] as const;

const NOTHING: Carried = { packetsTo: 0, bytesTo: 0, packetsFrom: 0, bytesFrom: 0, flowsNew: 0 };

type Processed = Pick<AwsZoneMetrics, 'ProcessedBytes' | 'ProcessedPackets'>;

/** Counts of targets by zone that do not go back when a target leaves or comes again. */
export class ZoneCounts {
  readonly #former = new Map<string, Carried>();

  /** The counters of this target are about to begin again. */
  keep(target: Target, counters: Carried): void {
    this.#former.set(target.zone, plus(this.#former.get(target.zone) ?? NOTHING, counters));
  }

  /** By zone, with the present counts of all targets, registered or not, whose slots are theirs. */
  totals(targets: Iterable<Target>, countersOf: (target: Target) => Carried): Map<string, Carried> {
    const totals = new Map(this.#former);
    for (const target of targets) {
      const before = totals.get(target.zone) ?? NOTHING;
      totals.set(target.zone, plus(before, countersOf(target)));
    }
    return totals;
  }
}

function sumOf(all: Iterable<Carried>): Carried {
  let sum = NOTHING;
  for (const carried of all) sum = plus(sum, carried);
  return sum;
}

function plus(a: Carried, b: Carried): Carried {
  const sum = { ...NOTHING };
  for (const key of CARRIED) sum[key] = a[key] + b[key];
  return sum;
}

/** What of a zone's counts AWS calls processed. */
function processedOf(carried: Carried): Processed {
  return {
    ProcessedBytes: carried.bytesTo + carried.bytesFrom,
    ProcessedPackets: carried.packetsTo + carried.packetsFrom,
  };
}

type Peaks = Pick<AwsZoneMetrics, 'PeakBytesPerSecond' | 'PeakPacketsPerSecond'>;

const NO_PEAKS: Peaks = { PeakBytesPerSecond: null, PeakPacketsPerSecond: null };

/** Length of the windows whose average counts. */
const WINDOW_MS = 10_000;
/** As many as a CloudWatch period of one minute has. */
const WINDOWS = 6;

/** The busiest of the last windows, of growing counts that are looked at now and then. */
export class PeakRates {
  #start: (Processed & { readonly at: number }) | null = null;
  readonly #windows: { readonly bytes: number; readonly packets: number }[] = [];

  /** Whether `sample` would end a window. */
  due(now: number): boolean {
    return this.#start === null || now - this.#start.at >= WINDOW_MS;
  }

  /** Ends a window where one is over; a late look makes it longer. */
  sample(processed: Processed, now: number): void {
    const start = this.#start;
    if (!this.due(now)) return;
    this.#start = { ...processed, at: now };
    if (start === null) return;
    const seconds = (now - start.at) / 1000;
    this.#windows.push({
      bytes: (processed.ProcessedBytes - start.ProcessedBytes) / seconds,
      packets: (processed.ProcessedPackets - start.ProcessedPackets) / seconds,
    });
    if (this.#windows.length > WINDOWS) this.#windows.shift();
  }

  peaks(): Peaks {
    if (this.#windows.length === 0) return NO_PEAKS;
    return {
      PeakBytesPerSecond: Math.max(...this.#windows.map(({ bytes }) => bytes)),
      PeakPacketsPerSecond: Math.max(...this.#windows.map(({ packets }) => packets)),
    };
  }
}

/** Where the metrics of a gateway come from. */
export interface AwsSource {
  readonly counters: CounterReader;
  /** Who has or had a slot last, registered or not. */
  readonly targets: readonly Target[];
  readonly targetGroup: TargetGroup;
  /** Zones of endpoints. */
  readonly zones: readonly string[];
}

export class AwsAccount {
  readonly #zoneCounts = new ZoneCounts();
  readonly #peaks = new Map<string | null, PeakRates>();

  /** The counters of this target are about to begin again. */
  keep(target: Target, { counters }: AwsSource): void {
    this.#zoneCounts.keep(target, counters.target(target.slot));
  }

  /** Measures the peaks; to be called at least every few seconds. */
  sample(source: AwsSource, now: number): void {
    if (this.#peaks.get(null)?.due(now) === false) return;
    const zones = this.#carried(source);
    this.#peaksOf(null).sample(processedOf(sumOf(zones.values())), now);
    for (const [zone, carried] of zones) this.#peaksOf(zone).sample(processedOf(carried), now);
  }

  read(source: AwsSource): AwsMetrics {
    const { counters, targetGroup } = source;
    const totals = counters.totals();
    const carried = this.#carried(source);
    const registered = targetGroup.targets();
    const checked = targetGroup.healthCheck !== false;
    const zones = new Set([
      ...source.zones,
      ...registered.map(({ zone }) => zone),
      ...carried.keys(),
    ]);
    const zoneMetrics = (zone: string): AwsZoneMetrics => {
      const of = (targets: readonly Target[]) => targets.filter((target) => target.zone === zone);
      const counts = carried.get(zone) ?? NOTHING;
      const active = of(source.targets).map(({ slot }) => counters.flowsActive(slot));
      return {
        ActiveFlowCount: active.reduce((sum, flows) => sum + flows, 0),
        NewFlowCount: counts.flowsNew,
        ...processedOf(counts),
        ...hostCounts(of(registered), checked),
        ...(this.#peaks.get(zone)?.peaks() ?? NO_PEAKS),
      };
    };
    return {
      ActiveFlowCount: totals.flowsActiveIpv4 + totals.flowsActiveIpv6,
      NewFlowCount: totals.flowsNew,
      ...processedOf(sumOf(carried.values())),
      ...hostCounts(registered, checked),
      ...(this.#peaks.get(null)?.peaks() ?? NO_PEAKS),
      RejectedFlowCount: totals.flowsRejected,
      RejectedFlowCount_TCP: totals.flowsRejectedTcp,
      TCP_ELB_Reset_Count: totals.resetsSent,
      zones: Object.fromEntries([...zones].sort().map((zone) => [zone, zoneMetrics(zone)])),
    };
  }

  #carried({ counters, targets }: AwsSource): Map<string, Carried> {
    return this.#zoneCounts.totals(targets, ({ slot }) => counters.target(slot));
  }

  #peaksOf(zone: string | null): PeakRates {
    let rates = this.#peaks.get(zone);
    if (!rates) {
      rates = new PeakRates();
      this.#peaks.set(zone, rates);
    }
    return rates;
  }
}

/** Targets by their states; nulls where nobody checks them. */
function hostCounts(targets: readonly Target[], checked: boolean) {
  const count = (state: string) =>
    checked ? targets.filter((target) => target.state === state).length : null;
  return { HealthyHostCount: count('healthy'), UnHealthyHostCount: count('unhealthy') };
}
