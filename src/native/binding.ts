/**
 * The native addon, and its exact type. This is the only file that loads it. Native code verifies
 * argument types before it touches memory and throws a plain TypeError; the sentences a user should
 * read come from the callers in `src/`. System errors are thrown as `Error` with `code` ("EADDRINUSE"),
 * `syscall` ("bind") and `detail` ("10.0.0.1:6081").
 *
 * A number outside of its range is a RangeError. Objects are tagged: a method called on, or given, an
 * object of another class (or of another copy of the addon) throws a TypeError. Byte arguments must
 * not be views of a SharedArrayBuffer.
 *
 * Everywhere below: IPv4 addresses are unsigned 32-bit numbers in host order, times are
 * milliseconds, endpoint ids are bigints, targets are slots and endpoints are indices.
 */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type {
  NativeApplianceConfig,
  NativeApplianceEngine,
  NativeSocketConfig,
} from './binding-appliance.js';
import type {
  NativeCaptureFunctions,
  NativeFlowTable,
  NativePacketBatch,
} from './binding-codec.js';
import type { NativeDeviceState, NativeSystem, NativeTun } from './binding-system.js';

export type * from './binding-appliance.js';
export type { NativeDeviceState, NativeTun } from './binding-system.js';

export interface NativeUdpConfig extends NativeSocketConfig {
  sourcePortBase: number;
  /** 0: everything is sent from the receiving socket. */
  sourcePortCount: number;
}

/** What may change while a gateway runs: one value, taken over as a whole. */
export interface NativeLiveConfig {
  /** Of how many fields a flow's key is a tuple. */
  stickiness: 5 | 3 | 2;
  /** With no target at all: forward uninspected. */
  failOpen: boolean;
  /** Answer TCP packets of no flow with a RST. */
  resetOnIdle: boolean;
  /** 0: off; 0xffff: as endpoints' and paths' MTUs say. */
  clampMss: number;
  /** The longest inner packet that the ways to targets and peers have room for; 0: not known. */
  pathMtu: number;
  tcpIdleMs: number;
  otherIdleMs: number;
  /** Every live flow is reported (`lives`) once in about this time; 0: never. */
  reportMs: number;
}

export interface NativeGatewayConfig extends NativeLiveConfig {
  /** 16 bytes each. */
  hashKey: Uint8Array;
  cookieKey: Uint8Array;
  scopeGateway: boolean;
  strictCookies: boolean;
  midStream: 'auto' | 'drop' | 'pickup';
  learningMs: number;
  flowsIpv4: number;
  flowsIpv6: number;
  mtu: number;
  optionClass: number;
  attachmentId: bigint;
  innerEthernet: boolean;
  /** 6 bytes each; used with innerEthernet. */
  sourceMac: Uint8Array;
  destinationMac: Uint8Array;
  /** A second packet promotes a flow, not only a returned one. */
  promoteOnIngress: boolean;
  /** Answer packets that are too long with ICMP errors. */
  pathMtuDiscovery: boolean;
  /** Count packets and bytes of each flow, 32 more bytes a flow. */
  flowCounters: boolean;
  outerHeaders: boolean;
  address: number;
  port: number;
  sourcePortBase: number;
  sourcePortCount: number;
  events: number;
}

/** Targets by columns, each with one word a target: they are read in a moment, however many they are. */
export interface NativeTargets {
  zones: number;
  crossZone: boolean;
  seed: bigint;
  slot: Uint32Array;
  zone: Uint32Array;
  address: Uint32Array;
  port: Uint32Array;
  /** 1: takes new flows. */
  eligible: Uint32Array;
  /** 1: TCP flows that are pinned to it are answered with a RST. */
  reset: Uint32Array;
  /** 1: its deregistration delay is over. */
  gone: Uint32Array;
  /** 1: neither failed nor gone, though it may take no new flows: its connections are safe there. */
  keeps: Uint32Array;
  generation: Uint32Array;
  /** In units of 1 / limits.weightUnit. */
  weight: Uint32Array;
  /** What the rendezvous scores are computed from. */
  identity: BigUint64Array;
}

/** A target table: immutable, and of no gateway. */
export interface NativeTargetTable {
  /** Slot of each row for one zone (0xffff: none). */
  rows(zone: number): Uint16Array;
  /** How many rows each slot has, and how many its zone has in all. */
  rowCounts(): { rows: number; counts: Uint32Array };
  /** Frees its memory; it cannot be used any more then. Idempotent. */
  release(): void;
}

export interface NativeEndpoint {
  id: bigint;
  zone: number;
  /** 0: the gateway's. */
  mtu: number;
  /** Kind `geneve`; absent for the others. */
  geneve?: {
    peer: number;
    port: number;
    vni: number;
    ethernet: boolean;
    sourceMac: Uint8Array;
    destinationMac: Uint8Array;
  };
}

