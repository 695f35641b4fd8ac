/** Makes the TUN devices of an appliance, looks after them, and takes them away. */
import { fromSystemError, GatewayError } from '../base/errors.js';
import {
  binding,
  type NativeApplianceEngine,
  type NativeDeviceNames,
  type NativeTun,
} from '../native/binding.js';
import { formatEndpointId } from '../packet/address.js';
import { COUNTER_NAMES, readDrops } from '../packet/counter-names.js';
import { DEVICE_RETRY_MS, DeviceWatch, devicePlace, lossText } from '../packet/device-watch.js';
import { TaskQueue } from '../packet/lifecycle.js';
import { idleMsOf } from './options.js';
import { type ApplianceTunSettings, numbered } from './tun-options.js';
import type { ApplianceTunCounters, ApplianceTunDevice, ApplianceTunFlows } from './tun-types.js';

/** A device, or a pair, that was made. */
interface Made {
  /** Its number. */
  readonly index: number;
  names: NativeDeviceNames;
  readonly endpoint: string | null;
  readonly netns: string;
  readonly counters: BigUint64Array;
}

/** What is told of them. */
export interface AttachedListener {
  device(device: ApplianceTunDevice): void;
  gone(device: ApplianceTunDevice): void;
  error(error: GatewayError): void;
  detach(): void;
}

/** The devices that are attached to an appliance. */
export class AttachedDevices {
  readonly #engine: NativeApplianceEngine;
  readonly #settings: ApplianceTunSettings;
  readonly #listener: AttachedListener;
  readonly #watch: DeviceWatch<Made>;
  readonly #tasks = new TaskQueue();
  /** By number; those of endpoints whose device cannot be made yet are not there. */
  readonly #made = new Map<number, Made>();
  readonly #deviceless: BigUint64Array;
  /** Endpoints that wait for their device: when it is tried next, and whether somebody was told. */
  readonly #waiting = new Map<number, { endpoint: bigint; tryAt: number; told: boolean }>();
  #endpoints = 0;
  #looking = false;
  #flows: ApplianceTunFlows = { ipv4: 0, ipv6: 0 };
  #detaching: Promise<void> | null = null;

  /** Of an engine that has been told of them. */
  constructor(
    engine: NativeApplianceEngine,
    settings: ApplianceTunSettings,
    listener: AttachedListener,
  ) {
    this.#engine = engine;
    this.#settings = settings;
    this.#listener = listener;
    this.#deviceless = engine.deviceCounters() as BigUint64Array;
    this.#watch = new DeviceWatch<Made>({
      lookAtDevices: () => engine.lookAtDevices(),
      restore: (device) => this.#restore(device),
      has: (device) => this.attached && this.#made.has(device.index),
      loss: (device, state) => lossOf(device, state),
      changed: (device, _, { state }) => {
        listener[state === 'up' ? 'device' : 'gone'](this.#view(device));
      },
      failed: (error) => listener.error(error),
    });
  }

  get attached(): boolean {
    return this.#detaching === null;
  }

  get devices(): readonly ApplianceTunDevice[] {
    return this.attached ? [...this.#made.values()].map((device) => this.#view(device)) : [];
  }

  flows(): ApplianceTunFlows {
    if (this.attached) this.#flows = this.#engine.deviceFlows();
    return { ...this.#flows };
  }

  counters(): ApplianceTunCounters {
    const sum = readDevice(this.#deviceless);
    for (const { counters } of this.#made.values()) add(sum, readDevice(counters));
    return sum;
  }

  /** `action` takes them away: by themselves, or all that the engine has. */
  detach(action = () => this.#engine.detachDevices()): Promise<void> {
    this.#detaching ??= this.#detach(action);
    return this.#detaching;
  }

  async #detach(action: () => Promise<void>): Promise<void> {
    this.#flows = this.#engine.deviceFlows();
    await this.#tasks.run(action);
    this.#listener.detach();
  }

  /** Makes the one device that all endpoints share. */
  async open(): Promise<void> {
    await this.#tasks.run(() => this.#make(0, null));
  }

  /** Called when native code has something to tell: endpoints whose first packet came. */
  lookForEndpoints(): void {
    if (!this.attached) return;
    for (const endpoint of this.#engine.endpointsFrom(this.#endpoints)) {
      this.#waiting.set(this.#endpoints++, { endpoint, tryAt: 0, told: false });
    }
    this.#makeWaiting();
  }

  /** Called now and then. */
  look(): void {
    this.#makeWaiting();
    if (this.#looking || !this.attached) return;
    this.#looking = true;
    void this.#tasks
      .run(async () => {
        if (this.attached) await this.#watch.look([...this.#made.values()]);
      })
      .finally(() => {
        this.#looking = false;
      });
  }

  #makeWaiting(): void {
    const now = performance.now();
    for (const [number, waiting] of this.#waiting) {
      if (now < waiting.tryAt) continue;
      waiting.tryAt = Number.POSITIVE_INFINITY;
      void this.#tasks.run(() => this.#makeOfEndpoint(number));
    }
  }

  async #makeOfEndpoint(number: number): Promise<void> {
    const waiting = this.#waiting.get(number);
    if (!waiting || !this.attached) return;
    try {
      await this.#make(number, waiting.endpoint);
    } catch (error) {
      waiting.tryAt = performance.now() + DEVICE_RETRY_MS;
      if (waiting.told || !this.attached) return;
      waiting.told = true;
      this.#listener.error(error as GatewayError);
      return;
    }
    this.#waiting.delete(number);
    const made = this.#made.get(number);
    if (made && this.attached) this.#listener.device(this.#view(made));
  }

  async #make(number: number, id: bigint | null): Promise<void> {
    const { name, out, netns } = this.#settings;
    const of = (text: string) => (id === null ? text : numbered(text, number));
    const space = of(netns);
    const tun = this.#tun(of(name), space);
    const pair = out === null ? null : this.#tun(of(out), space);
    const endpoint = id === null ? null : formatEndpointId(id);
    try {
      const names = await this.#engine.addDevice(number, tun, pair);
      const counters = this.#engine.deviceCounters(number) as BigUint64Array;
      this.#made.set(number, { index: number, names, endpoint, netns: space, counters });
    } catch (error) {
      const both = pair === null ? tun.name : `${tun.name} and ${pair.name}`;
      const whose = endpoint === null ? '' : ` for ${endpoint}`;
      throw tunError(error, `open TUN device ${devicePlace(both, space || null)}${whose}`);
    }
  }

  #tun(name: string, netns: string): NativeTun {
    const { mtu, txqueuelen, persistent } = this.#settings;
    const lifetime = persistent === null ? 'as-found' : persistent ? 'persistent' : 'held';
    return { name, netns, mtu, queuePackets: txqueuelen ?? 0, lifetime };
  }

  async #restore(device: Made): Promise<void> {
    try {
      device.names = await this.#engine.restoreDevice(device.index);
    } catch (error) {
      const { name, out } = device.names;
      const place = devicePlace(out === null ? name : `${name} and ${out}`, device.netns || null);
      throw tunError(error, `make TUN device ${place} work again`);
    }
  }

  #view(device: Made): ApplianceTunDevice {
    const { state, error } = this.#watch.status(device);
    const { name, out, ifindex, outIfindex } = device.names;
    const { endpoint, netns } = device;
    return Object.freeze({
      name,
      out,
      endpoint,
      netns: netns || null,
      ifindex,
      outIfindex,
      state,
      error,
      counters: readDevice(device.counters),
    });
  }
}

