/** A configuration at work: the gateway it describes, its reloads and its end. */

import { isDeepStrictEqual } from 'node:util';
import {
  type Endpoint,
  type ErrorPath,
  GatewayError,
  GatewayLoadBalancer,
  type HealthEvent,
  TargetGroup,
} from 'gwlb';
import { apiResources } from '../api/resources.js';
import { API_CONNECTIONS_MAX, ApiServer } from '../api/server.js';
import {
  type Change,
  changesBetween,
  type EndpointChanges,
  endpointChanges,
  groupPolicy,
  type ReloadResult,
  restartNeeded,
  restartText,
} from '../config/reload.js';
import type { Config, EndpointConfig, FlowLogConfig } from '../config/types.js';
import { DeviceReport } from '../observe/device-report.js';
import { FlowLog } from '../observe/flow-log.js';
import { ImpededChecks } from '../observe/impeded.js';
import type { Logger } from '../observe/log.js';
import { GatewayMetrics } from '../observe/metrics.js';
import { METRICS_CONNECTIONS_MAX, MetricsServer } from '../observe/metrics-server.js';
import {
  type EndpointReadiness,
  type Readiness,
  ReadinessWatch,
  readinessOf,
} from '../obstacles/readiness.js';
import { connectionsFor, descriptors, shortage } from './descriptors.js';
import type { KeptState } from './kept-state.js';

/** Calls `action`; what it throws names the keys of the file, not the options of the library. */
async function named<T>(from: string, to: ErrorPath, action: () => Promise<T> | T): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (!(error instanceof GatewayError) || error.path[0] !== from) throw error;
    throw error.at([...to, ...error.path.slice(1)]);
  }
}

const READINESS_MS = 1_000;

/** Changes that the line about a reload names; the rest is counted. */
const CHANGES_LOGGED = 100;

/** Has the service read its configuration again. */
export type Reread = (service: Service) => Promise<ReloadResult>;

export class Service {
  readonly gateway: GatewayLoadBalancer;
  readonly #group: TargetGroup;
  readonly #log: Logger;
  readonly #metrics: GatewayMetrics;
  readonly #version: string;
  readonly #watch = new ReadinessWatch((endpoint) => this.#tellReadiness(endpoint));
  #looking: NodeJS.Timeout | null = null;
  #server: MetricsServer | null = null;
  #api: ApiServer | null = null;
  #flowLog: FlowLog | null = null;
  readonly #devices: DeviceReport;
  #config: Config;
  #reloading: Promise<unknown> = Promise.resolve();

  /** Opens everything; nothing is left open where it rejects. */
  static async start(
    config: Config,
    log: Logger,
    version: string,
    reread?: Reread,
    kept: KeptState | null = null,
  ): Promise<Service> {
    const { targets, ...options } = config.targetGroup;
    const group = new TargetGroup(options);
    await named('targets', ['targetGroup', 'targets'], () => group.setTargets(targets));
    const former = kept?.formerCookieKey ?? null;
    const gateway = await named('options', ['gateway'], () =>
      GatewayLoadBalancer.listen({
        ...config.gateway,
        ...(former && { cookieKey: former.key }),
        targetGroup: group,
        flowCounters: config.flowLog !== null,
        state: kept?.gatewayState,
        saveState: kept?.save,
      }),
    );
    if (former) {
      const { cookieKey: key } = config.gateway;
      gateway.rotateCookieKey({ ...(key && { key }), overlapSeconds: former.overlapSeconds });
    }
    const service = new Service(config, log, version, group, gateway);
    try {
      if (config.flowLog) service.#logFlows(config.flowLog);
      for (const [at, endpoint] of config.endpoints.entries()) await service.#create(endpoint, at);
      await service.#serveMetrics();
      await service.#answerQuestions(reread);
    } catch (error) {
      await service.#close();
      throw error;
    }
    service.#tellStarted();
    service.#tellShortage();
    service.#watchReadiness();
    return service;
  }

