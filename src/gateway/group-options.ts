/** The options of a target group: their meaning, ranges and defaults, and the checks of them. */
import { checkRecord } from '../base/checks.js';
import {
  checkBoolean,
  checkInteger,
  checkOneOf,
  checkOptions,
  checkString,
  type GatewayError,
  invalidArgument,
  mismatch,
} from '../base/errors.js';
import { NAME_LENGTH_MAX, WEIGHT_MAX } from '../base/limits.js';
import { checkHealthCheck, type HealthCheck, type HealthCheckOptions } from '../health/options.js';
import { formatMac, isUnicastIpv4, parseIpv4, parseMac } from '../packet/address.js';

export type Stickiness = '5-tuple' | '3-tuple' | '2-tuple';
/** What becomes of the flows of a target that is lost; see `TargetGroupPolicy.failover`. */
export type Failover = 'no_rebalance' | 'rebalance';

/** When TCP connections are answered with a RST instead of staying on a target that is lost. */
export interface TargetTcpReset {
  /**
   * Those of a target that turned unhealthy. Default `false`.
   * AWS `send_tcp_reset.on_unhealthy.enabled`.
   */
  onUnhealthy?: boolean;
  /**
   * Those of a target that was deregistered, after its deregistration delay. Default `false`.
   * AWS `send_tcp_reset.on_deregistration.enabled`.
   */
  onDeregistration?: boolean;
}

/** What may change while a load balancer uses the group. */
export interface TargetGroupPolicy {
  /**
   * What becomes of the flows of a target that turns unhealthy or leaves: `'no_rebalance'` keeps
   * them on it until they end, `'rebalance'` moves each with its next packet to a healthy target.
   * Default `'no_rebalance'`. AWS `target_failover.on_unhealthy` and
   * `target_failover.on_deregistration`, which must be equal.
   */
  failover?: Failover;
  /**
   * Answer TCP packets of a lost target's flows with a RST to their sender, so that clients connect
   * again at once, to another target; while the zone has no healthy target, flows stay instead. Needs
   * failover `'no_rebalance'` and stickiness `'5-tuple'`; throws `ERR_GWLB_ATTRIBUTES` with others.
   * Default: none of the two.
   */
  sendTcpReset?: TargetTcpReset;
  /**
   * Seconds that a deregistered target keeps its flows before it counts as gone, 0–3600.
   * Default 300. AWS `deregistration_delay.timeout_seconds`.
   */
  deregistrationDelaySeconds?: number;
  /**
   * Seconds in which a target that turned healthy comes to its whole weight, 0–900: it takes a tenth
   * of it at once, then 32.5 %, 55 %, 77.5 % and all of it, a quarter of the time apart. Only new flows
   * are concerned. Default 0, off. Not in AWS for GENEVE target groups.
   */
  slowStartSeconds?: number;
  /**
   * Where no target takes new flows, because none is registered or all are draining or have weight 0,
   * forward packets of new flows uninspected instead of dropping them. Unhealthy targets do take them.
   * Default `false`. Not in AWS.
   */
  failOpen?: boolean;
  /**
   * How targets are checked; `false` turns checks off and counts every target as healthy at once,
   * unless `setHealth` says otherwise.
   * Default: TCP to port 80 with the AWS timing. In AWS checks cannot be turned off; `false` is for
   * tests and for embedders that know the health of their targets otherwise (`setHealth`).
   */
  healthCheck?: HealthCheckOptions | false;
}

/** Options of a `TargetGroup`. */
export interface TargetGroupOptions extends TargetGroupPolicy {
  /** 1–32 letters, digits and hyphens. Default `'targets'`. AWS `Name`. */
  name?: string;
  /** UDP port on which targets receive GENEVE, 1–65535. Default 6081, in AWS the only one. */
  port?: number;
  /**
   * What travels inside of GENEVE: IP packets, as AWS does it, or Ethernet frames for peers such as
   * Open vSwitch. Default `'ip'`.
   */
  inner?: 'ip' | 'ethernet';
  /** Source address of inner frames, `'02:00:00:00:00:01'`; required with `inner: 'ethernet'`. */
  sourceMac?: string;
  /** Destination address of inner frames; required with `inner: 'ethernet'`. */
  destinationMac?: string;
  /** Class of the gateway's GENEVE options, 0–65535. Default 0x0108, that of AWS. */
  optionClass?: number;
  /**
   * Which fields make a flow: source and destination address and port and the protocol (protocols
   * without ports: a 3-tuple), addresses and protocol, or addresses. Default `'5-tuple'`.
   * AWS `stickiness.enabled` and `stickiness.type`.
   */
  stickiness?: Stickiness;
  /**
   * Whether equal tuples that enter by different endpoints are different flows (`'endpoint'`, as in
   * AWS: address spaces of consumers overlap) or one (`'gateway'`). Default `'endpoint'`.
   */
  scope?: 'endpoint' | 'gateway';
}

