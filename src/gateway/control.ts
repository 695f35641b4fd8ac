/** What every gateway does, embedded or listening: its group, its endpoints, counting, explaining. */
import { randomBytes } from 'node:crypto';
import { EventEmitter } from 'node:events';
import type {
  NativeFlowEvent,
  NativeGatewayControl,
  NativeGatewayEngine,
  NativeTargets,
} from '../binding.js';
import { native as callNative, wrongObject } from '../checks.js';
import { SlotAllocator } from '../control/slots.js';
import { ZoneIndex } from '../control/snapshot.js';
import type { Target } from '../control/target.js';
import type { TargetGroup } from '../control/target-group.js';
import { checkInteger, checkOptions, GatewayError, invalidArgument } from '../errors.js';
import { ENDPOINTS_MAX } from '../limits.js';
import { checkKey } from '../packet/flow-table.js';
import type { FlowTuple } from '../packet/tuple.js';
import { AwsAccount, type AwsMetrics, type AwsSource } from './aws-metrics.js';
import type { CookieKeyOptions, ExplainOptions } from './control-options.js';
import { CounterReader, type GatewayCounters } from './counters.js';
import type { DeviceEvent } from './device.js';
import {
  duplicateEndpoint,
  Endpoint,
  type EndpointSettings,
  endpointIdText,
  tooManyEndpoints,
} from './endpoint.js';
import { type Explanation, explanationOf } from './explain.js';
import { type Ask, askElsewhere, askFlow, checkFlow } from './explain-ask.js';
import { type FlowEvent, FlowEventPump, flowEventOf } from './flow-events.js';
import {
  changeListenerAttributes,
  type ListenerAttributes,
  readListenerAttributes,
} from './listener-attributes.js';
import {
  type BaseSettings,
  checkIdleTimeout,
  checkListenerReset,
  checkReportInterval,
  type IdleMs,
  type IdleTimeout,
  type ListenerTcpReset,
} from './options.js';
import { probeDatagram } from './probe.js';

/** Events of a gateway, each with the arguments of its listeners. */
export interface GatewayEvents {
  /** A flow was opened, moved or ended; fetched ten times a second while somebody listens. */
  flow: [FlowEvent];
  /**
   * A socket cannot be read any more (once), or a device that was lost cannot be made again (once for
   * each loss; it is tried again and again). What else there is goes on.
   */
  error: [GatewayError];
  /** The device of an endpoint was lost, set down, or is back. */
  device: [DeviceEvent];
  /** It was closed. */
  close: [];
}

/** Longer than the longest idle timeout: an index is used again when no flow of it is left. */
const INDEX_QUARANTINE_MS = 6_060_000;

/** Sends from the outer source port with an index; whether it went. */
export type SendDatagram = NativeGatewayEngine['sendDatagram'];

type OtherFields = Pick<Endpoint, 'kind' | 'device' | 'netns' | 'peer'>;

export abstract class GatewayControl extends EventEmitter<GatewayEvents> {
  /** Where flows go. */
  readonly targetGroup: TargetGroup;
  /** Whether flows may go to targets of other zones than their endpoint's. */
  readonly crossZone: boolean;
  /** Largest inner packet in bytes. */
  readonly mtu: number;
  readonly #native: NativeGatewayControl;
  readonly #counters: CounterReader;
  readonly #zones = new ZoneIndex();
  readonly #indices = new SlotAllocator(ENDPOINTS_MAX, INDEX_QUARANTINE_MS);
  readonly #endpoints = new Map<string, Endpoint>();
  /** Who had an index last, alive or not: for events that are still on their way. */
  readonly #byIndex = new Map<number, Endpoint>();
  /** Who had a slot last, registered or not: for flows that are still pinned to it. */
  readonly #bySlot = new Map<number, Target>();
  readonly #aws = new AwsAccount();
  readonly #pump: FlowEventPump;
  readonly #onChange = () => this.#publish();
  readonly #onRegister = ({ target }: { target: Target }) => this.#adopt(target);
  /** What the data plane decides by. */
  #snapshot: NativeTargets = { targets: [], zones: 1, crossZone: false, seed: 0n };
  #idle: IdleMs;
  #failOpen: boolean;
  #resetOnIdle: boolean;
  readonly #counting: boolean;
  /** Of the flow events that were fetched last. */
  #offsetMs = 0;
  #closed = false;
  #ended = Promise.resolve();