  private constructor(
    config: Config,
    log: Logger,
    version: string,
    group: TargetGroup,
    gateway: GatewayLoadBalancer,
  ) {
    this.#config = config;
    this.#log = log;
    this.#group = group;
    this.gateway = gateway;
    this.#version = version;
    this.#metrics = new GatewayMetrics(gateway, version);
    this.#metrics.readiness = () => this.readiness();
    this.#devices = new DeviceReport(gateway, log);
    group.on('health', (event) => this.#tellHealth(event));
    group.on('register', ({ target: { id, zone, weight } }) =>
      log.info({ event: 'target_registered', target: id, zone, weight }, 'target registered'),
    );
    group.on('deregister', ({ target: { id, zone } }) =>
      log.info({ event: 'target_deregistered', target: id, zone }, 'target deregistered'),
    );
    const impeded = new ImpededChecks(log);
    group.on('deregister', ({ target }) => impeded.forget(target.id));
    group.on('probe', (probe) => {
      const { target, ok, durationMs, detail } = probe;
      log.debug({ event: 'health_check', target: target.id, ok, durationMs, detail }, 'checked');
      impeded.seen(probe);
    });
    gateway.on('error', (error) => {
      log.error({ event: 'failed', code: error.code, error: error.message }, 'forwarding failed');
    });
  }

  /** Why it does not forward, in whole or in part; null while all is well. */
  get failure(): Error | null {
    return this.gateway.failure;
  }

  /** Whether each endpoint can forward, now. */
  readiness(): Readiness {
    const { crossZone } = this.gateway;
    const { failOpen } = this.#group;
    const policy = { crossZone, failOpen };
    const obstacles = (endpoint: Endpoint) => this.#devices.obstacles(endpoint);
    return readinessOf(this.gateway.endpoints(), this.#group.targets(), policy, obstacles);
  }

  /** Takes over another configuration, all of it or nothing; what became of it is logged, too. */
  reload(next: Config): Promise<ReloadResult> {
    const done = this.#reloading.then(() => this.#reload(next));
    this.#reloading = done;
    return done;
  }

  /** A reload that could not even be tried, since the file is wrong. */
  refuse(problems: readonly string[], changes: readonly Change[] = []): ReloadResult {
    this.#metrics.reloads.inc({ result: 'refused' });
    this.#log.error({ event: 'reload_refused', problems }, 'reload refused: nothing changed');
    return { applied: false, changes, problems };
  }

  /** Goes on in new files where the old ones were moved away. */
  reopenLogs(): void {
    this.#flowLog?.reopen();
  }

  /** Stops everything and says what was done. */
  async stop(cause: string): Promise<void> {
    await this.#reloading;
    const { packetsIn, packetsOut, flowsNew, flowsMoved, drops } = this.gateway.counters();
    const dropped = Object.values(drops).reduce((total, count) => total + count, 0);
    await this.#close();
    const summary = { packetsIn, packetsOut, dropped, flowsNew, flowsMoved };
    this.#log.info({ event: 'stopped', cause, ...summary }, 'stopped');
  }

  async #reload(next: Config): Promise<ReloadResult> {
    const before = this.#config;
    const changes = changesBetween(before, next);
    const restart = restartNeeded(changes);
    if (restart.length > 0) return this.refuse(restart.map(restartText), changes);
    const endpoints = endpointChanges(before, next);
    try {
      await this.#apply(next, endpoints);
    } catch (error) {
      return this.refuse([(error as Error).message], changes);
    }
    this.#config = next;
    this.#log.level = next.log.level;
    this.#metrics.reloads.inc({ result: 'applied' });
    const applied = {
      targets: next.targetGroup.targets.length,
      endpoints: next.endpoints.length,
      endpointsAdded: endpoints.added.map(({ endpoint }) => endpoint.id),
      endpointsRemoved: endpoints.removed,
      changes: changes.slice(0, CHANGES_LOGGED),
      ...(changes.length > CHANGES_LOGGED && { changesMore: changes.length - CHANGES_LOGGED }),
    };
    this.#log.info({ event: 'reloaded', ...applied }, 'reload applied');
    this.#tellShortage();
    this.#watch.look(this.readiness());
    return { applied: true, changes, problems: [] };
  }

  /** What the system may refuse comes first, so that it can be undone; what cannot fail, last. */
  async #apply(next: Config, { added, removed }: EndpointChanges): Promise<void> {
    const created: string[] = [];
    if (next.flowLog) FlowLog.check(next.flowLog);
    try {
      for (const { endpoint, at } of added) {
        await this.#create(endpoint, at);
        created.push(endpoint.id);
      }
      await named('targets', ['targetGroup', 'targets'], () =>
        this.#group.setTargets(next.targetGroup.targets),
      );
    } catch (error) {
      for (const id of created) await this.gateway.removeEndpoint(id);
      throw error;
    }
    if (next.flowLog) this.#flowLog?.configure(next.flowLog);
    const steps = [
      () => this.#group.update(groupPolicy(next)),
      () => this.gateway.setIdleTimeout(next.gateway.idleTimeout),
    ];
    // An idle timeout of its own goes with 5-tuples only: those are there before it comes, and until it has gone.
    if (next.targetGroup.stickiness !== '5-tuple') steps.reverse();
    for (const step of steps) step();
    this.gateway.setCrossZone(next.gateway.crossZone);
    this.gateway.setTcpReset(next.gateway.sendTcpReset);
    const { cookieKey } = next.gateway;
    if (!isDeepStrictEqual(cookieKey, this.#config.gateway.cookieKey)) {
      this.gateway.rotateCookieKey(cookieKey && { key: cookieKey });
    }
    for (const id of removed) {
      const { device } = this.gateway.endpoint(id) ?? { device: null };
      await this.gateway.removeEndpoint(id);
      this.#log.info({ event: 'endpoint_removed', endpoint: id, device }, 'endpoint removed');
    }
    await this.#devices.restore();
  }

  async #create(options: EndpointConfig, at: number): Promise<void> {
    const endpoint = await named('endpoint', ['endpoints', at], () =>
      this.gateway.createEndpoint(options),
    );
    const { id, ...rest } = endpoint.toJSON();
    this.#log.info({ event: 'endpoint_created', endpoint: id, ...rest }, 'endpoint created');
  }

