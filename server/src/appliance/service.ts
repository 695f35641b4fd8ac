/** A running appliance with all that belongs to it: devices, host, health, metrics, status, capture. */
import { Appliance, type ApplianceTunOptions, GatewayError, type Inspector } from 'gwlb';
import { API_CONNECTIONS_MAX, ApiServer } from '../api/server.js';
import type { Logger } from '../observe/log.js';
import { METRICS_CONNECTIONS_MAX, MetricsServer } from '../observe/metrics-server.js';
import { connectionsFor, descriptors } from '../service/descriptors.js';
import { DeviceProgram } from './device-program.js';
import { ApplianceDevices, type AttachedTun } from './devices.js';
import { Health, type HealthNow } from './health.js';
import { CommandSource, FileSource, FlowSource, type PacketFlow } from './health-sources.js';
import { Host } from './host.js';
import { HostSetup, interfaceOfDefault } from './host-setup.js';
import { ApplianceMetrics } from './metrics.js';
import type { ApplianceSettings, SetupSettings } from './options.js';
import { PacketFiles } from './packet-files.js';
import { type ApplianceView, statusOf } from './view.js';

/** Files, flows and devices are looked at so often. */
const LOOK_MS = 1_000;

/** Characters of what health checks are told. */
const REASON_MAX = 1_000;

/** Arguments that set options of the library. */
const ARGUMENT_OF: Readonly<Record<string, string>> = {
  'options.address': '--listen',
  'options.netns': '--netns',
};
const TUN_ARGUMENT_OF: Readonly<Record<string, string>> = {
  'options.netns': '--tun-netns',
  'options.perEndpoint.max': '--max-endpoints',
  'options.perEndpoint.endpoints': '--endpoints',
  'options.mtu': '--tun-mtu',
  'options.limits.flows': '--flows',
};

/** The same error about the argument; others as they are. */
function about(error: unknown, argumentOf: (field: string) => string | undefined): unknown {
  if (!(error instanceof GatewayError) || error.field === undefined) return error;
  const argument = argumentOf(error.field);
  return argument === undefined ? error : error.at(argument);
}

/** As long as there are no devices, packets do not go past the kernel. They are there until it is closed. */
const dropAll: Inspector = (packets) => packets.dropAll();

export class ApplianceService {
  readonly appliance: Appliance;
  readonly #settings: ApplianceSettings;
  readonly #log: Logger;
  readonly #health: Health;
  readonly #startedAt = Date.now();
  /** What ends with it, last first. */
  readonly #ends: (() => Promise<unknown> | unknown)[] = [];
  readonly #failed: Promise<Error>;
  #failure: Error | null = null;
  #tun: AttachedTun | null = null;
  #devices: ApplianceDevices | null = null;
  #program: DeviceProgram | null = null;
  #capture: PacketFiles | null = null;

  /** Opens everything; nothing is left open, nor the host changed, where it rejects. */
  static async start(
    settings: ApplianceSettings,
    log: Logger,
    version: string,
  ): Promise<ApplianceService> {
    const inspector = settings.tun ? { inspector: dropAll } : {};
    const appliance = await Appliance.listen({ ...settings.listen, ...inspector }).catch(
      (error) => {
        throw about(error, (field) => ARGUMENT_OF[field]);
      },
    );
    const service = new ApplianceService(settings, log, appliance);
    try {
      await service.#begin(version);
    } catch (error) {
      await service.#close();
      throw error;
    }
    return service;
  }