/** Attaches devices to an appliance; nothing is left behind where it rejects. */
export async function attachDevices(
  engine: NativeApplianceEngine,
  settings: ApplianceTunSettings,
  listener: AttachedListener,
): Promise<AttachedDevices> {
  const { perEndpoint, offloads, limits, idleTimeout } = settings;
  const ids = perEndpoint?.endpoints ?? 'any';
  try {
    await engine.attachDevices({
      devices: perEndpoint?.max ?? 1,
      perEndpoint: perEndpoint !== null,
      anyEndpoint: ids === 'any',
      endpoints: ids === 'any' ? [] : ids,
      offloads,
      flowsIpv4: limits.flows,
      flowsIpv6: limits.flowsIpv6,
      ...idleMsOf(idleTimeout),
    });
  } catch (error) {
    throw tunError(error, 'keep flows of TUN devices');
  }
  const devices = new AttachedDevices(engine, settings, listener);
  if (perEndpoint !== null) return devices;
  try {
    await devices.open();
    return devices;
  } catch (error) {
    await devices.detach();
    throw error;
  }
}

/** Options that the codes of system errors are about. */
const FIELDS: Readonly<Record<string, string>> = {
  ERR_GWLB_DEVICE: 'options.name',
  ERR_GWLB_UNKNOWN_NAMESPACE: 'options.netns',
};

function tunError(error: unknown, action: string): GatewayError {
  if ((error as { code?: unknown }).code === 'ESHUTDOWN') {
    return new GatewayError('ERR_GWLB_CLOSED', 'the appliance was closed', { cause: error });
  }
  const told = fromSystemError(error, action);
  const field = told.field === undefined ? FIELDS[told.code] : undefined;
  return field === undefined ? told : told.at(field);
}

function lossOf({ names, netns, endpoint }: Made, state: 'down' | 'gone'): GatewayError {
  const device = names.out === null ? names.name : `${names.name} (or ${names.out})`;
  const whose = endpoint === null ? 'packets' : `packets of ${endpoint}`;
  return new GatewayError(
    'ERR_GWLB_DEVICE',
    `${lossText({ device, netns: netns || null }, state)}; ${whose} are dropped meanwhile`,
  );
}

function readDevice(words: BigUint64Array): ApplianceTunCounters {
  const named = COUNTER_NAMES.device.map((name, i) => [name, Number(words[i])]);
  const at = binding.counterLayout.deviceDropsAt;
  return {
    ...(Object.fromEntries(named) as Omit<ApplianceTunCounters, 'drops'>),
    drops: readDrops((code) => words[at + code]),
  };
}

function add(sum: ApplianceTunCounters, more: ApplianceTunCounters): void {
  const { drops, ...counts } = more;
  for (const [name, n] of Object.entries(counts)) sum[name as keyof typeof counts] += n;
  for (const [name, n] of Object.entries(drops)) sum.drops[name as keyof typeof drops] += n;
}
