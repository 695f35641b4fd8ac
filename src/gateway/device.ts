/** TUN devices of endpoints: their options, how they are, and making them again. */

import { GatewayError } from '../base/errors.js';
import { flag, integer, type Kind, text } from '../base/option-kinds.js';
import { readOptions, type TableOf } from '../base/option-table.js';
import type { NativeGatewayEngine, NativeTun } from '../native/binding.js';
import { type DeviceState, DeviceWatch, devicePlace, lossText } from '../packet/device-watch.js';
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
    return { name: tunName.check(field, tun), lifetime: 'as-found', queuePackets: 0 };
  }
  const { name, persistent, txqueuelen } = readOptions(TUN, field, tun);
  const lifetime = persistent === null ? 'as-found' : persistent ? 'persistent' : 'held';
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

/** Looks after the devices of a gateway's endpoints. */
export function watchEndpoints(engine: Devices, listener: DeviceListener): DeviceWatch<Endpoint> {
  return new DeviceWatch<Endpoint>({
    lookAtDevices: () => engine.lookAtDevices(),
    async restore(endpoint) {
      try {
        await engine.restoreTun(endpoint.index);
      } catch (error) {
        const what = `make TUN device ${devicePlace(endpoint.device, endpoint.netns)} work again`;
        throw systemError(error, what, 'endpoint');
      }
    },
    has: (endpoint) => listener.has(endpoint),
    loss: (endpoint, state) =>
      new GatewayError(
        'ERR_GWLB_DEVICE',
        `${lossText(endpoint, state)}; packets neither enter nor leave by ${endpoint.id}`,
      ),
    changed: (endpoint, previous, { state, error, since: at }) =>
      listener.changed({ endpoint, previous, state, error, at }),
    failed: (error) => listener.failed(error),
  });
}