  private constructor(settings: ApplianceSettings, log: Logger, appliance: Appliance) {
    this.#settings = settings;
    this.#log = log;
    this.appliance = appliance;
    this.#health = new Health((now) => this.#healthChanged(now));
    this.#failed = new Promise((resolve) => {
      appliance.on('error', (error) => {
        this.#failure ??= error as Error;
        resolve(this.#failure);
      });
    });
  }

  /** Resolves with why it cannot go on, if it ever cannot. */
  get failed(): Promise<Error> {
    return this.#failed;
  }

  /** Says that it is not healthy, and waits for the gateway to hear that; `again` ends the waiting. */
  async drain(again: Promise<unknown>): Promise<void> {
    const { drainMs } = this.#settings;
    this.#health.drain();
    if (drainMs === 0) return;
    this.#log.info({ event: 'draining', seconds: drainMs / 1000 }, 'draining');
    let timer: NodeJS.Timeout | undefined;
    const over = new Promise((resolve) => {
      timer = setTimeout(resolve, drainMs);
    });
    await Promise.race([over, again, this.#failed]);
    clearTimeout(timer);
  }

  /** Stops everything; a program that still runs then is ended when `again` resolves. */
  async stop(again: Promise<unknown>): Promise<void> {
    void again.then(() => this.#program?.stop());
    await this.#close();
    const { packetsReceived, packetsReturned, drops } = this.appliance.counters();
    const dropped = Object.values(drops).reduce((total, count) => total + count, 0);
    const counted = { packetsReceived, packetsReturned, dropped };
    this.#log.info({ event: 'stopped', ...counted }, 'stopped');
  }

  async #begin(version: string): Promise<void> {
    const { tun, metrics, socket, drainMs } = this.#settings;
    this.#ends.push(() => this.appliance.close());
    await this.#tellHealth(this.#health.now);
    await this.#openCapture();
    if (tun) await this.#attach(tun);
    this.#watchHealth();
    await this.#serve(version);
    this.#show();
    this.#health.started();
    const { address, port, healthCheck, offloads } = this.appliance;
    const drainSeconds = drainMs / 1000;
    const asked = { address, port, healthCheck, offloads, metrics, socket, drainSeconds };
    const devices = this.#tun?.devices.map(({ name, out }) => (out === null ? name : [name, out]));
    this.#log.info({ event: 'started', ...asked, ...(devices && { devices }) }, 'started');
  }

  async #openCapture(): Promise<void> {
    const { capture } = this.#settings;
    if (!capture) return;
    const { filter: _, ...where } = capture;
    const files = await PacketFiles.open(where, this.#log).catch((error) => {
      throw GatewayError.fromSystemError(error, `write ${where.path}`).at('--pcap');
    });
    this.#capture = files;
    // Behind the appliance, which may still show packets.
    this.#ends.unshift(() => files.close());
  }

  /** Packets are shown to the capture, or to nobody. */
  #show(): void {
    const { capture } = this.#settings;
    const files = this.#capture;
    if (capture && files) {
      this.appliance.inspect({ filter: capture.filter }, (packets) => files.keep(packets));
    } else if (this.#tun) {
      this.appliance.inspect(null);
    }
  }

  async #attach(options: ApplianceTunOptions): Promise<void> {
    const { setup, deviceProgram } = this.#settings;
    const argument = options.perEndpoint ? '--tun-per-endpoint' : '--tun';
    const tun = await this.appliance.attachTun(options).catch((error) => {
      throw about(error, (field) => TUN_ARGUMENT_OF[field] ?? argument);
    });
    this.#tun = tun;
    const host = new Host();
    const { path, timeoutMs } = deviceProgram ?? {};
    if (path !== undefined && timeoutMs !== undefined) {
      this.#program = new DeviceProgram(path, timeoutMs, this.#log);
    }
    const devices = await ApplianceDevices.start({
      tun,
      setup: setup && { host: new HostSetup(host), settings: await resolved(host, setup, options) },
      program: this.#program,
      log: this.#log,
    });
    this.#devices = devices;
    this.#ends.push(() => devices.stop());
  }

  /** What says that it is not healthy is asked, and health checks are told. */
  #watchHealth(): void {
    const { health: asked, tun } = this.#settings;
    const health = this.#health;
    const devices = this.#devices;
    if (devices && !tun?.perEndpoint) {
      health.add({
        name: 'devices',
        get problem() {
          return devices.problem;
        },
      });
    }
    const looks: (() => unknown)[] = [];
    if (asked.file !== null) {
      const source = new FileSource(asked.file);
      health.add(source);
      looks.push(() => source.look());
    }
    if (asked.flowMs !== null) {
      const source = new FlowSource(asked.flowMs);
      health.add(source);
      looks.push(() => source.look(this.#flow(), performance.now()));
    }
    if (asked.command !== null) {
      const { command: argv, intervalMs, timeoutMs } = asked;
      const source = new CommandSource({ argv, intervalMs, timeoutMs }, () => health.look());
      health.add(source);
      this.#ends.push(() => source.close());
    }
    const look = async () => {
      await Promise.all(looks.map((one) => one()));
      health.look();
    };
    const timer = setInterval(() => void look(), LOOK_MS).unref();
    this.#ends.push(() => clearInterval(timer));
    void look();
  }

  #flow(): PacketFlow {
    const { packetsToKernel: entered = 0, packetsReturned: returned = 0 } =
      this.#tun?.counters() ?? {};
    return { entered, returned };
  }

  #healthChanged(now: HealthNow): void {
    const { healthy, reason, draining } = now;
    const told = healthy ? 'healthy' : `not healthy: ${reason}`;
    this.#log[healthy || draining ? 'info' : 'warn']({ event: 'health', healthy, reason }, told);
    void this.#tellHealth(now);
  }

  async #tellHealth({ healthy, reason }: HealthNow): Promise<void> {
    if (!this.appliance.healthCheck || this.appliance.closed) return;
    const state = healthy ? 'healthy' : 'unhealthy';
    // A sentence of somebody else's may be long.
    const text = reason?.slice(0, REASON_MAX) ?? undefined;
    await this.appliance.setHealth(state, text).catch((error: Error) => {
      this.#log.error({ event: 'health_not_told', error: error.message }, error.message);
    });
  }

  async #serve(version: string): Promise<void> {
    const { metrics, socket } = this.#settings;
    const view: ApplianceView = {
      appliance: this.appliance,
      health: this.#health,
      tun: this.#tun,
      devices: this.#devices,
      deviceProgram: this.#program,
      capture: this.#capture,
    };
    const failure = () => this.#failure;
    const listeners = [metrics, socket].filter((one) => one !== null).length;
    const most = (max: number) => connectionsFor(descriptors(), 0, listeners, max);
    if (metrics) {
      const measured = new ApplianceMetrics(view, version);
      const source = {
        text: () => measured.text(),
        failure,
        readiness: () => readinessOf(this.#health.now),
      };
      const connections = most(METRICS_CONNECTIONS_MAX);
      const server = await MetricsServer.listen(metrics, source, connections, '--metrics');
      this.#ends.push(() => server.close());
    }
    if (socket !== null) {
      const about = { version, startedAt: this.#startedAt, failure };
      const resources = {
        '/v1/status': { method: 'GET', answer: () => statusOf(view, about) },
      } as const;
      const connections = most(API_CONNECTIONS_MAX);
      const server = await ApiServer.listen(socket, resources, connections, '--socket');
      this.#ends.push(() => server.close());
    }
  }

  async #close(): Promise<void> {
    for (const end of this.#ends.splice(0).reverse()) await end();
  }
}

/** The interface of the default route by its name. */
async function resolved(host: Host, setup: SetupSettings, { netns = null }: ApplianceTunOptions) {
  if (setup.nat !== 'default') return setup;
  return { ...setup, nat: await interfaceOfDefault(host, netns) };
}

function readinessOf({ healthy, reason }: HealthNow) {
  return { ready: healthy, lines: [healthy ? 'healthy' : `not healthy: ${reason}`] };
}
