/** The configuration file: read, checked as a whole, every mistake with its place. */

import { readFileSync } from 'node:fs';
import { FLOWS_MIN, GatewayError, type HealthCheckOptions } from 'gwlb';
import { type Document, isMap, isPair, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';
import { detailOf } from '../errors.js';
import { keyFileWarning, readKey } from './keys.js';
import { configWarnings, relationProblems } from './relations.js';
import { checkMetricsListen, FAST_SCHEMA, SCHEMA } from './schema.js';
import {
  type Config,
  type EndpointConfig,
  type FlowLogConfig,
  type Found,
  type LogLevel,
  type Path,
  type Problem,
  pathText,
} from './types.js';

export { type Config, type Problem, pathText } from './types.js';

/** `warnings`: what is correct, and still not what anybody would want. */
export type Loaded =
  | { ok: true; config: Config; warnings: Problem[] }
  | { ok: false; problems: Problem[] };

type Given = Record<string, unknown>;

/** Reads and checks a file. */
export function loadConfig(file: string): Loaded {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const message = `the file cannot be read: ${(error as Error).message}`;
    return { ok: false, problems: [{ path: [], message, line: null, column: null }] };
  }
  return parseConfig(text);
}

/** Checks the text of a configuration. */
export function parseConfig(text: string): Loaded {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const problems: Problem[] = [];
  for (const error of document.errors) {
    const { line, col } = lines.linePos(error.pos[0]);
    const path = error.code === 'DUPLICATE_KEY' ? pathAt(document, error.pos[0]) : [];
    const message = path.length > 0 ? 'expected the key once, received it again' : error.message;
    problems.push({ path, message, line, column: col });
  }
  // Without its structure nothing can be said about the rest.
  if (document.errors.some((error) => error.code !== 'DUPLICATE_KEY')) {
    return { ok: false, problems };
  }
  const given = plainValue(document, problems);
  const found = given === undefined ? [] : [...shapeProblems(given), ...relationProblems(given)];
  const seen = new Set<string>();
  for (const { path, message } of found) {
    const key = `${pathText(path)}: ${message}`;
    if (seen.has(key)) continue;
    seen.add(key);
    problems.push({ path, message, ...placeOf(document, lines, path) });
  }
  if (problems.length > 0 || given === undefined) {
    return { ok: false, problems: problems.sort(byPlace) };
  }
  try {
    const config = configOf(given as Given);
    const warnings = [...configWarnings(config), ...keyWarnings(given as Given)].map(
      ({ path, message }) => ({
        path,
        message,
        ...placeOf(document, lines, path),
      }),
    );
    return { ok: true, config, warnings };
  } catch (error) {
    // A file that was there a moment ago.
    if (!(error instanceof GatewayError) || error.field === undefined) throw error;
    const { path } = error;
    const message = detailOf(error);
    return { ok: false, problems: [{ path, message, ...placeOf(document, lines, path) }] };
  }
}

/** Files of keys that others may read or change. */
function keyWarnings(given: Given): Found[] {
  return ['hashKey', 'cookieKey'].flatMap((key) => {
    const message = keyFileWarning(valueAt(given, ['gateway', key]));
    return message === null ? [] : [{ path: ['gateway', key, 'file'], message }];
  });
}

function byPlace(a: Problem, b: Problem): number {
  return (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0);
}

/** The document as plain values; an alias that expands without end is a problem too. */
function plainValue(document: Document, problems: Problem[]): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 }) ?? null;
  } catch (error) {
    const { message } = error as Error;
    problems.push({ path: [], message, line: null, column: null });
    return undefined;
  }
}

/** `gateway.yaml:12:5: targetGroup.healthCheck.intervalSeconds: expected 5–300, received 2` */
export function problemLine(file: string, problem: Problem): string {
  const place = problem.line === null ? file : `${file}:${problem.line}:${problem.column}`;
  const path = pathText(problem.path);
  return `${place}: ${path && `${path}: `}${problem.message}`;
}

