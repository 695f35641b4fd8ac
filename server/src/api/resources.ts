/** What the control socket answers: questions about a gateway, in the words of its library. */

import {
  type ExplainOptions,
  type FlowTuple,
  GatewayError,
  type GatewayLoadBalancer,
  type TargetGroupChange,
} from 'gwlb';
import type { ReloadResult } from '../config/reload.js';
import { onlyKeys } from '../errors.js';
import { hintsOf } from '../obstacles/hints.js';
import type { Readiness } from '../obstacles/readiness.js';
import type { ApiResources } from './server.js';

export interface ApiContext {
  gateway: GatewayLoadBalancer;
  version: string;
  /** Milliseconds since 1970. */
  startedAt: number;
  /** Why forwarding failed; null while it works. */
  failure(): Error | null;
  /** Whether each endpoint can forward. */
  readiness(): Readiness;
  /** Has the configuration read again; absent where there is no file. */
  reload?: (() => Promise<ReloadResult>) | undefined;
}

export function apiResources(context: ApiContext): ApiResources {
  const { gateway, reload } = context;
  return {
    '/v1/status': { method: 'GET', answer: () => statusOf(context) },
    '/v1/targets': { method: 'GET', answer: () => targetsOf(gateway) },
    '/v1/counters': { method: 'GET', answer: () => gateway.counters() },
    '/v1/explain': { method: 'POST', answer: (body) => explain(gateway, body) },
    '/v1/preview': { method: 'POST', answer: (body) => preview(gateway, body) },
    ...(reload && { '/v1/reload': { method: 'POST' as const, answer: reload } }),
  };
}

function statusOf({ gateway, version, startedAt, failure, readiness }: ApiContext) {
  const { name, address, port, netns, workers, sourcePorts, mtu, crossZone } = gateway;
  const { idleTimeout, sendTcpReset, targetGroup: group } = gateway;
  const shares = gateway.shares();
  const now = readiness();
  const readyOf = new Map(now.endpoints.map((one) => [one.endpoint, one]));
  const counters = gateway.counters();
  const { targets: _, endpoints: byEndpoint, ...totals } = counters;
  return {
    version,
    startedAt: new Date(startedAt).toISOString(),
    failure: failure()?.message ?? null,
    ready: now.ready,
    gateway: {
      name,
      address,
      port,
      netns,
      workers,
      sourcePorts,
      offloads: gateway.offloads,
      mtu,
      crossZone,
    },
    idleTimeout,
    sendTcpReset,
    targetGroup: {
      name: group.name,
      stickiness: group.stickiness,
      scope: group.scope,
      failover: group.failover,
      sendTcpReset: group.sendTcpReset,
      deregistrationDelaySeconds: group.deregistrationDelaySeconds,
      failOpen: group.failOpen,
      healthCheck: group.healthCheck,
    },
    targets: targetsOf(gateway).map((target) => ({ ...target, share: shares.get(target.id) ?? 0 })),
    endpoints: gateway.endpoints().map((endpoint) => {
      const { ready, obstacles } = readyOf.get(endpoint.id) ?? { ready: false, obstacles: [] };
      return { ...endpoint.toJSON(), ready, obstacles, counters: byEndpoint[endpoint.id] };
    }),
    counters: totals,
    hints: hintsOf(counters),
  };
}

function targetsOf(gateway: GatewayLoadBalancer) {
  const counted = gateway.counters().targets;
  return gateway.targetGroup
    .targets()
    .map((target) => ({ ...target.toJSON(), counters: counted[target.id] }));
}

/** `{ protocol, source, destination }` or `{ packet }` in hexadecimal, and `endpoint`. */
function explain(gateway: GatewayLoadBalancer, body: unknown) {
  const keys = ['protocol', 'source', 'destination', 'packet', 'endpoint'] as const;
  const { packet, endpoint, ...tuple } = addressed(() => onlyKeys('request', body, keys));
  const flow = packet === undefined ? (tuple as unknown as FlowTuple) : packetOf(packet, tuple);
  const options = endpoint === undefined ? {} : { endpoint };
  return addressed(() => gateway.explain(flow, options as ExplainOptions));
}

/** Most changes of one preview. */
const CHANGES_MAX = 100;

/** `{ changes: [{ fail: '10.0.1.10' }, …] }` */
async function preview(gateway: GatewayLoadBalancer, body: unknown) {
  const { changes } = addressed(() => onlyKeys('request', body, ['changes']));
  if (!Array.isArray(changes) || changes.length > CHANGES_MAX) {
    throw GatewayError.invalidArgument('changes', `an array of at most ${CHANGES_MAX}`, changes);
  }
  return gateway.targetGroup.preview(...(changes as TargetGroupChange[]));
}

function packetOf(packet: unknown, tuple: object): Uint8Array {
  const [key] = Object.keys(tuple);
  if (key !== undefined) throw GatewayError.invalidArgument(key, 'nothing with packet', 'a value');
  if (typeof packet !== 'string' || !/^(?:[0-9a-f]{2})+$/i.test(packet)) {
    throw GatewayError.invalidArgument(
      'packet',
      'the bytes of an IP packet in hexadecimal',
      packet,
    );
  }
  return Buffer.from(packet, 'hex');
}

/** What the library and this page call the objects that the keys of a request are given to. */
const ARGUMENTS = new Set<unknown>(['tuple', 'options', 'request']);

/** Calls `ask`; what it throws names the keys of the request, not the arguments of the library. */
function addressed<T>(ask: () => T): T {
  try {
    return ask();
  } catch (error) {
    if (!(error instanceof GatewayError) || error.field === undefined) throw error;
    const [first, ...rest] = error.path;
    throw error.at(rest.length > 0 && ARGUMENTS.has(first) ? rest : error.path);
  }
}
