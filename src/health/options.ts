/** The options of health checks: their meaning, ranges and defaults, and the checks of them. */
import {
  checkBoolean,
  checkInteger,
  checkNumber,
  checkOneOf,
  checkOptions,
  checkString,
  invalidArgument,
  outOfRange,
} from '../base/errors.js';
import { HEALTH_CHECK_PATH_MAX } from '../base/limits.js';
import { formatIp, parseIp } from '../packet/address.js';
import { parseMatcher, type StatusMatcher } from './matcher.js';
import type { HealthProfile } from './thresholds.js';

/** What a health check asks of a target; see `HealthCheckOptions.protocol`. */
export type HealthCheckProtocol = 'TCP' | 'HTTP' | 'HTTPS' | 'GENEVE';

/** How targets are checked. */
export interface HealthCheckOptions {
  /**
   * `'aws'`: the ranges and defaults of AWS, which take 10 s to see a failure. `'fast'`: half a second
   * or less; allows shorter times, with fractions, and has other defaults (in brackets below). Default
   * `'aws'`. Not in AWS.
   */
  profile?: HealthProfile;
  /**
   * What is asked of a target: a TCP connection, an HTTP(S) answer with a matching code (certificates
   * are not verified), or to return a packet: `'GENEVE'` sends a UDP packet through it as one of a
   * flow, which has to come back. That needs a load balancer with sockets, not a `Gateway`. Default
   * `'TCP'`. AWS `HealthCheckProtocol`, which has no `'GENEVE'`.
   */
  protocol?: HealthCheckProtocol;
  /**
   * Port of the target that is asked, 1–65535. Default 80. With `'GENEVE'` the port that the packet says
   * it goes to, default 9 (discard). AWS `HealthCheckPort`.
   */
  port?: number;
  /** Path and query of the request; HTTP and HTTPS only. Default `'/'`. AWS `HealthCheckPath`. */
  path?: string;
  /**
   * Seconds from the start of one check to the next, 5–300. Default 10. [0.1–300, to the millisecond;
   * 0.5.] AWS `HealthCheckIntervalSeconds`.
   */
  intervalSeconds?: number;
  /**
   * Seconds after which a check without an answer has failed, 2–120 and at most
   * `intervalSeconds`. Default 5. [0.05–120; 0.4, or `intervalSeconds` where that is less.]
   * AWS `HealthCheckTimeoutSeconds`.
   */
  timeoutSeconds?: number;
  /**
   * Successes in a row that make a target healthy, 2–10. Default 5 [2]. AWS `HealthyThresholdCount`.
   */
  healthyThreshold?: number;
  /**
   * Failures in a row that make a target unhealthy, 2–10. Default 2.
   * AWS `UnhealthyThresholdCount`.
   */
  unhealthyThreshold?: number;
  /**
   * Address that the packet of a `'GENEVE'` check says it comes from; only there. Let appliances pass it.
   * Default `'198.18.0.1'` (RFC 2544, section C.2.2). IPv4 or IPv6.
   */
  source?: string;
  /** Address that it says it goes to, of the same version. Default `'198.18.0.2'`. */
  destination?: string;
  /**
   * HTTP codes 200–599 that count as success, such as `'200'`, `'200,301'` or `'200-399'`; HTTP and
   * HTTPS only. Default `'200-399'`. AWS `Matcher.HttpCode`.
   */
  matcher?: string | number;
  /**
   * Keeps a target that fails again and again unhealthy for a while, although it passes in between:
   * each change from healthy to unhealthy adds a penalty of 1000, which halves every 60 s [15 s]; from
   * 2500 on the target stays unhealthy until less than 1000 are left. Default `false` [`true`]. In the
   * shape of RFC 2439. Not in AWS.
   */
  flapDamping?: boolean;
  /**
   * Checks a healthy target at once, three times 100 ms apart, when packets speak against it: 50 or more
   * were sent and none came back for 1 s [0.3 s], although more than a tenth used to, or its host said
   * that nothing receives on its port. If all three fail the target is unhealthy at once; else it is
   * not suspected again for as long, twice as long the next time, up to 64 s. Default `true`. Not in
   * AWS.
   */
  suspicion?: boolean;
}

type OfGeneve = 'source' | 'destination';

/** Health check options with their values; two of them only with the protocol GENEVE. */
export type HealthCheckValues = Required<Omit<HealthCheckOptions, OfGeneve>> &
  Pick<HealthCheckOptions, OfGeneve>;

/** Checked health check options with their defaults. */
export interface HealthCheck {
  readonly profile: HealthProfile;
  readonly protocol: HealthCheckProtocol;
  readonly port: number;
  readonly path: string;
  /** Canonical text. */
  readonly source: string;
  readonly destination: string;
  readonly intervalSeconds: number;
  readonly timeoutSeconds: number;
  readonly healthyThreshold: number;
  readonly unhealthyThreshold: number;
  readonly matcher: StatusMatcher;
  readonly flapDamping: boolean;
  readonly suspicion: boolean;
}

const KEYS = [
  'profile',
  'protocol',
  'port',
  'path',
  'source',
  'destination',
  'intervalSeconds',
  'timeoutSeconds',
  'healthyThreshold',
  'unhealthyThreshold',
  'matcher',
  'flapDamping',
  'suspicion',
] as const;

