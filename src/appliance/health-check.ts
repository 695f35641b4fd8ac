/** How an appliance answers health checks: what can be chosen, and what is told. */
import { checkOneOf, checkString, invalidArgument } from '../base/errors.js';
import { objectOrFalse } from '../base/option-description.js';
import { oneOf } from '../base/option-kinds.js';
import { readOptions, type TableOf } from '../base/option-table.js';
import { httpPath } from '../health/options.js';
import { portNumber } from '../packet/option-kinds.js';

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

const APPLIANCE_HEALTH_CHECK = {
  protocol: {
    says: '`HTTP`: 200 while it is healthy, else 503; `TCP`: connections are taken, else refused',
    kind: oneOf('HTTP', 'TCP'),
    preset: 'HTTP',
  },
  port: { says: 'TCP port that answers', kind: portNumber, preset: 80 },
  path: {
    says: 'path that is answered, others with 404; `HTTP` only',
    kind: httpPath,
    preset: '/',
    only: {
      key: 'protocol',
      values: ['HTTP'],
      otherwise: (protocol: unknown) => `nothing with protocol ${protocol}`,
    },
  },
} as const satisfies TableOf<ApplianceHealthCheck>;

/** The option `healthCheck`; false where nothing here answers. */
export const healthAnswers = objectOrFalse<HealthCheckAnswers, ApplianceHealthCheck>(
  APPLIANCE_HEALTH_CHECK,
  (field, value) => readOptions(APPLIANCE_HEALTH_CHECK, field, value),
);

/** What health checks are told; null: that all is well. */
export function checkHealthState(state: unknown, reason: unknown, answers: boolean): string | null {
  const is = checkOneOf('state', state, ['healthy', 'unhealthy'] as const);
  const said = checkString('reason', reason, { max: REASON_MAX });
  if (answers) return is === 'healthy' ? null : said;
  const expected =
    'an appliance that answers health checks: this one was made with healthCheck: false';
  throw invalidArgument('state', expected, state);
}
