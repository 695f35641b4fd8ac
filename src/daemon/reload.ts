/** What may change while a gateway runs, and what of two configurations needs a restart. */
import { isDeepStrictEqual } from 'node:util';
import type { TargetGroupPolicy } from '../control/options.js';
import {
  type Config,
  type EndpointConfig,
  type FlowLogConfig,
  STANDARD_OUTPUT,
} from './config-types.js';

/** Keys whose change needs no restart; `endpoints` are compared one by one. */
const LIVE = new Set([
  'gateway.idleTimeout',
  'gateway.sendTcpReset',
  'gateway.cookieKey',
  'targetGroup.failover',
  'targetGroup.sendTcpReset',
  'targetGroup.deregistrationDelaySeconds',
  'targetGroup.slowStartSeconds',
  'targetGroup.failOpen',
  'targetGroup.healthCheck',
  'targetGroup.targets',
]);

/** What of the target group's options may change while it runs. */
export function policyOf({ targetGroup }: Config): TargetGroupPolicy {
  const { failover, sendTcpReset, deregistrationDelaySeconds, slowStartSeconds } = targetGroup;
  const { failOpen, healthCheck } = targetGroup;
  return {
    failover,
    sendTcpReset,
    deregistrationDelaySeconds,
    slowStartSeconds,
    failOpen,
    healthCheck,
  };
}

/** Paths whose change from `before` to `after` needs a restart. */
export function restartNeeded(before: Config, after: Config): string[] {
  const paths: string[] = [];
  for (const section of ['gateway', 'targetGroup'] as const) {
    const old: Record<string, unknown> = { ...before[section] };
    const now: Record<string, unknown> = { ...after[section] };
    for (const key of new Set([...Object.keys(old), ...Object.keys(now)])) {
      const path = `${section}.${key}`;
      if (!LIVE.has(path) && !isDeepStrictEqual(old[key], now[key])) paths.push(path);
    }
  }
  if (!isDeepStrictEqual(before.metrics, after.metrics)) paths.push('metrics.listen');
  paths.push(...flowLogRestart(before.flowLog, after.flowLog));
  if (!isDeepStrictEqual(before.control, after.control)) paths.push('control.socket');
  const known = new Map(before.endpoints.map((endpoint) => [endpoint.id, endpoint]));
  after.endpoints.forEach((endpoint, i) => {
    const old = known.get(endpoint.id);
    if (old && !isDeepStrictEqual({ ...old }, { ...endpoint })) paths.push(`endpoints[${i}]`);
  });
  return paths;
}

/** Counting flows begins with the start, and standard output is no file that could be changed. */
function flowLogRestart(before: FlowLogConfig | null, after: FlowLogConfig | null): string[] {
  if (before === null || after === null) return before === after ? [] : ['flowLog'];
  const output = (before.path === STANDARD_OUTPUT) !== (after.path === STANDARD_OUTPUT);
  return output ? ['flowLog.path'] : [];
}

export interface EndpointChanges {
  /** With their place in the new configuration. */
  added: { endpoint: EndpointConfig; at: number }[];
  removed: string[];
}

export function endpointChanges(before: Config, after: Config): EndpointChanges {
  const old = new Set(before.endpoints.map(({ id }) => id));
  const now = new Set(after.endpoints.map(({ id }) => id));
  return {
    added: after.endpoints
      .map((endpoint, at) => ({ endpoint, at }))
      .filter(({ endpoint }) => !old.has(endpoint.id)),
    removed: [...old].filter((id) => !now.has(id)),
  };
}
