/** A configuration as the service uses it: checked, with every default filled in. */
import type {
  ClampMss,
  EndpointOptions,
  GatewayLimits,
  HealthCheckOptions,
  IdleTimeout,
  ListenerTcpReset,
  MidStream,
  SourcePorts,
  TargetGroupOptions,
  TargetSpec,
  TargetTcpReset,
} from 'gwlb';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;

export type LogLevel = (typeof LOG_LEVELS)[number];

export interface GatewayConfig {
  name: string;
  address: string;
  port: number;
  netns: string | null;
  mtu: number;
  workers: number;
  offloads: boolean;
  udpChecksum: boolean;
  crossZone: boolean;
  idleTimeout: Required<IdleTimeout>;
  limits: GatewayLimits;
  midStream: MidStream;
  sourcePorts: Required<SourcePorts>;
  cookieCheck: 'lenient' | 'strict';
  promotion: 'return' | 'ingress';
  pathMtuDiscovery: boolean;
  clampMss: ClampMss;
  sendTcpReset: Required<ListenerTcpReset>;
  /** Absent: random for each start. */
  hashKey?: Uint8Array;
  cookieKey?: Uint8Array;
}

export interface TargetGroupConfig extends TargetGroupOptions {
  name: string;
  stickiness: NonNullable<TargetGroupOptions['stickiness']>;
  scope: NonNullable<TargetGroupOptions['scope']>;
  failover: NonNullable<TargetGroupOptions['failover']>;
  sendTcpReset: Required<TargetTcpReset>;
  deregistrationDelaySeconds: number;
  slowStartSeconds: number;
  failOpen: boolean;
  healthCheck: HealthCheckOptions | false;
  targets: TargetSpec[];
}

export type EndpointConfig = EndpointOptions & { id: string };

/** The path of a flow log that stands for standard output. */
export const STANDARD_OUTPUT = '-';

export interface FlowLogConfig {
  /** A file, or `STANDARD_OUTPUT`. */
  path: string;
  /** How often live flows are reported, seconds; 0 for never. */
  intervalSeconds: number;
}

export interface Config {
  gateway: GatewayConfig;
  targetGroup: TargetGroupConfig;
  endpoints: EndpointConfig[];
  /** Where `/metrics` and `/healthz` are served; null for nowhere. */
  metrics: { address: string; port: number } | null;
  /** Where a running gateway answers questions; null for nowhere. */
  control: { socket: string } | null;
  /** Where flows are logged; null for nowhere. */
  flowLog: FlowLogConfig | null;
  log: { level: LogLevel };
}

/** Keys and positions from the file's root: `['targetGroup', 'targets', 0, 'address']`. */
export type Path = readonly (string | number)[];

/** Something about a key of a configuration. */
export interface Found {
  path: Path;
  /** What was expected and received, without the path. */
  message: string;
}

/** The same with its place in the file. */
export interface Problem extends Found {
  /** Counted from 1; null where the file has no such place. */
  line: number | null;
  column: number | null;
}

/** `targetGroup.targets[0].address` */
export function pathText(path: Path): string {
  return path
    .map((part, i) => (typeof part === 'number' ? `[${part}]` : i === 0 ? part : `.${part}`))
    .join('');
}
