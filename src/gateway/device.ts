/** TUN devices of endpoints: their options, how they are, and making them again. */

import { GatewayError } from '../base/errors.js';
import { flag, integer, type Kind, text } from '../base/option-kinds.js';
import { readOptions, type TableOf } from '../base/option-table.js';
import type { NativeGatewayEngine, NativeTun } from '../native/binding.js';
import { systemError } from '../packet/lifecycle.js';
import type { Endpoint } from './endpoint.js';

/** The TUN device of an endpoint. */
export interface TunOptions {
  /** Name of the device, 1–15 bytes. It is made if it does not exist, and set up. Required. */
  name: string;
  /**
   * True: the device outlives the gateway, its crash too, and with it the routes that lead into it, so
   * that nothing goes around the gateway meanwhile; `gwlb device remove` takes it away. False: it goes
   * with its endpoint, also one that was persistent before. Default: one that existed stays as it
   * was, one that is made goes with its endpoint.
   */
  persistent?: boolean;
  /**
   * Packets that wait in the device until they are read, 1–1,048,576; what does not fit is dropped and
   * counted, `device_overflow`. Default: 4,096 for a device that is made; one that existed stays as it
   * is.
   */
  txqueuelen?: number;
}

/**
 * How the device of an endpoint is. `down`: somebody set it down. `gone`: it was deleted, or moved to
 * another network namespace. Packets neither enter nor leave by either.
 */
export type DeviceState = 'up' | 'down' | 'gone';

/** How the TUN device of an endpoint is, and since when. */
export interface DeviceStatus {
  /** How it is now. */
  readonly state: DeviceState;
  /** Since when it has been so, milliseconds since 1970; of the moment it was noticed. */
  readonly since: number;
  /** What is wrong and what to do; null while it is up. */
  readonly error: GatewayError | null;
}

/** A device was lost, set down, or is back. */
export interface DeviceEvent {
  /** Whose device it is. */
  readonly endpoint: Endpoint;
  /** The state before. */
  readonly previous: DeviceState;
  /** The state now. */
  readonly state: DeviceState;
  /** What is wrong and what to do; null where it is up again. */
  readonly error: GatewayError | null;
  /** Milliseconds since 1970. */
  readonly at: number;
}

const TXQUEUELEN_MAX = 1 << 20;

/** Name of a TUN device, as the kernel takes it. */
export const tunName = text(
  '1–15 characters',
  /^(?!\.{1,2}$)[^\s/:%]{1,15}$/,
  15,
  'a device name of 1–15 characters without spaces, "/", ":" and "%"',
);

/** The options of a TUN device. */
export const TUN = {
  name: { says: 'name of the device', kind: tunName },
  persistent: {
    says: 'the device and the routes into it outlive the gateway and its crash',
    kind: flag as Kind<boolean | null, boolean>,
    preset: null,
    presetText: 'a device that existed stays as it was',
  },
  txqueuelen: {
    says: 'packets that wait in the device until they are read; the rest is dropped, `device_overflow`',
    kind: integer(1, TXQUEUELEN_MAX) as Kind<number | null, number>,
    preset: null,
    presetText: '4,096 for a new device',
    unit: 'packets',
  },
} as const satisfies TableOf<TunOptions>;

/** What a device is made of, besides its place. */
export type CheckedTun = Pick<NativeTun, 'name' | 'lifetime' | 'queuePackets'>;

/** The option `tun` of an endpoint: a name alone, or with what belongs to it. */
export function checkTun(field: string, tun: unknown): CheckedTun {
  if (typeof tun !== 'object' || tun === null) {
    return { name: tunName.check(field, tun), lifetime: 0, queuePackets: 0 };
  }
  const { name, persistent, txqueuelen } = readOptions(TUN, field, tun);
  const lifetime = persistent === null ? 0 : persistent ? 1 : 2;
  return { name, lifetime, queuePackets: txqueuelen ?? 0 };
}

type Devices = Pick<NativeGatewayEngine, 'lookAtDevices' | 'restoreTun'>;

export interface DeviceListener {
  /** Whether it is one of the gateway's endpoints, now. */
  has(endpoint: Endpoint): boolean;
  changed(event: DeviceEvent): void;
  /** A device is gone and cannot be made again, for now; once for each loss. */
  failed(error: GatewayError): void;
}