  /** @internal Throws `ERR_GWLB_IN_USE`; nothing is left behind then. */
  protected constructor(
    settings: BaseSettings,
    native: NativeGatewayControl,
    blocks: readonly BigUint64Array[],
    netns: string,
    sendDatagram: SendDatagram | null,
  ) {
    super();
    const { targetGroup, crossZone, config } = settings;
    this.targetGroup = targetGroup;
    this.crossZone = crossZone;
    this.mtu = config.mtu;
    this.#native = native;
    this.#counters = new CounterReader(blocks);
    this.#idle = { tcpMs: config.tcpIdleMs, otherMs: config.otherIdleMs };
    this.#failOpen = config.failOpen;
    this.#counting = config.flowCounters;
    this.#resetOnIdle = config.resetOnIdle;
    this.#pump = new FlowEventPump(
      native,
      () => {
        this.#offsetMs = this.epochOffsetMs();
      },
      (event) => this.#emitFlow(event),
    );
    this.#pump.follow(this, () => this.#closed);
    this.#zones.checkRoom(targetGroup.targets().map((target) => target.zone));
    targetGroup.attach({
      netns,
      flowsActive: (slot) => this.#counters.flowsActive(slot),
      targetOf: (slot) => this.#targetOf(slot),
      previewFlows: (targets, cursor, positions) =>
        this.#native.previewFlows(targets, cursor, positions),
      checkTarget: (address, field) => this.checkTarget(address, field),
      traffic: (slot) => this.#counters.traffic(slot),
      unreachable: () => this.unreachable(),
      probeReturned: (slot, nonce) => this.#counters.probeReturned(slot, nonce),
      ...(sendDatagram && {
        sendProbe: ({ slot, number, port }, nonce, inner) =>
          sendDatagram(
            number,
            port,
            nonce & 0xffff,
            probeDatagram(targetGroup, config.attachmentId, slot, nonce, inner),
          ),
      }),
    });
    this.#join();
  }

  /** Whether it was closed. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Idle timeouts in force. */
  get idleTimeout(): Required<IdleTimeout> {
    return {
      tcpSeconds: this.#idle.tcpMs / 1000,
      otherSeconds: this.#idle.otherMs / 1000,
    };
  }

  /**
   * Changes the idle timeouts that are given, also for flows that are there. Throws
   * `ERR_GWLB_OUT_OF_RANGE`, or `ERR_GWLB_ATTRIBUTES` for `tcpSeconds` without 5-tuple stickiness.
   */
  setIdleTimeout(idleTimeout: IdleTimeout): void {
    this.checkOpen();
    this.#idle = checkIdleTimeout('idleTimeout', idleTimeout, this.targetGroup, this.#idle);
    this.#native.setIdleTimeouts(this.#idle.tcpMs, this.#idle.otherMs);
  }

  /** RST answers of the listener, as they are. */
  get sendTcpReset(): Required<ListenerTcpReset> {
    return { onIdleTimeout: this.#resetOnIdle };
  }

  /** Changes them; an option that is not given gets its default. */
  setTcpReset(sendTcpReset: ListenerTcpReset): void {
    this.checkOpen();
    this.#resetOnIdle = checkListenerReset('sendTcpReset', sendTcpReset);
    this.#native.setResetOnIdle(this.#resetOnIdle);
  }

  /** Attributes of the listener under their AWS names. */
  get listenerAttributes(): ListenerAttributes {
    return readListenerAttributes({
      tcpSeconds: this.idleTimeout.tcpSeconds,
      onIdleTimeout: this.#resetOnIdle,
    });
  }

  /**
   * Changes the attributes of the listener that are named, as AWS `ModifyListenerAttributes` does; all
   * or none. Throws `ERR_GWLB_ATTRIBUTES`.
   */
  modifyListenerAttributes(changes: Partial<ListenerAttributes>): void {
    this.checkOpen();
    const { tcpSeconds, onIdleTimeout } = changeListenerAttributes(changes);
    if (tcpSeconds !== undefined) this.setIdleTimeout({ tcpSeconds });
    if (onIdleTimeout !== undefined) this.setTcpReset({ onIdleTimeout });
  }

  /**
   * Signs the cookies of new flows with another key. Flows that are there keep their cookies, and
   * signatures with the key before stay good for a while: they only matter for packets of flows that
   * the gateway does not know or that were reopened.
   */
  rotateCookieKey(options: CookieKeyOptions = {}): void {
    this.checkOpen();
    const given = checkOptions('options', options, ['key', 'overlapSeconds']);
    const key = checkKey('options.key', given.key ?? randomBytes(16));
    const seconds = given.overlapSeconds ?? this.#idle.tcpMs / 1000;
    const overlap = checkInteger('options.overlapSeconds', seconds, 0, 6000);
    this.#native.setCookieKey(key, this.nowMs(), overlap * 1000);
  }

  /**
   * Has every flow in the table reported once in about so many seconds, with a `flow` event of type
   * `lives`; 0 (the default) for never. For flow logs; with `flowCounters` the events have counters.
   */
  setFlowReports(intervalSeconds: number): void {
    this.checkOpen();
    const seconds = checkReportInterval('intervalSeconds', intervalSeconds);
    this.#native.setReportInterval(seconds * 1000);
  }

  /** The endpoints, in the order they were made. */
  endpoints(): Endpoint[] {
    return [...this.#endpoints.values()];
  }

  /** The endpoint with this id; undefined where there is none. */
  endpoint(id: string): Endpoint | undefined {
    return this.#endpoints.get(id);
  }

  /** The endpoint with this index (`batch.endpoint[i]`); undefined where there is none. */
  endpointAt(index: number): Endpoint | undefined {
    const endpoint = this.#byIndex.get(index);
    return endpoint && this.#endpoints.has(endpoint.id) ? endpoint : undefined;
  }

  /** @internal Has what was lost before anybody read it in the counters; an embedder reads by itself. */
  protected countLosses(): void {}

  /** All counters, now. They stay readable after `close`. */
  counters(): GatewayCounters {
    this.countLosses();
    const targets = this.targetGroup.targets().filter((t) => this.#bySlot.get(t.slot) === t);
    return {
      ...this.#counters.totals(),
      targets: Object.fromEntries(targets.map((t) => [t.id, this.#counters.target(t.slot)])),
      endpoints: Object.fromEntries(
        this.endpoints().map((endpoint) => [endpoint.id, this.#counters.endpoint(endpoint.index)]),
      ),
    };
  }

  /**
   * Each target's share of the new flows of its zone, or with `crossZone` of all, as packets are steered
   * now: a number up to 1, by target id. 0 for one that takes none.
   */
  shares(): Map<string, number> {
    const { rows, counts } = this.#native.rowCounts();
    const targets = this.targetGroup.targets();
    return new Map(targets.map(({ id, slot }) => [id, rows === 0 ? 0 : counts[slot] / rows]));
  }

  /** Counters under the names of AWS, now. They stay readable after `close`. */
  awsMetrics(): AwsMetrics {
    return this.#aws.read(this.#awsSource());
  }

  /** @internal Measures peaks; `now` in milliseconds. */
  protected samplePeaks(now: number): void {
    this.#aws.sample(this.#awsSource(), now);
  }

  #awsSource(): AwsSource {
    const zones = this.endpoints().map(({ zone }) => zone);
    const { targetGroup } = this;
    return { counters: this.#counters, targets: [...this.#bySlot.values()], targetGroup, zones };
  }

  /**
   * Where the next packet of a flow goes, and why; changes nothing. Takes a tuple, or the bytes of a
   * packet from its IP header on. For the tuple of a TCP connection that is there it answers for its
   * next packet, else for the SYN that would open it.
   */
  explain(flow: FlowTuple | Uint8Array, options: ExplainOptions = {}): Explanation {
    this.checkOpen();
    const given = checkOptions('options', options, ['endpoint']);
    const endpoint = this.#endpointFor(given.endpoint);
    const asked = checkFlow(flow);
    const ask: Ask = (packet, index) =>
      callNative(() => this.#native.explain(packet, index, this.nowMs()));
    const one = this.targetGroup.scope === 'gateway';
    return explanationOf(askFlow(ask, asked, endpoint.index), {
      endpoint,
      elsewhere: one ? [] : askElsewhere(ask, asked, this.endpoints(), endpoint),
      targetGroup: this.targetGroup,
      crossZone: this.crossZone,
      onIdleTimeout: this.#resetOnIdle,
      snapshot: this.#snapshot,
      targetOf: (slot) => this.#targetOf(slot),
    });
  }

  #endpointFor(reference: unknown): Endpoint {
    if (reference !== undefined) return this.findEndpoint('options.endpoint', reference);
    const [only] = this.#endpoints.values();
    if (this.#endpoints.size === 1) return only;
    const expected =
      this.#endpoints.size === 0
        ? 'an endpoint (there is none yet)'
        : `the id of one of the ${this.#endpoints.size} endpoints`;
    throw invalidArgument('options.endpoint', expected, reference);
  }

  /** @internal The endpoint that is meant; throws `ERR_GWLB_UNKNOWN_ENDPOINT`. */
  protected findEndpoint(field: string, reference: unknown): Endpoint {
    const id = Endpoint.is(reference) ? reference.id : reference;
    if (typeof id !== 'string') {
      throw wrongObject(field, 'Endpoint', reference, 'an Endpoint or its id');
    }
    const endpoint = this.#endpoints.get(id);
    if (endpoint && (typeof reference === 'string' || endpoint === reference)) return endpoint;
    throw new GatewayError(
      'ERR_GWLB_UNKNOWN_ENDPOINT',
      `${field}: expected an endpoint of this gateway, received ${id}`,
      { field },
    );
  }

  /** @internal Makes an endpoint; `open` gives it to native code and may throw. */
  protected addEndpoint(
    settings: EndpointSettings,
    open: (index: number, zone: number) => OtherFields,
  ): Endpoint {
    this.checkOpen();
    const id = endpointIdText(settings);
    if (this.#endpoints.has(id)) throw duplicateEndpoint(id);
    const now = performance.now();
    const index = this.#indices.allocate(now);
    if (index < 0) throw tooManyEndpoints(this.#endpoints.size);
    let fields: OtherFields;
    try {
      const zone = this.#holdZone(settings.zone);
      this.#counters.startEndpoint(index);
      try {
        fields = open(index, zone);
      } catch (error) {
        this.#releaseZone(settings.zone);
        throw error;
      }
    } catch (error) {
      this.#indices.release(index, now, true);
      throw error;
    }
    const { mtu, zone: name } = settings;
    const endpoint = Endpoint.make({ id, zone: name, mtu: mtu || this.mtu, index, ...fields });
    this.#endpoints.set(id, endpoint);
    this.#byIndex.set(index, endpoint);
    return endpoint;
  }

  /** @internal */
  protected dropEndpoint(reference: Endpoint | string): void {
    this.checkOpen();
    const endpoint = this.findEndpoint('endpoint', reference);
    const { packetsIn } = this.#counters.endpoint(endpoint.index);
    this.#native.removeEndpoint(endpoint.index);
    this.#endpoints.delete(endpoint.id);
    this.#indices.release(endpoint.index, performance.now(), packetsIn === 0);
    this.#releaseZone(endpoint.zone);
  }

  /** The data plane knows no endpoint in a zone that its targets do not have. */
  #holdZone(name: string): number {
    const zones = this.#zones.size;
    const zone = this.#zones.hold(name);
    if (this.#zones.size > zones) this.#publish();
    return zone;
  }

  #releaseZone(name: string): void {
    this.#zones.release(name);
    // Frees its number where nobody has it any more.
    this.#publish();
  }

  /** @internal The clock that packets are given, whole milliseconds. */
  protected abstract nowMs(): number;

  /** @internal Milliseconds since 1970 less those of that clock. */
  protected abstract epochOffsetMs(): number;

  /** @internal Whether somebody listens to flow events. */
  protected get tellsFlows(): boolean {
    return this.#pump.running;
  }

  /** @internal Peers that answered with ICMP port unreachable since it was asked last. */
  protected unreachable(): readonly number[] {
    return [];
  }

  /** @internal Throws where the address cannot be a target's. */
  protected checkTarget(_address: string, _field: string): void {}

  /** @internal */
  protected checkOpen(): void {
    if (this.#closed) throw new GatewayError('ERR_GWLB_CLOSED', 'the gateway was closed');
  }

  /** @internal Delivers flow events now instead of soon. */
  protected flushEvents(): void {
    this.#pump.flush();
  }

  /**
   * @internal Leaves the group, calls `stop`, after which there are no packets, ends every flow for who
   * listens, and frees native memory: before it returns where nobody listens. Idempotent.
   */
  protected end(stop: () => void): Promise<void> {
    if (!this.#closed) this.#ended = this.#end(stop);
    return this.#ended;
  }

  async #end(stop: () => void): Promise<void> {
    this.#closed = true;
    this.#leave();
    stop();
    try {
      if (this.#pump.running) await this.#pump.finish();
    } finally {
      this.#native.release();
    }
    this.emit('close');
  }

  /** Publishes the group as it is, and then with every change. */
  #join(): void {
    try {
      for (const target of this.targetGroup.targets()) this.#bySlot.set(target.slot, target);
      this.#publish();
      this.targetGroup.on('change', this.#onChange);
      this.targetGroup.on('register', this.#onRegister);
    } catch (error) {
      this.#leave();
      throw error;
    }
  }

  #leave(): void {
    this.targetGroup.off('change', this.#onChange);
    this.targetGroup.off('register', this.#onRegister);
    this.targetGroup.detach();
  }

  #publish(): void {
    const snapshot = this.targetGroup.snapshot(this.#zones, this.crossZone);
    this.#snapshot = { ...snapshot, zones: Math.max(1, snapshot.zones) };
    this.#native.setTargets(this.#snapshot);
    if (this.#failOpen === this.targetGroup.failOpen) return;
    this.#failOpen = this.targetGroup.failOpen;
    this.#native.setFailOpen(this.#failOpen);
  }

  #adopt(target: Target): void {
    const former = this.#bySlot.get(target.slot);
    if (former) this.#aws.keep(former, this.#awsSource());
    this.#bySlot.set(target.slot, target);
    this.#counters.startTarget(target.slot);
  }

  #targetOf(slot: number): Target | null {
    return this.#bySlot.get(slot) ?? null;
  }

  #emitFlow(event: NativeFlowEvent): void {
    const context = {
      endpointOf: (index: number) => this.#byIndex.get(index) ?? null,
      targetOf: (slot: number) => this.#targetOf(slot),
      counting: this.#counting,
      offsetMs: this.#offsetMs,
    };
    this.emit('flow', flowEventOf(event, context));
  }
}
