/** How an appliance answers health checks: what can be chosen, and what is told. */
import {
  checkInteger,
  checkOneOf,
  checkOptions,
  checkString,
  invalidArgument,
} from '../base/errors.js';

/** How an appliance answers the gateway's health checks. */
export interface ApplianceHealthCheck {
  /**
   * `'HTTP'`: requests are answered, with 200 while the appliance is healthy and 503 while it is not.
   * `'TCP'`: connections are taken while it is healthy, and refused while it is not. Default `'HTTP'`.
   */
  protocol?: 'HTTP' | 'TCP';
  /** TCP port that answers, 1–65535. Default 80. */
  port?: number;
  /** Path that is answered; others with 404. Only with `'HTTP'`. Default `'/'`. */
  path?: string;
}

/** What health checks are told of an appliance. */
export type ApplianceHealthState = 'healthy' | 'unhealthy';

/** Characters of why an appliance is unhealthy. */
const REASON_MAX = 1_000;

/** The same, checked. */
export type HealthCheckAnswers = Readonly<Required<ApplianceHealthCheck>>;

/** Null where nothing here answers. */
export function checkHealth(
  field: string,
  value: unknown,
  netns: string,
): HealthCheckAnswers | null {
  if (value === false) return null;
  const given = checkOptions(field, value, ['protocol', 'port', 'path']);
  if (netns !== '') {
    const expected =
      'false together with netns, since Node cannot listen inside another network namespace ' +
      '(start the program inside of it instead: ip netns exec)';
    throw invalidArgument(field, expected, value);
  }
  const kinds = ['HTTP', 'TCP'] as const;
  const protocol = checkOneOf(`${field}.protocol`, given.protocol ?? 'HTTP', kinds);
  if (protocol === 'TCP' && given.path !== undefined) {
    throw invalidArgument(`${field}.path`, 'nothing with protocol TCP', given.path);
  }
  const path = given.path ?? '/';
  if (typeof path !== 'string' || !/^\/[\x21-\x7e]*$/.test(path)) {
    throw invalidArgument(`${field}.path`, 'a path that begins with "/"', path);
  }
  const port = checkInteger(`${field}.port`, given.port ?? 80, 1, 65_535);
  return { protocol, port, path };
}

/** What health checks are told; null: that all is well. */
export function checkHealthState(state: unknown, reason: unknown, answers: boolean): string | null {
  const is = checkOneOf('state', state, ['healthy', 'unhealthy'] as const);
  const said = checkString('reason', reason, { max: REASON_MAX });
  if (answers) return is === 'healthy' ? null : said;
  const expected =
    'an appliance that answers health checks: this one was made with healthCheck: false';
  throw invalidArgument('state', expected, state);
}
