/** Flow events of native code, as users get them, and the timer that fetches them. */
import type { EventEmitter } from 'node:events';
import type { NativeFlowEvent } from '../native/binding.js';
import { hasPorts, protocolName } from '../packet/names.js';
import type { Endpoint } from './endpoint.js';
import { formatEnd } from './explain.js';
import type { Target } from './target.js';

/** What made it happen. */
export type FlowCause =
  /** opened: the first packet of a flow. */
  | 'new'
  /** opened: a packet of a running TCP connection, while such are picked up. */
  | 'picked-up'
  /** opened: a SYN with the tuple of a flow that was there. */
  | 'reopened'
  /** opened: a returned packet with a good cookie. */
  | 'learnt'
  /** moved: its target failed. */
  | 'target-failed'
  /** moved: its target is gone. */
  | 'target-gone'
  /** ended: FIN in both directions. */
  | 'closed'
  /** ended: RST of one of its ends. */
  | 'reset'
  /** ended: no packet for the idle timeout. */
  | 'idle'
  /** ended: a SYN opened a new flow in its place. */
  | 'replaced'
  /** ended: newer flows needed the room; it was in probation. */
  | 'evicted'
  /** ended: its packets were answered with a RST, as its target had failed or was gone. */
  | 'refused'
  /** ended: it was alive when the gateway was closed. */
  | 'stopped';

/** Why a flow ended: the causes that an `ended` can have. */
export type FlowEnd = Extract<
  FlowCause,
  'closed' | 'reset' | 'idle' | 'replaced' | 'evicted' | 'refused' | 'stopped'
>;

/** Of a flow, where `flowCounters` is on. Bytes are those of inner packets. */
export interface FlowCounters {
  /** When the flow was opened, in milliseconds since 1970. */
  openedAt: number;
  /** Packets sent to targets since then. */
  packetsTo: number;
  /** Bytes of them. */
  bytesTo: number;
  /** Packets that targets returned. */
  packetsFrom: number;
  /** Bytes of them. */
  bytesFrom: number;
}

/** Something that happened to a flow; see `GatewayEvents.flow`. */
export interface FlowEvent {
  /**
   * `opened`: pinned to a target. `moved`: to another one. `ended`: out of the table. `lives`: a
   * report of its counters, where such were asked for.
   */
  type: 'opened' | 'moved' | 'ended' | 'lives';
  /**
   * When, in milliseconds since 1970. Of a `Gateway` it is what the clock of the system was when it
   * was given that time as `now`, as far as the two run alike.
   */
  at: number;
  /**
   * The same on the clock that packets are given: `now` of a `Gateway`, CLOCK_MONOTONIC
   * (`process.hrtime`) of a `GatewayLoadBalancer`.
   */
  nowMs: number;
  /** Why; null for `lives`. */
  cause: FlowCause | null;
  /** Why it ended: the cause of an `ended`, else null. */
  end: FlowEnd | null;
  /** IP protocol, such as `tcp`; with 2-tuple stickiness `any`. */
  protocol: string;
  /** The two ends, in the order of the canonical key; which of them opened the flow is not known. */
  ends: [string, string];
  /** null where flows of all endpoints are one space and it ended. */
  endpoint: Endpoint | null;
  /** The target it is pinned to, or was until it ended; null where it is not known any more. */
  target: Target | null;
  /** The target before, of a flow that moved. */
  previous: Target | null;
  /** Flow cookie, 32 bits. */
  cookie: number;
  /** With `flowCounters`, of `ended` and `lives`; else null. */
  counters: FlowCounters | null;
}

export interface FlowEventContext {
  endpointOf(index: number): Endpoint | null;
  targetOf(slot: number): Target | null;
  /** Whether flows are counted. */
  counting: boolean;
  /** Milliseconds since 1970 less those of the clock that packets are given. */
  offsetMs: number;
}

