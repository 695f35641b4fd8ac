/** What `gwlb appliance` is asked to do: its arguments, checked, as the data that everything else is made of. */
import {
  type ApplianceOptions,
  type ApplianceTunOptions,
  CaptureFilter,
  type DropRule,
  GatewayError,
  parseDropRule,
} from 'gwlb';
import { checkMetricsListen } from '../config/schema.js';
import { checkSocketPath } from '../config/socket-path.js';
import { LOG_LEVELS, type LogLevel } from '../config/types.js';
import { numberArgument } from '../errors.js';

/** As the command line gives them. */
export interface ApplianceArguments {
  listen: string;
  port: string;
  healthPort: string;
  drop: string[];
  optionClass: string;
  netns?: string;
  tun?: string;
  tunPerEndpoint?: string;
  endpoints?: string;
  maxEndpoints: string;
  netnsPerEndpoint?: string;
  tunNetns?: string;
  tunMtu: string;
  flows: string;
  offloads: boolean;
  removeDevices: boolean;
  nat?: string | true;
  table: string;
  setup: boolean;
  printSetup: boolean;
  onEndpoint?: string;
  onEndpointTimeout: string;
  healthProtocol: string;
  healthCommand?: string;
  healthFile?: string;
  healthFlow?: string;
  healthInterval: string;
  healthTimeout: string;
  drainSeconds: string;
  metrics?: string;
  socket?: string;
  pcap?: string;
  pcapFilter: string;
  pcapBytes: string;
  pcapKeep: string;
  user?: string;
  dropPrivileges: boolean;
  logLevel?: string;
}

/** How the host is set up for devices. */
export interface SetupSettings {
  /** Interface that packets leave by; `default`: that of the default route; null: back by the device. */
  readonly nat: string | null;
  readonly table: number;
}

export interface HealthSettings {
  readonly command: readonly string[] | null;
  readonly file: string | null;
  readonly flowMs: number | null;
  readonly intervalMs: number;
  readonly timeoutMs: number;
}

export interface CaptureSettings {
  readonly path: string;
  readonly filter: CaptureFilter;
  readonly bytes: number;
  readonly keep: number;
}

export interface ApplianceSettings {
  readonly listen: ApplianceOptions;
  /** Null: packets never leave native code. */
  readonly tun: ApplianceTunOptions | null;
  /** Null: the host is the operator's. */
  readonly setup: SetupSettings | null;
  readonly printSetup: boolean;
  readonly deviceProgram: { readonly path: string; readonly timeoutMs: number } | null;
  readonly health: HealthSettings;
  readonly drainMs: number;
  readonly metrics: { readonly address: string; readonly port: number } | null;
  readonly socket: string | null;
  readonly capture: CaptureSettings | null;
  readonly user: string | undefined;
  readonly dropPrivileges: boolean;
  readonly logLevel: LogLevel;
}

const TABLE_MAX = 30_000;
/** `default`, `main` and `local`. */
const KERNEL_TABLES = { first: 253, last: 255 } as const;
const PCAP_BYTES_MIN = 1 << 20;

/** Calls `check`; what it throws is about this argument. */
function named<T>(field: string, check: () => T): T {
  try {
    return check();
  } catch (error) {
    throw error instanceof GatewayError ? error.at(field) : error;
  }
}

/** Throws what is wrong with the first argument that is. */
export function applianceSettings(given: ApplianceArguments): ApplianceSettings {
  const tun = tunOf(given);
  refuseAlone(given, tun !== null);
  const setup = tun !== null && given.setup ? setupOf(given, tun.perEndpoint?.max ?? 1) : null;
  if (given.printSetup && setup === null) {
    const expected = 'it together with --tun or --tun-per-endpoint, and without --no-setup';
    throw GatewayError.mismatch('ERR_GWLB_INVALID_ARGUMENT', '--print-setup', expected, 'it alone');
  }
  return {
    listen: listenOf(given),
    tun,
    setup,
    printSetup: given.printSetup,
    deviceProgram: deviceProgramOf(given),
    health: healthOf(given, tun !== null),
    drainMs: numberArgument('--drain-seconds', given.drainSeconds, 0, 3600) * 1000,
    metrics: metricsOf(given.metrics),
    socket: given.socket === undefined ? null : checkSocketPath('--socket', given.socket),
    capture: captureOf(given),
    user: given.user,
    dropPrivileges: given.dropPrivileges,
    logLevel: logLevelOf(given.logLevel ?? (tun === null ? 'warn' : 'info')),
  };
}

