/** The options of health checks: their meaning, ranges and defaults, and the checks of them. */
import { invalidArgument, outOfRange } from '../base/errors.js';
import { HEALTH_CHECK_PATH_MAX } from '../base/limits.js';
import { flag, fraction, integer, type Kind, oneOf, special, text } from '../base/option-kinds.js';
import { readOptions, type TableOf } from '../base/option-table.js';
import { formatIp, parseIp } from '../packet/address.js';
import { portNumber } from '../packet/option-kinds.js';
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

const http = {
  key: 'protocol',
  values: ['HTTP', 'HTTPS'],
  otherwise: (protocol: unknown) => `nothing with protocol ${protocol}`,
};
const geneve = { ...http, values: ['GENEVE'] };
const isFast = ['profile', 'fast'] as const;

const ipAddress: Kind<string> = special('IPv4 or IPv6', { type: 'string' }, (field, value) => {
  const address = parseIp(value);
  if (!address) throw invalidArgument(field, 'an IP address', value);
  return formatIp(address.bytes);
});

const atMostInterval = (seconds: number) => (before: Readonly<Record<string, unknown>>) =>
  Math.min(seconds, before.intervalSeconds as number);

/** Path and query of a request. */
export const httpPath: Kind<string> = text(
  'begins with `/`',
  /^\/[\x21-\x7e]*$/,
  HEALTH_CHECK_PATH_MAX,
  `a path of at most ${HEALTH_CHECK_PATH_MAX} visible ASCII characters that begins with /`,
);

/** The options of a health check. */
export const HEALTH_CHECK = {
  profile: {
    says: '`fast` sees a failure within a second',
    kind: oneOf('aws', 'fast'),
    preset: 'aws',
    live: true,
  },
  protocol: {
    says: '`GENEVE`: a packet sent through the target has to come back',
    kind: oneOf('TCP', 'HTTP', 'HTTPS', 'GENEVE'),
    preset: 'TCP',
    live: true,
    attribute: 'HealthCheckProtocol',
  },
  port: {
    says: 'TCP port of the target; with `GENEVE` the UDP port inside',
    kind: portNumber,
    preset: 80,
    variant: { when: ['protocol', 'GENEVE'], preset: 9 },
    live: true,
    attribute: 'HealthCheckPort',
  },
  path: {
    says: 'path and query of the request, HTTP and HTTPS only',
    kind: httpPath,
    preset: '/',
    only: http,
    live: true,
    attribute: 'HealthCheckPath',
  },
  source: {
    says: 'address inside that the packet comes from, `GENEVE` only',
    kind: ipAddress,
    preset: '198.18.0.1',
    only: geneve,
    live: true,
  },
  destination: {
    says: 'address inside that it goes to, of the same version, `GENEVE` only',
    kind: ipAddress,
    preset: '198.18.0.2',
    only: geneve,
    live: true,
  },
  intervalSeconds: {
    says: 'from the start of a check to the next',
    kind: integer(5, 300),
    preset: 10,
    variant: { when: isFast, kind: fraction(0.1, 300), preset: 0.5 },
    unit: 'seconds',
    live: true,
    attribute: 'HealthCheckIntervalSeconds',
  },
  timeoutSeconds: {
    says: 'a check without an answer has failed; at most the interval',
    kind: integer(2, 120),
    preset: atMostInterval(5),
    presetText: '5',
    variant: {
      when: isFast,
      kind: fraction(0.05, 120),
      preset: atMostInterval(0.4),
      presetText: '0.4',
    },
    unit: 'seconds',
    live: true,
    attribute: 'HealthCheckTimeoutSeconds',
  },
  healthyThreshold: {
    says: 'successes in a row that make a target healthy',
    kind: integer(2, 10),
    preset: 5,
    variant: { when: isFast, preset: 2 },
    live: true,
    attribute: 'HealthyThresholdCount',
  },
  unhealthyThreshold: {
    says: 'failures in a row that make a target unhealthy',
    kind: integer(2, 10),
    preset: 2,
    live: true,
    attribute: 'UnhealthyThresholdCount',
  },
  matcher: {
    says: 'codes that are healthy, HTTP and HTTPS only',
    kind: special<StatusMatcher, string | number>(
      '200–599',
      { type: ['string', 'integer'] },
      parseMatcher,
    ),
    preset: () => parseMatcher('matcher', '200-399'),
    given: '200-399',
    only: http,
    live: true,
    attribute: 'Matcher.HttpCode',
  },
  flapDamping: {
    says: 'a target that fails again and again stays unhealthy for a while',
    kind: flag,
    preset: false,
    variant: { when: isFast, preset: true },
    live: true,
  },
  suspicion: {
    says: 'check at once a target whose packets do not come back',
    kind: flag,
    preset: true,
    live: true,
  },
} as const satisfies TableOf<HealthCheckOptions>;

/** All options of a check, checked; false where there is none. `field` is what messages call it. */
export function checkHealthCheck(value: unknown, field: string): HealthCheck | false {
  if (value === false) return false;
  const check = readOptions(HEALTH_CHECK, field, value);
  if (check.timeoutSeconds > check.intervalSeconds) {
    const expected = `at most intervalSeconds (${check.intervalSeconds})`;
    throw outOfRange(`${field}.timeoutSeconds`, expected, check.timeoutSeconds);
  }
  const version = versionOf(check.source);
  if (versionOf(check.destination) !== version) {
    const expected = `an IPv${version} address like source`;
    throw invalidArgument(`${field}.destination`, expected, check.destination);
  }
  return Object.freeze(check);
}

const versionOf = (address: string): 4 | 6 => (address.includes(':') ? 6 : 4);

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
