/** Flow events of native code, as users get them, and the timer that fetches them. */
import type { NativeFlowEvent } from '../binding.js';
import type { Target } from '../control/target.js';
import { hasPorts, protocolName } from '../packet/names.js';
import type { Endpoint } from './endpoint.js';
import { formatEnd } from './explain.js';

/** How a flow ended. */
export type FlowEnd = 'closed' | 'reset' | 'idle' | 'replaced' | 'evicted';

export interface FlowEvent {
  /** `opened`: pinned to a target. `moved`: to another one. `ended`: out of the table. */
  type: 'opened' | 'moved' | 'ended';
  /** When, in milliseconds of the clock that packets are given (`performance.now()`, or `now`). */
  time: number;
  /** Why it ended: FIN both ways, RST, idle, a new connection with its tuple, or lack of room. */
  end: FlowEnd | null;
  /** IP protocol, such as `tcp`; with 2-tuple stickiness `any`. */
  protocol: string;
  /** The two ends, in the order of the canonical key; which of them opened the flow is not known. */
  ends: [string, string];
  /** null where flows of all endpoints are one space and it ended. */
  endpoint: Endpoint | null;
  target: Target | null;
  /** The target before, of a flow that moved. */
  previous: Target | null;
  /** Flow cookie, 32 bits. */
  cookie: number;
}

const TYPES = ['opened', 'opened', 'moved', 'ended'] as const;
const ENDS = [null, 'closed', 'reset', 'idle', 'replaced', 'evicted'] as const;

export interface FlowEventContext {
  endpointOf(index: number): Endpoint | null;
  targetOf(slot: number): Target | null;
}

export function flowEventOf(event: NativeFlowEvent, context: FlowEventContext): FlowEvent {
  const ports = hasPorts(event.protocol) && (event.lowPort !== 0 || event.highPort !== 0);
  return {
    type: TYPES[event.type],
    time: event.nowMs,
    end: ENDS[event.end],
    protocol: event.protocol === 0 ? 'any' : protocolName(event.protocol),
    ends: [
      formatEnd(event.low, event.version, event.lowPort, ports),
      formatEnd(event.high, event.version, event.highPort, ports),
    ],
    endpoint: context.endpointOf(event.endpoint),
    target: context.targetOf(event.target),
    previous: event.type === 2 ? context.targetOf(event.previous) : null,
    cookie: event.cookie,
  };
}

const INTERVAL_MS = 100;
const BATCH = 1024;

/** Events of one turn, so that a flood of them leaves room for everything else. */
const TURN_MAX = 16_384;

/** Fetches events while somebody listens, and only then. */
export class FlowEventPump {
  readonly #drain: (max: number) => NativeFlowEvent[];
  readonly #deliver: (event: NativeFlowEvent) => void;
  #timer: NodeJS.Timeout | null = null;

  constructor(
    drain: (max: number) => NativeFlowEvent[],
    deliver: (event: NativeFlowEvent) => void,
  ) {
    this.#drain = drain;
    this.#deliver = deliver;
  }

  /** Begins with what happens from now on. */
  start(): void {
    if (this.#timer) return;
    while (this.#drain(BATCH).length > 0);
    this.#timer = setInterval(() => this.flush(), INTERVAL_MS).unref();
  }

  stop(): void {
    if (this.#timer) clearInterval(this.#timer);
    this.#timer = null;
  }

  /** Delivers what is there. */
  flush(): void {
    for (let taken = 0; this.#timer !== null && taken < TURN_MAX; ) {
      const events = this.#drain(BATCH);
      for (const event of events) this.#deliver(event);
      taken += events.length;
      if (events.length === 0) return;
    }
  }
}