export interface NativeExplanation {
  /** A drop reason's name, or "none". */
  error: string;
  hash: bigint;
  row: number;
  /** Of the target table. */
  rows: number;
  target: number;
  chosen: number;
  zone: number;
  pinned: boolean;
  /** An ICMP error: the flow is that of the packet it quotes. */
  quoted: boolean;
  /** A SYN on a connection that may be alive, which its other end has to answer. */
  stray: boolean;
  forward: boolean;
  cookie: number;
  /** The tag of the pinned flow's cookie is good: signed with the key, or the one before in its overlap. */
  cookieSigned: boolean;
  /** TCP: a FIN has come from the low end, from the high one. */
  finFromLow: boolean;
  finFromHigh: boolean;
  /** TCP that began with a SYN, and is not established. */
  opening: boolean;
  /** What decided, one of `names.rules`. */
  rule: string;
  /** In probation: nothing has shown yet that both ends are there. */
  probation: boolean;
  /** Which idle timeout, one of `names.idleClasses`. */
  idle: string;
  idleTimeoutMs: number;
  idleLeftMs: number;
  /** Slot it moved from, and how long ago; 0xffff where it did not, or longer ago than 30 s. */
  movedFrom: number;
  movedAgoMs: number;
  kind: number;
  low: Uint8Array;
  high: Uint8Array;
  lowPort: number;
  highPort: number;
  version: number;
  protocol: number;
  /** The row's targets, best first (lower score is better); at most 16. */
  ranked: { slot: number; score: bigint }[];
}

export interface NativeFlowEvent {
  nowMs: number;
  /** One of `names.flowEventTypes`. */
  type: string;
  /** One of `names.flowCauses`; `none` of `lives`. */
  cause: string;
  version: number;
  protocol: number;
  endpoint: number;
  target: number;
  previous: number;
  lowPort: number;
  highPort: number;
  cookie: number;
  low: Uint8Array;
  high: Uint8Array;
  /** The rest only with `flowCounters`, in `ended` and `lives`, else 0. When it was opened. */
  openedMs: number;
  packetsTo: number;
  bytesTo: number;
  packetsFrom: number;
  bytesFrom: number;
}

/** Live flows by what their next packet would do under another target table. */
export interface NativeFlowMove {
  from: number;
  /** 0xffff where there is none. */
  to: number;
  /** One of `names.fates`. */
  fate: string;
  count: number;
}

/** What an embedded gateway and an engine have in common. */
export interface NativeGatewayControl {
  /** Both are taken over between two batches, at once; without a table the one in force stays. */
  configure(live: NativeLiveConfig, targets: NativeTargetTable | null): void;
  /** The key before stays good for tags for `overlapMs` from now on. */
  setCookieKey(key: Uint8Array, nowMs: number, overlapMs: number): void;
  /**
   * Looks at up to `positions` places of the flow tables from `cursor` on (0 at first) as if these
   * were the targets. `cursor` of the answer is 0 when all have been looked at.
   */
  previewFlows(
    targets: NativeTargetTable,
    cursor: number,
    positions: number,
  ): { moves: NativeFlowMove[]; cursor: number };
  /** `packet` starts at an IP header. */
  explain(packet: Uint8Array, endpoint: number, nowMs: number): NativeExplanation;
  drainEvents(max: number): NativeFlowEvent[];
  /** Forgets the events that wait. */
  discardEvents(): void;
  /**
   * An `ended` (13 stopped) for each flow in up to `positions` places (65,536 at most) from `cursor` on (0
   * at first); the flows stay. `cursor` of the answer is 0 when all places have been looked at.
   */
  endFlows(cursor: number, positions: number): { events: NativeFlowEvent[]; cursor: number };
  /** Frees its memory; counters stay readable, and there are no flows and events any more. Idempotent. */
  release(): void | Promise<void>;
}

export interface NativeGateway extends NativeGatewayControl {
  release(): void;
  removeEndpoint(index: number): void;
  /**
   * Writes events that wait to `out`, as many as fit and 64 at most, each as `flowEventLayout`
   * says; returns how many.
   */
  readEvents(out: Uint8Array): number;
  /**
   * Writes the key of a packet's flow to `out`, as such an event has it; returns of how many fields the key
   * is a tuple, 5, 3 or 2, or 0 where the packet has none.
   */
  describe(packet: Uint8Array, endpoint: number, nowMs: number, out: Uint8Array): number;
  /** `cuts`: packets that are too long and may be cut are forwarded, as if they were. */
  setEndpoint(index: number, endpoint: NativeEndpoint & { cuts: boolean }): void;
  /**
   * Decides about `count` packets of the batch with this number, of the endpoint with this index, or
   * with 0xffff of those that batch.endpoint[i] says. Like `fromTargets`, throws a RangeError that
   * names the packet, and does nothing at all, where offset and length of a packet in use lead outside
   * of its slot. These three can be called without `this`.
   */
  toTargets(batch: number, count: number, endpoint: number, nowMs: number): void;
  fromTargets(batch: number, count: number, nowMs: number): void;
  /**
   * Fills the batch with packets that were held (verdict `held`) and may go now; hand it to
   * `toTargets`. Returns how many.
   */
  takeHeld(batch: number, nowMs: number): number;
  sweep(nowMs: number, positions: number): number;
  /** Counter words, native/gateway/counters.h; index with `counterLayout`. */
  readonly counters: BigUint64Array;
  flows(): number;
  memoryBytes(): number;
}

