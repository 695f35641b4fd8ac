/** The appliance's side of the tunnel: receive, look at, pass, drop or rewrite, return. */
import { EventEmitter } from 'node:events';
import { native } from '../base/checks.js';
import { GatewayError, invalidArgument } from '../base/errors.js';
import { binding, type NativeApplianceEngine } from '../native/binding.js';
import { COUNTER_NAMES, readDrops } from '../packet/counter-names.js';
import { KeepAlive, onAbort, systemError } from '../packet/lifecycle.js';
import type { DropReason } from '../packet/names.js';
import type { UdpOffloads } from '../packet/offloads.js';
import { hostText } from '../packet/own-address.js';
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

/** Numbers above 2^53 lose their last digits. */
export interface ApplianceCounters {
  /** Datagrams received from gateways. */
  packetsReceived: number;
  /** Bytes of them, inner packet. */
  bytesReceived: number;
  /** Packets returned to the gateway. */
  packetsReturned: number;
  /** Bytes of them, inner packet. */
  bytesReturned: number;
  /** Packets returned with changed contents. */
  packetsRewritten: number;
  /** Packets returned as an answer to their sender that refuses them (`packet.reject()`). */
  packetsRejected: number;
  /**
   * Packets returned from the own port, since the one that they came from is not to be had: another program
   * has it, or it needs a privilege (`CAP_NET_BIND_SERVICE`, below 1024).
   */
  packetsOtherPort: number;
  /** Packets shown to the inspector. */
  packetsInspected: number;
  /** Packets that the inspector's filter is not about. */
  packetsUnmatched: number;
  /** Packets shown to it whose flow found no room: no verdict on it lasts. */
  packetsUntracked: number;
  /** Verdicts to pass a flow that took effect. */
  flowsPassed: number;
  /** Verdicts to drop a flow that took effect. */
  flowsDropped: number;
  /** Verdicts on flows that ended: idle, closed, opened anew, or all of them. */
  flowsEnded: number;
  /** Packets returned by their flow's verdict. */
  flowPacketsPassed: number;
  /** Bytes of them, inner packet. */
  flowBytesPassed: number;
  /** Packets dropped by their flow's verdict (among `drops.appliance_verdict`). */
  flowPacketsDropped: number;
  /** Bytes of them, inner packet. */
  flowBytesDropped: number;
  /** Every reason, also those that never occurred. */
  drops: Record<DropReason, number>;
}

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
      // Nobody is called before there is an inspector, unless it fails: then it is looked at soon.
      let appliance: Appliance | null = null;
      engine = await openEngine(checked, () => {
        if (appliance) appliance.#work();
      });
      checked.signal?.throwIfAborted();
      appliance = new Appliance(PRIVATE, checked, engine, health);
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
    this.#health = health;
    this.#alive = new KeepAlive(() => this.#checkFailure(), FAILURE_POLL_MS);
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
    await this.#engine.stop();
    await this.#health?.close();
    this.emit('close');
  }

  /** Called by native code when batches wait; it must take all of them. */
  #work(): void {
    this.#checkFailure();
    for (let native = this.#engine.next(); native !== null; native = this.#engine.next()) {
      this.#inspection.show(native);
    }
  }

  #checkFailure(): void {
    const failure = this.closed ? null : this.#engine.failure();
    if (failure === null) return;
    const error = Object.assign(new Error(failure.detail || 'the worker had to stop'), failure);
    void this.close();
    process.nextTick(() => this.emit('error', systemError(error, 'go on receiving', 'options')));
  }
}

/** An engine's counters under their names. */
export function readCounters({ counters }: NativeApplianceEngine): ApplianceCounters {
  const named = COUNTER_NAMES.appliance.map((name, i) => [name, Number(counters[i])]);
  const at = binding.counterLayout.applianceDropsAt;
  return {
    ...(Object.fromEntries(named) as Omit<ApplianceCounters, 'drops'>),
    drops: readDrops((code) => counters[at + code]),
  };
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