/** What is wrong with single keys and values. */
function shapeProblems(given: unknown): Found[] {
  const fast = valueAt(given, ['targetGroup', 'healthCheck', 'profile']) === 'fast';
  const result = (fast ? FAST_SCHEMA : SCHEMA).safeParse(withChecksOn(given));
  if (result.success) return [];
  return result.error.issues.flatMap((issue) => problemsOf(issue, given));
}

/** `healthCheck: false` is the one value that may stand where the schema has a mapping. */
function withChecksOn(given: unknown): unknown {
  const group = (given as Given | null)?.targetGroup as Given | null | undefined;
  if (group?.healthCheck !== false) return given;
  return { ...(given as Given), targetGroup: { ...group, healthCheck: undefined } };
}

function problemsOf(issue: z.core.$ZodIssue, given: unknown): Found[] {
  const path = issue.path as Path;
  if (issue.code === 'unrecognized_keys') {
    const known = knownKeys(path);
    return issue.keys.map((key) => ({ path: [...path, key], message: unknownKey(key, known) }));
  }
  if (issue.code === 'invalid_type') {
    const expected = issue.expected === 'array' ? 'a list' : 'a mapping of keys';
    return [
      { path, message: detailOf(GatewayError.invalidArgument('', expected, valueAt(given, path))) },
    ];
  }
  return [{ path, message: issue.message }];
}

function valueAt(value: unknown, path: Path): unknown {
  return path.reduce<unknown>((at, part) => (at as Given | null | undefined)?.[part], value);
}

interface Shape {
  shape?: Record<string, Shape>;
  element?: Shape;
  unwrap?: () => Shape;
}

/** The keys that the schema has at a path. */
function knownKeys(path: Path): string[] {
  let at = inside(SCHEMA as unknown as Shape);
  for (const part of path) {
    const next = typeof part === 'number' ? at?.element : at?.shape?.[part];
    at = inside(next);
  }
  return Object.keys(at?.shape ?? {});
}

function inside(schema: Shape | undefined): Shape | undefined {
  let at = schema;
  while (at && !at.shape && !at.element && at.unwrap) at = at.unwrap();
  return at;
}

function unknownKey(key: string, known: readonly string[]): string {
  const nearest = known
    .map((name) => ({ name, distance: distance(key.toLowerCase(), name.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance)[0];
  const close = nearest && nearest.distance <= Math.max(1, Math.floor(key.length / 3));
  const hint = close ? ` (did you mean ${nearest.name}?)` : '';
  return `expected one of the keys ${known.join(', ')}, received an unknown key${hint}`;
}

/** Insertions, deletions and replacements between two words (Levenshtein). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const replaced = row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, replaced);
    }
    row = next;
  }
  return row[b.length];
}

/** Where the key of a path stands, or the nearest thing around it that exists. */
function placeOf(document: Document, lines: LineCounter, path: Path) {
  let node: unknown = document.contents;
  let offset = 0;
  for (const part of path) {
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && key.value === part);
      if (!pair) break;
      offset = (isScalar(pair.key) && pair.key.range?.[0]) || offset;
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(part)];
      offset = (node as { range?: [number] } | undefined)?.range?.[0] ?? offset;
    } else {
      break;
    }
  }
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(1, line), column: Math.max(1, col) };
}

/** The path of the key that begins at an offset. */
function pathAt(document: Document, offset: number): Path {
  const search = (node: unknown, path: Path): Path | null => {
    if (isPair(node)) {
      if (!isScalar(node.key)) return null;
      const here = [...path, String(node.key.value)];
      return node.key.range?.[0] === offset ? here : search(node.value, here);
    }
    if (!isMap(node) && !isSeq(node)) return null;
    for (const [i, item] of node.items.entries()) {
      const found = search(item, isSeq(node) ? [...path, i] : path);
      if (found) return found;
    }
    return null;
  };
  return search(document.contents, []) ?? [];
}

