/** The options of gateways, listeners and endpoints, each described once. */
import { randomBytes } from 'node:crypto';
import { wrongObject } from '../base/checks.js';
import { checkInteger, invalidArgument } from '../base/errors.js';
import { INNER_BYTES_MAX, INNER_BYTES_MIN, SOURCE_PORTS_MAX } from '../base/limits.js';
import { object } from '../base/option-description.js';
import { flag, integer, type Kind, oneOf, special } from '../base/option-kinds.js';
import { readOptions, type TableOf } from '../base/option-table.js';
import { attachmentId, portNumber, roomForFlows, secretKey } from '../packet/option-kinds.js';
import type {
  ClampMss,
  CookieKeyOptions,
  GatewayBaseOptions,
  GatewayLimits,
  IdleTimeout,
  ListenerTcpReset,
  SourcePorts,
} from './options.js';
import { isTargetGroup, type TargetGroup } from './target-group.js';

const secret = { kind: secretKey, fresh: () => randomBytes(16), presetText: 'random' } as const;

/** Idle timeouts. */
export const IDLE_TIMEOUT = {
  tcpSeconds: {
    says: 'idle TCP flows end; other than 350 only with 5-tuple stickiness',
    kind: integer(60, 6000),
    preset: 350,
    unit: 'seconds',
    live: true,
    attribute: 'tcp.idle_timeout.seconds',
  },
  otherSeconds: {
    says: 'other idle flows end',
    kind: integer(1, 6000),
    preset: 120,
    unit: 'seconds',
    live: true,
  },
} as const satisfies TableOf<IdleTimeout>;

/** Room for flows. */
export const LIMITS = roomForFlows(
  'IPv4 flows, about 45 bytes each, taken at once',
  'IPv6 flows, about 85 bytes each, taken at once',
  1_048_576,
) satisfies TableOf<GatewayLimits>;

const SOURCE_PORTS = {
  base: {
    says: 'lowest of the outer UDP source ports that flows are spread over; two gateways on one address need different ones',
    kind: portNumber,
    preset: 32_768,
  },
  count: {
    says: 'how many, from `base` on; each takes a socket',
    kind: integer(1, SOURCE_PORTS_MAX),
    preset: 256,
  },
} as const satisfies TableOf<SourcePorts>;

/** RST answers of the listener. */
export const LISTENER_TCP_RESET = {
  onIdleTimeout: {
    says: 'answer TCP packets of no flow with a RST',
    kind: flag,
    preset: false,
    live: true,
    attribute: 'send_tcp_reset.on_idle_timeout.enabled',
  },
} as const satisfies TableOf<ListenerTcpReset>;

/** The option of `setFlowReports`. */
export const FLOW_REPORTS = {
  intervalSeconds: {
    says: 'every flow in the table is reported once in this time; 0: never',
    kind: integer(0, 86_400),
    preset: 0,
    unit: 'seconds',
    live: true,
  },
} as const satisfies TableOf<{ intervalSeconds?: number }>;

/** Options of `rotateCookieKey`. */
export const COOKIE_KEY = {
  key: { says: 'secret that cookies are signed with from now on', ...secret },
  overlapSeconds: {
    says: 'signatures with the key before stay good',
    kind: integer(0, 6000) as Kind<number | null, number>,
    preset: null,
    presetText: 'the TCP idle timeout',
    unit: 'seconds',
  },
} as const satisfies TableOf<CookieKeyOptions>;

/** The least that Linux takes, and what fits the largest inner packet of IPv4. */
const MSS_MIN = 88;
const MSS_MAX = INNER_BYTES_MAX - 40;
/** As native code says `'auto'`. */
export const CLAMP_MSS_AUTO = 0xffff;

