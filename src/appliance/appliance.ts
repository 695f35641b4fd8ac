/** The appliance's side of the tunnel: receive, look at, pass, drop or rewrite, return. */
import { EventEmitter } from 'node:events';
import { native } from '../base/checks.js';
import { GatewayError, invalidArgument, mismatch } from '../base/errors.js';
import { binding, type NativeApplianceEngine } from '../native/binding.js';
import { KeepAlive, onAbort, systemError } from '../packet/lifecycle.js';
import type { UdpOffloads } from '../packet/offloads.js';
import { hostText } from '../packet/own-address.js';
import { type ApplianceCounters, readCounters } from './counters.js';
import {
  type ApplianceHealthState,
  checkHealthState,
  type HealthCheckAnswers,
} from './health-check.js';
import { HealthResponder } from './health-responder.js';
import { Inspection, type Inspector } from './inspection.js';
import {
  ALL_PACKETS,
  type ApplianceOptions,
  type CheckedAppliance,
  checkAppliance,
  checkInspect,
  type InspectOptions,
} from './options.js';
import { ApplianceTun } from './tun.js';
import type { AttachedDevices } from './tun-devices.js';
import { type ApplianceTunOptions, checkApplianceTun } from './tun-options.js';

/** Events of an `Appliance`, each with the arguments of its listeners. */
export interface ApplianceEvents {
  /** The inspector failed, or the worker had to stop (then the appliance closes itself). */
  error: [unknown];
  /** It was closed. */
  close: [];
}

const FAILURE_POLL_MS = 500;

/** What only `listen` can give to the constructor. */
const PRIVATE = Symbol('Appliance.listen');

/**
 * An appliance behind a gateway load balancer, ours or AWS's. Without an inspector packets are
 * returned by native code alone. It keeps the process alive until it is closed. See
 * docs/api/appliance.md.
 */
export class Appliance extends EventEmitter<ApplianceEvents> {
  /** Own address. */
  readonly address: string;
  /** Own UDP port. */
  readonly port: number;
  /** Network namespace of the sockets; null for the process's own. */
  readonly netns: string | null;
  /** What answers health checks; null where nothing here does. */
  readonly healthCheck: HealthCheckAnswers | null;
  /** What becomes of a batch whose inspector fails. */
  readonly failOpen: boolean;

  readonly #engine: NativeApplianceEngine;
  readonly #health: HealthResponder | null;
  readonly #alive: KeepAlive;
  readonly #inspection: Inspection;
  readonly #offAbort: () => void;
  #devices: AttachedDevices | null = null;
  #attaching = false;
  #closing: Promise<void> | null = null;

  /**
   * Opens the sockets and starts to return packets. Nothing is left open where it rejects: with a
   * `GatewayError` that names the option (an address in use or not on this host, a missing
   * privilege, an unknown namespace), or with the reason of an aborted signal.
   */
  static async listen(options: ApplianceOptions): Promise<Appliance> {
    const checked = checkAppliance(options);
    checked.signal?.throwIfAborted();
    const health =
      checked.health && (await HealthResponder.listen(checked.address, checked.health));
    let engine: NativeApplianceEngine | null = null;
    try {
      checked.signal?.throwIfAborted();
      // What is told before there is an appliance waits for it.
      let appliance: Appliance | null = null;
      engine = await openEngine(checked, () => {
        if (appliance) appliance.#work();
      });
      checked.signal?.throwIfAborted();
      appliance = new Appliance(PRIVATE, checked, engine, health);
      appliance.#work();
      return appliance;
    } catch (error) {
      await engine?.stop();
      await health?.close();
      throw error;
    }
  }

  private constructor(
    key: symbol,
    checked: CheckedAppliance,
    engine: NativeApplianceEngine,
    health: HealthResponder | null,
  ) {
    if (key !== PRIVATE) throw invalidArgument('Appliance', 'a call of Appliance.listen', key);
    super();
    this.#engine = engine;
    this.address = checked.address;
    this.port = engine.port;
    this.netns = checked.config.udp.netns || null;
    this.healthCheck = checked.health;
    this.failOpen = checked.failOpen;
    // Not from within the packet loop: without a listener this ends the process.
    const tell = (error: unknown) => process.nextTick(() => this.emit('error', error));
    this.#inspection = new Inspection(engine, checked.failOpen, tell);
    this.#inspection.inspector = checked.inspector;
    this.#health = health;
    this.#alive = new KeepAlive(() => this.#look(), FAILURE_POLL_MS);
    this.#offAbort = onAbort(checked.signal, () => void this.close());
  }

  /** What the kernel granted of the option `offloads`. */
  get offloads(): UdpOffloads {
    return this.#engine.offloads;
  }

  /** Whether it was closed. */
  get closed(): boolean {
    return this.#closing !== null;
  }

