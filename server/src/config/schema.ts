/**
 * The shape of a configuration file. What is an option of the library is the library's to judge, with its
 * ranges and sentences; what is the service's own stands here.
 */
import { isIPv4, isIPv6 } from 'node:net';
import { GatewayError, optionProblems, TargetGroup } from 'gwlb';
import { detailOf } from '../errors.js';
import { readKey } from './keys.js';
import {
  list,
  mapping,
  mappingOf,
  nullable,
  oneOf,
  optional,
  options,
  type Shape,
  value,
} from './shapes.js';
import { checkSocketPath } from './socket-path.js';
import { type Found, LOG_LEVELS, NOT_IN_FILES } from './types.js';

/** Of PATH_MAX, without its NUL. */
const PATH_BYTES_MAX = 4095;

const filePath = value((path) => {
  if (typeof path === 'string' && path !== '' && path.length <= PATH_BYTES_MAX) return;
  throw GatewayError.invalidArgument('path', `a string of 1–${PATH_BYTES_MAX} characters`, path);
});

/** An endpoint that stays over a reload is known by its id: in a file it is required. */
const endpointId: Shape = (id, path) => {
  const [problem] = optionProblems('batchEndpoint', { id: id ?? '' });
  if (!problem) return [];
  const { expected = '' } = problem;
  const told = id === undefined ? GatewayError.invalidArgument('id', expected, id) : problem;
  return [{ path, message: detailOf(told) }];
};

const endpoint = options('endpoint', { own: { id: endpointId } });
const targets = optional(list(options('target')));
const targetGroup = options('targetGroup', { own: { targets } });

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

/** Of keys that the library knows nothing of. */
const SERVICE = {
  metrics: nullable(mapping({ listen: value(checkMetricsListen) })),
  control: nullable(mapping({ socket: value((socket) => checkSocketPath('socket', socket)) })),
  flowLog: nullable(options('flowReports', { own: { path: filePath } })),
  log: optional(mapping({ level: optional(oneOf(LOG_LEVELS)) })),
};

const secret = optional(value((key) => readKey('key', key)));

/** Everything that is wrong with single parts of a configuration. */
export function shapeProblems(given: unknown): Found[] {
  const beside = { targetGroup: groupOf(mappingOf(mappingOf(given).targetGroup)) };
  const own = { hashKey: secret, cookieKey: secret };
  const gateway = options('listen', { without: NOT_IN_FILES, own, beside });
  return mapping({
    gateway,
    targetGroup: optional(targetGroup),
    endpoints: optional(list(endpoint)),
    ...SERVICE,
  })(given, []);
}

/** The group that a configuration describes, for options that depend on it; another one where it is wrong. */
export function groupOf({
  targets: _,
  ...options
}: Readonly<Record<string, unknown>>): TargetGroup {
  const isWrong = optionProblems('targetGroup', options).length > 0;
  return new TargetGroup(isWrong ? {} : options);
}
