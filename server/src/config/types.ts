/** A configuration as the service uses it: checked, with every default filled in. */
import type {
  EndpointOptions,
  GatewayLimits,
  IdleTimeout,
  ListenerTcpReset,
  ListenOptions,
  SourcePorts,
  TargetGroupOptions,
  TargetSpec,
} from 'gwlb';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;

export type LogLevel = (typeof LOG_LEVELS)[number];

/** Options of `listen` that only programs can give, or that other keys decide. */
export const NOT_IN_FILES = [
  'targetGroup',
  'signal',
  'state',
  'saveState',
  'flowCounters',
  'attachmentId',
] as const satisfies (keyof ListenOptions)[];
type NotInFiles = (typeof NOT_IN_FILES)[number];
type Secrets = 'hashKey' | 'cookieKey';

export interface GatewayConfig
  extends Required<Omit<ListenOptions, NotInFiles | Secrets>>,
    Pick<ListenOptions, Secrets> {
  idleTimeout: Required<IdleTimeout>;
  limits: Required<GatewayLimits>;
  sourcePorts: Required<SourcePorts>;
  sendTcpReset: Required<ListenerTcpReset>;
}

/** Options of inner frames only where there are such. */
type OfFrames = 'sourceMac' | 'destinationMac';

export interface TargetGroupConfig
  extends Required<Omit<TargetGroupOptions, OfFrames>>,
    Pick<TargetGroupOptions, OfFrames> {
  targets: Required<TargetSpec>[];
}

export type EndpointConfig = EndpointOptions & { id: string; zone: string };

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
