/** What may change while a gateway runs, and what of two configurations needs a restart. */

import { isDeepStrictEqual } from 'node:util';
import { describeOptions, type TargetGroupPolicy } from 'gwlb';
import { type Config, type EndpointConfig, STANDARD_OUTPUT } from './types.js';

/** The options of an object that the library can change while it is in use. */
function liveOf(kind: 'listen' | 'targetGroup' | 'flowReports'): string[] {
  return Object.entries(describeOptions(kind)).flatMap(([key, { live }]) => (live ? [key] : []));
}

const LIVE_POLICY = liveOf('targetGroup') as (keyof TargetGroupPolicy)[];

/** Keys whose change needs no restart, with what is below them. */
const LIVE = [
  ...liveOf('listen').map((key) => `gateway.${key}`),
  ...LIVE_POLICY.map((key) => `targetGroup.${key}`),
  'targetGroup.targets',
  ...liveOf('flowReports').map((key) => `flowLog.${key}`),
  'log',
];

/** What of the target group's options may change while it runs. */
export function groupPolicy({ targetGroup }: Config): TargetGroupPolicy {
  return Object.fromEntries(LIVE_POLICY.map((key) => [key, targetGroup[key]]));
}

/** One key whose value differs between two configurations. */
export interface Change {
  /** Path of the key; targets and endpoints are named by their ids: `targetGroup.targets[10.0.1.10:6081].weight`. */
  readonly key: string;
  /** In force until now; null where there was none. */
  readonly old: unknown;
  /** null where there is none any more. */
  readonly new: unknown;
}

/** What became of a reload. */
export interface ReloadResult {
  readonly applied: boolean;
  /** What the file has that was not in force; where it was refused, still is not. */
  readonly changes: readonly Change[];
  /** Why it was refused. */
  readonly problems: readonly string[];
}

/** Keys are never shown. */
const SECRETS = new Set(['gateway.hashKey', 'gateway.cookieKey']);

/** Every key that differs from `before` to `after`. */
export function changesBetween(before: Config, after: Config): Change[] {
  const changes: Change[] = [];
  compare('', keyed(before), keyed(after), changes);
  return changes;
}

/** The configuration with its lists by id, so that one that is added changes no other. */
function keyed(config: Config): object {
  const { targetGroup, endpoints, metrics, ...rest } = config;
  const targets = targetGroup.targets.map(
    (target) => [`[${target.address}:${target.port}]`, target] as const,
  );
  return {
    ...rest,
    metrics: metrics && { listen: `${metrics.address}:${metrics.port}` },
    targetGroup: { ...targetGroup, targets: Object.fromEntries(targets) },
    endpoints: Object.fromEntries(endpoints.map((endpoint) => [`[${endpoint.id}]`, endpoint])),
  };
}

function compare(key: string, before: unknown, after: unknown, changes: Change[]): void {
  if (isDeepStrictEqual(before, after)) return;
  if (!isMapping(before) || !isMapping(after)) {
    const shown = (value: unknown) =>
      value !== undefined && SECRETS.has(key) ? '(secret)' : (value ?? null);
    changes.push({ key, old: shown(before), new: shown(after) });
    return;
  }
  for (const name of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const path = key === '' || name.startsWith('[') ? `${key}${name}` : `${key}.${name}`;
    compare(path, before[name], after[name], changes);
  }
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !ArrayBuffer.isView(value);
}

/** `targetGroup.failover: "no_rebalance" → "rebalance"` */
export function changeText({ key, old, new: now }: Change): string {
  if (old === null) return `${key}: added ${show(now)}`;
  return now === null ? `${key}: removed` : `${key}: ${show(old)} → ${show(now)}`;
}

function show(value: unknown): string {
  return value === '(secret)' ? value : JSON.stringify(value);
}

/** `gateway.limits.flows: a change needs a restart (4096 → 8192)` */
export function restartText({ key, old, new: now }: Change): string {
  return `${key}: a change needs a restart (${show(old)} → ${show(now)})`;
}

/** Those of the changes that a running gateway cannot make. */
export function restartNeeded(changes: readonly Change[]): Change[] {
  return changes.filter((change) => !isLive(change));
}

function isLive({ key, old, new: now }: Change): boolean {
  if (key.startsWith('endpoints[')) return key.endsWith(']') && (old === null || now === null);
  if (key === 'flowLog.path') return old !== STANDARD_OUTPUT && now !== STANDARD_OUTPUT;
  return LIVE.some(
    (live) => key === live || key.startsWith(`${live}.`) || key.startsWith(`${live}[`),
  );
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
