/** The options of `Appliance.attachTun`: their meaning, ranges and defaults, and the check of them. */
import { checkOneOf, invalidArgument } from '../base/errors.js';
import { INNER_BYTES_MAX } from '../base/limits.js';
import { object } from '../base/option-description.js';
import { flag, integer, type Kind, special } from '../base/option-kinds.js';
import { readOptions, type SettingsOf, type TableOf } from '../base/option-table.js';
import { endpointId, networkNamespace, roomForFlows } from '../packet/option-kinds.js';
import { type ApplianceIdleTimeout, idleTimeout } from './options.js';

/** How many flows the devices of an appliance have room for. */
export interface ApplianceTunLimits {
  /**
   * IPv4 flows whose way back is known at a time, 1,024 to 2^27, about 210 bytes each. Memory is taken when
   * the devices are attached. Default 65,536.
   */
  flows?: number;
  /** The same of IPv6 (about 250 bytes each). Default a quarter of `flows`. */
  flowsIpv6?: number;
}

/** A device, or a pair, for each endpoint, so that tenants with the same addresses stay apart. */
export interface ApplianceTunPerEndpoint {
  /**
   * Endpoints that get one when their first packet comes: ids of the form `vpce-…`, or `'any'`. Packets of
   * others are dropped, `device_not_allowed`. Required.
   */
  endpoints: 'any' | readonly string[];
  /**
   * Endpoints that have one at a time, 1–256. Packets of further ones are dropped, `device_limit`. Default
   * 16.
   */
  max?: number;
}

/** Options of `Appliance.attachTun`. */
export interface ApplianceTunOptions {
  /**
   * The device by which packets enter the kernel, and come back unless `out` is given: 1–15 characters. One
   * that does not exist is made and set up. With `%d` in it the kernel puts the first free number there; with
   * `perEndpoint` the number of the device, from 0 on. Default `'gwlb%d'`.
   */
  name?: string;
  /**
   * A second device, for a bump in the wire: packets enter the kernel by `name` and come back by this one. What
   * comes back by `name` (a RST, a refusal) is returned too. Default: none.
   */
  out?: string | null;
  /** A device, or a pair, for each endpoint; `name` and `out`, or `netns`, then have `%d` in them. Default: one for all. */
  perEndpoint?: ApplianceTunPerEndpoint | null;
  /**
   * Named network namespace of the devices, which has to exist. With `perEndpoint`, `%d` in it is the number of
   * the device. Default: the process's own.
   */
  netns?: string | null;
  /** MTU of the devices in bytes, 68–8500. Default 8500. */
  mtu?: number;
  /**
   * Packets that wait in a device until they are read, 1–1,048,576; what does not fit is dropped and
   * counted, `device_overflow`. Default: 4,096 for a device that is made; one that existed stays as it is.
   */
  txqueuelen?: number | null;
  /**
   * True: the devices outlive the appliance, its crash too, and with them addresses, routes and rules that name
   * them. False: they go with it, also those that were persistent before. Default: one that existed stays as it
   * was, one that is made goes with it.
   */
  persistent?: boolean | null;
  /**
   * Exchange TCP and UDP super-packets of up to 64 KiB with the kernel, as far as it has them. Default true.
   */
  offloads?: boolean;
  /** How many flows there is room for. */
  limits?: ApplianceTunLimits;
  /** After how long without packets the way back of a flow is forgotten. */
  idleTimeout?: ApplianceIdleTimeout;
}

const DEVICES_MAX = 256;
const TXQUEUELEN_MAX = 1 << 20;

const devicePattern: Kind<string> = special(
  '1–15 characters, one `%d` at most',
  { type: 'string', minLength: 1, maxLength: 15, pattern: '^[^\\s/:]+$' },
  (field, value) => {
    const expected =
      'a device name of 1–15 characters without spaces, "/" and ":", with one "%d" at most';
    const named = typeof value === 'string' && /^(?!\.{1,2}$)[^\s/:%]*(%d)?[^\s/:%]*$/.test(value);
    if (named && Buffer.byteLength(value) <= 15 && value !== '') return value;
    throw invalidArgument(field, expected, value);
  },
);

