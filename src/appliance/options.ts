/** The options of an appliance: their meaning, ranges and defaults, each described once, and the checks of them. */
import { wrongObject } from '../base/checks.js';
import { checkOptions, invalidArgument } from '../base/errors.js';
import { RETURN_PORTS_MAX } from '../base/limits.js';
import { object } from '../base/option-description.js';
import { flag, integer, type Kind, special } from '../base/option-kinds.js';
import { fillOptions, readOptions, type TableOf } from '../base/option-table.js';
import type { NativeApplianceConfig } from '../native/binding.js';
import {
  abortSignal,
  networkNamespace,
  optionClass,
  portNumber,
  roomForFlows,
} from '../packet/option-kinds.js';
import { checkApplianceAddress, type OwnAddress } from '../packet/own-address.js';
import { type DropRule, dropRules } from './drop-rule.js';
import { CaptureFilter } from './filter.js';
import {
  type ApplianceHealthCheck,
  type HealthCheckAnswers,
  healthAnswers,
} from './health-check.js';
import type { Inspector } from './inspection.js';

/** How much an appliance has room for. */
export interface ApplianceLimits {
  /**
   * IPv4 flows that can have a verdict (`passFlow`, `dropFlow`) at a time, 1,024 to 2^27. Memory (about
   * 75 bytes each) is taken when an inspector is first set. Default 65,536.
   */
  flows?: number;
  /** The same of IPv6 (about 115 bytes each). Default a quarter of `flows`. */
  flowsIpv6?: number;
  /**
   * Source ports of gateways for which a socket is open at a time, so that packets go back from the port
   * that they came from: 1–32768, at most a quarter of the descriptors that the process may have. The
   * one that was used longest ago gives way. Default 4,096.
   */
  returnPorts?: number;
}

/** After how long without packets what is known of a flow ends. */
export interface ApplianceIdleTimeout {
  /**
   * Seconds after its last packet in which what is known of a TCP flow ends: a verdict on it, or its way
   * back from the kernel. 1–6000. Default 350.
   */
  tcpSeconds?: number;
  /** The same for every other protocol. Default 120. */
  otherSeconds?: number;
}

/** Options of `Appliance.inspect`. */
export interface InspectOptions {
  /**
   * Which packets the inspector is shown; the others are returned by native code. An expression such as
   * `'tcp and dst port 443'` (see `CaptureFilter`). Default: all.
   */
  filter?: string | CaptureFilter;
}

/** Options of `Appliance.listen`. */
export interface ApplianceOptions {
  /**
   * Own address: GENEVE is received and returned on it. `'0.0.0.0'` is all IPv4 addresses, `'::'` all
   * addresses of either version; a packet is returned from the one that it was sent to. Required.
   */
  address: string;
  /** UDP port that GENEVE is received on, 1–65535. Default 6081. */
  port?: number;
  /** Named network namespace of the sockets. Default: the process's own. */
  netns?: string | null;
  /**
   * Answer the gateway's health checks over HTTP or TCP on the own address, or `false` where something
   * else does. It cannot be had together with `netns`. Default: HTTP on port 80, path `/`.
   */
  healthCheck?: ApplianceHealthCheck | false;
  /** Class of the gateway's GENEVE options, 0–65535. Default 0x0108, that of AWS. */
  optionClass?: number;
  /** UDP port that packets are returned to, 1–65535. Default 6081. */
  gatewayPort?: number;
  /**
   * Use what the kernel has to receive and send many datagrams at once (UDP generic receive and
   * segmentation offload); `Appliance.offloads` tells. Default true.
   */
  offloads?: boolean;
  /**
   * Write the UDP checksum of what is sent. False: 0, none, which GENEVE over IPv4 allows (RFC 8926,
   * section 3.3) and raw sockets can always read; datagrams then leave one by one. True with
   * `offloads: false`: finished before a network device sees it. Default true.
   */
  udpChecksum?: boolean;
  /** Packets that are dropped without asking the inspector. Default none. */
  drop?: readonly DropRule[];
  /**
   * What becomes of a batch whose inspector throws or rejects: dropped (false) or returned as far as
   * it did not decide (true). Default false.
   */
  failOpen?: boolean;
  /** Room for verdicts on flows, and for return ports. */
  limits?: ApplianceLimits;
  /** After how long without packets a verdict on a flow ends. */
  idleTimeout?: ApplianceIdleTimeout;
  /**
   * Sees every packet from the first one on; `inspect` sets another one, or none. Without it packets that come
   * before a call of `inspect` or `attachTun` are returned as they are. Default none.
   */
  inspector?: Inspector;
  /** Closes the appliance when it is aborted. */
  signal?: AbortSignal;
}

