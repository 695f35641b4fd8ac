/** Metrics that are read where they are counted, when somebody asks for them. */
import { Counter, Gauge, type Registry } from 'prom-client';

export interface Sample {
  labels: Record<string, string>;
  value: number;
}

export interface SampledMetric {
  name: string;
  help: string;
  labels?: readonly string[];
  /** All that there is now. */
  read(): Sample[];
}

/** What only grows. */
export function sampledCounter(registry: Registry, metric: SampledMetric): void {
  add(Counter, registry, metric);
}

/** What goes up and down. */
export function sampledGauge(registry: Registry, metric: SampledMetric): void {
  add(Gauge, registry, metric);
}

/** Which version runs. */
export function buildInfo(registry: Registry, version: string): void {
  new Gauge({
    name: 'gwlb_build_info',
    help: 'Version of gwlb and of Node; always 1.',
    labelNames: ['version', 'node'],
    registers: [registry],
  }).set({ version, node: process.versions.node }, 1);
}

/** Read anew at each scrape: what is read of counters only grows, so that what is written of them does too. */
function add(
  Metric: typeof Counter | typeof Gauge,
  registry: Registry,
  { name, help, labels = [], read }: SampledMetric,
): void {
  new Metric({
    name,
    help,
    labelNames: [...labels],
    registers: [registry],
    collect() {
      this.reset();
      for (const { labels: of, value } of read()) this.inc(of, value);
    },
  });
}