/** Options of some protocols only: of those whose names begin like this. */
const OWNED = [
  ['path', 'HTTP'],
  ['matcher', 'HTTP'],
  ['source', 'GENEVE'],
  ['destination', 'GENEVE'],
] as const;

/** Ranges of times, and defaults. */
const PROFILES = {
  aws: {
    checkSeconds: checkInteger,
    interval: { preset: 10, min: 5, max: 300 },
    timeout: { preset: 5, min: 2, max: 120 },
    healthyThreshold: 5,
    flapDamping: false,
  },
  fast: {
    checkSeconds: checkNumber,
    interval: { preset: 0.5, min: 0.1, max: 300 },
    timeout: { preset: 0.4, min: 0.05, max: 120 },
    healthyThreshold: 2,
    flapDamping: true,
  },
} as const;

function checkEnds(given: { source?: unknown; destination?: unknown }, field: string) {
  const ends = {
    source: given.source ?? '198.18.0.1',
    destination: given.destination ?? '198.18.0.2',
  };
  const source = parseIp(ends.source);
  if (!source) throw invalidArgument(`${field}.source`, 'an IP address', ends.source);
  const destination = parseIp(ends.destination);
  if (!destination)
    throw invalidArgument(`${field}.destination`, 'an IP address', ends.destination);
  if (source.version !== destination.version) {
    const expected = `an IPv${source.version} address like source`;
    throw invalidArgument(`${field}.destination`, expected, ends.destination);
  }
  return { source: formatIp(source.bytes), destination: formatIp(destination.bytes) };
}

/** All options of a check, checked; false where there is none. `field` is what messages call it. */
export function checkHealthCheck(value: unknown, field: string): HealthCheck | false {
  if (value === false) return false;
  const given = checkOptions(field, value, KEYS);
  const profiles = ['aws', 'fast'] as const;
  const profile = checkOneOf(`${field}.profile`, given.profile ?? 'aws', profiles);
  const presets = PROFILES[profile];
  const protocols = ['TCP', 'HTTP', 'HTTPS', 'GENEVE'] as const;
  const protocol = checkOneOf(`${field}.protocol`, given.protocol ?? 'TCP', protocols);
  for (const [key, owner] of OWNED) {
    if (given[key] !== undefined && !protocol.startsWith(owner)) {
      throw invalidArgument(`${field}.${key}`, `nothing with protocol ${protocol}`, given[key]);
    }
  }
  const integer = (key: (typeof KEYS)[number], preset: number, min: number, max: number) =>
    checkInteger(`${field}.${key}`, given[key] ?? preset, min, max);
  const seconds = (key: 'interval' | 'timeout', longest: number) => {
    const { preset, min, max } = presets[key];
    const chosen = given[`${key}Seconds`] ?? Math.min(preset, longest);
    return presets.checkSeconds(`${field}.${key}Seconds`, chosen, min, max);
  };
  const intervalSeconds = seconds('interval', presets.interval.max);
  const check = {
    profile,
    protocol,
    port: integer('port', protocol === 'GENEVE' ? 9 : 80, 1, 65535),
    path: checkString(`${field}.path`, given.path ?? '/', {
      pattern: /^\/[\x21-\x7e]*$/,
      max: HEALTH_CHECK_PATH_MAX,
      expected: `a path of at most ${HEALTH_CHECK_PATH_MAX} visible ASCII characters that begins with /`,
    }),
    ...checkEnds(given, field),
    intervalSeconds,
    timeoutSeconds: seconds('timeout', intervalSeconds),
    healthyThreshold: integer('healthyThreshold', presets.healthyThreshold, 2, 10),
    unhealthyThreshold: integer('unhealthyThreshold', 2, 2, 10),
    matcher: parseMatcher(`${field}.matcher`, given.matcher ?? '200-399'),
    flapDamping: checkBoolean(`${field}.flapDamping`, given.flapDamping ?? presets.flapDamping),
    suspicion: checkBoolean(`${field}.suspicion`, given.suspicion ?? true),
  };
  if (check.timeoutSeconds > check.intervalSeconds) {
    const expected = `at most intervalSeconds (${check.intervalSeconds})`;
    throw outOfRange(`${field}.timeoutSeconds`, expected, check.timeoutSeconds);
  }
  return Object.freeze(check);
}

/** Throws where the load balancer cannot make such checks, since it cannot send. */
export function checkProbes(check: HealthCheck | false, canSend: boolean): void {
  if (!check || canSend) return;
  const { protocol } = check;
  if (protocol !== 'GENEVE') return;
  const expected = 'TCP, HTTP or HTTPS with a load balancer that has no sockets (Gateway)';
  throw invalidArgument('targetGroup.healthCheck.protocol', expected, protocol);
}

/** Whether targets are checked in the same way. */
export function sameCheck(a: HealthCheck | false, b: HealthCheck | false): boolean {
  const text = (check: HealthCheck | false) =>
    JSON.stringify(check && { ...check, matcher: check.matcher.text });
  return text(a) === text(b);
}