/** Room for verdicts on flows. */
export const VERDICT_LIMITS = roomForFlows(
  'IPv4 flows that can have a verdict, about 75 bytes each, taken when an inspector is first set',
  'IPv6 flows that can have one, about 115 bytes each',
  65_536,
) satisfies TableOf<Omit<ApplianceLimits, 'returnPorts'>>;

const LIMITS = {
  ...VERDICT_LIMITS,
  returnPorts: {
    says: "source ports of gateways that have a socket to return from; at most a quarter of the process's descriptors",
    kind: integer(1, RETURN_PORTS_MAX),
    preset: 4096,
  },
} as const satisfies TableOf<ApplianceLimits>;

/** After how long without packets what is known of a flow ends. */
export const APPLIANCE_IDLE_TIMEOUT = {
  tcpSeconds: {
    says: 'what is known of an idle TCP flow ends',
    kind: integer(1, 6000),
    preset: 350,
    unit: 'seconds',
  },
  otherSeconds: {
    says: 'the same of every other protocol',
    kind: integer(1, 6000),
    preset: 120,
    unit: 'seconds',
  },
} as const satisfies TableOf<ApplianceIdleTimeout>;

/** The option `idleTimeout`, of all who know something of flows. */
export const idleTimeout = {
  says: 'after how long without packets what is known of a flow ends',
  kind: object<typeof APPLIANCE_IDLE_TIMEOUT, ApplianceIdleTimeout>(APPLIANCE_IDLE_TIMEOUT),
  preset: () => readOptions(APPLIANCE_IDLE_TIMEOUT, 'idleTimeout', {}),
} as const;

/** What an inspector without a filter is shown. */
export const ALL_PACKETS = new CaptureFilter('');

const captureFilter: Kind<CaptureFilter, string | CaptureFilter> = special(
  'a capture filter expression, or a CaptureFilter',
  { type: 'string' },
  (field, value) => {
    if (CaptureFilter.is(value)) return value;
    if (typeof value === 'string') return new CaptureFilter(value);
    throw wrongObject(field, 'CaptureFilter', value, 'an expression or a CaptureFilter');
  },
);

const inspector: Kind<Inspector | null, Inspector> = special('a function', {}, (field, value) => {
  if (typeof value === 'function') return value as Inspector;
  throw invalidArgument(field, 'a function', value);
});

/** The options of an inspector. */
export const INSPECT = {
  filter: {
    says: 'which packets the inspector is shown; native code returns the others',
    kind: captureFilter,
    preset: ALL_PACKETS,
    presetText: 'all',
  },
} as const satisfies TableOf<InspectOptions>;

/** What an inspector that is tried without sockets has too. */
export const INSPECTION = {
  drop: {
    says: 'packets that are dropped without asking the inspector',
    kind: dropRules,
    preset: () => [],
    presetText: 'none',
  },
  failOpen: {
    says: 'return a batch whose inspector failed, as far as it did not decide, rather than drop it',
    kind: flag,
    preset: false,
  },
} as const satisfies TableOf<Pick<ApplianceOptions, 'drop' | 'failOpen'>>;