export function flowEventOf(event: NativeFlowEvent, context: FlowEventContext): FlowEvent {
  const ports = hasPorts(event.protocol) && (event.lowPort !== 0 || event.highPort !== 0);
  const type = event.type as FlowEvent['type'];
  const cause = event.cause === 'none' ? null : (event.cause as FlowCause);
  const counted = context.counting && (type === 'ended' || type === 'lives');
  return {
    type,
    at: event.nowMs + context.offsetMs,
    nowMs: event.nowMs,
    cause,
    end: type === 'ended' ? (cause as FlowEnd) : null,
    protocol: event.protocol === 0 ? 'any' : protocolName(event.protocol),
    ends: [
      formatEnd(event.low, event.version, event.lowPort, ports),
      formatEnd(event.high, event.version, event.highPort, ports),
    ],
    endpoint: context.endpointOf(event.endpoint),
    target: context.targetOf(event.target),
    previous: type === 'moved' ? context.targetOf(event.previous) : null,
    cookie: event.cookie,
    counters: counted ? countersOf(event, context.offsetMs) : null,
  };
}

function countersOf(event: NativeFlowEvent, offsetMs: number): FlowCounters {
  const { openedMs, packetsTo, bytesTo, packetsFrom, bytesFrom } = event;
  return { openedAt: openedMs + offsetMs, packetsTo, bytesTo, packetsFrom, bytesFrom };
}

const INTERVAL_MS = 100;
const BATCH = 1024;

/** What one turn of the event loop is given for events: a flood of them leaves room for everything else. */
const TURN_MS = 20;
const TURN_EVENTS = 16_384;

/** Where the events come from. */
export interface FlowEventSource {
  drainEvents(max: number): NativeFlowEvent[];
  discardEvents(): void;
  endFlows(cursor: number, positions: number): { events: NativeFlowEvent[]; cursor: number };
}

/** Fetches events while somebody listens, and only then. */
export class FlowEventPump {
  readonly #source: FlowEventSource;
  readonly #before: () => void;
  readonly #deliver: (event: NativeFlowEvent) => void;
  #timer: NodeJS.Timeout | null = null;

  /** `before` is called before events are fetched. */
  constructor(
    source: FlowEventSource,
    before: () => void,
    deliver: (event: NativeFlowEvent) => void,
  ) {
    this.#source = source;
    this.#before = before;
    this.#deliver = deliver;
  }

  /** Fetches while somebody listens to `flow`, as long as nobody has closed the emitter. */
  follow(emitter: EventEmitter, closed: () => boolean): void {
    emitter.on('newListener', (name) => {
      if (name === 'flow' && !closed()) this.start();
    });
    emitter.on('removeListener', (name) => {
      if (name === 'flow' && emitter.listenerCount('flow') === 0) this.stop();
    });
  }

  /** Whether it fetches events. */
  get running(): boolean {
    return this.#timer !== null;
  }

  /** Begins with what happens from now on. */
  start(): void {
    if (this.#timer) return;
    this.#source.discardEvents();
    this.#timer = setInterval(() => this.flush(TURN_MS), INTERVAL_MS).unref();
  }

  stop(): void {
    if (this.#timer) clearInterval(this.#timer);
    this.#timer = null;
  }

  /** Delivers what is there, up to TURN_EVENTS and for so long; false where that was not all. */
  flush(forMs = Number.POSITIVE_INFINITY): boolean {
    const untilMs = performance.now() + forMs;
    this.#before();
    for (let taken = 0; this.running; ) {
      const events = this.#source.drainEvents(BATCH);
      if (events.length === 0) return true;
      for (const event of events) this.#deliver(event);
      taken += events.length;
      if (taken >= TURN_EVENTS || performance.now() >= untilMs) return false;
    }
    return true;
  }

  /** No packets come any more: delivers all that waits, and the end of every flow that is there. */
  async finish(): Promise<void> {
    try {
      while (!this.flush(TURN_MS)) await turn();
      let cursor = 0;
      this.#before();
      do {
        const ended = this.#source.endFlows(cursor, BATCH);
        cursor = ended.cursor;
        for (const event of ended.events) if (this.running) this.#deliver(event);
        if (ended.events.length > 0) await turn();
      } while (cursor !== 0 && this.running);
    } finally {
      this.stop();
    }
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
