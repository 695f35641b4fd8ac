/** The options that an embedded gateway and a listening one share: meaning, ranges, defaults. */
import { randomBytes } from 'node:crypto';
import { wrongObject } from '../base/checks.js';
import {
  checkBoolean,
  checkInteger,
  checkOneOf,
  checkOptions,
  invalidArgument,
  mismatch,
  outOfRange,
} from '../base/errors.js';
import {
  FLOWS_MAX,
  FLOWS_MIN,
  INNER_BYTES_MAX,
  INNER_BYTES_MIN,
  SOURCE_PORTS_MAX,
} from '../base/limits.js';
import type { NativeGatewayConfig } from '../native/binding.js';
import { parseMac } from '../packet/address.js';
import { checkKey } from '../packet/flow-table.js';
import { isTargetGroup, type TargetGroup } from './target-group.js';

/** After how long without packets a flow ends. */
export interface IdleTimeout {
  /**
   * Seconds after its last packet in which a TCP flow keeps its entry, 60–6000. Default 350. Only
   * with 5-tuple stickiness may it differ from the default. AWS `tcp.idle_timeout.seconds`.
   */
  tcpSeconds?: number;
  /** The same for every other protocol, 1–6000. Default 120, in AWS fixed. */
  otherSeconds?: number;
}

/** How many flows a gateway has room for. */
export interface GatewayLimits {
  /** IPv4 flows, 1,024 to 2^27. Memory (about 45 bytes each) is taken at once. Default 1,048,576. */
  flows?: number;
  /** IPv6 flows (about 85 bytes each), the same range. Default a quarter of `flows`. */
  flowsIpv6?: number;
}

/** The outer UDP source ports of a gateway. */
export interface SourcePorts {
  /** Lowest outer UDP source port, 1–65535. Default 32768. */
  base?: number;
  /**
   * How many ports, from `base` on, flows are spread over, 1–1024; a flow keeps its port, the same
   * for both directions. Default 256.
   */
  count?: number;
}

/**
 * What becomes of a TCP packet of an unknown flow that does not open a connection: `'drop'` it,
 * `'pickup'` the flow, or `'auto'`: pick up for the TCP idle timeout after the first packet (flows
 * that were there before this gateway), then drop.
 */
export type MidStream = 'auto' | 'drop' | 'pickup';

/** Whether and to what the maximum segment size of TCP connections is lowered. */
export type ClampMss = 'off' | 'auto' | number | false;

/** When TCP packets of unknown flows are answered with a RST. */
export interface ListenerTcpReset {
  /**
   * Answer a TCP packet of no flow that does not open one with a RST to its sender, instead of dropping
   * it. Default false. AWS `send_tcp_reset.on_idle_timeout.enabled`.
   */
  onIdleTimeout?: boolean;
}

/** Options that `Gateway` and `GatewayLoadBalancer` share. */
export interface GatewayBaseOptions {
  /** Where flows go. It belongs to one gateway at a time. Required. */
  targetGroup: TargetGroup;
  /** Whether an endpoint's flows may go to targets of other zones. Default false, as in AWS. */
  crossZone?: boolean;
  /** After how long without packets a flow ends. */
  idleTimeout?: IdleTimeout;
  /** Largest inner packet in bytes, 576–8500; larger ones are dropped. Default 8500, as in AWS. */
  mtu?: number;
  /** Room for flows. */
  limits?: GatewayLimits;
  /** TCP packets of unknown flows. Default `'auto'`. */
  midStream?: MidStream;
  /** Outer UDP source ports. */
  sourcePorts?: SourcePorts;
  /**
   * `'lenient'` (default) takes a returned packet with an older cookie of its flow's tuple;
   * `'strict'` drops it, as AWS does.
   */
  cookieCheck?: 'lenient' | 'strict';
  /**
   * What takes a new flow out of probation, where flows evict each other when there are too many of
   * them (SYN floods): the first packet that its target returns (`'return'`, default), or its second
   * packet (`'ingress'`: appliances that send packets onward themselves and return none).
   */
  promotion?: 'return' | 'ingress';
  /**
   * Answer packets longer than the MTU with ICMP Fragmentation Needed (RFC 1191) or ICMPv6 Packet Too
   * Big (RFC 8201), at most 1000 a second. Default true; AWS does not.
   */
  pathMtuDiscovery?: boolean;
  /**
   * Lower the maximum segment size that SYN and SYN-ACK packets tell, IPv4 and IPv6, for paths on which
   * ICMP errors are lost: to so many bytes, 88–8460, or with `'auto'` to what the endpoint's MTU has room
   * for, and with a `GatewayLoadBalancer` the paths to targets and peers as the kernel knows them. It is
   * never raised, and none is added. Default `'off'` (`false` is the same).
   */
  clampMss?: ClampMss;
  /** RST answers of the listener. */
  sendTcpReset?: ListenerTcpReset;
  /**
   * Count the packets and bytes of each flow, for flow logs; 32 more bytes a flow. Default false.
   */
  flowCounters?: boolean;
  /** 64 bits that every packet carries as attachment id. Default 0, as in AWS. */
  attachmentId?: bigint;
  /**
   * 16 secret bytes that flow hashes depend on: gateways with equal keys, groups and endpoint ids
   * choose equal targets. Default random.
   */
  hashKey?: Uint8Array;
  /** 16 secret bytes that flow cookies are signed with. Default random. */
  cookieKey?: Uint8Array;
}