/** What a faultless file says, with every default. */
function configOf(given: Given): Config {
  const gateway = given.gateway as Config['gateway'];
  const group = (given.targetGroup ?? {}) as Partial<Config['targetGroup']>;
  const metrics = given.metrics as { listen: string } | null | undefined;
  const control = given.control as Config['control'] | undefined;
  const flowLog = given.flowLog as (Partial<FlowLogConfig> & { path: string }) | null | undefined;
  const log = (given.log ?? {}) as { level?: LogLevel };
  const healthCheck: HealthCheckOptions | false = group.healthCheck ?? {};
  const flows = gateway.limits?.flows ?? 1_048_576;
  const quarter = Math.max(FLOWS_MIN, Math.floor(flows / 4));
  return {
    gateway: {
      name: gateway.name ?? 'gateway',
      address: gateway.address,
      port: gateway.port ?? 6081,
      netns: gateway.netns ?? null,
      mtu: gateway.mtu ?? 8500,
      workers: gateway.workers ?? 1,
      offloads: gateway.offloads ?? true,
      udpChecksum: gateway.udpChecksum ?? true,
      crossZone: gateway.crossZone ?? false,
      idleTimeout: {
        tcpSeconds: gateway.idleTimeout?.tcpSeconds ?? 350,
        otherSeconds: gateway.idleTimeout?.otherSeconds ?? 120,
      },
      limits: {
        flows,
        flowsIpv6: gateway.limits?.flowsIpv6 ?? quarter,
      },
      midStream: gateway.midStream ?? 'auto',
      sourcePorts: {
        base: gateway.sourcePorts?.base ?? 32_768,
        count: gateway.sourcePorts?.count ?? 256,
      },
      cookieCheck: gateway.cookieCheck ?? 'lenient',
      promotion: gateway.promotion ?? 'return',
      pathMtuDiscovery: gateway.pathMtuDiscovery ?? true,
      clampMss: gateway.clampMss ?? 'off',
      sendTcpReset: { onIdleTimeout: gateway.sendTcpReset?.onIdleTimeout ?? false },
      ...keysOf(gateway),
    },
    targetGroup: {
      ...group,
      name: group.name ?? 'targets',
      port: group.port ?? 6081,
      inner: group.inner ?? 'ip',
      optionClass: group.optionClass ?? 0x0108,
      stickiness: group.stickiness ?? '5-tuple',
      scope: group.scope ?? 'endpoint',
      failover: group.failover ?? 'no_rebalance',
      sendTcpReset: {
        onUnhealthy: group.sendTcpReset?.onUnhealthy ?? false,
        onDeregistration: group.sendTcpReset?.onDeregistration ?? false,
      },
      deregistrationDelaySeconds: group.deregistrationDelaySeconds ?? 300,
      slowStartSeconds: group.slowStartSeconds ?? 0,
      failOpen: group.failOpen ?? false,
      healthCheck,
      targets: group.targets ?? [],
    },
    endpoints: ((given.endpoints ?? []) as EndpointConfig[]).map((endpoint) =>
      endpointOf(endpoint, gateway.netns ?? null),
    ),
    metrics: metrics ? checkMetricsListen(metrics.listen) : null,
    control: control ?? null,
    flowLog: flowLog ? { path: flowLog.path, intervalSeconds: flowLog.intervalSeconds ?? 0 } : null,
    log: { level: log.level ?? 'info' },
  };
}

/** The keys that are given, as bytes. */
function keysOf({ hashKey, cookieKey }: { hashKey?: unknown; cookieKey?: unknown }) {
  return {
    ...(hashKey !== undefined && { hashKey: readKey('gateway.hashKey', hashKey) }),
    ...(cookieKey !== undefined && { cookieKey: readKey('gateway.cookieKey', cookieKey) }),
  };
}

/** Without a namespace of its own a device is made in the gateway's. */
function endpointOf(given: EndpointConfig, netns: string | null): EndpointConfig {
  const common = { ...given, zone: given.zone ?? 'default' };
  if (common.tun !== undefined) {
    const tun = typeof common.tun === 'string' ? { name: common.tun } : common.tun;
    return {
      ...common,
      // Over a restart the routes into it stay, so that nothing goes around the gateway meanwhile.
      tun: { ...tun, persistent: tun.persistent ?? true },
      netns: common.netns === undefined ? netns : common.netns,
    };
  }
  const geneve = { ...common.geneve };
  return {
    ...common,
    geneve: {
      ...geneve,
      port: geneve.port ?? 6081,
      vni: geneve.vni ?? 0,
      inner: geneve.inner ?? 'ip',
    },
  };
}
