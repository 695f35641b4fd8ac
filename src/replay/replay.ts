/** A capture's packets through a gateway in simulated time: what would have become of each. */

import { checkArray, checkRecord } from '../base/checks.js';
import { checkOptions, GatewayError, invalidArgument } from '../base/errors.js';
import { ENDPOINTS_MAX } from '../base/limits.js';
import type { Endpoint } from '../gateway/endpoint.js';
import type { BatchEndpointOptions } from '../gateway/endpoint-options.js';
import { Gateway } from '../gateway/gateway.js';
import type { GatewayOptions } from '../gateway/gateway-options.js';
import type { TargetGroupOptions, TargetSpec } from '../gateway/group-options.js';
import { LiveFleet } from '../gateway/live-fleet.js';
import { LIMITS } from '../gateway/option-tables.js';
import { groupWithRuntime, type TargetGroup, useGroup } from '../gateway/target-group.js';
import { parseEndpointId } from '../packet/address.js';
import { type CapturedFrame, type CaptureReader, readCapture } from '../packet/capture.js';
import { SimulatedClock } from './clock.js';
import {
  applyEvent,
  checkEvents,
  type EventProblem,
  eventProblemText,
  type GivenEvent,
  keysOf,
  problemOf,
  type ReplayEvent,
  readEventLines,
  type TimedEvent,
} from './events.js';
import { type FrameFormat, packetOf } from './frames.js';
import { countLine, emptySummary, type ReplayLine, type ReplaySummary } from './lines.js';
import { SegmentSizes } from './segments.js';
import { Simulation } from './simulation.js';

/** Options of `replay`. */
export interface ReplayOptions {
  /** The capture, as bytes or a path: pcap or pcapng; plain packets or GENEVE. Required. */
  capture: Uint8Array | string | URL;
  /** The target group's options. Health checks are off: targets are as the events say. */
  targetGroup?: Omit<TargetGroupOptions, 'healthCheck'>;
  /** Targets that are there from the beginning. Default 10.0.1.10 and 10.0.1.11 in one zone. */
  targets?: readonly TargetSpec[];
  /**
   * Endpoints, at least one. Packets enter by the first, or, in a GENEVE capture, by the one that
   * their option names. Default one.
   */
  endpoints?: readonly BatchEndpointOptions[];
  /**
   * The gateway's options. Here `midStream` is `'pickup'` by default, and the keys are fixed: equal
   * input gives equal output.
   */
  gateway?: Omit<GatewayOptions, 'targetGroup' | 'outerHeaders'>;
  /** What happens to targets meanwhile: events in order of time, or the text of an events file. */
  events?: readonly ReplayEvent[] | string;
  /**
   * Gets every packet that is sent to a target, from its outer IPv4 header on, and its time in
   * nanoseconds since 1970. The bytes are valid during the call.
   */
  onSent?: (packet: Uint8Array, timeNs: bigint) => void;
}

const EVENTS_MAX = 10_000_000;

const KEYS = [
  'capture',
  'targetGroup',
  'targets',
  'endpoints',
  'gateway',
  'events',
  'onSent',
] as const;

const key = (text: string): Uint8Array => new TextEncoder().encode(text);

/** No secrets: a replay must come out the same everywhere. */
const GATEWAY: Omit<GatewayOptions, 'targetGroup'> = {
  address: '10.0.1.5',
  midStream: 'pickup',
  hashKey: key('gwlb replay hash'),
  cookieKey: key('gwlb replay sign'),
  limits: { flows: 262_144 },
};
const TARGETS: readonly TargetSpec[] = [{ address: '10.0.1.10' }, { address: '10.0.1.11' }];
const ENDPOINT: BatchEndpointOptions = { id: 'vpce-00000000000000001' };

/** Everything that is wrong with the events of a replay. */
export class ReplayEventsError extends GatewayError {
  /** In the order in which the events were written. */
  readonly problems: readonly EventProblem[];

  /** @internal */
  constructor(found: readonly EventProblem[]) {
    const problems = [...found].sort((a, b) => a.place.number - b.place.number);
    super('ERR_GWLB_INVALID_ARGUMENT', problems.map(eventProblemText).join('\n'), {
      field: 'options.events',
    });
    this.problems = problems;
  }
}

