/** The gateway as a running service: sockets, devices and worker threads around the core. */

import { checkInteger, type GatewayError, invalidArgument, mismatch } from '../base/errors.js';
import type { GatewayState } from '../fleet/saved.js';
import { binding, type NativeGatewayEngine, type NativeTargetTable } from '../native/binding.js';
import { formatIpv4 } from '../packet/address.js';
import type { DeviceStatus, DeviceWatch } from '../packet/device-watch.js';
import { KeepAlive, onAbort, systemError, TaskQueue } from '../packet/lifecycle.js';
import type { UdpOffloads } from '../packet/offloads.js';
import { type CheckedTun, watchEndpoints } from './device.js';
import {
  type Endpoint,
  type EndpointSettings,
  endpointIdText,
  type OpeningEndpoint,
  type OtherFields,
} from './endpoint.js';
import { checkEndpoint, type EndpointOptions } from './endpoint-options.js';
import { GatewayBase } from './gateway-base.js';
import type { CheckedPeer } from './geneve-peer.js';
import { listenError } from './listen-error.js';
import {
  type CheckedListen,
  checkListen,
  checkOwnAddress,
  type ListenOptions,
} from './listen-options.js';
import { type PathWatch, watchPaths } from './path-mtu.js';
import { RECORDING_BYTES, Recording } from './recording.js';
import { firstTable, type TargetGroup } from './target-group.js';
import { buildTable } from './target-table.js';

/** What the kernel granted a gateway. */
export interface Offloads extends UdpOffloads {
  /** TUN devices exchange TCP super-packets of up to 64 KiB. False before the first TUN endpoint. */
  readonly tunTso: boolean;
  /** The same for UDP (Linux 6.2). */
  readonly tunUso: boolean;
}

/** How often it looks for failures and measures peaks. */
const LOOK_MS = 500;

/** The peer of an endpoint that is being made. */
interface NewPeer {
  /** Of the endpoint. */
  readonly id: string;
  readonly address: string;
  readonly vni: number;
}

/** Groups of load balancers that are being started. */
const starting = new WeakSet<TargetGroup>();

/** What only `listen` can give to the constructor. */
const PRIVATE = Symbol('GatewayLoadBalancer.listen');

/**
 * A gateway load balancer that forwards packets between its endpoints and the targets of a group.
 * Packets never touch JavaScript. It keeps the process alive until it is closed (see `unref`). See
 * docs/api/gateway-load-balancer.md.
 */
export class GatewayLoadBalancer extends GatewayBase {
  /** For logs and metrics. */
  readonly name: string;
  /** Own address. */
  readonly address: string;
  /** Own UDP port. */
  readonly port: number;
  /** Network namespace of its sockets; null for the process's own. */
  readonly netns: string | null;
  /** Worker threads. */
  readonly workers: number;
  /** How many outer source ports it could get; flows are spread over them. */
  readonly sourcePorts: number;

  readonly #engine: NativeGatewayEngine;
  readonly #alive: KeepAlive;
  readonly #offAbort: () => void;
  readonly #devices: DeviceWatch<Endpoint>;
  /** What takes long in the engine: one at a time. */
  readonly #changes = new TaskQueue();
  /** Those of endpoints that are being made. */
  readonly #newPeers = new Set<NewPeer>();
  #looking = false;
  #failure: GatewayError | null = null;
  /** For `clampMss: 'auto'`. */
  readonly #paths: PathWatch | null;

  /**
   * Opens the sockets and starts to forward. Nothing is left open where it rejects: with a
   * `GatewayError` that names the option (an address in use or not on this host, a missing
   * privilege, an unknown namespace, a group in use), or with the reason of an aborted signal.
   */
  static async listen(options: ListenOptions): Promise<GatewayLoadBalancer> {
    const checked = checkListen(options);
    const { signal, base, udp, workers } = checked;
    const { targetGroup } = base;
    signal?.throwIfAborted();
    if (targetGroup.inUse || starting.has(targetGroup)) throw groupInUse(targetGroup.name);
    starting.add(targetGroup);
    try {
      const engine = await binding
        .openGatewayEngine({ ...base.config, udp, workers })
        .catch((error) => Promise.reject(listenError(error, udp)));
      return await GatewayLoadBalancer.#begin(checked, engine);
    } finally {
      starting.delete(targetGroup);
    }
  }