export const BASE_KEYS = [
  'targetGroup',
  'crossZone',
  'idleTimeout',
  'mtu',
  'limits',
  'midStream',
  'sourcePorts',
  'cookieCheck',
  'promotion',
  'pathMtuDiscovery',
  'clampMss',
  'sendTcpReset',
  'flowCounters',
  'attachmentId',
  'hashKey',
  'cookieKey',
] as const;

type Given = Partial<Record<(typeof BASE_KEYS)[number], unknown>>;

/** Idle timeouts in milliseconds, checked. */
export interface IdleMs {
  tcpMs: number;
  otherMs: number;
}

/** Default of `idleTimeout.tcpSeconds`. */
export const TCP_SECONDS = 350;
const OTHER_SECONDS = 120;
const MID_STREAM = ['auto', 'drop', 'pickup'] as const;
const PROMOTION = ['return', 'ingress'] as const;
/** Stickiness as native code says it. */
export const TUPLE = { '5-tuple': 5, '3-tuple': 3, '2-tuple': 2 } as const;

/** Flow events kept until somebody reads them. */
const EVENTS = 16_384;

export interface BaseSettings {
  targetGroup: TargetGroup;
  crossZone: boolean;
  config: NativeGatewayConfig;
}

/** Checks the shared options; the outer address and port are the caller's. */
export function checkBase(
  field: string,
  given: Given,
  address: number,
  port: number,
): BaseSettings {
  const { targetGroup: group } = given;
  if (!isTargetGroup(group)) throw wrongObject(`${field}.targetGroup`, 'TargetGroup', group);
  const idle = checkIdleTimeout(`${field}.idleTimeout`, given.idleTimeout ?? {}, group);
  const limits = checkLimits(`${field}.limits`, given.limits ?? {});
  const sourcePorts = checkSourcePorts(`${field}.sourcePorts`, given.sourcePorts ?? {});
  const midStream = checkOneOf(`${field}.midStream`, given.midStream ?? 'auto', MID_STREAM);
  const cookieCheck = checkOneOf(`${field}.cookieCheck`, given.cookieCheck ?? 'lenient', [
    'lenient',
    'strict',
  ]);
  const promotion = checkOneOf(`${field}.promotion`, given.promotion ?? 'return', PROMOTION);
  const noMac = new Uint8Array(6);
  return {
    targetGroup: group,
    crossZone: checkBoolean(`${field}.crossZone`, given.crossZone ?? false),
    config: {
      hashKey: checkKey(`${field}.hashKey`, given.hashKey ?? randomBytes(16)),
      cookieKey: checkKey(`${field}.cookieKey`, given.cookieKey ?? randomBytes(16)),
      stickiness: TUPLE[group.stickiness],
      scopeGateway: group.scope === 'gateway',
      strictCookies: cookieCheck === 'strict',
      midStream: MID_STREAM.indexOf(midStream) as 0 | 1 | 2,
      learningMs: idle.tcpMs,
      flowsIpv4: limits.flows,
      flowsIpv6: limits.flowsIpv6,
      tcpIdleMs: idle.tcpMs,
      otherIdleMs: idle.otherMs,
      mtu: checkInteger(
        `${field}.mtu`,
        given.mtu ?? INNER_BYTES_MAX,
        INNER_BYTES_MIN,
        INNER_BYTES_MAX,
      ),
      optionClass: group.optionClass,
      attachmentId: checkAttachmentId(`${field}.attachmentId`, given.attachmentId ?? 0n),
      innerEthernet: group.inner === 'ethernet',
      sourceMac: parseMac(group.sourceMac) ?? noMac,
      destinationMac: parseMac(group.destinationMac) ?? noMac,
      failOpen: group.failOpen,
      promoteOnIngress: promotion === 'ingress',
      pathMtuDiscovery: checkBoolean(`${field}.pathMtuDiscovery`, given.pathMtuDiscovery ?? true),
      clampMss: checkClampMss(`${field}.clampMss`, given.clampMss ?? 'off'),
      resetOnIdle: checkListenerReset(`${field}.sendTcpReset`, given.sendTcpReset ?? {}),
      flowCounters: checkBoolean(`${field}.flowCounters`, given.flowCounters ?? false),
      outerHeaders: false,
      address,
      port,
      sourcePortBase: sourcePorts.base,
      sourcePortCount: sourcePorts.count,
      events: EVENTS,
    },
  };
}