/**
 * Replays a capture: its packets enter a gateway in capture time, appliances return each at once, and
 * events change the targets meanwhile. Reads no clock and nothing random. Throws `ERR_GWLB_CAPTURE`,
 * and what is wrong with an option or event.
 *
 * ```ts
 * for (const line of replay({ capture: 'in.pcap' })) console.log(line.frame, line.target);
 * ```
 */
export function replay(options: ReplayOptions): Replay {
  return new Replay(options);
}

/** The lines of a replay; go over them once. */
export class Replay implements Iterable<ReplayLine> {
  /** What was done so far. */
  readonly summary: ReplaySummary = emptySummary();
  readonly #world: World;
  readonly #events: readonly TimedEvent[];
  readonly #capture: CaptureReader;
  readonly #sizes = new SegmentSizes();
  #begun = false;

  /** @internal Use `replay`. */
  constructor(options: ReplayOptions) {
    const given = checkReplay(options);
    this.#events = checkedEvents(given);
    this.#capture = readCapture(given.capture);
    this.#world = new World(given, this.summary, keysOf(this.#events));
  }

  /**
   * After the last line: null, or a sentence that says where the capture is cut or wrong, or which link
   * types of it are not read.
   */
  get error(): string | null {
    return this.#capture.error ?? this.#capture.unknownLinks;
  }

  /** Throws `ERR_GWLB_IN_USE` where it was gone over before. */
  *[Symbol.iterator](): Generator<ReplayLine, void, undefined> {
    if (this.#begun) {
      throw new GatewayError(
        'ERR_GWLB_IN_USE',
        'replay: expected to be gone over once, received a second loop',
      );
    }
    this.#begun = true;
    try {
      yield* this.#lines(this.#world);
    } finally {
      this.#capture.return();
      this.#world.close();
    }
  }

  *#lines(world: World): Generator<ReplayLine, void, undefined> {
    const { lines, simulation, group } = world;
    let next = 0;
    const pass = function* (this: Replay, toNs: bigint | null) {
      for (; next < this.#events.length; next += 1) {
        const { atNs, event } = this.#events[next];
        if (toNs !== null && atNs > toNs) break;
        simulation.advance(atNs);
        applyEvent(group, event);
        yield* lines.splice(0);
      }
      if (toNs !== null) simulation.advance(toNs);
      else simulation.finish();
      yield* lines.splice(0);
    }.bind(this);
    for (const frame of this.#capture) {
      world.startNs ??= frame.timeNs;
      const sinceNs = frame.timeNs - world.startNs;
      const nowNs = sinceNs > simulation.nowNs ? sinceNs : simulation.nowNs;
      yield* pass(nowNs);
      this.summary.frames += 1;
      this.summary.seconds = Number(nowNs) / 1e9;
      this.#enter(world, frame, Number(sinceNs) / 1e9);
      yield* lines.splice(0);
    }
    yield* pass(null);
  }

  #enter(world: World, frame: CapturedFrame, time: number): void {
    const number = this.summary.frames;
    const content = packetOf(frame, world.format);
    if ('refused' in content) {
      const { refused: reason } = content;
      const nowhere = { flow: null, target: null, cookie: null } as const;
      world.emit(
        { frame: number, time, direction: 'ingress', ...nowhere, verdict: 'drop', reason },
        0,
      );
      return;
    }
    const size = content.bytes.length;
    const endpoint = world.endpointFor(content.endpointId);
    this.summary.packets += 1;
    this.summary.bytes += size;
    const { first: bytes, rest } = this.#sizes.carried(content, endpoint.mtu);
    world.simulation.enter({ frame: number, time, bytes, rest, size, endpoint });
  }
}

/** The gateway of a replay, its targets and its time. */
class World {
  readonly lines: ReplayLine[] = [];
  readonly group: TargetGroup;
  readonly format: FrameFormat;
  readonly simulation: Simulation;
  startNs: bigint | null = null;
  readonly #summary: ReplaySummary;
  readonly #gateway: Gateway;
  readonly #endpoints: Map<bigint, Endpoint>;
  readonly #first: Endpoint;