const endpoints: Kind<'any' | readonly bigint[], 'any' | readonly string[]> = special(
  '`any`, or ids `vpce-` and 17 hex digits',
  { anyOf: [{ const: 'any' }, { type: 'array', minItems: 1, items: { type: 'string' } }] },
  (field, value) => {
    if (!Array.isArray(value)) return checkOneOf(field, value, ['any'] as const);
    if (value.length === 0) throw invalidArgument(field, "'any' or at least one id", value);
    return value.map((one: unknown, at) => endpointId.check(`${field}[${at}]`, one));
  },
);

const PER_ENDPOINT = {
  endpoints: { says: 'endpoints that get a device', kind: endpoints },
  max: { says: 'endpoints that have one at a time', kind: integer(1, DEVICES_MAX), preset: 16 },
} as const satisfies TableOf<ApplianceTunPerEndpoint>;

const LIMITS = roomForFlows(
  'IPv4 flows whose way back is known at a time',
  'the same of IPv6',
  65_536,
) satisfies TableOf<ApplianceTunLimits>;

/** The options of `attachTun`. */
export const APPLIANCE_TUN = {
  name: {
    says: 'device by which packets enter the kernel',
    kind: devicePattern,
    preset: 'gwlb%d',
  },
  out: {
    says: 'second device, by which they come back',
    kind: devicePattern as Kind<string | null, string | null>,
    preset: null,
    presetText: 'the same one',
  },
  perEndpoint: {
    says: 'a device, or a pair, for each endpoint',
    kind: object<typeof PER_ENDPOINT, ApplianceTunPerEndpoint>(PER_ENDPOINT) as Kind<
      SettingsOf<typeof PER_ENDPOINT> | null,
      ApplianceTunPerEndpoint | null
    >,
    preset: null,
    presetText: 'one for all',
  },
  netns: {
    says: 'named network namespace of the devices',
    kind: networkNamespace,
    preset: '',
    given: null,
    presetText: 'null',
  },
  mtu: {
    says: 'MTU of the devices',
    kind: integer(68, INNER_BYTES_MAX),
    preset: INNER_BYTES_MAX,
    unit: 'bytes',
  },
  txqueuelen: {
    says: 'packets that wait in a device until they are read; the rest is dropped, `device_overflow`',
    kind: integer(1, TXQUEUELEN_MAX) as Kind<number | null, number | null>,
    preset: null,
    presetText: '4,096 for a new device',
    unit: 'packets',
  },
  persistent: {
    says: 'the devices outlive the appliance and its crash',
    kind: flag as Kind<boolean | null, boolean | null>,
    preset: null,
    presetText: 'a device that existed stays as it was',
  },
  offloads: { says: 'exchange super-packets with the kernel', kind: flag, preset: true },
  limits: {
    says: 'how many flows there is room for',
    kind: object<typeof LIMITS, ApplianceTunLimits>(LIMITS),
    preset: () => readOptions(LIMITS, 'options.limits', {}),
  },
  idleTimeout,
} as const satisfies TableOf<ApplianceTunOptions>;

/** The options of `attachTun`, checked. */
export type ApplianceTunSettings = SettingsOf<typeof APPLIANCE_TUN>;

/** Throws the `GatewayError` about the first option that cannot be. */
export function checkApplianceTun(options: unknown, field = 'options'): ApplianceTunSettings {
  const settings = readOptions(APPLIANCE_TUN, field, options);
  const { name, out, netns, perEndpoint } = settings;
  // The kernel gives one pattern two names; we give it one.
  const isSame = out === name && (perEndpoint !== null || !name.includes('%d'));
  if (isSame) throw invalidArgument(`${field}.out`, 'another device than name', out);
  if (perEndpoint === null) return settings;
  if (netns.includes('%d')) return settings;
  const expected = 'a name with "%d" in it, since perEndpoint makes several (or "%d" in netns)';
  if (!name.includes('%d')) throw invalidArgument(`${field}.name`, expected, name);
  if (out !== null && !out.includes('%d')) throw invalidArgument(`${field}.out`, expected, out);
  return settings;
}

/** A device of one number, as `perEndpoint` names it. */
export function numbered(pattern: string, number: number): string {
  return pattern.replace('%d', String(number));
}
