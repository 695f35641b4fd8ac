/**
 * Target group attributes under their AWS names (`ModifyTargetGroupAttributes`), all of them text.
 * Which attribute maps to which option, and which exclude each other, is data here.
 */
import { checkRecord } from '../base/checks.js';
import { GatewayError, mismatch, show } from '../base/errors.js';
import {
  FAILOVER,
  type Failover,
  type Settings,
  type Stickiness,
  TCP_RESET_NEEDS,
} from './group-options.js';

/** Attribute names with their values as text. */
export type TargetGroupAttributes = Readonly<Record<string, string>>;

/** The options that attributes are another name for. */
export type AttributeSettings = Pick<
  Settings,
  'deregistrationDelaySeconds' | 'failover' | 'sendTcpReset' | 'stickiness'
>;

/** One attribute of a thing with `S` for its settings. */
export interface AttributeDefinition<S = AttributeSettings> {
  /** What the error message says is expected. */
  readonly expected: string;
  readonly accepts: (value: string) => boolean;
  /** The value for a group; undefined where the attribute has none. */
  readonly read: (settings: S) => string | undefined;
}

const BOOLEAN = /^(?:true|false)$/;
const STICKINESS_TYPES: Record<string, Stickiness> = {
  source_ip_dest_ip: '2-tuple',
  source_ip_dest_ip_proto: '3-tuple',
};

const DELAY = 'deregistration_delay.timeout_seconds';
const STICKY = 'stickiness.enabled';
const STICKY_TYPE = 'stickiness.type';
const ON_DEREGISTRATION = 'target_failover.on_deregistration';
const ON_UNHEALTHY = 'target_failover.on_unhealthy';
const RESET_ON_UNHEALTHY = 'send_tcp_reset.on_unhealthy.enabled';
const RESET_ON_DEREGISTRATION = 'send_tcp_reset.on_deregistration.enabled';

const failover: AttributeDefinition = {
  expected: '"no_rebalance" or "rebalance"',
  accepts: (value) => FAILOVER.includes(value as Failover),
  read: (settings) => settings.failover,
};

const flag = (read: (settings: AttributeSettings) => boolean): AttributeDefinition => ({
  expected: '"true" or "false"',
  accepts: (value) => BOOLEAN.test(value),
  read: (settings) => String(read(settings)),
});

const DEFINITIONS: Readonly<Record<string, AttributeDefinition>> = {
  [DELAY]: {
    expected: '"0"–"3600"',
    accepts: (value) => /^\d{1,4}$/.test(value) && Number(value) <= 3600,
    read: (settings) => String(settings.deregistrationDelaySeconds),
  },
  [STICKY]: flag((settings) => settings.stickiness !== '5-tuple'),
  [STICKY_TYPE]: {
    expected: '"source_ip_dest_ip" or "source_ip_dest_ip_proto"',
    accepts: (value) => Object.hasOwn(STICKINESS_TYPES, value),
    read: (settings) =>
      Object.keys(STICKINESS_TYPES).find((type) => STICKINESS_TYPES[type] === settings.stickiness),
  },
  [ON_DEREGISTRATION]: failover,
  [ON_UNHEALTHY]: failover,
  [RESET_ON_UNHEALTHY]: flag((settings) => settings.sendTcpReset.onUnhealthy),
  [RESET_ON_DEREGISTRATION]: flag((settings) => settings.sendTcpReset.onDeregistration),
};

interface Rule {
  readonly broken: (values: TargetGroupAttributes) => boolean;
  readonly sentence: string;
}

/** Rules over the values of all attributes after a change. */
const RULES: readonly Rule[] = [
  {
    broken: (values) => values[ON_DEREGISTRATION] !== values[ON_UNHEALTHY],
    sentence:
      `${ON_DEREGISTRATION} and ${ON_UNHEALTHY} must both be set to the same value ` +
      'for this target group',
  },
  {
    broken: (values) => values[STICKY] === 'true' && values[STICKY_TYPE] === undefined,
    sentence: `${STICKY_TYPE} must be set when ${STICKY} is "true"`,
  },
  {
    broken: (values) => values[STICKY] === 'false' && values[STICKY_TYPE] !== undefined,
    sentence: `${STICKY_TYPE} can only be set when ${STICKY} is "true"`,
  },
  ...[RESET_ON_UNHEALTHY, RESET_ON_DEREGISTRATION].flatMap((key) =>
    TCP_RESET_NEEDS.map(
      ({ attribute, text }): Rule => ({
        broken: (values) => values[key] === 'true' && values[attribute] !== text,
        sentence: `${key} can only be "true" when ${attribute} is "${text}"`,
      }),
    ),
  ),
];

/** Attributes of other kinds of target groups, and what there is here instead. */
const ELSEWHERE = new Map([
  ['load_balancing.cross_zone.enabled', ': it is an attribute of the load balancer (crossZone)'],
  ['slow_start.duration_seconds', ': it is an option here (slowStartSeconds)'],
]);

/** Every attribute that a group has, in the order of the AWS documentation. */
export function readAttributes(settings: AttributeSettings): TargetGroupAttributes {
  const values: Record<string, string> = {};
  for (const [key, definition] of Object.entries(DEFINITIONS)) {
    const value = definition.read(settings);
    if (value !== undefined) values[key] = value;
  }
  return Object.freeze(values);
}

/** The settings after `changes`; attributes that are not named stay as they are. */
export function changeAttributes(settings: AttributeSettings, given: unknown): AttributeSettings {
  const changes = checkRecord('changes', given);
  for (const [key, value] of Object.entries(changes)) {
    checkAttribute(DEFINITIONS, 'a GENEVE target group', key, value);
  }
  const values: Record<string, string> = { ...readAttributes(settings) };
  // Turning stickiness off takes its type along.
  if (changes[STICKY] === 'false') delete values[STICKY_TYPE];
  Object.assign(values, changes);
  const broken = RULES.find((rule) => rule.broken(values));
  if (broken) throw attributeError(`ValidationError: ${broken.sentence}`);
  const type = values[STICKY_TYPE];
  return {
    deregistrationDelaySeconds: Number(values[DELAY]),
    failover: values[ON_UNHEALTHY] as Failover,
    sendTcpReset: {
      onUnhealthy: values[RESET_ON_UNHEALTHY] === 'true',
      onDeregistration: values[RESET_ON_DEREGISTRATION] === 'true',
    },
    stickiness: type === undefined ? '5-tuple' : STICKINESS_TYPES[type],
  };
}

/** Throws what is wrong with an attribute's name or value; `kind` is what has the attributes. */
export function checkAttribute<S>(
  definitions: Readonly<Record<string, AttributeDefinition<S>>>,
  kind: string,
  key: string,
  value: unknown,
): void {
  const definition = Object.hasOwn(definitions, key) ? definitions[key] : undefined;
  if (!definition) {
    const hint = ELSEWHERE.get(key) ?? `: it has ${Object.keys(definitions).join(', ')}`;
    throw attributeError(`${key} is not an attribute of ${kind}${hint}`, key);
  }
  if (typeof value !== 'string' || !definition.accepts(value)) {
    throw mismatch('ERR_GWLB_ATTRIBUTES', [key], definition.expected, show(value));
  }
}

function attributeError(message: string, key?: string): GatewayError {
  const field = key === undefined ? undefined : [key];
  return new GatewayError('ERR_GWLB_ATTRIBUTES', message, { field });
}