  constructor(
    options: ReplayOptions,
    summary: ReplaySummary,
    keys: Pick<GatewayOptions, 'hashKey' | 'cookieKey'>,
  ) {
    const clock = new SimulatedClock();
    this.#summary = summary;
    this.group = makeGroup(options, clock);
    const given = { ...GATEWAY, ...keys, ...options.gateway };
    this.#gateway = new Gateway({ ...given, targetGroup: this.group, outerHeaders: true });
    this.#gateway.cutsPackets = true;
    const endpoints = makeEndpoints(this.#gateway, options.endpoints ?? [ENDPOINT]);
    this.#endpoints = new Map(endpoints.map((e) => [parseEndpointId(e.id) ?? 0n, e]));
    [this.#first] = endpoints;
    this.format = { port: given.port ?? 6081, optionClass: this.group.optionClass };
    const { onSent } = options;
    this.simulation = new Simulation(
      {
        group: this.group,
        gateway: this.#gateway,
        clock,
        emit: (line, bytes) => this.emit(line, bytes),
        sent: onSent ? (packet, ns) => onSent(packet, (this.startNs ?? 0n) + ns) : null,
      },
      Math.max(given.limits?.flows ?? LIMITS.flows.preset, given.limits?.flowsIpv6 ?? 0),
    );
  }

  emit(line: ReplayLine, bytes: number): void {
    countLine(this.#summary, line, bytes);
    this.lines.push(line);
  }

  endpointFor(id: bigint | null): Endpoint {
    return (id !== null && this.#endpoints.get(id)) || this.#first;
  }

  close(): void {
    void this.#gateway.close();
  }
}

/** The options, each read once; what is in them is checked by those that take it. */
function checkReplay(options: unknown): ReplayOptions {
  const given = checkOptions('options', options, KEYS);
  const { targetGroup, gateway, onSent } = given;
  if (onSent !== undefined && typeof onSent !== 'function') {
    throw invalidArgument('options.onSent', 'a function', onSent);
  }
  return {
    ...given,
    ...(targetGroup !== undefined && { targetGroup: checkGroup(targetGroup) }),
    ...(gateway !== undefined && { gateway: checkGateway(gateway) }),
  } as unknown as ReplayOptions;
}

function checkGateway(value: unknown): Record<string, unknown> {
  const gateway = checkRecord('options.gateway', value);
  const { limits } = gateway;
  if (limits === undefined) return gateway;
  return { ...gateway, limits: checkRecord('options.gateway.limits', limits) };
}

function checkGroup(value: unknown): Record<string, unknown> {
  const group = checkRecord('options.targetGroup', value);
  const { healthCheck } = group;
  if (healthCheck === undefined || healthCheck === false) return group;
  const expected = 'nothing, since targets are as the events say';
  throw invalidArgument('options.targetGroup.healthCheck', expected, healthCheck);
}

function makeGroup({ targetGroup, targets }: ReplayOptions, clock: SimulatedClock): TargetGroup {
  const group = groupWithRuntime({ ...targetGroup, healthCheck: false }, clock);
  group.setTargets(targets ?? TARGETS);
  return group;
}

function makeEndpoints(gateway: Gateway, options: unknown): Endpoint[] {
  const expected = 'an array of at least one endpoint';
  const given = checkArray('options.endpoints', options, expected, ENDPOINTS_MAX);
  if (given.length === 0) throw invalidArgument('options.endpoints', expected, options);
  return given.map((endpoint) => gateway.createEndpoint(endpoint as BatchEndpointOptions));
}

/** The events, after all of them were tried on a group of their own. Throws `ReplayEventsError`. */
function checkedEvents(options: ReplayOptions): TimedEvent[] {
  const { given, problems } = givenEvents(options.events ?? []);
  const checked = checkEvents(given);
  problems.push(...checked.problems);
  const clock = new SimulatedClock();
  const group = makeGroup(options, clock);
  const nothing = { publish: () => {}, took: () => {}, flowsActive: () => 0 };
  const fleet = new LiveFleet(clock, { netns: '', ...nothing });
  useGroup(fleet, group);
  for (const { atNs, place, event } of checked.events) {
    clock.advance(Number(atNs / 1_000_000n));
    try {
      applyEvent(group, event);
    } catch (error) {
      problems.push(problemOf(place, error));
    }
  }
  fleet.close();
  if (problems.length > 0) throw new ReplayEventsError(problems);
  return checked.events;
}

function givenEvents(events: unknown): { given: GivenEvent[]; problems: EventProblem[] } {
  if (typeof events === 'string') return readEventLines(events);
  const listed = checkArray('options.events', events, 'an array or text', EVENTS_MAX);
  const given = listed.map((value, number) => {
    return { place: { number, text: `events[${number}]` }, value };
  });
  return { given, problems: [] };
}