/** One target, as it is registered. */
export interface TargetSpec {
  /** Unicast IPv4 address. */
  address: string;
  /** UDP port on which it receives GENEVE, 1–65535. Default: the group's. */
  port?: number;
  /** Name of its zone: 1–63 letters, digits, `.`, `_`, `-`. Default `'default'`. */
  zone?: string;
  /**
   * Share of new flows relative to the other targets of its zone, 1–1000; with 0 the target takes
   * no new flows and keeps those it has. Default 1. Not in AWS.
   */
  weight?: number;
}

export interface Policy {
  readonly failover: Failover;
  readonly sendTcpReset: Required<Readonly<TargetTcpReset>>;
  readonly deregistrationDelaySeconds: number;
  readonly slowStartSeconds: number;
  readonly failOpen: boolean;
  readonly healthCheck: HealthCheck | false;
}

export interface Settings extends Policy {
  readonly name: string;
  readonly port: number;
  readonly inner: 'ip' | 'ethernet';
  readonly sourceMac: string | null;
  readonly destinationMac: string | null;
  readonly optionClass: number;
  readonly stickiness: Stickiness;
  readonly scope: 'endpoint' | 'gateway';
}

/** A checked target. */
export interface CheckedTarget {
  readonly id: string;
  readonly address: string;
  /** `address` as native code takes it. */
  readonly number: number;
  readonly port: number;
  readonly zone: string;
  readonly weight: number;
}

export const STICKINESS: readonly Stickiness[] = ['5-tuple', '3-tuple', '2-tuple'];
export const FAILOVER: readonly Failover[] = ['no_rebalance', 'rebalance'];
/** What `sendTcpReset` needs of other options; the same as attributes. */
export const TCP_RESET_NEEDS = [
  { option: 'stickiness', value: '5-tuple', attribute: 'stickiness.enabled', text: 'false' },
  {
    option: 'failover',
    value: 'no_rebalance',
    attribute: 'target_failover.on_unhealthy',
    text: 'no_rebalance',
  },
] as const;
const TCP_RESET_KEYS = ['onUnhealthy', 'onDeregistration'] as const;
const POLICY_KEYS = [
  'failover',
  'sendTcpReset',
  'deregistrationDelaySeconds',
  'slowStartSeconds',
  'failOpen',
  'healthCheck',
] as const;
/** What a group has for life. */
const FIXED_KEYS = [
  'name',
  'port',
  'inner',
  'sourceMac',
  'destinationMac',
  'optionClass',
  'stickiness',
  'scope',
] as const;
const GROUP_KEYS = [...FIXED_KEYS, ...POLICY_KEYS] as const;
const TARGET_KEYS = ['address', 'port', 'zone', 'weight'] as const;

/** All options of a group, checked. `field` is what messages call the object. */
export function checkTargetGroup(options: unknown, field = 'targetGroup'): Settings {
  const given = checkOptions(field, options, GROUP_KEYS);
  const inner = checkOneOf(`${field}.inner`, given.inner ?? 'ip', ['ip', 'ethernet'] as const);
  const { healthCheck, ...policy } = checkPolicy(given, field);
  const settings = Object.freeze({
    name: checkString(`${field}.name`, given.name ?? 'targets', {
      pattern: /^[A-Za-z0-9-]+$/,
      max: NAME_LENGTH_MAX,
      expected: `1–${NAME_LENGTH_MAX} letters, digits and hyphens`,
    }),
    port: checkInteger(`${field}.port`, given.port ?? 6081, 1, 65535),
    inner,
    sourceMac: checkMac(`${field}.sourceMac`, given.sourceMac, inner),
    destinationMac: checkMac(`${field}.destinationMac`, given.destinationMac, inner),
    optionClass: checkInteger(`${field}.optionClass`, given.optionClass ?? 0x0108, 0, 0xffff),
    stickiness: checkOneOf(`${field}.stickiness`, given.stickiness ?? '5-tuple', STICKINESS),
    scope: checkOneOf(`${field}.scope`, given.scope ?? 'endpoint', [
      'endpoint',
      'gateway',
    ] as const),
    ...policy,
    healthCheck: healthCheck ?? checkHealthCheck({}, `${field}.healthCheck`),
    failover: policy.failover ?? 'no_rebalance',
    sendTcpReset: policy.sendTcpReset ?? checkTcpReset({}, `${field}.sendTcpReset`),
    deregistrationDelaySeconds: policy.deregistrationDelaySeconds ?? 300,
    slowStartSeconds: policy.slowStartSeconds ?? 0,
    failOpen: policy.failOpen ?? false,
  });
  checkCombination(settings, field);
  return settings;
}