/** Between two tries to make a device again. */
const RETRY_MS = 2_000;

interface Watched {
  status: DeviceStatus;
  retryAt: number;
  told: boolean;
}

/** Looks after the devices of a gateway's endpoints: tells what becomes of them, makes lost ones again. */
export class DeviceWatch {
  readonly #engine: Devices;
  readonly #listener: DeviceListener;
  readonly #watched = new Map<Endpoint, Watched>();

  constructor(engine: Devices, listener: DeviceListener) {
    this.#engine = engine;
    this.#listener = listener;
  }

  /** Null for an endpoint without a device. */
  status(endpoint: Endpoint): DeviceStatus | null {
    return endpoint.kind === 'tun' ? this.#of(endpoint).status : null;
  }

  /** What is wrong with the first device that is not up; null while all are. */
  get error(): GatewayError | null {
    for (const { status } of this.#watched.values()) if (status.error) return status.error;
    return null;
  }

  /** Asks how they are, and makes again what is gone. One call of this and `restore` at a time. */
  async look(endpoints: readonly Endpoint[]): Promise<void> {
    const known = new Set(endpoints);
    for (const endpoint of this.#watched.keys()) {
      if (!known.has(endpoint)) this.#watched.delete(endpoint);
    }
    const states = new Map(
      (await this.#engine.lookAtDevices()).map(({ index, state }) => [index, state]),
    );
    for (const endpoint of endpoints) {
      const state = states.get(endpoint.index);
      // Meanwhile it may have been removed; also by whoever was told of another one.
      if (state !== undefined && this.#listener.has(endpoint)) await this.#found(endpoint, state);
    }
  }

  /** Makes it again, or sets it up. Rejects with what the system says. */
  async restore(endpoint: Endpoint): Promise<void> {
    try {
      await this.#engine.restoreTun(endpoint.index);
    } catch (error) {
      const what = `make TUN device ${placeOf(endpoint)} work again`;
      throw systemError(error, what, 'endpoint');
    }
    if (this.#listener.has(endpoint)) this.#note(endpoint, 'up');
  }

  #of(endpoint: Endpoint): Watched {
    let watched = this.#watched.get(endpoint);
    if (!watched) {
      const status = { state: 'up', since: Date.now(), error: null } as const;
      watched = { status, retryAt: 0, told: false };
      this.#watched.set(endpoint, watched);
    }
    return watched;
  }

  async #found(endpoint: Endpoint, state: DeviceState): Promise<void> {
    this.#note(endpoint, state);
    // Setting a device down is somebody's decision, losing one nobody's.
    const watched = this.#of(endpoint);
    const now = performance.now();
    if (state !== 'gone' || now < watched.retryAt) return;
    // Whoever was told may have closed the gateway or removed the endpoint.
    if (!this.#listener.has(endpoint)) return;
    watched.retryAt = now + RETRY_MS;
    try {
      await this.restore(endpoint);
    } catch (error) {
      if (!this.#listener.has(endpoint)) return;
      watched.status = { ...watched.status, error: error as GatewayError };
      if (watched.told) return;
      watched.told = true;
      this.#listener.failed(error as GatewayError);
    }
  }

  #note(endpoint: Endpoint, state: DeviceState): void {
    const watched = this.#of(endpoint);
    const { state: previous } = watched.status;
    if (state === previous) return;
    const at = Date.now();
    const error = state === 'up' ? null : lossOf(endpoint, state);
    watched.status = { state, since: at, error };
    watched.retryAt = 0;
    watched.told = false;
    this.#listener.changed({ endpoint, previous, state, error, at });
  }
}

function placeOf({ device, netns }: Endpoint): string {
  return netns === null ? `${device}` : `${device} in network namespace ${netns}`;
}

function lossOf(endpoint: Endpoint, state: 'down' | 'gone'): GatewayError {
  const what =
    state === 'gone'
      ? 'is gone (deleted, or moved to another network namespace)'
      : `is set down: set it up again (ip link set ${endpoint.device} up)`;
  return new GatewayError(
    'ERR_GWLB_DEVICE',
    `TUN device ${placeOf(endpoint)} ${what}; packets neither enter nor leave by ${endpoint.id}`,
  );
}
