/** The options of a target group: their meaning, ranges and defaults, and the checks of them. */
import { checkRecord } from '../base/checks.js';
import { checkOptions, type GatewayError, invalidArgument, mismatch } from '../base/errors.js';
import { WEIGHT_MAX } from '../base/limits.js';
import { object, objectOrFalse } from '../base/option-description.js';
import { flag, integer, type Kind, nameForLogs, oneOf, special } from '../base/option-kinds.js';
import { fillOptions, readChanges, readOptions, type TableOf } from '../base/option-table.js';
import {
  checkHealthCheck,
  HEALTH_CHECK,
  type HealthCheck,
  type HealthCheckOptions,
} from '../health/options.js';
import { formatMac, parseIpv4, parseMac } from '../packet/address.js';
import { optionClass, portNumber, unicastIpv4, zoneName } from '../packet/option-kinds.js';

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
   * Which fields make a flow: source and destination address and port and the protocol (protocols
   * without ports: a 3-tuple), addresses and protocol, or addresses. Default `'5-tuple'`.
   * Changed in use, flows that are
   * alive are found anew by the other key (rule K5). AWS `stickiness.enabled` and `stickiness.type`.
   */
  stickiness?: Stickiness;
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
  readonly stickiness: Stickiness;
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

/** When TCP connections of a lost target are answered with a RST. */
export const TCP_RESET = {
  onUnhealthy: {
    says: 'answer TCP packets of a target that turned unhealthy with a RST; with `no_rebalance` and `5-tuple` only',
    kind: flag,
    preset: false,
    live: true,
    attribute: 'send_tcp_reset.on_unhealthy.enabled',
  },
  onDeregistration: {
    says: 'the same for a target that was deregistered, after its delay',
    kind: flag,
    preset: false,
    live: true,
    attribute: 'send_tcp_reset.on_deregistration.enabled',
  },
} as const satisfies TableOf<TargetTcpReset>;

/** What may change while a load balancer uses the group. */
const POLICY = {
  stickiness: {
    says: 'what makes a flow',
    kind: oneOf('5-tuple', '3-tuple', '2-tuple'),
    preset: '5-tuple',
    live: true,
    attribute: 'stickiness.type',
  },
  failover: {
    says: 'flows of a target that fails or leaves',
    kind: oneOf('no_rebalance', 'rebalance'),
    preset: 'no_rebalance',
    live: true,
    attribute: 'target_failover.on_unhealthy',
  },
  sendTcpReset: {
    says: 'when TCP connections of a lost target are answered with a RST',
    kind: object<typeof TCP_RESET, TargetTcpReset>(TCP_RESET),
    preset: () => Object.freeze({ onUnhealthy: false, onDeregistration: false }),
    live: true,
  },
  deregistrationDelaySeconds: {
    says: 'a target drains',
    kind: integer(0, 3600),
    preset: 300,
    unit: 'seconds',
    live: true,
    attribute: 'deregistration_delay.timeout_seconds',
  },
  slowStartSeconds: {
    says: 'a target that turned healthy comes to its weight in this time, in five steps; 0: at once',
    kind: integer(0, 900),
    preset: 0,
    unit: 'seconds',
    live: true,
  },
  failOpen: {
    says: 'where no target takes new flows, forward uninspected',
    kind: flag,
    preset: false,
    live: true,
  },
  healthCheck: {
    says: '`false`: every target counts as healthy',
    kind: objectOrFalse<HealthCheck | false, HealthCheckOptions>(HEALTH_CHECK, (field, value) =>
      checkHealthCheck(value, field),
    ),
    preset: () => checkHealthCheck({}, 'healthCheck'),
    live: true,
  },
} as const satisfies TableOf<TargetGroupPolicy>;

const withEthernet = {
  key: 'inner',
  values: ['ethernet'],
  otherwise: () => "nothing unless inner is 'ethernet'",
};
const macAddress: Kind<string | null, string> = special(
  'MAC address',
  { type: 'string' },
  (field, value) => {
    const bytes = parseMac(value);
    if (bytes) return formatMac(bytes);
    throw invalidArgument(field, 'a MAC address such as "02:00:00:00:00:01"', value);
  },
);
const requiredWithEthernet = {
  kind: macAddress,
  preset: null,
  presetText: 'required then',
  variant: { when: ['inner', 'ethernet'], preset: undefined },
  only: withEthernet,
} as const;

/** What a group has for life. */
const FIXED = {
  name: {
    says: 'name for logs',
    kind: nameForLogs,
    preset: 'targets',
    attribute: 'Name',
  },
  port: { says: 'UDP port of targets', kind: portNumber, preset: 6081, attribute: 'Port' },
  inner: { says: 'what travels in GENEVE', kind: oneOf('ip', 'ethernet'), preset: 'ip' },
  sourceMac: {
    says: 'source address of inner frames, with `inner: ethernet`',
    ...requiredWithEthernet,
  },
  destinationMac: {
    says: 'destination address of inner frames, with `inner: ethernet`',
    ...requiredWithEthernet,
  },
  optionClass: {
    says: "class of the gateway's options",
    kind: optionClass,
    preset: 0x0108,
  },
  scope: {
    says: 'whether equal tuples of different endpoints are different flows, or one',
    kind: oneOf('endpoint', 'gateway'),
    preset: 'endpoint',
  },
} as const satisfies TableOf<Omit<TargetGroupOptions, keyof TargetGroupPolicy>>;

/** The options of a target group. */
export const TARGET_GROUP = { ...FIXED, ...POLICY } satisfies TableOf<TargetGroupOptions>;

/** The options of a target; the default of its port is the group's. */
export const TARGET = {
  address: {
    says: 'unicast IPv4 address',
    kind: unicastIpv4,
  },
  port: {
    says: 'UDP port on which it receives GENEVE',
    kind: portNumber,
    preset: 6081,
    presetText: "the group's",
  },
  zone: { says: 'name of its zone', kind: zoneName, preset: 'default', live: true },
  weight: {
    says: 'share of new flows; with 0 it keeps those it has',
    kind: integer(0, WEIGHT_MAX),
    preset: 1,
    live: true,
  },
} as const satisfies TableOf<TargetSpec>;

const TCP_RESET_KEYS = Object.keys(TCP_RESET) as (keyof typeof TCP_RESET)[];
const POLICY_KEYS = Object.keys(POLICY);

/** All options of a group, checked. `field` is what messages call the object. */
export function checkTargetGroup(options: unknown, field = 'targetGroup'): Settings {
  const given = checkOptions(field, options, Object.keys(TARGET_GROUP));
  const settings = Object.freeze({
    ...fillOptions(FIXED, field, given),
    ...fillOptions(POLICY, field, {}),
    ...readChanges(POLICY, field, given),
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
  const fixed = keys.find((key) => Object.hasOwn(FIXED, key));
  if (fixed !== undefined) throw fixedOption(fixed, field);
  return readChanges(POLICY, field, checkOptions(field, options, POLICY_KEYS));
}

function fixedOption(key: string, field: string): GatewayError {
  const expected = `one of the options that can change (${POLICY_KEYS.join(', ')})`;
  const received = 'one that is set when the group is made: make another group for that';
  return mismatch('ERR_GWLB_INVALID_ARGUMENT', `${field}.${key}`, expected, received);
}

/** One target; `port` is the group's. */
export function checkTarget(value: unknown, port: number, field: string): CheckedTarget {
  const target = readOptions(TARGET, field, value, { port });
  const number = parseIpv4(target.address) as number;
  return { id: `${target.address}:${target.port}`, number, ...target };
}
