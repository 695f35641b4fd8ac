/** The kernel's side of an appliance: the TUN devices that its packets enter the kernel by, and come back by. */
import { EventEmitter } from 'node:events';
import { invalidArgument } from '../base/errors.js';
import type { NativeApplianceEngine } from '../native/binding.js';
import { type AttachedDevices, attachDevices } from './tun-devices.js';
import type { ApplianceTunSettings } from './tun-options.js';
import type {
  ApplianceTunCounters,
  ApplianceTunDevice,
  ApplianceTunEvents,
  ApplianceTunFlows,
} from './tun-types.js';

/** What only `openTun` can give to the constructor. */
const PRIVATE = Symbol('Appliance.attachTun');

/**
 * The devices of an appliance: made by `Appliance.attachTun`. One that is deleted, or moved away, is made again
 * by itself. See docs/api/appliance-tun.md.
 */
export class ApplianceTun extends EventEmitter<ApplianceTunEvents> {
  readonly #attached: AttachedDevices;

  private constructor(key: symbol, attached: AttachedDevices) {
    if (key !== PRIVATE) throw invalidArgument('ApplianceTun', 'a call of attachTun', key);
    super();
    this.#attached = attached;
  }

  /** @internal For `Appliance`. */
  static async open(
    engine: NativeApplianceEngine,
    settings: ApplianceTunSettings,
  ): Promise<{ tun: ApplianceTun; attached: AttachedDevices }> {
    let tun: ApplianceTun | null = null;
    const attached = await attachDevices(engine, settings, {
      device: (device) => tun?.emit('device', device),
      gone: (device) => tun?.emit('gone', device),
      error: (error) => tun?.emit('error', error),
      detach: () => tun?.emit('detach'),
    });
    tun = new ApplianceTun(PRIVATE, attached);
    return { tun, attached };
  }

  /** Whether they are there: false from the call of `detach` on, or of the appliance's `close`. */
  get attached(): boolean {
    return this.#attached.attached;
  }

  /** All devices that have been made, as they are now. Empty when they are detached. */
  get devices(): readonly ApplianceTunDevice[] {
    return this.#attached.devices;
  }

  /** How many flows know their way back, now; after `detach`, then. */
  flows(): ApplianceTunFlows {
    return this.#attached.flows();
  }

  /** What passed by all devices, and what was dropped since it has none. Readable after `detach`. */
  counters(): ApplianceTunCounters {
    return this.#attached.counters();
  }

  /**
   * Packets go back to the gateway past the kernel again, and the devices away unless they are persistent;
   * idempotent. What is in the kernel then does not come back.
   */
  detach(): Promise<void> {
    return this.#attached.detach();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.detach();
  }
}
