/** Which flow a packet belongs to: flows are numbered in the order they are opened. */
import type { FlowEvent } from '../gateway/flow-events.js';

export interface ReplayFlow {
  /** Its number, from 1. */
  readonly id: number;
  /** Keyed hash of its key, by which packets name it. */
  readonly hash: bigint;
  /** The canonical key as `explain` has it. */
  readonly key: string;
  /** Cookie of its last packet; it changes when the flow moves. */
  cookie: number;
}

interface Entry extends ReplayFlow {
  /** Protocol and ends, as events name it. */
  readonly name: string;
}

/**
 * The flows that are in the gateway's table, told by its events. The packets of one batch of one
 * packet and the events after it belong together.
 */
export class FlowNumbers {
  readonly #byHash = new Map<bigint, Entry>();
  readonly #byName = new Map<string, Entry>();
  /** Endpoints are one space: an event need not say which. */
  readonly #oneSpace: boolean;
  #count = 0;
  #opened = '';

  constructor(oneSpace: boolean) {
    this.#oneSpace = oneSpace;
  }

  /** Flows so far. */
  get count(): number {
    return this.#count;
  }

  /** Listener for the gateway's `flow` events. */
  readonly onEvent = (event: FlowEvent): void => {
    const name = this.#nameOf(event);
    if (event.type === 'opened') this.#opened = name;
    if (event.type !== 'ended') return;
    const entry = this.#byName.get(`${name} ${event.cookie}`);
    if (!entry) return;
    this.#byName.delete(`${name} ${entry.cookie}`);
    if (this.#byHash.get(entry.hash) === entry) this.#byHash.delete(entry.hash);
  };

  /** The flow that the newest `opened` event was about. */
  open(hash: bigint, key: string, cookie: number): ReplayFlow {
    const entry = { id: ++this.#count, hash, key, cookie, name: this.#opened };
    this.#byHash.set(hash, entry);
    this.#byName.set(`${entry.name} ${cookie}`, entry);
    return entry;
  }

  find(hash: bigint): ReplayFlow | null {
    return this.#byHash.get(hash) ?? null;
  }

  /** The flow has another cookie now. */
  move(flow: ReplayFlow, cookie: number): void {
    const entry = this.#byHash.get(flow.hash);
    if (!entry || entry.cookie === cookie) return;
    this.#byName.delete(`${entry.name} ${entry.cookie}`);
    entry.cookie = cookie;
    this.#byName.set(`${entry.name} ${cookie}`, entry);
  }

  #nameOf({ protocol, ends, endpoint }: FlowEvent): string {
    const space = this.#oneSpace ? '' : (endpoint?.id ?? '');
    return `${space} ${protocol} ${ends[0]} ${ends[1]}`;
  }
}