/**
 * What takes milliseconds is a promise: it runs on another thread, one at a time for each engine. The
 * others wait for none of these. From the call of `stop` on, the methods that change something, and
 * `explain`, throw an Error with code ERR_STOPPED; counters, events, `failure` and `nowMs` stay readable.
 * It does not keep the process alive, and is stopped with its environment or when it is collected.
 */
export interface NativeGatewayEngine extends NativeGatewayControl {
  readonly port: number;
  readonly sourcePorts: number;
  /** One array a worker. */
  readonly counters: readonly BigUint64Array[];
  /** What the kernel granted; of TUN devices, to the one that was opened last. */
  offloads(): { udpGso: boolean; udpGro: boolean; tunTso: boolean; tunUso: boolean };
  /** Begins to read packets. Once. */
  run(): Promise<void>;
  /** The device's name. */
  addTun(index: number, endpoint: NativeEndpoint, tun: NativeTun): Promise<string>;
  /** How each device is, and, in the counters, what the kernel lost. */
  lookAtDevices(): Promise<{ index: number; state: NativeDeviceState }[]>;
  /** Makes it again where it is gone, sets it up where it is down; flows live on. */
  restoreTun(index: number): Promise<void>;
  addEndpoint(index: number, endpoint: NativeEndpoint): Promise<void>;
  removeEndpoint(index: number): Promise<void>;
  release(): Promise<void>;
  nowMs(): number;
  /** Sends a datagram of up to 2,112 bytes, from outer source port number `source` (modulo); whether it went. */
  sendDatagram(address: number, port: number, source: number, bytes: Uint8Array): boolean;
  /**
   * Whose hosts answered a packet with ICMP port unreachable since the last call: address x 65536 +
   * port, each once, at most 256. Empty after `stop`.
   */
  drainUnreachable(): number[];
  /**
   * Keeps the headers of packets that enter for `windowMs`, in `bytes` of memory in all (0: no more).
   * ENOMEM.
   */
  setRecording(bytes: number, windowMs: number): Promise<void>;
  /**
   * What was kept, of each worker oldest first: as `recordedLayout` says: `nowMs`
   * 64 bits, length 32, endpoint 16, captured bytes 16, and 128 of the packet. `lost`: overwritten too early.
   */
  readRecording(): Promise<{ packets: Uint8Array; lost: number }>;
  /**
   * Has what the kernel lost in the counters; some system calls a socket. Devices are as they were when
   * they were asked last where one is being made or taken away.
   */
  countLosses(): void;
  /** null, or why a worker had to stop. */
  failure(): { code: string; syscall: string; detail: string } | null;
  /** Idempotent; joins the workers, closes sockets and devices. */
  stop(): Promise<void>;
}

export interface NamedText {
  name: string;
  sentence: string;
}