/** The least that Linux takes, and what fits the largest inner packet of IPv4. */
const MSS_MIN = 88;
const MSS_MAX = INNER_BYTES_MAX - 40;
/** As native code says `'auto'`. */
export const CLAMP_MSS_AUTO = 0xffff;

function checkClampMss(field: string, value: unknown): number {
  if (value === 'off' || value === false) return 0;
  if (value === 'auto') return CLAMP_MSS_AUTO;
  if (typeof value === 'number') return checkInteger(field, value, MSS_MIN, MSS_MAX);
  throw invalidArgument(field, `"off", "auto" or a number of ${MSS_MIN}–${MSS_MAX} bytes`, value);
}

/** Seconds between two reports of a live flow; 0 for none. */
export function checkReportInterval(field: string, value: unknown): number {
  return checkInteger(field, value, 0, 86_400);
}

/** Whether `onIdleTimeout` is on. */
export function checkListenerReset(field: string, value: unknown): boolean {
  const { onIdleTimeout } = checkOptions(field, value, ['onIdleTimeout']);
  return checkBoolean(`${field}.onIdleTimeout`, onIdleTimeout ?? false);
}

/** Idle timeouts; those not given have their defaults, or what `before` says. */
export function checkIdleTimeout(
  field: string,
  timeout: unknown,
  group: TargetGroup,
  before: IdleMs = { tcpMs: TCP_SECONDS * 1000, otherMs: OTHER_SECONDS * 1000 },
): IdleMs {
  const given = checkOptions(field, timeout, ['tcpSeconds', 'otherSeconds']);
  const tcp = checkInteger(
    `${field}.tcpSeconds`,
    given.tcpSeconds ?? before.tcpMs / 1000,
    60,
    6000,
  );
  const otherSeconds = given.otherSeconds ?? before.otherMs / 1000;
  const other = checkInteger(`${field}.otherSeconds`, otherSeconds, 1, 6000);
  if (tcp !== TCP_SECONDS && group.stickiness !== '5-tuple') {
    throw mismatch(
      'ERR_GWLB_ATTRIBUTES',
      `${field}.tcpSeconds`,
      `${TCP_SECONDS} with ${group.stickiness} stickiness (it can be changed with 5-tuple stickiness only)`,
      `${tcp}`,
    );
  }
  return { tcpMs: tcp * 1000, otherMs: other * 1000 };
}

function checkLimits(field: string, limits: unknown): Required<GatewayLimits> {
  const given = checkOptions(field, limits, ['flows', 'flowsIpv6']);
  const flows = checkInteger(`${field}.flows`, given.flows ?? 1_048_576, FLOWS_MIN, FLOWS_MAX);
  const quarter = Math.max(FLOWS_MIN, Math.floor(flows / 4));
  const field6 = `${field}.flowsIpv6`;
  const flowsIpv6 = checkInteger(field6, given.flowsIpv6 ?? quarter, FLOWS_MIN, FLOWS_MAX);
  return { flows, flowsIpv6 };
}

function checkSourcePorts(field: string, ports: unknown): Required<SourcePorts> {
  const given = checkOptions(field, ports, ['base', 'count']);
  const base = checkInteger(`${field}.base`, given.base ?? 32_768, 1, 65_535);
  const count = checkInteger(`${field}.count`, given.count ?? 256, 1, SOURCE_PORTS_MAX);
  if (base + count > 65_536) {
    throw outOfRange(`${field}.count`, `at most ${65_536 - base} with base ${base}`, count);
  }
  return { base, count };
}

function checkAttachmentId(field: string, value: unknown): bigint {
  if (typeof value !== 'bigint' || BigInt.asUintN(64, value) !== value) {
    throw invalidArgument(field, 'a bigint of 64 bits', value);
  }
  return value;
}
