import { native as callNative, wrongObject } from '../base/checks.js';
import { checkBoolean, checkOptions, GatewayError, invalidArgument, show } from '../base/errors.js';
import { type GatewayState, savedOf } from '../fleet/saved.js';
import { everyTarget } from '../fleet/state.js';
import type {
  NativeFlowEvent,
  NativeGatewayControl,
  NativeGatewayEngine,
  NativeTargetTable,
} from '../native/binding.js';
import type { FlowTuple } from '../packet/tuple.js';
import { AwsAccount, type AwsMetrics, type AwsSource } from './aws-metrics.js';
import { type BaseSettings, groupPolicy } from './base-settings.js';
import { CounterReader, type GatewayCounters } from './counters.js';
import type { Wanted } from './data-plane.js';
import type { Endpoint, EndpointSettings, OpeningEndpoint, OtherFields } from './endpoint.js';
import { EndpointRegistry } from './endpoint-registry.js';
import { explanationOf } from './explain.js';
import { type Ask, askElsewhere, askFlow, checkFlow } from './explain-ask.js';
import type { LossPolicy } from './explain-rules.js';
import type { ExplainOptions, Explanation } from './explain-types.js';
import type { FleetHost } from './fleet-host.js';
import { FlowEventPump, flowEventOf } from './flow-events.js';
import { GatewaySettings } from './gateway-settings.js';
import { fleetFrom, LiveFleet, type SaveState } from './live-fleet.js';
import { probeDatagram } from './probe.js';
import { type Target, viewOf } from './target.js';
import { isTargetGroup, runtimeOf, type TargetGroup, useGroup } from './target-group.js';
import type { BuildTable } from './target-table.js';

/** What a gateway has for life; a group that comes later must have the same. */
const SAME = ['inner', 'sourceMac', 'destinationMac', 'optionClass', 'scope'] as const;

/** Sends from the outer source port with an index; whether it went. */
export type SendDatagram = NativeGatewayEngine['sendDatagram'];

