/** The devices of an appliance: what the host needs for each, who is told of it, and how it is. */
import type { ApplianceTun, ApplianceTunDevice, GatewayError } from 'gwlb';
import type { Logger } from '../observe/log.js';
import type { DeviceProgram } from './device-program.js';
import type { HostSetup } from './host-setup.js';
import type { Place } from './host-steps.js';
import type { SetupSettings } from './options.js';

/** What is used of the library's devices. */
export type AttachedTun = Pick<
  ApplianceTun,
  'devices' | 'flows' | 'counters' | 'on' | 'removeAllListeners'
>;

export interface DeviceWork {
  readonly tun: AttachedTun;
  /** Null: the host is the operator's. */
  readonly setup: { readonly host: HostSetup; readonly settings: SetupSettings } | null;
  readonly program: DeviceProgram | null;
  readonly log: Logger;
}

interface Known {
  /** Counts the tables. */
  readonly number: number;
  /** Null where the host is not set up for it. */
  place: Place | null;
  /** Whether its program was told that it is there. */
  told: boolean;
  /** What is done for it: one thing after the other. */
  turn: Promise<void>;
}

const keyOf = ({ name, netns }: ApplianceTunDevice): string => `${netns ?? ''} ${name}`;

export class ApplianceDevices {
  /** How often a device was lost or set down. */
  losses = 0;
  /** Devices that the host could not be set up for. */
  setupFailures = 0;
  readonly #work: DeviceWork;
  readonly #known = new Map<string, Known>();

  /** Sets the host up for the devices that are there; rejects, with nothing left, where it cannot be. */
  static async start(work: DeviceWork): Promise<ApplianceDevices> {
    const devices = new ApplianceDevices(work);
    const { tun, log } = work;
    try {
      for (const device of tun.devices) await devices.#appeared(device);
    } catch (error) {
      await devices.stop();
      throw error;
    }
    tun.on('device', (device) => devices.#later(device, () => devices.#appeared(device)));
    tun.on('gone', (device) => devices.#lost(device));
    tun.on('error', ({ code, message }: GatewayError) =>
      log.error({ event: 'device_not_made', code, error: message }, message),
    );
    return devices;
  }

  private constructor(work: DeviceWork) {
    this.#work = work;
  }

  /** What is wrong with the first device that is not up; null while all are. */
  get problem(): string | null {
    const lost = this.#work.tun.devices.find(({ state }) => state !== 'up');
    return lost ? (lost.error?.message ?? `TUN device ${lost.name} is ${lost.state}`) : null;
  }

  /** Tells the program that all devices go, and takes back what was done to the host. Never rejects. */
  async stop(): Promise<void> {
    const { tun, program } = this.#work;
    tun.removeAllListeners('device').removeAllListeners('gone');
    await Promise.all([...this.#known.values()].map(({ turn }) => turn));
    for (const device of tun.devices) this.#tell('destroy', device);
    await program?.settled();
    for (const known of this.#known.values()) await this.#undo(known);
  }

  /** Sets the host up for a device that is new, or back. */
  async #appeared(device: ApplianceTunDevice): Promise<void> {
    const { setup, log } = this.#work;
    const known = this.#of(device);
    await this.#undo(known);
    if (setup) {
      const { nat, table } = setup.settings;
      const { name, netns } = device;
      const place = { name, out: device.out ?? name, netns, nat, table: table + known.number };
      const { done, unchanged, lacking } = await setup.host.apply(place);
      known.place = place;
      const fields = { event: 'host_set_up', device: name, netns, table: place.table, done };
      log.info({ ...fields, unchanged }, `the host is set up for ${name}`);
      if (lacking !== null) log.warn({ event: 'host_lacks', device: name }, lacking);
    }
    this.#tell('create', device);
  }

  #lost(device: ApplianceTunDevice): void {
    const { name, endpoint, state, error } = device;
    this.losses += 1;
    const fields = {
      event: state === 'down' ? 'device_down' : 'device_lost',
      device: name,
      endpoint,
    };
    this.#work.log.warn(fields, error?.message ?? `TUN device ${name} is ${state}`);
    // Its routes went with it, also where it was only set down.
    this.#later(device, () => this.#undo(this.#of(device)));
    if (state === 'gone') this.#tell('destroy', device);
  }

  /** What fails is told, and the rest goes on. */
  #later(device: ApplianceTunDevice, action: () => Promise<void>): void {
    const known = this.#of(device);
    known.turn = known.turn.then(action).catch((error: Error) => {
      this.setupFailures += 1;
      const fields = { event: 'host_not_set_up', device: device.name, error: error.message };
      this.#work.log.error(fields, error.message);
    });
  }

  async #undo(known: Known): Promise<void> {
    const { place } = known;
    if (place === null) return;
    known.place = null;
    const { setup, log } = this.#work;
    const result = await setup?.host.undo(place);
    if (!result) return;
    const { undone, left } = result;
    const fields = { device: place.name, netns: place.netns };
    log.info({ event: 'host_undone', ...fields, undone }, `what ${place.name} needed is undone`);
    if (left.length > 0) log.warn({ event: 'host_left', ...fields, left }, 'left as it is');
  }

  #tell(change: 'create' | 'destroy', device: ApplianceTunDevice): void {
    const known = this.#of(device);
    if (known.told === (change === 'create')) return;
    known.told = change === 'create';
    this.#work.program?.changed(change, device);
  }

  #of(device: ApplianceTunDevice): Known {
    const key = keyOf(device);
    let known = this.#known.get(key);
    if (!known) {
      known = { number: this.#known.size, place: null, told: false, turn: Promise.resolve() };
      this.#known.set(key, known);
    }
    return known;
  }
}