function listenOf(given: ApplianceArguments): ApplianceOptions {
  const { listen: address, netns = null } = given;
  if (netns !== null && given.healthPort !== 'off') {
    const expected = 'off together with --netns (health checks are answered outside of it only)';
    throw GatewayError.invalidArgument('--health-port', expected, given.healthPort);
  }
  const protocols = { http: 'HTTP', tcp: 'TCP' } as const;
  const protocol = oneOf('--health-protocol', given.healthProtocol, protocols);
  const port = () => numberArgument('--health-port', given.healthPort, 1, 65_535);
  return {
    address,
    port: numberArgument('--port', given.port, 1, 65_535),
    optionClass: numberArgument('--option-class', given.optionClass, 0, 0xffff),
    drop: given.drop.map(dropArgument),
    netns,
    offloads: given.offloads,
    healthCheck: given.healthPort === 'off' ? false : { protocol, port: port() },
  };
}

function oneOf<T extends string>(field: string, value: string, all: Record<string, T>): T {
  if (Object.hasOwn(all, value)) return all[value] as T;
  throw GatewayError.invalidArgument(field, Object.keys(all).join(' or '), value);
}

function dropArgument(rule: string): DropRule {
  return named('--drop', () => parseDropRule(rule));
}

/** Names that are the same to the kernel, to ip and to nft. */
const DEVICE = /^(?!\.{1,2}$)[\w.-]*(?:%d)?[\w.-]*$/;

/** `gwlb0`, or `in=gwi0,out=gwo0`. */
function devicesOf(field: string, text: string): { name: string; out: string | null } {
  const pair = /^in=([^,=]+),out=([^,=]+)$/.exec(text);
  const [name = '', out = null] = pair ? pair.slice(1) : [text];
  const isName = (device: string) => device !== '' && device.length <= 15 && DEVICE.test(device);
  if (isName(name) && (out === null || isName(out))) return { name, out };
  const expected =
    'NAME or in=NAME,out=NAME, names of 1–15 letters, digits, "_", "-" and ".", with one %d at most';
  throw GatewayError.invalidArgument(field, expected, text);
}

function tunOf(given: ApplianceArguments): ApplianceTunOptions | null {
  const { tun, tunPerEndpoint, tunNetns, netnsPerEndpoint } = given;
  if (tun !== undefined && tunPerEndpoint !== undefined) {
    const expected = 'nothing together with --tun';
    throw GatewayError.invalidArgument('--tun-per-endpoint', expected, tunPerEndpoint);
  }
  const common = {
    mtu: numberArgument('--tun-mtu', given.tunMtu, 68, 8500),
    limits: { flows: numberArgument('--flows', given.flows, 1024, 2 ** 27) },
    offloads: given.offloads,
  };
  if (tunPerEndpoint !== undefined) {
    const max = numberArgument('--max-endpoints', given.maxEndpoints, 1, 256);
    return {
      ...devicesOf('--tun-per-endpoint', tunPerEndpoint),
      ...common,
      perEndpoint: { endpoints: endpointsOf(given.endpoints), max },
      netns: netnsPerEndpoint ?? tunNetns ?? null,
      // The next start may give a number to another endpoint.
      persistent: false,
    };
  }
  if (tun === undefined) return null;
  const devices = devicesOf('--tun', tun);
  return { ...devices, ...common, netns: tunNetns ?? null, persistent: !given.removeDevices };
}

function endpointsOf(text: string | undefined): 'any' | string[] {
  if (text === 'any') return 'any';
  const ids = (text ?? '').split(',').map((id) => id.trim());
  const wrong = ids.find((id) => !/^vpce-[0-9a-f]{17}$/.test(id));
  if (wrong === undefined) return ids;
  const expected = 'any, or ids vpce-… with 17 hexadecimal digits, with commas between them';
  throw GatewayError.invalidArgument('--endpoints', expected, text);
}

/** Arguments that mean nothing without another one. */
const NEEDED: readonly (readonly [keyof ApplianceArguments, string, 'tun' | 'tunPerEndpoint'])[] = [
  ['endpoints', '--endpoints', 'tunPerEndpoint'],
  ['netnsPerEndpoint', '--netns-per-endpoint', 'tunPerEndpoint'],
  ['tunNetns', '--tun-netns', 'tun'],
  ['nat', '--nat', 'tun'],
  ['onEndpoint', '--on-endpoint', 'tun'],
  ['healthFlow', '--health-flow', 'tun'],
];

