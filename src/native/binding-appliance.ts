/** Types of the appliance in the addon, whose engine hands batches to an inspector. See binding.ts. */
import type { NativeBatch } from './binding-codec.js';
import type { NativeDeviceState, NativeTun } from './binding-system.js';

/** The receiving socket. */
export interface NativeSocketConfig {
  address: number;
  port: number;
  netns: string;
  receiveBufferBytes: number;
  sendBufferBytes: number;
  ttl: number;
  offloads: boolean;
  udpChecksum: boolean;
}

/** Keeps the process alive until `stop`. */
export interface NativeApplianceEngine {
  readonly port: number;
  /** What the kernel granted. */
  readonly offloads: { udpGso: boolean; udpGro: boolean };
  /** Counters of `counterLayout.appliance`, then drops by reason. */
  readonly counters: BigUint64Array;
  /**
   * The next batch for the inspector, or null. The same object for the same batch every time. After
   * `ready`, call it until it returns null: only then is `ready` called again.
   */
  next(): NativeApplianceBatch | null;
  /**
   * Gives a batch back: packets with the verdict drop are dropped, all others returned. Throws an
   * Error with code ERR_NOT_LENT where it was given back before; does nothing after `stop`.
   */
  release(batch: NativeApplianceBatch): void;
  /**
   * Switches the inspector on or off, or changes its compiled filter (none: no words). In effect when
   * everything received before has been returned. Switching off ends all verdicts on flows. Does
   * nothing after `stop`.
   */
  setInspect(inspect: boolean, filter: Uint32Array): void;
  /** Ends all verdicts on flows, at the same point. */
  forgetFlows(): void;
  /** Has what the kernel lost in the counters. */
  countLosses(): void;
  /** null, or why the worker stopped reading; `ready` is called then too. */
  failure(): { code: string; syscall: string; detail: string } | null;
  /** Offline: takes a datagram in; `id`, 16 bits, names it in its outcome. */
  put(id: number, datagram: Uint8Array): void;
  /** Offline: goes on until only the inspector has something to do; time is `nowMs` meanwhile. */
  pump(nowMs: number): void;
  /** Offline: what has left since this was asked last, in the order it left. */
  takeOutcomes(): NativeOutcome[];
  /**
   * From now on packets that go on enter the kernel by devices, and those that have none are dropped.
   * Rejects with EEXIST where there are devices already. Its promise, and those of the next four, are for
   * one call at a time; ESHUTDOWN after `stop`.
   */
  attachDevices(devices: NativeDevices): Promise<void>;
  /** Takes them away, if there are any. */
  detachDevices(): Promise<void>;
  /** Makes device `number`, or a pair. */
  addDevice(number: number, tun: NativeTun, out: NativeTun | null): Promise<NativeDeviceNames>;
  /** Makes it again where it is gone, sets it up where it is down; flows live on. */
  restoreDevice(number: number): Promise<NativeDeviceNames>;
  /** How each device is (`index` is its number), and, in the counters, what the kernel lost. */
  lookAtDevices(): Promise<{ index: number; state: NativeDeviceState }[]>;
  /**
   * Ids of the endpoints that have a number, from this one on: they wait for `addDevice`. `ready` is called
   * when there is another one.
   */
  endpointsFrom(number: number): bigint[];
  /** Counters of `counterLayout.device`, then drops by reason; without a number, those of no device. */
  deviceCounters(number?: number): BigUint64Array | null;
  /** Flows whose way back is known. */
  deviceFlows(): { ipv4: number; ipv6: number };
  /** Idempotent; joins the worker. `ready` finds nothing any more, and is not called afterwards. */
  stop(): Promise<void>;
}

/** native/engine/appliance_devices.h. */
export interface NativeDevices {
  /** 1–256; 1 without `perEndpoint`, number 0. */
  devices: number;
  perEndpoint: boolean;
  anyEndpoint: boolean;
  /** Endpoints that get one, unless any does. */
  endpoints: readonly bigint[];
  offloads: boolean;
  flowsIpv4: number;
  flowsIpv6: number;
  tcpIdleMs: number;
  otherIdleMs: number;
}

/** As the kernel named them. */
export interface NativeDeviceNames {
  name: string;
  ifindex: number;
  out: string | null;
  outIfindex: number | null;
}

/**
 * Its descriptors are a copy for JavaScript: of what is written there only the verdicts count, when
 * the batch is released (a drop made before stays a drop). `count` is 0 when it is not lent.
 */
export interface NativeApplianceBatch extends NativeBatch {
  count(): number;
  /**
   * Per packet, 16 words of 32 bits, filled when the batch is handed over: version | protocol << 8 |
   * flags << 16 | TCP flags << 24, source port | destination port << 16, transport offset | ICMP type
   * << 16 | ICMP code << 24, cookie, endpoint id low, high, attachment id low, high, source address
   * (four words, IPv4 in the first), destination address. The first is 0 where the packet's flow got
   * its verdict afterwards: it is not to be looked at.
   */
  readonly details: Uint32Array;
  /**
   * A verdict on the flow of packet i (2 pass, 3 drop, 4 pass past the kernel) after so many more packets or bytes of it, 2^53 - 1 for neither.
   * False where the flow is not known.
   */
  decideFlow(i: number, verdict: 2 | 3 | 4, packets: number, bytes: number): boolean;
  /** Replaces packet i by an answer that refuses it, as `rewrite` does; false where none may be given. */
  reject(i: number): boolean;
  /** False where the bytes are no IP packet or do not fit. Updates descriptors and details. */
  rewrite(i: number, bytes: Uint8Array): boolean;
}

export interface NativeOutcome {
  id: number;
  /** A code; 0: returned. */
  reason: number;
  shown: boolean;
  rewritten: boolean;
  rejected: boolean;
  /** The datagram that was returned; empty for a drop. */
  bytes: Uint8Array;
}

export interface NativeApplianceConfig {
  /** `address6`, 16 bytes, instead of `address` where it is not null. */
  udp: NativeSocketConfig & { address6: Uint8Array | null };
  returnPorts: number;
  optionClass: number;
  gatewayPort: number;
  batches: number;
  inspect: boolean;
  /** No sockets, no thread, no calls of `ready`: see `put` and `pump`. */
  offline: boolean;
  flowsIpv4: number;
  flowsIpv6: number;
  tcpIdleMs: number;
  otherIdleMs: number;
  drop: {
    protocol: number;
    port: number;
    address: Uint8Array | null;
    prefix: number;
  }[];
}