const segmentSize: Kind<number, ClampMss> = special(
  `\`off\`, \`auto\`, ${MSS_MIN}–${MSS_MAX} bytes`,
  {
    anyOf: [
      { enum: ['off', 'auto', false] },
      { type: 'integer', minimum: MSS_MIN, maximum: MSS_MAX },
    ],
  },
  (field, value) => {
    if (value === 'off' || value === false) return 0;
    if (value === 'auto') return CLAMP_MSS_AUTO;
    if (typeof value === 'number') return checkInteger(field, value, MSS_MIN, MSS_MAX);
    const expected = `"off", "auto" or a number of ${MSS_MIN}–${MSS_MAX} bytes`;
    throw invalidArgument(field, expected, value);
  },
);

const group: Kind<TargetGroup> = special('a TargetGroup', {}, (field, value) => {
  if (isTargetGroup(value)) return value;
  throw wrongObject(field, 'TargetGroup', value);
});

/** The options that all gateways have. */
export const GATEWAY_BASE = {
  targetGroup: {
    says: 'where flows go; it belongs to one gateway at a time',
    kind: group,
    live: true,
  },
  crossZone: {
    says: 'flows may go to targets of other zones',
    kind: flag,
    preset: false,
    live: true,
    attribute: 'load_balancing.cross_zone.enabled',
  },
  idleTimeout: {
    says: 'after how long without packets a flow ends',
    kind: object<typeof IDLE_TIMEOUT, IdleTimeout>(IDLE_TIMEOUT),
    preset: () => readOptions(IDLE_TIMEOUT, 'idleTimeout', {}),
    live: true,
  },
  mtu: {
    says: 'largest inner packet; larger ones are dropped',
    kind: integer(INNER_BYTES_MIN, INNER_BYTES_MAX),
    preset: INNER_BYTES_MAX,
    unit: 'bytes',
  },
  limits: {
    says: 'room for flows',
    kind: object<typeof LIMITS, GatewayLimits>(LIMITS),
    preset: () => readOptions(LIMITS, 'limits', {}),
  },
  midStream: {
    says: 'TCP packets of unknown flows: `pickup`, `drop`, or `auto`: pick up for the TCP idle timeout after the start',
    kind: oneOf('auto', 'drop', 'pickup'),
    preset: 'auto',
  },
  sourcePorts: {
    says: 'outer UDP source ports',
    kind: object<typeof SOURCE_PORTS, SourcePorts>(SOURCE_PORTS),
    preset: () => readOptions(SOURCE_PORTS, 'sourcePorts', {}),
  },
  cookieCheck: {
    says: "older cookies of a flow's tuple: taken, or dropped as AWS does",
    kind: oneOf('lenient', 'strict'),
    preset: 'lenient',
  },
  promotion: {
    says: 'where packets speak for a flow in probation: when its target returns them, or when they enter (rule P1)',
    kind: oneOf('return', 'ingress'),
    preset: 'return',
  },
  pathMtuDiscovery: {
    says: 'answer packets that are too long with ICMP errors',
    kind: flag,
    preset: true,
  },
  clampMss: {
    says: 'lower the maximum segment size that SYN and SYN-ACK tell, for paths that lose ICMP errors',
    kind: segmentSize,
    preset: 0,
    given: 'off',
  },
  sendTcpReset: {
    says: 'RST answers of the listener',
    kind: object<typeof LISTENER_TCP_RESET, ListenerTcpReset>(LISTENER_TCP_RESET),
    preset: () => readOptions(LISTENER_TCP_RESET, 'sendTcpReset', {}),
    live: true,
  },
  flowCounters: {
    says: 'count the packets and bytes of each flow; 32 more bytes a flow',
    kind: flag,
    preset: false,
  },
  attachmentId: {
    says: '64 bits that every packet carries as attachment id',
    kind: attachmentId,
    preset: 0n,
    presetText: '0',
  },
  hashKey: {
    says: 'secret that the choice of targets depends on; equal keys choose equally, also after a restart',
    ...secret,
  },
  cookieKey: {
    says: 'secret that flow cookies are signed with; the one before stays good for the TCP idle timeout',
    ...secret,
    live: true,
  },
} as const satisfies TableOf<GatewayBaseOptions>;