function refuseAlone(given: ApplianceArguments, hasTun: boolean): void {
  for (const [key, flag, needs] of NEEDED) {
    if (given[key] === undefined) continue;
    if (needs === 'tun' ? hasTun : given.tunPerEndpoint !== undefined) continue;
    const needed = needs === 'tun' ? '--tun or --tun-per-endpoint' : '--tun-per-endpoint';
    throw GatewayError.invalidArgument(flag, `nothing without ${needed}`, given[key]);
  }
}

function setupOf({ nat, table }: ApplianceArguments, devices: number): SetupSettings {
  const number = numberArgument('--table', table, 1, TABLE_MAX);
  const last = number + devices - 1;
  if (number <= KERNEL_TABLES.last && last >= KERNEL_TABLES.first) {
    const expected = "tables other than the kernel's, 253–255";
    const received = devices === 1 ? table : `${table}–${last}`;
    throw GatewayError.mismatch('ERR_GWLB_INVALID_ARGUMENT', '--table', expected, received);
  }
  if (nat === undefined) return { nat: null, table: number };
  if (nat === true) return { nat: 'default', table: number };
  if (nat !== '' && nat.length <= 15 && DEVICE.test(nat) && !nat.includes('%')) {
    return { nat, table: number };
  }
  throw GatewayError.invalidArgument('--nat', 'the name of an interface', nat);
}

function deviceProgramOf({ onEndpoint: path, onEndpointTimeout }: ApplianceArguments) {
  const timeoutMs = numberArgument('--on-endpoint-timeout', onEndpointTimeout, 1, 600) * 1000;
  if (path === undefined) return null;
  if (path === '') throw GatewayError.invalidArgument('--on-endpoint', 'a program', path);
  return { path, timeoutMs };
}

function healthOf(given: ApplianceArguments, hasTun: boolean): HealthSettings {
  const { healthCommand, healthFile, healthFlow } = given;
  const intervalMs = numberArgument('--health-interval', given.healthInterval, 1, 300) * 1000;
  const timeoutMs = numberArgument('--health-timeout', given.healthTimeout, 1, 300) * 1000;
  if (healthFile === '') throw GatewayError.invalidArgument('--health-file', 'a path', healthFile);
  const flow = healthFlow === undefined || !hasTun ? null : healthFlow;
  return {
    command: healthCommand === undefined ? null : wordsArgument('--health-command', healthCommand),
    file: healthFile ?? null,
    flowMs: flow === null ? null : numberArgument('--health-flow', flow, 1, 3600) * 1000,
    intervalMs,
    timeoutMs,
  };
}

const WORDS_MAX = 64;

/** A program and its arguments, with spaces between them: no shell reads it. */
function wordsArgument(field: string, text: string): string[] {
  const words = text.match(/\S+/g) ?? [];
  if (words.length > 0 && words.length <= WORDS_MAX) return words;
  const expected = `a program and its arguments, 1–${WORDS_MAX} words`;
  throw GatewayError.invalidArgument(field, expected, text);
}

function metricsOf(listen: string | undefined) {
  if (listen === undefined) return null;
  return named('--metrics', () => checkMetricsListen(listen));
}

function captureOf(given: ApplianceArguments): CaptureSettings | null {
  const { pcap: path, pcapFilter } = given;
  const filter = named('--pcap-filter', () => new CaptureFilter(pcapFilter));
  const max = Number.MAX_SAFE_INTEGER;
  const bytes = numberArgument('--pcap-bytes', given.pcapBytes, PCAP_BYTES_MIN, max);
  const keep = numberArgument('--pcap-keep', given.pcapKeep, 1, 1000);
  if (path === undefined) return null;
  if (path === '') throw GatewayError.invalidArgument('--pcap', 'a path', path);
  return { path, filter, bytes, keep };
}

function logLevelOf(level: string): LogLevel {
  const known = LOG_LEVELS.find((one) => one === level);
  if (known !== undefined) return known;
  throw GatewayError.invalidArgument('--log-level', `one of ${LOG_LEVELS.join(', ')}`, level);
}