  /**
   * Shows every packet that no drop rule takes, that `options.filter` matches, and whose flow has no
   * verdict yet to `inspector`, or to nobody with null. There is one inspector; a new one takes over
   * with the next batch. With null all verdicts on flows end; another filter leaves them alone.
   *
   * ```ts
   * appliance.inspect({ filter: 'tcp and dst port 443' }, (packets) => {
   *   for (const packet of packets) {
   *     if (isBlocked(packet.sourceAddress)) packet.dropFlow();
   *     else packet.passFlow({ afterPackets: 10 });
   *   }
   * });
   * ```
   */
  inspect(inspector: Inspector | null): this;
  inspect(options: InspectOptions, inspector: Inspector): this;
  inspect(first: InspectOptions | Inspector | null, second?: Inspector): this {
    const alone = first === null || typeof first !== 'object';
    const inspector = alone ? first : second;
    const filter = alone ? ALL_PACKETS : checkInspect(first);
    if (typeof inspector !== 'function' && !(alone && inspector === null)) {
      const expected = alone ? 'a function or null' : 'a function';
      throw invalidArgument('inspector', expected, inspector);
    }
    if (this.closed) throw new GatewayError('ERR_GWLB_CLOSED', 'the appliance was closed');
    const inspects = inspector !== null;
    native(() => this.#engine.setInspect(inspects, filter.compiled()), 'keep verdicts on flows');
    this.#inspection.inspector = inspector ?? null;
    return this;
  }

  /** Ends all verdicts on flows: their packets are shown to the inspector again. */
  forgetFlows(): void {
    this.#engine.forgetFlows();
  }

  /**
   * What health checks are told from now on; at first that it is healthy. With `'unhealthy'` a gateway
   * takes no new flows to the appliance; `reason` (1–1,000 characters) is the body of the answer to HTTP.
   * Resolves when it is so. Rejects where nothing here answers health checks, and where TCP checks cannot
   * be taken again, since another program has the port meanwhile.
   */
  async setHealth(state: ApplianceHealthState, reason = 'unhealthy'): Promise<void> {
    const told = checkHealthState(state, reason, this.#health !== null);
    if (this.closed) throw new GatewayError('ERR_GWLB_CLOSED', 'the appliance was closed');
    await this.#health?.tell(told);
  }

  /**
   * Gives the appliance the kernel's side: packets that no drop rule, verdict or inspector takes enter the kernel by a
   * TUN device, and what the kernel sends back into it returns to the gateway, each with the header of its flow
   * and direction. Once at a time. Rejects, and nothing is left behind, with what the system says to a device
   * (privilege, namespace, name in use), `ERR_GWLB_CLOSED`, or `ERR_GWLB_INVALID_ARGUMENT`, also where devices are
   * attached already. See docs/api/appliance-tun.md.
   *
   * ```ts
   * const tun = await appliance.attachTun({ name: 'gwlb0' });
   * ```
   */
  async attachTun(options: ApplianceTunOptions = {}): Promise<ApplianceTun> {
    const settings = checkApplianceTun(options);
    if (this.closed) throw new GatewayError('ERR_GWLB_CLOSED', 'the appliance was closed');
    if (this.#attaching || this.#devices?.attached) {
      const expected = 'a call while no devices are attached (detach them first)';
      throw mismatch('ERR_GWLB_INVALID_ARGUMENT', 'attachTun', expected, 'a second one');
    }
    this.#attaching = true;
    try {
      const { tun, attached } = await ApplianceTun.open(this.#engine, settings);
      this.#devices = attached;
      if (this.closed) {
        await tun.detach();
        throw new GatewayError('ERR_GWLB_CLOSED', 'the appliance was closed');
      }
      return tun;
    } finally {
      this.#attaching = false;
    }
  }

  /** All counters, now. They stay readable after `close`. */
  counters(): ApplianceCounters {
    this.#engine.countLosses();
    return readCounters(this.#engine);
  }

  /**
   * Ends the answers to health checks, stops the worker and closes the sockets; idempotent. Batches
   * that an inspector still has are dropped.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    this.#offAbort();
    this.#alive.stop();
    this.#inspection.stop();
    const stop = () => this.#engine.stop();
    // Together: without its devices it would return packets past the kernel.
    await (this.#devices?.attached ? this.#devices.detach(stop) : stop());
    await this.#health?.close();
    this.emit('close');
  }

  /** Called by native code when batches wait; it must take all of them. */
  #work(): void {
    this.#checkFailure();
    for (let native = this.#engine.next(); native !== null; native = this.#engine.next()) {
      this.#inspection.show(native);
    }
    this.#devices?.lookForEndpoints();
  }

  #look(): void {
    this.#checkFailure();
    this.#devices?.look();
  }

  #checkFailure(): void {
    const failure = this.closed ? null : this.#engine.failure();
    if (failure === null) return;
    const error = Object.assign(new Error(failure.detail || 'the worker had to stop'), failure);
    void this.close();
    process.nextTick(() => this.emit('error', systemError(error, 'go on receiving', 'options')));
  }
}

async function openEngine(
  { config, address }: CheckedAppliance,
  ready: () => void,
): Promise<NativeApplianceEngine> {
  const { port, netns } = config.udp;
  try {
    return await binding.openApplianceEngine(config, ready);
  } catch (error) {
    const where = `${hostText(address)}:${port}${netns && ` in network namespace ${netns}`}`;
    throw systemError(error, `listen on ${where}`, 'options');
  }
}
