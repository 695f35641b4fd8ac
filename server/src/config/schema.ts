/**
 * The shape of a configuration file. Values are checked by the functions that check the library's own
 * options, one key at a time, so that a file's mistakes are all found at once and ranges stand in one
 * place.
 */
import { isIPv4, isIPv6 } from 'node:net';
import { checkOptionsOf, GatewayError, TargetGroup } from 'gwlb';
import { z } from 'zod';
import { detailOf } from '../errors.js';
import { readKey } from './keys.js';
import { checkSocketPath } from './socket-path.js';
import { LOG_LEVELS } from './types.js';

type Given = Record<string, unknown>;

/** A value that `check` throws a GatewayError about, of a key of `field` where it is a mapping. */
function value(check: (value: unknown) => unknown, field = '') {
  return z.unknown().superRefine((given, context) => {
    try {
      check(given);
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error;
      const [first, ...rest] = error.path;
      const path = field !== '' && first === field ? rest : [];
      context.addIssue({ code: 'custom', message: detailOf(error), path });
    }
  });
}

/** One of these words. */
function oneOf(words: readonly string[]) {
  const shown = words.map((word) => `"${word}"`);
  const expected = `${shown.slice(0, -1).join(', ')} or ${shown.at(-1)}`;
  return value((given) => {
    if (!words.includes(given as string))
      throw GatewayError.invalidArgument('value', expected, given);
  });
}

/** Of PATH_MAX, without its NUL. */
const PATH_BYTES_MAX = 4095;

const filePath = value((path) => {
  if (typeof path === 'string' && path !== '' && path.length <= PATH_BYTES_MAX) return;
  throw GatewayError.invalidArgument('path', `a string of 1–${PATH_BYTES_MAX} characters`, path);
});

const anyGroup = new TargetGroup();

/** A key of `gateway`, checked with faultless others. */
function gatewayValue(key: string, wrap: (given: unknown) => unknown = (given) => given) {
  return value((given) =>
    checkOptionsOf('listen', { address: '192.0.2.1', targetGroup: anyGroup, [key]: wrap(given) }),
  );
}

function groupValue(
  key: string,
  wrap: (given: unknown) => unknown = (given) => given,
  others: Given = {},
) {
  return value((given) => checkOptionsOf('targetGroup', { ...others, [key]: wrap(given) }));
}

function healthValue(key: string, others: Given = {}) {
  return value((given) =>
    checkOptionsOf('targetGroup', { healthCheck: { ...others, [key]: given } }),
  );
}

function targetValue(key: string, others: Given = { address: '192.0.2.1' }) {
  return value((given) => checkOptionsOf('target', { ...others, [key]: given }));
}

function geneveValue(key: string, others: Given = { peer: '192.0.2.1' }) {
  return value((given) => checkOptionsOf('geneve', { ...others, [key]: given }));
}

const gateway = z.strictObject({
  name: gatewayValue('name').optional(),
  address: gatewayValue('address'),
  port: gatewayValue('port').optional(),
  netns: gatewayValue('netns').optional(),
  mtu: gatewayValue('mtu').optional(),
  workers: gatewayValue('workers').optional(),
  offloads: gatewayValue('offloads').optional(),
  udpChecksum: gatewayValue('udpChecksum').optional(),
  crossZone: gatewayValue('crossZone').optional(),
  idleTimeout: z
    .strictObject({
      tcpSeconds: gatewayValue('idleTimeout', (tcpSeconds) => ({ tcpSeconds })).optional(),
      otherSeconds: gatewayValue('idleTimeout', (otherSeconds) => ({ otherSeconds })).optional(),
    })
    .optional(),
  limits: z
    .strictObject({
      flows: gatewayValue('limits', (flows) => ({ flows })).optional(),
      flowsIpv6: gatewayValue('limits', (flowsIpv6) => ({ flowsIpv6 })).optional(),
    })
    .optional(),
  midStream: gatewayValue('midStream').optional(),
  sourcePorts: z
    .strictObject({
      base: gatewayValue('sourcePorts', (base) => ({ base, count: 1 })).optional(),
      // Whether both fit together is a relation.
      count: gatewayValue('sourcePorts', (count) => ({ base: 1, count })).optional(),
    })
    .optional(),
  cookieCheck: gatewayValue('cookieCheck').optional(),
  promotion: gatewayValue('promotion').optional(),
  pathMtuDiscovery: gatewayValue('pathMtuDiscovery').optional(),
  clampMss: gatewayValue('clampMss').optional(),
  sendTcpReset: z
    .strictObject({
      onIdleTimeout: gatewayValue('sendTcpReset', (onIdleTimeout) => ({
        onIdleTimeout,
      })).optional(),
    })
    .optional(),
  hashKey: value((key) => readKey('hashKey', key)).optional(),
  cookieKey: value((key) => readKey('cookieKey', key)).optional(),
});

/** Of which version the other one is is a relation. */
const probeEnd = value((end) =>
  checkOptionsOf('targetGroup', {
    healthCheck: { protocol: 'GENEVE', source: end, destination: end },
  }),
);