/** What `Gateway` and `GatewayLoadBalancer` share. */
export abstract class GatewayBase extends GatewaySettings {
  /** Largest inner packet in bytes. */
  readonly mtu: number;
  readonly #native: NativeGatewayControl;
  readonly #counters: CounterReader;
  readonly #live: LiveFleet;
  readonly #endpoints: EndpointRegistry;
  /** Who had a slot last, registered or not: for flows that are still pinned to it. */
  readonly #bySlot = new Map<number, Target>();
  readonly #aws = new AwsAccount();
  readonly #pump: FlowEventPump;
  #targetGroup: TargetGroup;
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
    build: BuildTable,
    table: NativeTargetTable | null,
  ) {
    super(settings, native, build, table);
    const { targetGroup, crossZone, state, config } = settings;
    this.#targetGroup = targetGroup;
    this.mtu = config.mtu;
    this.#native = native;
    this.#counters = new CounterReader(blocks);
    this.#counting = config.flowCounters;
    this.#pump = new FlowEventPump(
      native,
      () => {
        this.#offsetMs = this.epochOffsetMs();
      },
      (event) => this.#emitFlow(event),
    );
    this.#pump.follow(this, () => this.#closed);
    const runtime = runtimeOf(targetGroup);
    const fleet = fleetFrom(state, crossZone, runtime.now());
    const host = this.#host(netns, config.attachmentId, sendDatagram);
    this.#live = new LiveFleet(runtime, host, fleet);
    this.#endpoints = new EndpointRegistry(this.#live, this.#counters);
    try {
      useGroup(this.#live, targetGroup);
    } catch (error) {
      this.#live.close();
      this.dataPlane.close();
      throw error;
    }
  }

  #host(netns: string, attachmentId: bigint, sendDatagram: SendDatagram | null): FleetHost {
    return {
      netns,
      publish: () => this.dataPlane.change(),
      took: (target, anew) => this.#took(target, anew),
      flowsActive: (slot) => this.#counters.flowsActive(slot),
      targetOf: (slot) => this.#targetOf(slot),
      previewFlows: (targets, cursor, positions) =>
        this.#native.previewFlows(targets, cursor, positions),
      checkTarget: (address, field) => this.checkTarget(address, field),
      checkStickiness: (stickiness) => this.checkStickiness(stickiness),
      traffic: (slot) => this.#counters.traffic(slot),
      unreachable: () => this.unreachable(),
      probeReturned: (slot, nonce) => this.#counters.probeReturned(slot, nonce),
      ...(sendDatagram && {
        sendProbe: ({ slot, number, port }, nonce, inner) =>
          sendDatagram(
            number,
            port,
            nonce & 0xffff,
            probeDatagram(this.#targetGroup, attachmentId, slot, nonce, inner),
          ),
      }),
    };
  }

  /** Where new flows go. */
  get targetGroup(): TargetGroup {
    return this.#targetGroup;
  }

  /**
   * Has new flows go to the targets of another group, as AWS `ModifyListener` does. Those of the group
   * before drain by its policy, each as if it were deregistered, and belong to that group no more: it is
   * free, its targets are `unused`. A target that is in both groups keeps its flows. What is set when a
   * gateway is made (`inner`, `optionClass`, `scope`, …) must be the same.
   *
   * Throws `ERR_GWLB_IN_USE`, `ERR_GWLB_INVALID_ARGUMENT`, `ERR_GWLB_TARGET_LIMIT`,
   * `ERR_GWLB_ENDPOINT_LIMIT`; nothing has changed then.
   */
  setTargetGroup(targetGroup: TargetGroup): void {
    this.checkOpen();
    if (!isTargetGroup(targetGroup)) {
      throw wrongObject('targetGroup', 'TargetGroup', targetGroup);
    }
    const before = this.#targetGroup;
    if (targetGroup === before) return;
    checkExchange(before, targetGroup);
    this.checkStickiness(targetGroup.stickiness);
    targetGroup.targets().forEach(({ address }, i) => {
      this.checkTarget(address, `targetGroup.targets[${i}].address`);
    });
    useGroup(this.#live, targetGroup, () => {
      this.#targetGroup = targetGroup;
    });
  }

  /** Whether flows may go to targets of other zones than their endpoint's. */
  get crossZone(): boolean {
    return this.#live.fleet.crossZone;
  }

  /**
   * Changes it: new flows are spread anew at once. Flows that are there stay, but those of lost targets,
   * which may find a healthy one elsewhere now. AWS `load_balancing.cross_zone.enabled`.
   */
  setCrossZone(crossZone: boolean): void {
    this.checkOpen();
    checkBoolean('crossZone', crossZone);
    this.#live.apply({ type: 'setCrossZone', crossZone });
  }

  /** Targets that packets go to: those of the group, and those of groups before it that still drain. */
  targets(): Target[] {
    return everyTarget(this.#live.fleet)
      .filter(({ phase }) => phase !== 'gone')
      .map(viewOf);
  }

  /** Whether it was closed. */
  get closed(): boolean {
    return this.#closed;
  }

  /** The endpoints, in the order they were made. */
  endpoints(): Endpoint[] {
    return this.#endpoints.all();
  }

  /** The endpoint with this id; undefined where there is none. */
  endpoint(id: string): Endpoint | undefined {
    return this.#endpoints.get(id);
  }

  /** The endpoint with this index (`batch.endpoint[i]`); undefined where there is none. */
  endpointAt(index: number): Endpoint | undefined {
    return this.#endpoints.at(index);
  }

  /** @internal Has what was lost before anybody read it in the counters; an embedder reads by itself. */
  protected countLosses(): void {}

  /** All counters, now. They stay readable after `close`. */
  counters(): GatewayCounters {
    this.countLosses();
    const targets = this.targets().filter((t) => this.#bySlot.get(t.slot) === t);
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
    this.dataPlane.settle();
    const { rows, counts } = this.dataPlane.rowCounts();
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
    const endpoint = this.#endpoints.findOrOnly('options.endpoint', given.endpoint);
    const asked = checkFlow(flow);
    this.dataPlane.settle();
    const { targets } = this.dataPlane;
    const known = new Set(targets.targets.map(({ slot }) => slot));
    const ask: Ask = (packet, index) =>
      callNative(() => this.#native.explain(packet, index, this.nowMs()));
    const one = this.targetGroup.scope === 'gateway';
    return explanationOf(askFlow(ask, asked, endpoint.index), {
      endpoint,
      elsewhere: one ? [] : askElsewhere(ask, asked, this.endpoints(), endpoint),
      targetGroup: this.targetGroup,
      crossZone: this.crossZone,
      onIdleTimeout: this.sendTcpReset.onIdleTimeout,
      snapshot: targets,
      targets: this.targets().filter(({ slot }) => known.has(slot)),
      policyOf: (target) => this.#lossPolicy(target),
      targetOf: (slot) => this.#targetOf(slot),
    });
  }

  /** @internal The endpoint that is meant; throws `ERR_GWLB_UNKNOWN_ENDPOINT`. */
  protected findEndpoint(field: string, reference: unknown): Endpoint {
    return this.#endpoints.find(field, reference);
  }

  /**
   * @internal Takes id, index and zone; then `keepEndpoint` or `giveUpEndpoint`. Throws
   * `ERR_GWLB_DUPLICATE_ENDPOINT`, `ERR_GWLB_ENDPOINT_LIMIT`.
   */
  protected beginEndpoint(settings: EndpointSettings): OpeningEndpoint {
    this.checkOpen();
    return this.#endpoints.begin(settings);
  }

  /** @internal Native code has it. */
  protected keepEndpoint(opening: OpeningEndpoint, fields: OtherFields): Endpoint {
    return this.#endpoints.keep(opening, fields, this.mtu);
  }

  /** @internal Native code has refused it. */
  protected giveUpEndpoint(opening: OpeningEndpoint): void {
    if (!this.#closed) this.#endpoints.giveUp(opening);
  }

  /**
   * @internal It is no endpoint any more; then `endpointRemoved`, until which nobody gets its id. Throws
   * `ERR_GWLB_UNKNOWN_ENDPOINT`.
   */
  protected beginRemoval(reference: Endpoint | string): Endpoint {
    this.checkOpen();
    return this.#endpoints.beginRemoval(reference);
  }

  /** @internal Native code has let go of it. */
  protected endpointRemoved(endpoint: Endpoint): void {
    if (this.#closed) return;
    this.#endpoints.removed(endpoint);
    // Who saves it knows why it failed.
    this.#live.saved().catch(() => {});
  }

  /** @internal What another one needs to go on from here. */
  protected savedState(): GatewayState {
    return savedOf(this.#live.fleet);
  }

  /** @internal Has that saved from now on; rejects where it is not saved now. */
  protected saveBy(save: SaveState): Promise<void> {
    return this.#live.saveBy(save);
  }

  /** @internal Resolves when it is saved as it is, where it is saved at all. */
  protected saved(): Promise<void> {
    return this.#live.saved();
  }

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
  protected override checkOpen(): void {
    if (this.#closed) throw new GatewayError('ERR_GWLB_CLOSED', 'the gateway was closed');
  }

  /** @internal Delivers flow events now instead of soon. */
  protected flushEvents(): void {
    this.#pump.flush();
  }

  /**
   * @internal Leaves the group, calls `stop`, after which there are no packets, ends every flow for who
   * listens, and frees native memory: before it returns where nobody listens and neither of the two
   * takes time. Idempotent.
   */
  protected end(stop: () => void | Promise<void>): Promise<void> {
    if (!this.#closed) this.#ended = this.#end(stop);
    return this.#ended;
  }

  async #end(stop: () => void | Promise<void>): Promise<void> {
    this.#closed = true;
    this.#live.close();
    this.dataPlane.close();
    const stopping = stop();
    if (stopping) await stopping;
    try {
      if (this.#pump.running) await this.#pump.finish();
    } finally {
      const freeing = this.#native.release();
      if (freeing) await freeing;
    }
    this.emit('close');
  }

  /** @internal */
  protected override wanted(): Wanted {
    return { targets: this.#live.table, policy: groupPolicy(this.#targetGroup) };
  }

  #took(target: Target, anew: boolean): void {
    const former = this.#bySlot.get(target.slot);
    if (anew && former) this.#aws.keep(former, this.#awsSource());
    this.#bySlot.set(target.slot, target);
    if (anew) this.#counters.startTarget(target.slot);
  }

  #lossPolicy(target: Target | null): LossPolicy {
    const { fleet } = this.#live;
    const record = target && everyTarget(fleet).find(({ slot }) => slot === target.slot);
    return fleet.groups[record?.group ?? fleet.group].policy;
  }

  #targetOf(slot: number): Target | null {
    return this.#bySlot.get(slot) ?? null;
  }

  #emitFlow(event: NativeFlowEvent): void {
    const context = {
      endpointOf: (index: number) => this.#endpoints.lastAt(index),
      targetOf: (slot: number) => this.#targetOf(slot),
      counting: this.#counting,
      offsetMs: this.#offsetMs,
    };
    this.emit('flow', flowEventOf(event, context));
  }
}

function checkExchange(before: TargetGroup, after: TargetGroup): void {
  const key = SAME.find((name) => before[name] !== after[name]);
  if (key === undefined) return;
  const expected = `${show(before[key])}, that of the group before`;
  throw invalidArgument(`targetGroup.${key}`, expected, after[key]);
}