/** Throws `ERR_GWLB_ATTRIBUTES` where options exclude each other. */
export function checkCombination(settings: Settings, field = 'targetGroup'): void {
  for (const key of TCP_RESET_KEYS) {
    if (!settings.sendTcpReset[key]) continue;
    for (const { option, value } of TCP_RESET_NEEDS) {
      if (settings[option] === value) continue;
      const name = `${field}.sendTcpReset.${key}`;
      throw mismatch(
        'ERR_GWLB_ATTRIBUTES',
        name,
        `false unless ${option} is "${value}"`,
        `true with "${settings[option]}"`,
      );
    }
  }
}

/** The options that `TargetGroup.update` takes; those that are absent are absent in the answer. */
export function checkPolicyChange(options: unknown, field = 'targetGroup'): Partial<Policy> {
  const keys = Object.keys(checkRecord(field, options));
  const fixed = keys.find((key) => FIXED_KEYS.includes(key as (typeof FIXED_KEYS)[number]));
  if (fixed !== undefined) throw fixedOption(fixed, field);
  return checkPolicy(checkOptions(field, options, POLICY_KEYS), field);
}

function fixedOption(key: string, field: string): GatewayError {
  const way =
    key === 'stickiness' ? 'modifyAttributes can change it' : 'make another group for that';
  const expected = `one of the options that can change (${POLICY_KEYS.join(', ')})`;
  const received = `one that is set when the group is made: ${way}`;
  return mismatch('ERR_GWLB_INVALID_ARGUMENT', `${field}.${key}`, expected, received);
}

function checkPolicy(
  given: Partial<Record<(typeof POLICY_KEYS)[number], unknown>>,
  field: string,
): Partial<Policy> {
  const { failover, sendTcpReset, failOpen, healthCheck } = given;
  const { deregistrationDelaySeconds: delay, slowStartSeconds: slowStart } = given;
  const delayField = `${field}.deregistrationDelaySeconds`;
  return {
    ...(failover !== undefined && {
      failover: checkOneOf(`${field}.failover`, failover, FAILOVER),
    }),
    ...(sendTcpReset !== undefined && {
      sendTcpReset: checkTcpReset(sendTcpReset, `${field}.sendTcpReset`),
    }),
    ...(delay !== undefined && {
      deregistrationDelaySeconds: checkInteger(delayField, delay, 0, 3600),
    }),
    ...(slowStart !== undefined && {
      slowStartSeconds: checkInteger(`${field}.slowStartSeconds`, slowStart, 0, 900),
    }),
    ...(failOpen !== undefined && { failOpen: checkBoolean(`${field}.failOpen`, failOpen) }),
    ...(healthCheck !== undefined && {
      healthCheck: checkHealthCheck(healthCheck, `${field}.healthCheck`),
    }),
  };
}

function checkTcpReset(value: unknown, field: string): Policy['sendTcpReset'] {
  const given = checkOptions(field, value, TCP_RESET_KEYS);
  return Object.freeze({
    onUnhealthy: checkBoolean(`${field}.onUnhealthy`, given.onUnhealthy ?? false),
    onDeregistration: checkBoolean(`${field}.onDeregistration`, given.onDeregistration ?? false),
  });
}

function checkMac(field: string, value: unknown, inner: 'ip' | 'ethernet'): string | null {
  if (inner === 'ip') {
    if (value === undefined || value === null) return null;
    throw invalidArgument(field, "nothing unless inner is 'ethernet'", value);
  }
  const bytes = parseMac(value);
  if (!bytes) throw invalidArgument(field, 'a MAC address such as "02:00:00:00:00:01"', value);
  return formatMac(bytes);
}

/** One target; `port` is the group's. */
export function checkTarget(value: unknown, port: number, field: string): CheckedTarget {
  const given = checkOptions(field, value, TARGET_KEYS);
  const number = parseIpv4(given.address);
  if (number === null || !isUnicastIpv4(number)) {
    throw invalidArgument(`${field}.address`, 'a unicast IPv4 address', given.address);
  }
  const target = {
    address: given.address as string,
    number,
    port: checkInteger(`${field}.port`, given.port ?? port, 1, 65535),
    zone: checkString(`${field}.zone`, given.zone ?? 'default', {
      pattern: /^[\w.-]+$/,
      max: 63,
      expected: '1–63 letters, digits, ".", "_" and "-"',
    }),
    weight: checkInteger(`${field}.weight`, given.weight ?? 1, 0, WEIGHT_MAX),
  };
  return { id: `${target.address}:${target.port}`, ...target };
}
