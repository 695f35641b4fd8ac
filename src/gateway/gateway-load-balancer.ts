/** The gateway as a running service: sockets, devices and worker threads around the core. */

import {
  checkBoolean,
  checkInteger,
  checkOptions,
  checkString,
  type GatewayError,
  invalidArgument,
  mismatch,
} from '../base/errors.js';
import { NAME_LENGTH_MAX, WORKERS_MAX } from '../base/limits.js';
import { binding, type NativeGatewayEngine, type NativeUdpConfig } from '../native/binding.js';
import { formatIpv4 } from '../packet/address.js';
import { checkNetns, checkSignal, KeepAlive, onAbort, systemError } from '../packet/lifecycle.js';
import type { UdpOffloads } from '../packet/offloads.js';
import { checkGatewayAddress } from '../packet/own-address.js';
import { checkTun, type DeviceStatus, DeviceWatch, type TunOptions } from './device.js';
import { checkEndpoint, type Endpoint, type EndpointSettings } from './endpoint.js';
import { GatewayBase } from './gateway-base.js';
import { checkGeneve } from './geneve-peer.js';
import { listenError } from './listen-error.js';
import { BASE_KEYS, type BaseSettings, checkBase, type GatewayBaseOptions } from './options.js';
import { type PathWatch, watchPaths } from './path-mtu.js';
import { RECORDING_BYTES, Recording } from './recording.js';

/** Options of `GatewayLoadBalancer.listen`. */
export interface ListenOptions extends GatewayBaseOptions {
  /** Own IPv4 address: GENEVE is sent from and received on it. Required. */
  address: string;
  /** UDP port that GENEVE is received on, 1–65535. Default 6081. */
  port?: number;
  /**
   * Named network namespace (`ip netns`) that sockets are opened and health checks made in. Default:
   * the process's own.
   */
  netns?: string | null;
  /** 1–32 letters, digits and hyphens; for logs and metrics. Default `'gateway'`. */
  name?: string;
  /** Worker threads that forward packets, 1–64. Default 1. */
  workers?: number;
  /**
   * Use what the kernel has to carry many packets at once: TCP and UDP super-packets of TUN devices,
   * and trains of UDP datagrams (generic segmentation and receive offload). What it has not is done
   * packet by packet; `GatewayLoadBalancer.offloads` tells. Default true.
   */
  offloads?: boolean;
  /**
   * Write the UDP checksum of what is sent. False: 0, none, which GENEVE over IPv4 allows (RFC 8926,
   * section 3.3) and raw sockets can always read; datagrams then leave one by one. True with
   * `offloads: false`: finished before a network device sees it. Default true.
   */
  udpChecksum?: boolean;
  /** Closes the load balancer when it is aborted. */
  signal?: AbortSignal;
}

/** What the kernel granted a gateway. */
export interface Offloads extends UdpOffloads {
  /** TUN devices exchange TCP super-packets of up to 64 KiB. False before the first TUN endpoint. */
  readonly tunTso: boolean;
  /** The same for UDP (Linux 6.2). */
  readonly tunUso: boolean;
}

interface EndpointOptionsBase {
  /** `vpce-`, 0 and 16 hex digits. Default random. */
  id?: string;
  /** Zone whose targets its flows go to. Default `'default'`. */
  zone?: string;
  /** Largest inner packet in bytes, 576 up to the gateway's. Default the gateway's. */
  mtu?: number;
}

/** An endpoint that is a TUN device: kernel routes that lead into it lead to the gateway. */
export interface TunEndpointOptions extends EndpointOptionsBase {
  /** The device, or its name alone. */
  tun: string | TunOptions;
  /** Named network namespace of the device. Default: the gateway's. */
  netns?: string | null;
  /** Not of a TUN endpoint. */
  geneve?: never;
}

/** An endpoint that is a remote GENEVE peer, told from others by its address and VNI. */
export interface GeneveEndpointOptions extends EndpointOptionsBase {
  /** The peer. */
  geneve: {
    /** IPv4 address of the peer; it must not be a target's. */
    peer: string;
    /** UDP port that the peer receives on. Default 6081. */
    port?: number;
    /** 0–0xffffff. Default 0. */
    vni?: number;
    /** IP packets, or Ethernet frames. Default `'ip'`. */
    inner?: 'ip' | 'ethernet';
    /**
     * Source address of frames to the peer, with `inner: 'ethernet'`. Default: the destination of the
     * last frame it sent.
     */
    sourceMac?: string;
    /** Destination address likewise. Default: the source of the last frame it sent. */
    destinationMac?: string;
  };
  /** Not of a GENEVE endpoint. */
  tun?: never;
  /** Not of a GENEVE endpoint: its packets use the gateway's sockets. */
  netns?: never;
}

/** Options of `GatewayLoadBalancer.createEndpoint`: `tun` or `geneve` says which kind. */
export type EndpointOptions = TunEndpointOptions | GeneveEndpointOptions;

