/** The gateway's data plane for programs that have their own packet I/O. */

import { native, nativeError, wrongObject } from '../base/checks.js';
import { checkInteger, mismatch } from '../base/errors.js';
import { binding, type NativeGateway, type NativeTargetTable } from '../native/binding.js';
import { PacketBatch } from '../packet/batch.js';
import { checkNow } from '../packet/flow-table.js';
import type { Endpoint } from './endpoint.js';
import { type BatchEndpointOptions, checkBatchEndpoint } from './endpoint-options.js';
import { GatewayBase } from './gateway-base.js';
import { checkGateway, type GatewayOptions } from './gateway-options.js';
import type { SourcePorts } from './options.js';
import { firstTable } from './target-group.js';
import { buildTable, buildTableNow } from './target-table.js';

/** What the gateway that is being made begins with. */
let prepared: NativeTargetTable | null = null;

/** Each packet's descriptor says its endpoint. */
const NO_ENDPOINT = 0xffff;

/**
 * The decision core by itself: batches of packets go in and come out encapsulated or decapsulated,
 * in place. It opens no socket and reads no clock for packets; the health checks of its target group
 * do run. See docs/api/gateway.md.
 */
export class Gateway extends GatewayBase {
  /** Whether packets have outer IPv4 and UDP headers. */
  readonly outerHeaders: boolean;
  /** The outer UDP source ports. */
  readonly sourcePorts: Required<SourcePorts>;
  /**
   * @internal Whether packets that are too long and may be cut are forwarded, as by endpoints whose
   * packets leave through sockets and devices of ours (replay). Of endpoints that are made afterwards.
   */
  cutsPackets = false;
  readonly #native: NativeGateway;
  #lastNow: number | null = null;
  #offsetMs = 0;

  /**
   * The same as `new Gateway`, but for the first target table, which is built on another thread. Rejects
   * with what the constructor throws.
   */
  static async create(options: GatewayOptions): Promise<Gateway> {
    const { targetGroup, crossZone, state } = checkGateway(options);
    const table = await buildTable(firstTable(targetGroup, crossZone, state), null);
    prepared = table;
    try {
      return new Gateway(options);
    } catch (error) {
      table.release();
      throw error;
    } finally {
      prepared = null;
    }
  }

  /**
   * Throws what is wrong with an option, naming it, and `ERR_GWLB_IN_USE`.
   *
   * It takes the memory of the flow tables and builds the table of the group's targets before it returns:
   * 1 ms with ten targets, 50 ms with 300, 0.4 s with 4,096. `Gateway.create` does that on
   * another thread.
   */
  constructor(options: GatewayOptions) {
    const settings = checkGateway(options);
    const { outerHeaders } = settings.config;
    const core = native(() => new binding.Gateway(settings.config), 'make the flow tables');
    super(settings, core, [core.counters], '', null, buildTableNow, prepared);
    this.#native = core;
    this.outerHeaders = outerHeaders;
    const { sourcePortBase: base, sourcePortCount: count } = settings.config;
    this.sourcePorts = { base, count };
  }

  /**
   * Makes an endpoint whose packets you hand over. Throws `ERR_GWLB_DUPLICATE_ENDPOINT`,
   * `ERR_GWLB_ENDPOINT_LIMIT`, and what is wrong with an option.
   */
  createEndpoint(options: BatchEndpointOptions = {}): Endpoint {
    const settings = checkBatchEndpoint('endpoint', options, this.mtu);
    const opening = this.beginEndpoint(settings);
    const { index, zone } = opening;
    const { id, mtu } = settings;
    try {
      this.#native.setEndpoint(index, { id, zone, mtu, cuts: this.cutsPackets });
    } catch (error) {
      this.giveUpEndpoint(opening);
      throw error;
    }
    return this.keepEndpoint(opening, { kind: 'batch', device: null, netns: null, peer: null });
  }

  /** Removes an endpoint; packets of its flows are dropped from now on (`unknown_endpoint`). */
  removeEndpoint(endpoint: Endpoint | string): void {
    const removed = this.beginRemoval(endpoint);
    this.#native.removeEndpoint(removed.index);
    this.endpointRemoved(removed);
  }