  /** Packets are read when it has its targets. */
  static async #begin(
    checked: CheckedListen,
    engine: NativeGatewayEngine,
  ): Promise<GatewayLoadBalancer> {
    let gateway: GatewayLoadBalancer;
    let table: NativeTargetTable | null = null;
    try {
      const { targetGroup, crossZone, state } = checked.base;
      table = await buildTable(firstTable(targetGroup, crossZone, state), null);
      checked.signal?.throwIfAborted();
      // What was registered meanwhile.
      checkOwnAddress('options.address', checked.base, checked.udp.address);
      gateway = new GatewayLoadBalancer(PRIVATE, checked, engine, table);
    } catch (error) {
      table?.release();
      await engine.release();
      throw error;
    }
    try {
      if (checked.saveState) await gateway.saveBy(checked.saveState);
      checked.signal?.throwIfAborted();
      await gateway.#paths?.look(gateway);
      await gateway.#changes.run(() => engine.run());
      checked.signal?.throwIfAborted();
    } catch (error) {
      await gateway.close();
      checked.signal?.throwIfAborted();
      throw listenError(error, checked.udp);
    }
    return gateway;
  }

  private constructor(
    key: symbol,
    checked: CheckedListen,
    engine: NativeGatewayEngine,
    table: NativeTargetTable,
  ) {
    if (key !== PRIVATE) {
      throw invalidArgument('GatewayLoadBalancer', 'a call of GatewayLoadBalancer.listen', key);
    }
    super(
      checked.base,
      engine,
      engine.counters,
      checked.udp.netns,
      (address, port, source, bytes) => engine.sendDatagram(address, port, source, bytes),
      buildTable,
      table,
    );
    this.#engine = engine;
    this.#devices = watchEndpoints(engine, {
      has: (endpoint) => !this.closed && this.endpoint(endpoint.id) === endpoint,
      changed: (event) => this.emit('device', event),
      failed: (error) => this.emit('error', error),
    });
    this.name = checked.name;
    this.address = formatIpv4(checked.udp.address);
    this.port = engine.port;
    this.netns = checked.udp.netns || null;
    this.workers = checked.workers;
    this.sourcePorts = engine.sourcePorts;
    this.#paths = watchPaths({ ...checked.base.config, ...checked.udp }, (pathMtu) => {
      if (!this.closed) this.dataPlane.configure({ pathMtu });
    });
    this.#alive = new KeepAlive(() => this.#look(), LOOK_MS);
    this.#offAbort = onAbort(checked.signal, () => void this.close());
  }

  /** What the kernel granted of the option `offloads`. */
  get offloads(): Offloads {
    return this.#engine.offloads();
  }

  /**
   * Makes an endpoint; its packets are forwarded from now on. Rejects with
   * `ERR_GWLB_DUPLICATE_ENDPOINT`, `ERR_GWLB_ENDPOINT_LIMIT`, what is wrong with an option, or what
   * the system says to a device (privilege, namespace, name in use); nothing is left behind then.
   */
  async createEndpoint(options: EndpointOptions): Promise<Endpoint> {
    this.checkOpen();
    const { settings, place } = checkEndpoint('endpoint', options, this.mtu);
    return place.tun
      ? this.#createTun(settings, place.tun, place.netns ?? this.netns ?? '')
      : this.#createGeneve(settings, place.geneve);
  }

  /** How the device of an endpoint is; null for one of another kind. Throws `ERR_GWLB_UNKNOWN_ENDPOINT`. */
  deviceStatus(endpoint: Endpoint | string): DeviceStatus | null {
    const known = this.findEndpoint('endpoint', endpoint);
    return known.kind === 'tun' ? this.#devices.status(known) : null;
  }

  /**
   * Makes the device of an endpoint again where it is gone, and sets it up where it is down; flows live
   * on. What is gone it makes again by itself too, as long as it is allowed to. Rejects with
   * `ERR_GWLB_UNKNOWN_ENDPOINT`, or what the system says.
   */
  async restoreDevice(endpoint: Endpoint | string): Promise<void> {
    this.checkOpen();
    const known = this.findEndpoint('endpoint', endpoint);
    if (known.kind !== 'tun') return;
    await this.#changes.run(async () => {
      this.findEndpoint('endpoint', known);
      this.checkOpen();
      await this.#devices.restore(known);
    });
  }

  /**
   * Why it does not forward as it should: a socket that failed for good, or a device that is not up.
   * Null while all is well, and again when a device is back.
   */
  get failure(): GatewayError | null {
    return this.#failure ?? this.#devices.error;
  }

  /**
   * Removes an endpoint and, unless it is persistent, its device; packets of its flows are dropped from now on. Rejects with
   * `ERR_GWLB_UNKNOWN_ENDPOINT`.
   */
  async removeEndpoint(endpoint: Endpoint | string): Promise<void> {
    const removed = this.beginRemoval(endpoint);
    try {
      // What closes it meanwhile removes it, too.
      await this.#changes.run(async () => {
        if (!this.closed) await this.#engine.removeEndpoint(removed.index);
      });
    } finally {
      this.endpointRemoved(removed);
    }
  }

  /**
   * Resolves when packets are decided by all that has changed up to now. Most changes of targets and
   * options are in force when their calls return. A target table that takes longer than some milliseconds
   * (many targets at a time, or the first ones) is built on another thread, 50 ms with 300 targets and 0.4 s
   * with 4,096, and packets are decided by the one before until it is there; `explain` and `shares` say
   * what they are decided by.
   */
  settled(): Promise<void> {
    return this.dataPlane.settled();
  }

  /**
   * Keeps the headers of packets that enter: the first 128 bytes of those of the last `seconds`,
   * 1–3600, or 0 for none. Takes 64 MiB, room for 466,000 packets; with more the time is shorter.
   */
  async record(seconds: number): Promise<void> {
    this.checkOpen();
    checkInteger('seconds', seconds, 0, 3600);
    const bytes = seconds === 0 ? 0 : RECORDING_BYTES;
    await this.#changes.run(async () => {
      this.checkOpen();
      try {
        await this.#engine.setRecording(bytes, seconds * 1000);
      } catch (error) {
        throw systemError(error, 'take memory for recorded packets', 'options');
      }
    });
  }

  /** What is kept now; nothing unless `record` was called. Packets go on while it is copied. */
  async recording(): Promise<Recording> {
    const offsetMs = this.epochOffsetMs();
    const kept = await this.#changes.run(() => this.#engine.readRecording());
    return new Recording(kept, offsetMs, (index) => this.endpointAt(index));
  }

  /**
   * What another load balancer, in this process or the next, needs to go on from here: with it, and equal keys,
   * targets keep slots and health, endpoints their numbers, and cookies of this one are good. Plain data, no secret.
   */
  state(): GatewayState {
    this.checkOpen();
    return this.savedState();
  }

  /** Keeps the process alive while it is open; so it is from the beginning. */
  ref(): this {
    this.#alive.ref();
    return this;
  }

  /** Lets the process end although it is open. */
  unref(): this {
    this.#alive.unref();
    return this;
  }

  /**
   * Ends health checks, stops the workers, closes sockets and devices, in this order; idempotent.
   * Flows are forgotten; who listens to flow events gets an `ended` (`stopped`) for each that is there
   * before it resolves. A recording is gone, too.
   */
  close(): Promise<void> {
    return this.end(() => {
      this.#offAbort();
      this.#alive.stop();
      return this.#changes.run(() => this.#engine.stop());
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  protected override nowMs(): number {
    return this.#engine.nowMs();
  }

  protected override epochOffsetMs(): number {
    return Date.now() - this.#engine.nowMs();
  }

  protected override countLosses(): void {
    this.#engine.countLosses();
  }

  protected override unreachable(): readonly number[] {
    return this.#engine.drainUnreachable();
  }

  protected override checkTarget(address: string, field: string): void {
    if (address === this.address) {
      throw invalidArgument(field, "an address that is not the gateway's own", address);
    }
    const endpoint =
      this.endpoints().find(({ peer }) => peer?.address === address) ??
      [...this.#newPeers].find((peer) => peer.address === address);
    if (!endpoint) return;
    throw mismatch(
      'ERR_GWLB_INVALID_ARGUMENT',
      field,
      'an address that is not the peer of an endpoint',
      `"${address}", the peer of ${endpoint.id}`,
    );
  }

  /** Has native code make an endpoint; nothing is left where it does not. */
  async #create(
    settings: EndpointSettings,
    make: (opening: OpeningEndpoint) => Promise<OtherFields>,
  ): Promise<Endpoint> {
    const opening = this.beginEndpoint(settings);
    try {
      // A packet with its index may come back to the next process.
      await this.saved();
      const fields = await this.#changes.run(() => {
        this.checkOpen();
        return make(opening);
      });
      // Whatever was made is closed with the rest.
      this.checkOpen();
      return this.keepEndpoint(opening, fields);
    } catch (error) {
      this.giveUpEndpoint(opening);
      throw error;
    }
  }

  #createTun(settings: EndpointSettings, device: CheckedTun, space: string): Promise<Endpoint> {
    const mtu = settings.mtu || this.mtu;
    return this.#create(settings, async ({ index, zone }) => {
      const native = { id: settings.id, zone, mtu: settings.mtu };
      try {
        const made = await this.#engine.addTun(index, native, { ...device, netns: space, mtu });
        return { kind: 'tun', device: made, netns: space || null, peer: null };
      } catch (error) {
        const where = space && ` in network namespace ${space}`;
        throw systemError(error, `open TUN device ${device.name}${where}`, 'endpoint');
      }
    });
  }

  async #createGeneve(settings: EndpointSettings, native: CheckedPeer): Promise<Endpoint> {
    const { port, vni, ethernet } = native;
    const address = formatIpv4(native.peer);
    this.#checkPeer(address, vni);
    const peer = { id: endpointIdText(settings), address, vni };
    this.#newPeers.add(peer);
    try {
      return await this.#create(settings, async ({ index, zone }) => {
        const { id, mtu } = settings;
        await this.#engine.addEndpoint(index, { id, zone, mtu, geneve: native });
        const inner = ethernet ? ('ethernet' as const) : ('ip' as const);
        return { kind: 'geneve', device: null, netns: null, peer: { address, port, vni, inner } };
      });
    } finally {
      this.#newPeers.delete(peer);
    }
  }

  #checkPeer(address: string, vni: number): void {
    const target = this.targets().find((one) => one.address === address);
    if (target) {
      throw mismatch(
        'ERR_GWLB_INVALID_ARGUMENT',
        'endpoint.geneve.peer',
        "an address that is not a target's",
        `"${address}", the address of target ${target.id}`,
      );
    }
    const same =
      this.endpoints().find(({ peer }) => peer?.address === address && peer.vni === vni) ??
      [...this.#newPeers].find((peer) => peer.address === address && peer.vni === vni);
    if (!same) return;
    throw mismatch(
      'ERR_GWLB_DUPLICATE_ENDPOINT',
      'endpoint.geneve',
      'a peer and VNI that no endpoint has',
      `${address} and ${vni}, those of ${same.id}`,
    );
  }

  #look(): void {
    this.samplePeaks(performance.now());
    void this.#paths?.look(this);
    this.#checkFailure();
    void this.#lookAtDevices();
  }

  /** Counts what the kernel lost, too: it counts in 32 bits, and this is often enough. */
  async #lookAtDevices(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    try {
      await this.#changes.run(async () => {
        if (!this.closed) await this.#devices.look(this.endpoints());
      });
    } finally {
      this.#looking = false;
    }
  }

  #checkFailure(): void {
    const failure = this.#failure === null ? this.#engine.failure() : null;
    if (failure === null) return;
    const error = Object.assign(new Error(failure.detail || 'a worker had to stop'), failure);
    this.#failure = systemError(error, `go on reading ${failure.detail}`, 'options');
    this.emit('error', this.#failure);
  }
}

function groupInUse(name: string): GatewayError {
  return mismatch(
    'ERR_GWLB_IN_USE',
    'options.targetGroup',
    'a group that no load balancer uses',
    `${name}, which one uses`,
  );
}