/** How often it looks for failures and measures peaks. */
const LOOK_MS = 500;

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
  readonly #devices: DeviceWatch;
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
    checked.signal?.throwIfAborted();
    if (checked.base.targetGroup.inUse) throw groupInUse(checked.base.targetGroup.name);
    let engine: NativeGatewayEngine;
    try {
      engine = new binding.GatewayEngine({
        ...checked.base.config,
        udp: checked.udp,
        workers: checked.workers,
      });
    } catch (error) {
      throw listenError(error, checked.udp);
    }
    try {
      return new GatewayLoadBalancer(PRIVATE, checked, engine);
    } catch (error) {
      engine.stop();
      throw error;
    }
  }

  private constructor(key: symbol, checked: CheckedListen, engine: NativeGatewayEngine) {
    if (key !== PRIVATE) {
      throw invalidArgument('GatewayLoadBalancer', 'a call of GatewayLoadBalancer.listen', key);
    }
    super(
      checked.base,
      engine,
      engine.counters,
      checked.udp.netns,
      (address, port, source, bytes) => engine.sendDatagram(address, port, source, bytes),
    );
    this.#engine = engine;
    this.#devices = new DeviceWatch(engine, {
      changed: (event) => this.emit('device', event),
      failed: (error) => this.emit('error', error),
    });
    this.name = checked.name;
    this.address = formatIpv4(checked.udp.address);
    this.port = engine.port;
    this.netns = checked.udp.netns || null;
    this.workers = checked.workers;
    this.sourcePorts = engine.sourcePorts;
    this.#paths = watchPaths({ ...checked.base.config, ...checked.udp }, engine);
    this.#paths?.look(this);
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
    const keys = ['id', 'zone', 'mtu', 'tun', 'netns', 'geneve'] as const;
    const given = checkOptions('endpoint', options, keys);
    const settings = checkEndpoint('endpoint', given, this.mtu);
    if ((given.tun === undefined) === (given.geneve === undefined)) {
      throw mismatch(
        'ERR_GWLB_INVALID_ARGUMENT',
        'endpoint',
        'either tun or geneve',
        given.tun === undefined ? 'none of them' : 'both',
      );
    }
    if (given.geneve !== undefined && given.netns !== undefined) {
      throw invalidArgument('endpoint.netns', 'nothing with geneve', given.netns);
    }
    return given.tun === undefined
      ? this.#createGeneve(settings, given.geneve)
      : this.#createTun(settings, given.tun, given.netns);
  }

  /** How the device of an endpoint is; null for one of another kind. Throws `ERR_GWLB_UNKNOWN_ENDPOINT`. */
  deviceStatus(endpoint: Endpoint | string): DeviceStatus | null {
    return this.#devices.status(this.findEndpoint('endpoint', endpoint));
  }

  /**
   * Makes the device of an endpoint again where it is gone, and sets it up where it is down; flows live
   * on. What is gone it makes again by itself too, as long as it is allowed to. Rejects with
   * `ERR_GWLB_UNKNOWN_ENDPOINT`, or what the system says.
   */
  async restoreDevice(endpoint: Endpoint | string): Promise<void> {
    this.checkOpen();
    const known = this.findEndpoint('endpoint', endpoint);
    if (known.kind === 'tun') this.#devices.restore(known);
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
    this.dropEndpoint(endpoint);
  }

  /**
   * Keeps the headers of packets that enter: the first 128 bytes of those of the last `seconds`,
   * 1–3600, or 0 for none. Takes 64 MiB, room for 466,000 packets; with more the time is shorter.
   */
  record(seconds: number): void {
    this.checkOpen();
    checkInteger('seconds', seconds, 0, 3600);
    try {
      this.#engine.setRecording(seconds === 0 ? 0 : RECORDING_BYTES, seconds * 1000);
    } catch (error) {
      throw systemError(error, 'take memory for recorded packets', 'options');
    }
  }

  /** What is kept now; nothing unless `record` was called. Packets wait while it is copied. */
  recording(): Recording {
    const offsetMs = this.epochOffsetMs();
    return new Recording(this.#engine.readRecording(), offsetMs, (index) => this.endpointAt(index));
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
      this.#engine.stop();
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
    const endpoint = this.endpoints().find(({ peer }) => peer?.address === address);
    if (!endpoint) return;
    throw mismatch(
      'ERR_GWLB_INVALID_ARGUMENT',
      field,
      'an address that is not the peer of an endpoint',
      `"${address}", the peer of ${endpoint.id}`,
    );
  }

  #createTun(settings: EndpointSettings, tun: unknown, netns: unknown): Endpoint {
    const device = checkTun('endpoint.tun', tun);
    const space = netns === undefined ? (this.netns ?? '') : checkNetns('endpoint.netns', netns);
    const mtu = settings.mtu || this.mtu;
    return this.addEndpoint(settings, (index, zone) => {
      const native = { id: settings.id, zone, mtu: settings.mtu };
      try {
        const made = this.#engine.addTun(index, native, { ...device, netns: space, mtu });
        return { kind: 'tun', device: made, netns: space || null, peer: null };
      } catch (error) {
        const where = space && ` in network namespace ${space}`;
        throw systemError(error, `open TUN device ${device.name}${where}`, 'endpoint');
      }
    });
  }

  #createGeneve(settings: EndpointSettings, geneve: unknown): Endpoint {
    const native = checkGeneve('endpoint.geneve', geneve);
    const peer = formatIpv4(native.peer);
    const target = this.targets().find(({ address }) => address === peer);
    if (target) {
      throw mismatch(
        'ERR_GWLB_INVALID_ARGUMENT',
        'endpoint.geneve.peer',
        "an address that is not a target's",
        `"${peer}", the address of target ${target.id}`,
      );
    }
    const same = this.endpoints().find(
      (other) => other.peer?.address === peer && other.peer.vni === native.vni,
    );
    if (same) {
      throw mismatch(
        'ERR_GWLB_DUPLICATE_ENDPOINT',
        'endpoint.geneve',
        'a peer and VNI that no endpoint has',
        `${peer} and ${native.vni}, those of ${same.id}`,
      );
    }
    return this.addEndpoint(settings, (index, zone) => {
      this.#engine.addEndpoint(index, {
        id: settings.id,
        zone,
        mtu: settings.mtu,
        geneve: native,
      });
      const { port, vni, ethernet } = native;
      const inner = ethernet ? ('ethernet' as const) : ('ip' as const);
      return {
        kind: 'geneve',
        device: null,
        netns: null,
        peer: { address: peer, port, vni, inner },
      };
    });
  }

  #look(): void {
    // The kernel counts in 32 bits: often enough.
    this.#engine.countLosses();
    this.samplePeaks(performance.now());
    this.#paths?.look(this);
    this.#checkFailure();
    this.#devices.look(this.endpoints());
  }

  #checkFailure(): void {
    const failure = this.#failure === null ? this.#engine.failure() : null;
    if (failure === null) return;
    const error = Object.assign(new Error(failure.detail || 'a worker had to stop'), failure);
    this.#failure = systemError(error, `go on reading ${failure.detail}`, 'options');
    this.emit('error', this.#failure);
  }
}

