/**
 * Target group attributes under their AWS names (`ModifyTargetGroupAttributes`), all of them text.
 * Which attribute maps to which option, and which exclude each other, is data here.
 */
import { checkRecord } from '../base/checks.js';
import { GatewayError } from '../base/errors.js';
import {
  type Attribute,
  type Attributes,
  attributeOf,
  attributeTable,
  attributeValues,
  attributeWords,
  checkAttributes,
} from './attributes.js';
import {
  type Failover,
  type Settings,
  type Stickiness,
  TARGET_GROUP,
  TCP_RESET,
  TCP_RESET_NEEDS,
} from './group-options.js';

/** Attribute names with their values as text. */
export type TargetGroupAttributes = Readonly<Record<string, string>>;

/** The options that attributes are another name for. */
export type AttributeSettings = Pick<
  Settings,
  'deregistrationDelaySeconds' | 'failover' | 'sendTcpReset' | 'stickiness'
>;

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

const failover: Attribute<AttributeSettings> = attributeOf(
  TARGET_GROUP.failover,
  (settings) => settings.failover,
);

/** In the order of the AWS documentation. */
const ATTRIBUTES: Attributes<AttributeSettings> = {
  [DELAY]: attributeOf(
    TARGET_GROUP.deregistrationDelaySeconds,
    (settings) => settings.deregistrationDelaySeconds,
  ),
  [STICKY]: {
    option: {
      says: 'whether fewer than five fields make a flow',
      kind: attributeWords('true', 'false'),
      preset: 'false',
      live: true,
    },
    read: ({ stickiness }) => String(stickiness !== '5-tuple'),
  },
  [STICKY_TYPE]: {
    option: {
      says: 'which fields then',
      kind: attributeWords(...Object.keys(STICKINESS_TYPES)),
      preset: undefined,
      presetText: 'none',
      live: true,
    },
    read: ({ stickiness }) =>
      Object.keys(STICKINESS_TYPES).find((type) => STICKINESS_TYPES[type] === stickiness),
  },
  [ON_DEREGISTRATION]: failover,
  [ON_UNHEALTHY]: failover,
  [RESET_ON_UNHEALTHY]: attributeOf(
    TCP_RESET.onUnhealthy,
    (settings) => settings.sendTcpReset.onUnhealthy,
  ),
  [RESET_ON_DEREGISTRATION]: attributeOf(
    TCP_RESET.onDeregistration,
    (settings) => settings.sendTcpReset.onDeregistration,
  ),
};

/** The attributes of a target group, described. */
export const TARGET_GROUP_ATTRIBUTES = attributeTable(ATTRIBUTES);

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

/** Every attribute that a group has. */
export function readAttributes(settings: AttributeSettings): TargetGroupAttributes {
  return Object.freeze(attributeValues(ATTRIBUTES, settings));
}

/** The settings after `changes`; attributes that are not named stay as they are. */
export function changeAttributes(settings: AttributeSettings, given: unknown): AttributeSettings {
  const record = checkRecord('changes', given);
  const changes = checkAttributes(ATTRIBUTES, 'a GENEVE target group', record, ELSEWHERE);
  const values: Record<string, string> = { ...readAttributes(settings) };
  // Turning stickiness off takes its type along.
  if (changes[STICKY] === 'false') delete values[STICKY_TYPE];
  Object.assign(values, changes);
  const broken = RULES.find((rule) => rule.broken(values));
  if (broken) {
    throw new GatewayError('ERR_GWLB_ATTRIBUTES', `ValidationError: ${broken.sentence}`);
  }
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