  async #serveMetrics(): Promise<void> {
    const { metrics } = this.#config;
    if (!metrics) return;
    const source = {
      text: () => this.#metrics.text(),
      failure: () => this.failure,
      readiness: () => this.readiness(),
    };
    const connections = this.#connections(METRICS_CONNECTIONS_MAX);
    this.#server = await MetricsServer.listen(metrics, source, connections);
  }

  /** Of a listener, with what forwarding and checks leave. */
  #connections(max: number): number {
    const listeners = [this.#config.metrics, this.#config.control].filter(Boolean).length;
    return connectionsFor(descriptors(), this.#group.targets().length, listeners, max);
  }

  #logFlows(config: FlowLogConfig): void {
    this.#flowLog = new FlowLog(this.gateway, config, this.#log);
    this.#metrics.flowLog = this.#flowLog.totals;
  }

  async #answerQuestions(reread: Reread | undefined): Promise<void> {
    const { control } = this.#config;
    if (!control) return;
    const resources = apiResources({
      gateway: this.gateway,
      version: this.#version,
      startedAt: Date.now(),
      failure: () => this.failure,
      readiness: () => this.readiness(),
      reload: reread && (() => reread(this)),
    });
    this.#api = await ApiServer.listen(
      control.socket,
      resources,
      this.#connections(API_CONNECTIONS_MAX),
    );
  }

  /** Targets tell when they change; what else there is, is looked at. */
  #watchReadiness(): void {
    const look = () => {
      this.#watch.look(this.readiness());
      this.#devices.look();
    };
    this.#group.on('change', look);
    this.#looking = setInterval(look, READINESS_MS).unref();
    look();
  }

  async #close(): Promise<void> {
    if (this.#looking) clearInterval(this.#looking);
    this.#devices.close();
    await this.#api?.close();
    await this.#server?.close();
    this.#metrics.close();
    await this.gateway.close();
    await this.#flowLog?.close();
    await this.#group.close();
  }

  #tellStarted(): void {
    const { name, address, port, netns, workers, sourcePorts, offloads } = this.gateway;
    const { metrics, control, flowLog, targetGroup, endpoints } = this.#config;
    this.#log.info(
      {
        event: 'started',
        gateway: name,
        address,
        port,
        netns,
        workers,
        sourcePorts,
        offloads,
        targetGroup: targetGroup.name,
        targets: targetGroup.targets.length,
        endpoints: endpoints.length,
        metrics: metrics && `${metrics.address}:${metrics.port}`,
        control: control?.socket ?? null,
        flowLog: flowLog?.path ?? null,
      },
      'started',
    );
  }

  #tellShortage(): void {
    const listeners = [this.#server, this.#api].filter(Boolean).length;
    const told = shortage(descriptors(), this.#group.targets().length, listeners);
    if (told) this.#log.warn({ event: 'descriptors_short' }, told);
  }

  #tellHealth({ target, previous, state, reason, cause }: HealthEvent): void {
    const { id, zone, description } = target;
    const fields = { target: id, zone, previous, state, reason, cause, description };
    const level = state === 'unhealthy' || state === 'unavailable' ? 'warn' : 'info';
    this.#log[level]({ event: 'target_health', ...fields }, `target is ${state}`);
  }

  #tellReadiness({ endpoint, zone, ready, obstacles }: EndpointReadiness): void {
    const fields = { event: 'endpoint_readiness', endpoint, zone, ready, obstacles };
    // First checks are on their way after every start.
    const expected = obstacles.every(({ reason }) => reason === 'targets_unchecked');
    if (expected) this.#log.info(fields, ready ? 'endpoint is ready' : 'endpoint waits for checks');
    else this.#log.warn(fields, 'endpoint cannot forward as it should');
  }
}
