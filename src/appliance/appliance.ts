/** The appliance's side of the tunnel: receive, look at, pass, drop or rewrite, return. */
import { EventEmitter } from 'node:events';
import { native, wrongObject } from '../base/checks.js';
import {
  checkBoolean,
  checkInteger,
  checkOptions,
  GatewayError,
  invalidArgument,
} from '../base/errors.js';
import { FLOWS_MAX, FLOWS_MIN, RETURN_PORTS_MAX } from '../base/limits.js';
import {
  binding,
  type NativeApplianceConfig,
  type NativeApplianceEngine,
} from '../native/binding.js';
import { COUNTER_NAMES, readDrops } from '../packet/counter-names.js';
import { checkNetns, checkSignal, KeepAlive, onAbort, systemError } from '../packet/lifecycle.js';
import type { DropReason } from '../packet/names.js';
import type { UdpOffloads } from '../packet/offloads.js';
import { checkApplianceAddress, hostText } from '../packet/own-address.js';
import { checkDropRules, type DropRule } from './drop-rule.js';
import { CaptureFilter } from './filter.js';
import {
  type ApplianceHealthCheck,
  type ApplianceHealthState,
  checkHealth,
  checkHealthState,
  type HealthCheckAnswers,
} from './health-check.js';
import { HealthResponder } from './health-responder.js';
import { Inspection, type Inspector } from './inspection.js';

/** How much an appliance has room for. */
export interface ApplianceLimits {
  /**
   * IPv4 flows that can have a verdict (`passFlow`, `dropFlow`) at a time, 1,024 to 2^27. Memory (about
   * 75 bytes each) is taken when an inspector is first set. Default 65,536.
   */
  flows?: number;
  /** The same of IPv6 (about 115 bytes each). Default a quarter of `flows`. */
  flowsIpv6?: number;
  /**
   * Source ports of gateways for which a socket is open at a time, so that packets go back from the port
   * that they came from: 1–32768, at most a quarter of the descriptors that the process may have. The
   * one that was used longest ago gives way. Default 4,096.
   */
  returnPorts?: number;
}

/** After how long without packets what is known of a flow ends. */
export interface ApplianceIdleTimeout {
  /** Seconds after its last packet in which a verdict on a TCP flow ends, 1–6000. Default 350. */
  tcpSeconds?: number;
  /** The same for every other protocol. Default 120. */
  otherSeconds?: number;
}

/** Options of `Appliance.inspect`. */
export interface InspectOptions {
  /**
   * Which packets the inspector is shown; the others are returned by native code. An expression such as
   * `'tcp and dst port 443'` (see `CaptureFilter`). Default: all.
   */
  filter?: string | CaptureFilter;
}

/** Options of `Appliance.listen`. */
export interface ApplianceOptions {
  /**
   * Own address: GENEVE is received and returned on it. `'0.0.0.0'` is all IPv4 addresses, `'::'` all
   * addresses of either version; a packet is returned from the one that it was sent to. Required.
   */
  address: string;
  /** UDP port that GENEVE is received on, 1–65535. Default 6081. */
  port?: number;
  /** Named network namespace of the sockets. Default: the process's own. */
  netns?: string | null;
  /**
   * Answer the gateway's health checks over HTTP or TCP on the own address, or `false` where something
   * else does. It cannot be had together with `netns`. Default: HTTP on port 80, path `/`.
   */
  healthCheck?: ApplianceHealthCheck | false;
  /** Class of the gateway's GENEVE options, 0–65535. Default 0x0108, that of AWS. */
  optionClass?: number;
  /** UDP port that packets are returned to, 1–65535. Default 6081. */
  gatewayPort?: number;
  /**
   * Use what the kernel has to receive and send many datagrams at once (UDP generic receive and
   * segmentation offload); `Appliance.offloads` tells. Default true.
   */
  offloads?: boolean;
  /**
   * Write the UDP checksum of what is sent. False: 0, none, which GENEVE over IPv4 allows (RFC 8926,
   * section 3.3) and raw sockets can always read; datagrams then leave one by one. True with
   * `offloads: false`: finished before a network device sees it. Default true.
   */
  udpChecksum?: boolean;
  /** Packets that are dropped without asking the inspector. Default none. */
  drop?: readonly DropRule[];
  /**
   * What becomes of a batch whose inspector throws or rejects: dropped (false) or returned as far as
   * it did not decide (true). Default false.
   */
  failOpen?: boolean;
  /** Room for verdicts on flows, and for return ports. */
  limits?: ApplianceLimits;
  /** After how long without packets a verdict on a flow ends. */
  idleTimeout?: ApplianceIdleTimeout;
  /** Closes the appliance when it is aborted. */
  signal?: AbortSignal;
}