interface CheckedListen {
  base: BaseSettings;
  udp: NativeUdpConfig;
  name: string;
  workers: number;
  signal: AbortSignal | undefined;
}

/** Room for about 1,000 jumbo packets, or some 10 ms of 10 Gbit/s. */
const SOCKET_BUFFER_BYTES = 8 << 20;

const LISTEN_KEYS = [
  ...BASE_KEYS,
  'address',
  'port',
  'netns',
  'name',
  'workers',
  'offloads',
  'udpChecksum',
  'signal',
] as const;

/** The options of `listen`, checked. */
export function checkListen(options: unknown, field = 'options'): CheckedListen {
  const given = checkOptions(field, options, LISTEN_KEYS);
  const address = checkGatewayAddress(`${field}.address`, given.address);
  const port = checkInteger(`${field}.port`, given.port ?? 6081, 1, 65_535);
  const base = checkBase(field, given, address, port);
  const own = base.targetGroup.targets().find((target) => target.address === given.address);
  if (own) {
    throw invalidArgument(`${field}.address`, "an address that is not a target's", given.address);
  }
  return {
    base,
    udp: {
      address,
      port,
      netns: checkNetns(`${field}.netns`, given.netns ?? null),
      sourcePortBase: base.config.sourcePortBase,
      sourcePortCount: base.config.sourcePortCount,
      receiveBufferBytes: SOCKET_BUFFER_BYTES,
      sendBufferBytes: SOCKET_BUFFER_BYTES,
      ttl: 255,
      offloads: checkBoolean(`${field}.offloads`, given.offloads ?? true),
      udpChecksum: checkBoolean(`${field}.udpChecksum`, given.udpChecksum ?? true),
    },
    name: checkString(`${field}.name`, given.name ?? 'gateway', {
      pattern: /^[A-Za-z0-9-]+$/,
      max: NAME_LENGTH_MAX,
      expected: `1–${NAME_LENGTH_MAX} letters, digits and hyphens`,
    }),
    workers: checkInteger(`${field}.workers`, given.workers ?? 1, 1, WORKERS_MAX),
    signal: checkSignal(`${field}.signal`, given.signal),
  };
}

function groupInUse(name: string): GatewayError {
  return mismatch(
    'ERR_GWLB_IN_USE',
    'options.targetGroup',
    'a group that no load balancer uses',
    `${name}, which one uses`,
  );
}
