/** Flow events as the records of a flow log. docs/command.md describes them. */
import type { FlowEvent } from 'gwlb';

/** Of a flow that ended, or that goes on (`live`, with `flowLog.intervalSeconds`). */
export interface FlowRecord {
  /** When it ended, or was reported: ISO 8601. */
  time: string;
  type: 'end' | 'live';
  gateway: string;
  /** null where flows of all endpoints are one space. */
  endpoint: string | null;
  protocol: string;
  /** The two ends; which of them opened the flow is not known. */
  ends: [string, string];
  /** null where the target is not known any more. */
  target: string | null;
  /** Those it was on before, first to last. */
  previousTargets: string[];
  cookie: string;
  start: string | null;
  durationMs: number | null;
  /** Sent to appliances since `start`; bytes are those of inner packets. */
  packetsTo: number | null;
  bytesTo: number | null;
  /** Returned by them. */
  packetsFrom: number | null;
  bytesFrom: number | null;
  /** Why it ended; null for `live`. */
  end: string | null;
}

/** Flows whose former targets are kept in mind. */
const MOVED_FLOWS_MAX = 65_536;

/** Former targets of one flow; the newest stay. */
const PREVIOUS_MAX = 16;

export class FlowRecords {
  readonly #gateway: string;
  readonly #byEndpoint: boolean;
  readonly #moved = new Map<string, string[]>();

  /** `byEndpoint`: equal tuples of different endpoints are different flows. */
  constructor(gateway: string, byEndpoint: boolean) {
    this.#gateway = gateway;
    this.#byEndpoint = byEndpoint;
  }

  /** The record of an event; null where it makes none. */
  of(event: FlowEvent): FlowRecord | null {
    const key = this.#keyOf(event);
    if (event.type === 'opened') {
      this.#moved.delete(key);
      return null;
    }
    if (event.type === 'moved') {
      this.#remember(key, event.previous?.id);
      return null;
    }
    const record = this.#record(event, this.#moved.get(key) ?? []);
    if (event.type === 'ended') this.#moved.delete(key);
    return record;
  }

  #keyOf({ endpoint, protocol, ends }: FlowEvent): string {
    return `${this.#byEndpoint ? endpoint?.id : ''} ${protocol} ${ends[0]} ${ends[1]}`;
  }

  #remember(key: string, target: string | undefined): void {
    if (target === undefined) return;
    const before = this.#moved.get(key) ?? [];
    this.#moved.delete(key);
    this.#moved.set(key, [...before, target].slice(-PREVIOUS_MAX));
    if (this.#moved.size <= MOVED_FLOWS_MAX) return;
    const [oldest] = this.#moved.keys();
    this.#moved.delete(oldest);
  }

  #record(event: FlowEvent, previousTargets: string[]): FlowRecord {
    const { at, endpoint, protocol, ends, target, cookie, counters, end } = event;
    return {
      time: iso(at),
      type: event.type === 'ended' ? 'end' : 'live',
      gateway: this.#gateway,
      endpoint: endpoint?.id ?? null,
      protocol,
      ends,
      target: target?.id ?? null,
      previousTargets,
      cookie: `0x${cookie.toString(16).padStart(8, '0')}`,
      start: counters && iso(counters.openedAt),
      durationMs: counters && at - counters.openedAt,
      packetsTo: counters?.packetsTo ?? null,
      bytesTo: counters?.bytesTo ?? null,
      packetsFrom: counters?.packetsFrom ?? null,
      bytesFrom: counters?.bytesFrom ?? null,
      end,
    };
  }
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