const healthCheck = z.strictObject({
  profile: healthValue('profile').optional(),
  protocol: healthValue('protocol').optional(),
  port: healthValue('port').optional(),
  path: healthValue('path', { protocol: 'HTTP' }).optional(),
  source: probeEnd.optional(),
  destination: probeEnd.optional(),
  intervalSeconds: healthValue('intervalSeconds', { timeoutSeconds: 2 }).optional(),
  timeoutSeconds: healthValue('timeoutSeconds', { intervalSeconds: 300 }).optional(),
  healthyThreshold: healthValue('healthyThreshold').optional(),
  unhealthyThreshold: healthValue('unhealthyThreshold').optional(),
  matcher: healthValue('matcher', { protocol: 'HTTP' }).optional(),
  flapDamping: healthValue('flapDamping').optional(),
  suspicion: healthValue('suspicion').optional(),
});

const FAST = { profile: 'fast', intervalSeconds: 300, timeoutSeconds: 0.05 };
const fastHealthCheck = healthCheck.extend({
  intervalSeconds: healthValue('intervalSeconds', FAST).optional(),
  timeoutSeconds: healthValue('timeoutSeconds', FAST).optional(),
});

const target = z.strictObject({
  address: targetValue('address'),
  port: targetValue('port').optional(),
  zone: targetValue('zone').optional(),
  weight: targetValue('weight').optional(),
});

const MAC = '02:00:00:00:00:01';
const ETHERNET = { inner: 'ethernet', sourceMac: MAC, destinationMac: MAC };

const targetGroup = z.strictObject({
  name: groupValue('name').optional(),
  port: groupValue('port').optional(),
  inner: oneOf(['ip', 'ethernet']).optional(),
  sourceMac: groupValue('sourceMac', undefined, ETHERNET).optional(),
  destinationMac: groupValue('destinationMac', undefined, ETHERNET).optional(),
  optionClass: groupValue('optionClass').optional(),
  stickiness: groupValue('stickiness').optional(),
  scope: groupValue('scope').optional(),
  failover: groupValue('failover').optional(),
  sendTcpReset: z
    .strictObject({
      onUnhealthy: groupValue('sendTcpReset', (onUnhealthy) => ({ onUnhealthy })).optional(),
      onDeregistration: groupValue('sendTcpReset', (onDeregistration) => ({
        onDeregistration,
      })).optional(),
    })
    .optional(),
  deregistrationDelaySeconds: groupValue('deregistrationDelaySeconds').optional(),
  slowStartSeconds: groupValue('slowStartSeconds').optional(),
  failOpen: groupValue('failOpen').optional(),
  healthCheck: healthCheck.optional(),
  targets: z.array(target).optional(),
});

const endpoint = z.strictObject({
  id: value((id) => checkOptionsOf('batchEndpoint', { id: id ?? '' })),
  zone: value((zone) => checkOptionsOf('batchEndpoint', { zone })).optional(),
  mtu: value((mtu) => checkOptionsOf('batchEndpoint', { mtu })).optional(),
  tun: value((tun) => checkOptionsOf('tun', tun), 'tun').optional(),
  netns: gatewayValue('netns').optional(),
  geneve: z
    .strictObject({
      peer: geneveValue('peer'),
      port: geneveValue('port').optional(),
      vni: geneveValue('vni').optional(),
      inner: geneveValue('inner').optional(),
      sourceMac: geneveValue('sourceMac', { peer: '192.0.2.1', inner: 'ethernet' }).optional(),
      destinationMac: geneveValue('destinationMac', {
        peer: '192.0.2.1',
        inner: 'ethernet',
      }).optional(),
    })
    .optional(),
});

/** `127.0.0.1:9464` or `[::1]:9464` as the metrics server listens on it. */
export function checkMetricsListen(listen: unknown): { address: string; port: number } {
  const parts = typeof listen === 'string' ? /^(?:\[(.+)\]|([^:]+)):(\d{1,5})$/.exec(listen) : null;
  const [, v6 = '', v4 = '', digits] = parts ?? [];
  const port = Number(digits);
  if (!(isIPv6(v6) || isIPv4(v4)) || port < 1 || port > 65_535) {
    throw GatewayError.invalidArgument(
      'listen',
      'an address and port such as "127.0.0.1:9464"',
      listen,
    );
  }
  return { address: v6 || v4, port };
}

export const SCHEMA = z.strictObject({
  gateway,
  targetGroup: targetGroup.optional(),
  endpoints: z.array(endpoint).optional(),
  metrics: z.strictObject({ listen: value(checkMetricsListen) }).nullish(),
  control: z
    .strictObject({ socket: value((socket) => checkSocketPath('socket', socket)) })
    .nullish(),
  flowLog: z
    .strictObject({
      path: filePath,
      intervalSeconds: value((intervalSeconds) =>
        checkOptionsOf('flowReports', { intervalSeconds }),
      ).optional(),
    })
    .nullish(),
  log: z.strictObject({ level: oneOf(LOG_LEVELS).optional() }).optional(),
});

/** The same where the health check has the profile `fast`: its times have wider ranges. */
export const FAST_SCHEMA = SCHEMA.extend({
  targetGroup: targetGroup.extend({ healthCheck: fastHealthCheck.optional() }).optional(),
});