/** Numbers above 2^53 lose their last digits. */
export interface ApplianceCounters {
  /** Datagrams received from gateways. */
  packetsReceived: number;
  /** Bytes of them, inner packet. */
  bytesReceived: number;
  /** Packets returned to the gateway. */
  packetsReturned: number;
  /** Bytes of them, inner packet. */
  bytesReturned: number;
  /** Packets returned with changed contents. */
  packetsRewritten: number;
  /** Packets returned as an answer to their sender that refuses them (`packet.reject()`). */
  packetsRejected: number;
  /**
   * Packets returned from the own port, since the one that they came from is not to be had: another program
   * has it, or it needs a privilege (`CAP_NET_BIND_SERVICE`, below 1024).
   */
  packetsOtherPort: number;
  /** Packets shown to the inspector. */
  packetsInspected: number;
  /** Packets that the inspector's filter is not about. */
  packetsUnmatched: number;
  /** Packets shown to it whose flow found no room: no verdict on it lasts. */
  packetsUntracked: number;
  /** Verdicts to pass a flow that took effect. */
  flowsPassed: number;
  /** Verdicts to drop a flow that took effect. */
  flowsDropped: number;
  /** Verdicts on flows that ended: idle, closed, opened anew, or all of them. */
  flowsEnded: number;
  /** Packets returned by their flow's verdict. */
  flowPacketsPassed: number;
  /** Bytes of them, inner packet. */
  flowBytesPassed: number;
  /** Packets dropped by their flow's verdict (among `drops.appliance_verdict`). */
  flowPacketsDropped: number;
  /** Bytes of them, inner packet. */
  flowBytesDropped: number;
  /** Every reason, also those that never occurred. */
  drops: Record<DropReason, number>;
}

/** Events of an `Appliance`, each with the arguments of its listeners. */
export interface ApplianceEvents {
  /** The inspector failed, or the worker had to stop (then the appliance closes itself). */
  error: [unknown];
  /** It was closed. */
  close: [];
}

/** Batches that an inspector may have at a time. */
export const BATCHES = 16;
const RETURN_PORTS = 4096;
const FAILURE_POLL_MS = 500;
const SOCKET_BUFFER_BYTES = 8 << 20;

/** What only `listen` can give to the constructor. */
const PRIVATE = Symbol('Appliance.listen');

/**
 * An appliance behind a gateway load balancer, ours or AWS's. Without an inspector packets are
 * returned by native code alone. It keeps the process alive until it is closed. See
 * docs/api/appliance.md.
 */
export class Appliance extends EventEmitter<ApplianceEvents> {
  /** Own address. */
  readonly address: string;
  /** Own UDP port. */
  readonly port: number;
  /** Network namespace of the sockets; null for the process's own. */
  readonly netns: string | null;
  /** What answers health checks; null where nothing here does. */
  readonly healthCheck: HealthCheckAnswers | null;
  /** What becomes of a batch whose inspector fails. */
  readonly failOpen: boolean;

  readonly #engine: NativeApplianceEngine;
  readonly #health: HealthResponder | null;
  readonly #alive: KeepAlive;
  readonly #inspection: Inspection;
  readonly #offAbort: () => void;
  #closing: Promise<void> | null = null;

  /**
   * Opens the sockets and starts to return packets. Nothing is left open where it rejects: with a
   * `GatewayError` that names the option (an address in use or not on this host, a missing
   * privilege, an unknown namespace), or with the reason of an aborted signal.
   */
  static async listen(options: ApplianceOptions): Promise<Appliance> {
    const checked = checkAppliance(options);
    checked.signal?.throwIfAborted();
    const health =
      checked.health && (await HealthResponder.listen(checked.address, checked.health));
    let engine: NativeApplianceEngine | null = null;
    try {
      checked.signal?.throwIfAborted();
      // Nobody is called before there is an inspector, unless it fails: then it is looked at soon.
      let appliance: Appliance | null = null;
      engine = await openEngine(checked, () => {
        if (appliance) appliance.#work();
      });
      checked.signal?.throwIfAborted();
      appliance = new Appliance(PRIVATE, checked, engine, health);
      return appliance;
    } catch (error) {
      await engine?.stop();
      await health?.close();
      throw error;
    }
  }