/** The options of `Appliance.listen`. */
export const APPLIANCE = {
  address: {
    says: "own address: GENEVE is received and returned on it; '0.0.0.0': all of IPv4, '::': all of both versions",
    kind: special<OwnAddress, string>(
      'an IPv4 or IPv6 address',
      { type: 'string' },
      checkApplianceAddress,
    ),
  },
  port: { says: 'UDP port that GENEVE is received on', kind: portNumber, preset: 6081 },
  netns: {
    says: 'named network namespace of the sockets',
    kind: networkNamespace,
    preset: '',
    given: null,
    presetText: 'null',
  },
  healthCheck: {
    says: "how the gateway's health checks are answered, or `false`; not together with `netns`",
    kind: healthAnswers,
    preset: () => healthAnswers.check('healthCheck', {}),
  },
  optionClass: {
    says: "class of the gateway's GENEVE options",
    kind: optionClass,
    preset: 0x0108,
  },
  gatewayPort: { says: 'UDP port that packets are returned to', kind: portNumber, preset: 6081 },
  offloads: {
    says: 'receive and send many datagrams at once where the kernel can (UDP GRO and GSO)',
    kind: flag,
    preset: true,
  },
  udpChecksum: { says: 'write the outer UDP checksum; false: 0, none', kind: flag, preset: true },
  ...INSPECTION,
  limits: {
    says: 'room for verdicts on flows, and for return ports',
    kind: object<typeof LIMITS, ApplianceLimits>(LIMITS),
    preset: () => readOptions(LIMITS, 'limits', {}),
  },
  idleTimeout,
  inspector: {
    says: 'sees every packet from the first one on, until `inspect` sets another one',
    kind: inspector,
    preset: null,
    presetText: 'none',
  },
  signal: {
    says: 'closes it when aborted',
    kind: abortSignal,
    preset: undefined,
    presetText: 'none',
  },
} as const satisfies TableOf<ApplianceOptions>;

/** Batches that an inspector may have at a time. */
export const BATCHES = 16;
const SOCKET_BUFFER_BYTES = 8 << 20;

export interface CheckedAppliance {
  readonly config: NativeApplianceConfig;
  readonly address: string;
  readonly health: HealthCheckAnswers | null;
  readonly failOpen: boolean;
  readonly inspector: Inspector | null;
  readonly signal: AbortSignal | undefined;
}

/** The options of `Appliance.listen`, checked. */
export function checkAppliance(value: unknown, field = 'options'): CheckedAppliance {
  const given = checkOptions(field, value, Object.keys(APPLIANCE));
  const options = fillOptions(APPLIANCE, field, given);
  const { address, port, netns, offloads, udpChecksum, optionClass, gatewayPort, drop } = options;
  if (options.healthCheck && netns !== '') {
    const expected =
      'false together with netns, since Node cannot listen inside another network namespace ' +
      '(start the program inside of it instead: ip netns exec)';
    throw invalidArgument(`${field}.healthCheck`, expected, given.healthCheck);
  }
  return {
    config: {
      udp: {
        address: address.ipv4,
        address6: address.ipv6,
        port,
        netns,
        receiveBufferBytes: SOCKET_BUFFER_BYTES,
        sendBufferBytes: SOCKET_BUFFER_BYTES,
        ttl: 255,
        offloads,
        udpChecksum,
      },
      optionClass,
      gatewayPort,
      batches: BATCHES,
      inspect: options.inspector !== null,
      offline: false,
      drop,
      ...roomOf(options.limits),
      ...idleMsOf(options.idleTimeout),
    },
    address: address.text,
    health: options.healthCheck || null,
    failOpen: options.failOpen,
    inspector: options.inspector,
    signal: options.signal,
  };
}

/** What an inspector is shown. */
export function checkInspect(options: unknown): CaptureFilter {
  return readOptions(INSPECT, 'options', options).filter;
}

/** Limits as native code takes them. */
export function roomOf({ flows, flowsIpv6, returnPorts }: Required<ApplianceLimits>) {
  return { flowsIpv4: flows, flowsIpv6, returnPorts };
}

/** Idle timeouts as native code takes them. */
export function idleMsOf({ tcpSeconds, otherSeconds }: Required<ApplianceIdleTimeout>) {
  return { tcpIdleMs: tcpSeconds * 1000, otherIdleMs: otherSeconds * 1000 };
}
