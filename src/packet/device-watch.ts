/** How TUN devices are, and making again what is lost: of endpoints of a gateway, and of an appliance. */
import type { GatewayError } from '../base/errors.js';

/**
 * How a device is. `down`: somebody set it down. `gone`: it was deleted, or moved to another network
 * namespace. Packets neither enter nor leave by either.
 */
export type DeviceState = 'up' | 'down' | 'gone';

/** How a TUN device is, and since when. */
export interface DeviceStatus {
  /** How it is now. */
  readonly state: DeviceState;
  /** Since when it has been so, milliseconds since 1970; of the moment it was noticed. */
  readonly since: number;
  /** What is wrong and what to do; null while it is up. */
  readonly error: GatewayError | null;
}

/** What a watch asks of, and tells, who has devices. */
export interface DeviceOwner<Device> {
  /** How they are, by number. */
  lookAtDevices(): Promise<readonly { index: number; state: DeviceState }[]>;
  /** Makes it work again: sets it up, or makes it anew. Rejects with what the system says. */
  restore(device: Device): Promise<void>;
  /** Whether it is one of them, now. */
  has(device: Device): boolean;
  /** What is wrong and what to do. */
  loss(device: Device, state: 'down' | 'gone'): GatewayError;
  changed(device: Device, previous: DeviceState, status: DeviceStatus): void;
  /** A device is gone and cannot be made again, for now; once for each loss. */
  failed(error: GatewayError): void;
}

/** Between two tries to make a device again. */
export const DEVICE_RETRY_MS = 2_000;

interface Watched {
  status: DeviceStatus;
  retryAt: number;
  told: boolean;
}

/** Looks after devices: tells what becomes of them, makes lost ones again. */
export class DeviceWatch<Device extends { readonly index: number }> {
  readonly #owner: DeviceOwner<Device>;
  readonly #watched = new Map<Device, Watched>();

  constructor(owner: DeviceOwner<Device>) {
    this.#owner = owner;
  }

  status(device: Device): DeviceStatus {
    return this.#of(device).status;
  }

  /** What is wrong with the first device that is not up; null while all are. */
  get error(): GatewayError | null {
    for (const { status } of this.#watched.values()) if (status.error) return status.error;
    return null;
  }

  /** Asks how they are, and makes again what is gone. One call of this and `restore` at a time. */
  async look(devices: readonly Device[]): Promise<void> {
    const known = new Set(devices);
    for (const device of this.#watched.keys()) {
      if (!known.has(device)) this.#watched.delete(device);
    }
    const states = new Map(
      (await this.#owner.lookAtDevices()).map(({ index, state }) => [index, state]),
    );
    for (const device of devices) {
      const state = states.get(device.index);
      // Meanwhile it may have been removed; also by whoever was told of another one.
      if (state !== undefined && this.#owner.has(device)) await this.#found(device, state);
    }
  }

  /** Makes it work again. Rejects as its owner does. */
  async restore(device: Device): Promise<void> {
    await this.#owner.restore(device);
    if (this.#owner.has(device)) this.#note(device, 'up');
  }

  #of(device: Device): Watched {
    let watched = this.#watched.get(device);
    if (!watched) {
      const status = { state: 'up', since: Date.now(), error: null } as const;
      watched = { status, retryAt: 0, told: false };
      this.#watched.set(device, watched);
    }
    return watched;
  }

  async #found(device: Device, state: DeviceState): Promise<void> {
    this.#note(device, state);
    // Setting a device down is somebody's decision, losing one nobody's.
    const watched = this.#of(device);
    const now = performance.now();
    if (state !== 'gone' || now < watched.retryAt) return;
    // Whoever was told may have closed the gateway or removed the endpoint.
    if (!this.#owner.has(device)) return;
    watched.retryAt = now + DEVICE_RETRY_MS;
    try {
      await this.restore(device);
    } catch (error) {
      if (!this.#owner.has(device)) return;
      watched.status = { ...watched.status, error: error as GatewayError };
      if (watched.told) return;
      watched.told = true;
      this.#owner.failed(error as GatewayError);
    }
  }

  #note(device: Device, state: DeviceState): void {
    const watched = this.#of(device);
    const { state: previous } = watched.status;
    if (state === previous) return;
    const error = state === 'up' ? null : this.#owner.loss(device, state);
    watched.status = { state, since: Date.now(), error };
    watched.retryAt = 0;
    watched.told = false;
    this.#owner.changed(device, previous, watched.status);
  }
}

/** What became of a device, in a message. */
export function lossText(
  { device, netns }: { device: string | null; netns: string | null },
  state: 'down' | 'gone',
): string {
  const what =
    state === 'gone'
      ? 'is gone (deleted, or moved to another network namespace)'
      : `is set down: set it up again (ip link set ${device} up)`;
  return `TUN device ${devicePlace(device, netns)} ${what}`;
}

/** A device in a message. */
export function devicePlace(device: string | null, netns: string | null): string {
  return netns === null ? `${device}` : `${device} in network namespace ${netns}`;
}