  private constructor(
    key: symbol,
    checked: CheckedAppliance,
    engine: NativeApplianceEngine,
    health: HealthResponder | null,
  ) {
    if (key !== PRIVATE) throw invalidArgument('Appliance', 'a call of Appliance.listen', key);
    super();
    this.#engine = engine;
    this.address = checked.address;
    this.port = engine.port;
    this.netns = checked.config.udp.netns || null;
    this.healthCheck = checked.health;
    this.failOpen = checked.failOpen;
    // Not from within the packet loop: without a listener this ends the process.
    const tell = (error: unknown) => process.nextTick(() => this.emit('error', error));
    this.#inspection = new Inspection(engine, checked.failOpen, tell);
    this.#health = health;
    this.#alive = new KeepAlive(() => this.#checkFailure(), FAILURE_POLL_MS);
    this.#offAbort = onAbort(checked.signal, () => void this.close());
  }

  /** What the kernel granted of the option `offloads`. */
  get offloads(): UdpOffloads {
    return this.#engine.offloads;
  }

  /** Whether it was closed. */
  get closed(): boolean {
    return this.#closing !== null;
  }

  /**
   * Shows every packet that no drop rule takes, that `options.filter` matches, and whose flow has no
   * verdict yet to `inspector`, or to nobody with null. There is one inspector; a new one takes over
   * with the next batch. With null all verdicts on flows end; another filter leaves them alone.
   *
   * ```ts
   * appliance.inspect({ filter: 'tcp and dst port 443' }, (packets) => {
   *   for (const packet of packets) {
   *     if (isBlocked(packet.sourceAddress)) packet.dropFlow();
   *     else packet.passFlow({ afterPackets: 10 });
   *   }
   * });
   * ```
   */
  inspect(inspector: Inspector | null): this;
  inspect(options: InspectOptions, inspector: Inspector): this;
  inspect(first: InspectOptions | Inspector | null, second?: Inspector): this {
    const alone = first === null || typeof first !== 'object';
    const inspector = alone ? first : second;
    const filter = alone ? ALL_PACKETS : checkInspect(first);
    if (typeof inspector !== 'function' && !(alone && inspector === null)) {
      const expected = alone ? 'a function or null' : 'a function';
      throw invalidArgument('inspector', expected, inspector);
    }
    if (this.closed) throw new GatewayError('ERR_GWLB_CLOSED', 'the appliance was closed');
    const inspects = inspector !== null;
    native(() => this.#engine.setInspect(inspects, filter.compiled()), 'keep verdicts on flows');
    this.#inspection.inspector = inspector ?? null;
    return this;
  }

  /** Ends all verdicts on flows: their packets are shown to the inspector again. */
  forgetFlows(): void {
    this.#engine.forgetFlows();
  }

  /**
   * What health checks are told from now on; at first that it is healthy. With `'unhealthy'` a gateway
   * takes no new flows to the appliance; `reason` (1–1,000 characters) is the body of the answer to HTTP.
   * Resolves when it is so. Rejects where nothing here answers health checks, and where TCP checks cannot
   * be taken again, since another program has the port meanwhile.
   */
  async setHealth(state: ApplianceHealthState, reason = 'unhealthy'): Promise<void> {
    const told = checkHealthState(state, reason, this.#health !== null);
    if (this.closed) throw new GatewayError('ERR_GWLB_CLOSED', 'the appliance was closed');
    await this.#health?.tell(told);
  }

  /** All counters, now. They stay readable after `close`. */
  counters(): ApplianceCounters {
    this.#engine.countLosses();
    return readCounters(this.#engine);
  }

  /**
   * Ends the answers to health checks, stops the worker and closes the sockets; idempotent. Batches
   * that an inspector still has are dropped.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    this.#offAbort();
    this.#alive.stop();
    this.#inspection.stop();
    await this.#engine.stop();
    await this.#health?.close();
    this.emit('close');
  }

  /** Called by native code when batches wait; it must take all of them. */
  #work(): void {
    this.#checkFailure();
    for (let native = this.#engine.next(); native !== null; native = this.#engine.next()) {
      this.#inspection.show(native);
    }
  }

  #checkFailure(): void {
    const failure = this.closed ? null : this.#engine.failure();
    if (failure === null) return;
    const error = Object.assign(new Error(failure.detail || 'the worker had to stop'), failure);
    void this.close();
    process.nextTick(() => this.emit('error', systemError(error, 'go on receiving', 'options')));
  }
}

/** An engine's counters under their names. */
export function readCounters({ counters }: NativeApplianceEngine): ApplianceCounters {
  const named = COUNTER_NAMES.appliance.map((name, i) => [name, Number(counters[i])]);
  const at = binding.counterLayout.applianceDropsAt;
  return {
    ...(Object.fromEntries(named) as Omit<ApplianceCounters, 'drops'>),
    drops: readDrops((code) => counters[at + code]),
  };
}

async function openEngine(
  { config, address }: CheckedAppliance,
  ready: () => void,
): Promise<NativeApplianceEngine> {
  const { port, netns } = config.udp;
  try {
    return await binding.openApplianceEngine(config, ready);
  } catch (error) {
    const where = `${hostText(address)}:${port}${netns && ` in network namespace ${netns}`}`;
    throw systemError(error, `listen on ${where}`, 'options');
  }
}

interface CheckedAppliance {
  config: NativeApplianceConfig;
  address: string;
  health: HealthCheckAnswers | null;
  failOpen: boolean;
  signal: AbortSignal | undefined;
}

function checkAppliance(options: unknown): CheckedAppliance {
  const given = checkOptions('options', options, [
    'address',
    'port',
    'netns',
    'healthCheck',
    'optionClass',
    'gatewayPort',
    'offloads',
    'udpChecksum',
    'drop',
    'failOpen',
    'limits',
    'idleTimeout',
    'signal',
  ]);
  const address = checkApplianceAddress('options.address', given.address);
  const netns = checkNetns('options.netns', given.netns ?? null);
  return {
    config: {
      udp: {
        address: address.ipv4,
        address6: address.ipv6,
        port: checkInteger('options.port', given.port ?? 6081, 1, 65_535),
        netns,
        receiveBufferBytes: SOCKET_BUFFER_BYTES,
        sendBufferBytes: SOCKET_BUFFER_BYTES,
        ttl: 255,
        offloads: checkBoolean('options.offloads', given.offloads ?? true),
        udpChecksum: checkBoolean('options.udpChecksum', given.udpChecksum ?? true),
      },
      optionClass: checkInteger('options.optionClass', given.optionClass ?? 0x0108, 0, 0xffff),
      gatewayPort: checkInteger('options.gatewayPort', given.gatewayPort ?? 6081, 1, 65_535),
      batches: BATCHES,
      inspect: false,
      offline: false,
      ...checkLimits(given.limits ?? {}, given.idleTimeout ?? {}),
      drop: checkDropRules('options.drop', given.drop ?? []),
    },
    address: address.text,
    health: checkHealth('options.healthCheck', given.healthCheck ?? {}, netns),
    failOpen: checkBoolean('options.failOpen', given.failOpen ?? false),
    signal: checkSignal('options.signal', given.signal),
  };
}

/** What an inspector without a filter is shown. */
const ALL_PACKETS = new CaptureFilter('');

function checkInspect(options: unknown): CaptureFilter {
  return checkFilter(checkOptions('options', options, ['filter']).filter);
}

/** `options.filter` of an inspector. */
export function checkFilter(value: unknown): CaptureFilter {
  const filter = value ?? ALL_PACKETS;
  if (CaptureFilter.is(filter)) return filter;
  if (typeof filter === 'string') return new CaptureFilter(filter);
  const expected = 'an expression or a CaptureFilter';
  throw wrongObject('options.filter', 'CaptureFilter', filter, expected);
}

/** `options.limits` and `options.idleTimeout`, as native code takes them. */
export function checkLimits(limits: unknown, timeout: unknown) {
  const room = checkOptions('options.limits', limits, ['flows', 'flowsIpv6', 'returnPorts']);
  const field = 'options.limits.flows';
  const flows = checkInteger(field, room.flows ?? 65_536, FLOWS_MIN, FLOWS_MAX);
  const quarter = Math.max(FLOWS_MIN, Math.floor(flows / 4));
  const ports = room.returnPorts ?? RETURN_PORTS;
  return {
    returnPorts: checkInteger('options.limits.returnPorts', ports, 1, RETURN_PORTS_MAX),
    flowsIpv4: flows,
    flowsIpv6: checkInteger(`${field}Ipv6`, room.flowsIpv6 ?? quarter, FLOWS_MIN, FLOWS_MAX),
    ...checkIdle(timeout),
  };
}

/** `options.idleTimeout`. */
export function checkIdle(timeout: unknown) {
  const idle = checkOptions('options.idleTimeout', timeout, ['tcpSeconds', 'otherSeconds']);
  const seconds = (key: 'tcpSeconds' | 'otherSeconds', otherwise: number): number =>
    checkInteger(`options.idleTimeout.${key}`, idle[key] ?? otherwise, 1, 6000);
  return {
    tcpIdleMs: seconds('tcpSeconds', 350) * 1000,
    otherIdleMs: seconds('otherSeconds', 120) * 1000,
  };
}