export interface NativeBinding extends NativeSystem, NativeCaptureFunctions {
  /** Version of the package this addon was built from. */
  version: string;
  limits: {
    batchPackets: number;
    headroom: number;
    slotStrideStandard: number;
    slotStrideJumbo: number;
    innerBytesMin: number;
    innerBytesMax: number;
    targets: number;
    endpoints: number;
    zones: number;
    /** Largest weight of a user. */
    weight: number;
    /** How many of a snapshot's weights are 1 of a user's. */
    weightUnit: number;
    workers: number;
    sourcePorts: number;
    returnPorts: number;
    generations: number;
    flowsMin: number;
    flowsMax: number;
  };
  /** Index is the code in batch.reason; entry 0 is "none". */
  dropReasons: NamedText[];
  /** Names of what native code has numbers for, by these. */
  names: {
    verdicts: string[];
    flowEventTypes: string[];
    flowCauses: string[];
    rules: string[];
    fates: string[];
    idleClasses: string[];
    midStream: string[];
    tunLifetimes: string[];
  };
  /** Bytes of what `readEvents` writes, and where in it what is; numbers in host byte order. */
  flowEventLayout: Record<
    'bytes' | 'type' | 'version' | 'protocol' | 'endpoint' | 'ports' | 'cookie' | 'low' | 'high',
    number
  >;
  /** The same of what `readRecording` gives. */
  recordedLayout: Record<'bytes' | 'nowMs' | 'length' | 'endpoint' | 'captured' | 'packet', number>;
  /** Names in the order of the counter words, and where the groups begin. */
  counterLayout: {
    gateway: NamedText[];
    target: NamedText[];
    endpoint: NamedText[];
    appliance: NamedText[];
    device: NamedText[];
    dropsAt: number;
    targetsAt: number;
    endpointsAt: number;
    /** One word for each target slot: the nonce of the last probe that it returned. */
    probesAt: number;
    applianceDropsAt: number;
    deviceDropsAt: number;
  };
  /** Whether a packet, from its IP header on, matches a compiled filter (native/appliance/filter.h). */
  matchFilter(filter: Uint32Array, packet: Uint8Array): boolean;
  /** Writes the checksums of a packet; false where the bytes are no IP packet. */
  updateChecksums(packet: Uint8Array): boolean;
  PacketBatch: new (capacity: number, stride: number) => NativePacketBatch;
  Gateway: new (config: NativeGatewayConfig) => NativeGateway;
  /** Opens sockets and takes memory; rejects with system errors. `run` is still to come. */
  openGatewayEngine(
    config: NativeGatewayConfig & { udp: NativeUdpConfig; workers: number },
  ): Promise<NativeGatewayEngine>;
  GatewayEngine: { readonly name: string; readonly prototype: NativeGatewayEngine };
  /** Opens the sockets and starts to return packets; rejects with system errors. */
  openApplianceEngine(
    config: NativeApplianceConfig,
    ready: () => void,
  ): Promise<NativeApplianceEngine>;
  /** Without sockets: `offline`. */
  ApplianceEngine: new (
    config: NativeApplianceConfig,
  ) => NativeApplianceEngine;
  FlowTable: new (
    family: 4 | 6,
    capacity: number,
    idleMs: number,
    hashKey: Uint8Array,
  ) => NativeFlowTable;
  /** A target's rendezvous score for a row, in a table of either size; the lowest is chosen. */
  scoreOf(seed: bigint, identity: bigint, row: number, weight: number): bigint;
  /**
   * `previous` saves time, and changes nothing else, where it differs in few targets. Where more than some
   * milliseconds are needed a promise: it is built on another thread.
   */
  targetTable(
    targets: NativeTargets,
    previous: NativeTargetTable | null,
  ): NativeTargetTable | Promise<NativeTargetTable>;
  /** The same on this thread, however long it takes. */
  TargetTable: new (
    targets: NativeTargets,
    previous: NativeTargetTable | null,
  ) => NativeTargetTable;
  /** Base header and options as bytes. */
  encodeGeneve(header: {
    protocolType: number;
    vni: number;
    oam: boolean;
    critical: boolean;
    options: { class: number; type: number; data: Uint8Array }[];
  }): Uint8Array;
  /**
   * Parses a UDP payload's GENEVE header into `geneveWords`; its error tells what a gateway would refuse
   * it for (O bit and unknown critical options too). That gateway options are missing is no error.
   */
  decodeGeneve(payload: Uint8Array, optionClass: number): void;
  /** What the last `decodeGeneve` found; see native/node/codec.cc and src/packet/geneve-words.ts. */
  geneveWords: Uint32Array;
  /** Names of the layers that parsers refuse something at, by number. */
  layers: string[];
  /**
   * Canonical key bytes of an inner packet: 16 for IPv4, 40 for IPv6; null where it is malformed. An
   * ICMP error has the key of the packet that it quotes, a later fragment that of its 3-tuple.
   */
  flowKey(packet: Uint8Array, stickiness: 5 | 3 | 2, scope: number): Uint8Array | null;
  /** A non-blocking, unconnected IPv4 TCP socket made inside a network namespace; returns its file
   *  descriptor, which the caller owns. Throws system errors. */
  openTcpSocket(netns: string): number;
  /**
   * The smallest path MTU from `source` to these addresses that the kernel knows, outer packet; 0 where
   * none can be reached. Rejects with system errors.
   */
  pathMtu(source: number, addresses: Uint32Array, netns: string): Promise<number>;
}

const require = createRequire(import.meta.url);
const load = require('node-gyp-build') as (root: string) => NativeBinding;

function loadAddon(): NativeBinding {
  try {
    return load(fileURLToPath(new URL('../..', import.meta.url)));
  } catch (cause) {
    const { platform, arch } = process;
    const message =
      `gwlb has no native addon for ${platform}-${arch} here: there is no prebuilt one, and none was ` +
      'built (with g++, make and python3 installed: npm rebuild gwlb)';
    throw Object.assign(new Error(message, { cause }), { code: 'ERR_GWLB_NO_ADDON' });
  }
}

export const binding: NativeBinding = loadAddon();
