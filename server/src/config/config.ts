/** The configuration file: read, checked as a whole, every mistake with its place. */

import { readFileSync } from 'node:fs';
import { completeOptions, GatewayError, type TargetSpec } from 'gwlb';
import { type Document, isMap, isPair, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';
import { detailOf } from '../errors.js';
import { keyFileWarning, readKey } from './keys.js';
import { configWarnings, relationProblems } from './relations.js';
import { checkMetricsListen, groupOf, shapeProblems } from './schema.js';
import { mappingOf } from './shapes.js';
import {
  type Config,
  type EndpointConfig,
  type FlowLogConfig,
  type Found,
  type GatewayConfig,
  type LogLevel,
  NOT_IN_FILES,
  type Path,
  type Problem,
  pathText,
  type TargetGroupConfig,
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

function valueAt(value: unknown, path: Path): unknown {
  return path.reduce<unknown>((at, part) => (at as Given | null | undefined)?.[part], value);
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
  const { hashKey, cookieKey, ...options } = mappingOf(given.gateway);
  const { targets, ...groupOptions } = mappingOf(given.targetGroup);
  const targetGroup = groupOf(groupOptions);
  const gateway = completeOptions('listen', { ...options, targetGroup });
  for (const key of NOT_IN_FILES) delete gateway[key];
  const group = completeOptions('targetGroup', groupOptions);
  const endpoints = (given.endpoints ?? []) as EndpointConfig[];
  const { listen } = mappingOf(given.metrics);
  const { path, ...reports } = mappingOf(given.flowLog);
  return {
    gateway: { ...gateway, ...keysOf({ hashKey, cookieKey }) } as unknown as GatewayConfig,
    targetGroup: {
      ...group,
      targets: ((targets ?? []) as TargetSpec[]).map((target) =>
        completeOptions('target', { ...target, port: target.port ?? group.port }),
      ),
    } as unknown as TargetGroupConfig,
    endpoints: endpoints.map((endpoint) => endpointOf(endpoint, gateway.netns as string | null)),
    metrics: listen === undefined ? null : checkMetricsListen(listen),
    control: (given.control ?? null) as Config['control'],
    flowLog:
      path === undefined
        ? null
        : ({ path, ...completeOptions('flowReports', reports) } as unknown as FlowLogConfig),
    log: { level: 'info', ...(given.log as { level?: LogLevel } | undefined) },
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
function endpointOf(given: EndpointConfig, gatewayNetns: string | null): EndpointConfig {
  const complete = completeOptions('endpoint', given) as unknown as EndpointConfig;
  const { tun, netns = gatewayNetns } = complete;
  if (tun === undefined) return complete;
  // Over a restart the routes into it stay, so that nothing goes around the gateway meanwhile.
  const device = { persistent: true, ...(typeof tun === 'string' ? { name: tun } : tun) };
  return { ...complete, tun: device, netns };
}