  /**
   * Decides about packets that enter by an endpoint, and encapsulates those that go to a target.
   * Afterwards, for each packet `i`:
   *
   * - `verdict[i]` forward: send `bytes(i)` to `address[i]`:`port[i]` from source port
   *   `sourcePort(i)` of this gateway; `target[i]` is the target's slot
   * - bypass: send `bytes(i)` on as if there were no gateway
   * - reply: `bytes(i)` is an answer to the packet's sender (RST, ICMP error): send it out by
   *   `endpoint[i]`; `reason[i]` says why the packet itself was dropped
   * - held: the gateway has taken the packet and gives it back in `takeHeld`
   * - drop: `reason[i]` says why
   *
   * @param endpoint The endpoint of all packets, or null where `batch.endpoint` says it of each.
   * @param now Milliseconds that never go back, `performance.now()` by default; always of one clock.
   */
  toTargets(batch: PacketBatch, endpoint: Endpoint | null, now: number = performance.now()): void {
    this.checkOpen();
    checkBatch(batch);
    const index = endpoint === null ? NO_ENDPOINT : this.findEndpoint('endpoint', endpoint).index;
    const time = this.#checkTime(now);
    this.dataPlane.settle();
    try {
      this.#native.toTargets(batch.native.id, batch.count, index, time);
    } catch (error) {
      throw nativeError(error);
    }
    this.#advance(time);
  }

  /**
   * Fills the batch with packets that were held and may go now: later fragments that had come before
   * the first one of their train. Hand it to `toTargets` (with the endpoint null) where the answer,
   * how many they are, is not 0. Call it after `toTargets` whenever packets with the verdict `held`
   * may be waiting, at least every 10 ms while there are some.
   */
  takeHeld(batch: PacketBatch, now: number = performance.now()): number {
    this.checkOpen();
    checkBatch(batch);
    const time = this.#checkTime(now);
    const count = native(() => this.#native.takeHeld(batch.native.id, time));
    this.#advance(time);
    batch.filled(count);
    return count;
  }

  /**
   * Decides about datagrams that came from targets (`batch.address[i]` is the outer source; with
   * `outerHeaders` it is read from the packet), and takes the encapsulation off. Afterwards
   * `verdict[i]` is forward, with the endpoint to leave by in `endpoint[i]` (see `endpointAt`), or
   * drop (or probe: a health check that nobody sent, since a `Gateway` makes none of this kind).
   *
   * @param now As for `toTargets`.
   */
  fromTargets(batch: PacketBatch, now: number = performance.now()): void {
    this.checkOpen();
    checkBatch(batch);
    const time = this.#checkTime(now);
    this.dataPlane.settle();
    try {
      this.#native.fromTargets(batch.native.id, batch.count, time);
    } catch (error) {
      throw nativeError(error);
    }
    this.#advance(time);
  }

  /**
   * Ends idle flows; looks at `positions` places of the flow table from where it stopped last.
   * Returns how many it ended. Call it often: four times a second a sixteenth of the table, say. Flow
   * events that wait are delivered too.
   */
  sweep(now: number = performance.now(), positions = 65_536): number {
    this.checkOpen();
    checkInteger('positions', positions, 1, 0xffffffff);
    const time = this.#checkTime(now);
    const ended = native(() => this.#native.sweep(time, positions));
    this.#advance(time);
    this.flushEvents();
    return ended;
  }

  /** @internal Events that nobody listens to, as native code has them; how many were written. */
  readEvents(out: Uint8Array): number {
    return this.#native.readEvents(out);
  }

  /** @internal The key of the flow of a packet that has just been decided about. */
  describe(packet: Uint8Array, endpoint: Endpoint, out: Uint8Array): number {
    return this.#native.describe(packet, endpoint.index, this.nowMs(), out);
  }

  /** The outer UDP port to send packet i of a batch from. */
  sourcePort(batch: PacketBatch, i: number): number {
    checkBatch(batch);
    checkInteger('i', i, 0, batch.capacity - 1);
    return this.sourcePorts.base + (batch.sourcePort[i] % this.sourcePorts.count);
  }

  /** Flows in the table. */
  get flows(): number {
    return this.#native.flows();
  }

  /** Bytes of native memory it has taken. */
  get memoryBytes(): number {
    return this.#native.memoryBytes();
  }

  /**
   * Leaves the target group, which ends its health checks, and frees its memory, at once unless somebody
   * listens to flow events: those get an `ended` (`stopped`) for each flow that is there. Idempotent.
   */
  close(): Promise<void> {
    return this.end(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** The time of the newest packets: flows are explained as of then. */
  protected override nowMs(): number {
    return this.#lastNow ?? Math.floor(performance.now());
  }

  protected override epochOffsetMs(): number {
    return this.#offsetMs;
  }

  #checkTime(now: number): number {
    const time = checkNow(now);
    if (this.#lastNow !== null && time < this.#lastNow) {
      throw mismatch(
        'ERR_GWLB_OUT_OF_RANGE',
        'now',
        `at least ${this.#lastNow}, the time of the packets before`,
        `${time}`,
      );
    }
    return time;
  }

  /** What was asked for at this time was done. */
  #advance(time: number): void {
    this.#lastNow = time;
    if (this.tellsFlows) this.#offsetMs = Date.now() - time;
  }
}

function checkBatch(batch: unknown): void {
  if (!PacketBatch.is(batch)) throw wrongObject('batch', 'PacketBatch', batch);
  batch.checkHere();
}
