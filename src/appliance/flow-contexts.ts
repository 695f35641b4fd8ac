/** What an inspector knows of a flow, for as long as the flow lives. */
import { GatewayError, invalidArgument } from '../base/errors.js';
import { func, integer } from '../base/option-kinds.js';
import { readOptions, type TableOf } from '../base/option-table.js';
import { InspectedPacket } from './inspected-batch.js';
import { type ApplianceIdleTimeout, idleMsOf, idleTimeout } from './options.js';

/**
 * Why a flow's context ended: FIN in both directions, or a RST that nothing followed; a SYN on a
 * connection that was past its handshake; no packet for `idleTimeout`; no room, and it was not seen for
 * longest; `end` or `close`.
 */
export type FlowContextEnd = 'closed' | 'reset' | 'reopened' | 'idle' | 'evicted' | 'ended';

/** Options of `FlowContexts`; `T` is what the inspector knows of a flow. */
export interface FlowContextsOptions<T> {
  /** Makes the context of a flow from the first packet of it that is seen. */
  create: (packet: InspectedPacket) => T;
  /** Called once for each context that ends; must not throw. */
  onEnd?: (context: T, why: FlowContextEnd) => void;
  /** Flows at a time, 1 to 2^22; the one not seen for longest gives way. Default 65,536. */
  max?: number;
  /** After how long without a packet that the inspector is shown a flow ends. Default 350 and 120 s. */
  idleTimeout?: ApplianceIdleTimeout;
  /** Monotonic milliseconds; for tests. Default `performance.now`. */
  nowMs?: () => number;
}

interface Entry<T> {
  context: T;
  seenMs: number;
  /** When it came to its place in the order. */
  movedMs: number;
  isTcp: boolean;
  tcp: number;
}

const FIN = 1;
const SYN = 2;
const RST = 4;
const ACK = 16;

/** Entry.tcp, as the verdicts on flows have it (native/appliance/flow_verdicts.cc). */
const HANDSHAKE_OVER = 1;
const FIN_UP = 2;
const FIN_DOWN = 4;
const RESET = 8;
const CLOSED_IDLE_MS = 15_000;
const RESET_IDLE_MS = 10_000;

const SWEEP_MS = 1000;
/** Of all flows each time; so an idle one ends at most so many sweeps late. */
const SWEEP_PARTS = 10;
const SWEEP_LEAST = 1024;
/** How exact the order of flows by age is. */
const ORDER_MS = 1000;

/** The options of `FlowContexts`. */
export const FLOW_CONTEXTS = {
  create: {
    says: 'makes the context of a flow from the first packet of it that is seen',
    kind: func<FlowContextsOptions<unknown>['create']>(),
  },
  onEnd: {
    says: 'called once for each context that ends; must not throw',
    kind: func<NonNullable<FlowContextsOptions<unknown>['onEnd']>>(),
    preset: () => () => {},
    presetText: 'nothing',
  },
  max: {
    says: 'flows at a time; the one not seen for longest gives way',
    kind: integer(1, 2 ** 22),
    preset: 65_536,
  },
  idleTimeout,
  nowMs: {
    says: 'monotonic milliseconds, for tests',
    kind: func<() => number>(),
    preset: () => () => performance.now(),
    presetText: '`performance.now`',
  },
} as const satisfies TableOf<FlowContextsOptions<unknown>>;

/**
 * A context for each flow that an inspector is shown packets of, the same in both directions: endpoint id
 * and 5-tuple (3-tuple for protocols without ports). Bounded; an idle one ends within ten seconds of its
 * time. It keeps no process alive.
 *
 * ```ts
 * const flows = new FlowContexts({ create: () => ({ bytes: 0 }), onEnd: ({ bytes }, why) => log(bytes, why) });
 * appliance.inspect((packets) => {
 *   for (const packet of packets) {
 *     const flow = flows.of(packet);
 *     if (flow) flow.bytes += packet.payload.length;
 *   }
 * });
 * ```
 */
export class FlowContexts<T> {
  readonly #create: (packet: InspectedPacket) => T;
  readonly #onEnd: (context: T, why: FlowContextEnd) => void;
  readonly #max: number;
  readonly #tcpMs: number;
  readonly #otherMs: number;
  readonly #nowMs: () => number;
  /** About in the order of their last packets. */
  readonly #entries = new Map<string, Entry<T>>();
  #walk: IterableIterator<[string, Entry<T>]> | null = null;
  #timer: NodeJS.Timeout | null = null;
  #closed = false;

  /** Throws a `GatewayError` that names a wrong option. */
  constructor(options: FlowContextsOptions<T>) {
    const checked = readOptions(FLOW_CONTEXTS, 'options', options);
    this.#create = checked.create as FlowContextsOptions<T>['create'];
    this.#onEnd = checked.onEnd;
    this.#nowMs = checked.nowMs;
    this.#max = checked.max;
    ({ tcpIdleMs: this.#tcpMs, otherIdleMs: this.#otherMs } = idleMsOf(checked.idleTimeout));
  }

  /** Flows that have a context. */
  get size(): number {
    return this.#entries.size;
  }

  /**
   * The context of a packet's flow, made where it has none. To be asked once for each packet, in their
   * order. Null for later fragments and ICMP errors, which do not name their flow.
   */
  of(packet: InspectedPacket): T | null {
    const key = keyOf(packet);
    if (this.#closed) throw new GatewayError('ERR_GWLB_CLOSED', 'the flow contexts were closed');
    if (key === null) return null;
    const now = this.#nowMs();
    let entry = this.#entries.get(key);
    if (entry && opensAnew(packet, entry)) {
      this.#end(key, entry, 'reopened');
      entry = undefined;
    }
    if (!entry) entry = this.#add(key, packet, now);
    else if (now - entry.movedMs >= ORDER_MS) {
      this.#entries.delete(key);
      this.#entries.set(key, entry);
      entry.movedMs = now;
    }
    entry.seenMs = now;
    if (entry.isTcp) observe(packet, entry);
    return entry.context;
  }

  /** Ends the context of a packet's flow, as after a verdict on it. False where it has none. */
  end(packet: InspectedPacket): boolean {
    const key = keyOf(packet);
    const entry = key === null ? undefined : this.#entries.get(key);
    if (key === null || !entry) return false;
    this.#end(key, entry, 'ended');
    return true;
  }

  /** Ends what has been idle, of all flows; done by itself, a part of them every second. */
  sweep(): void {
    this.#walk = null;
    this.#sweep(this.#entries.size);
  }

  /** Ends all of them; idempotent. */
  close(): void {
    this.#closed = true;
    for (const [key, entry] of this.#entries) this.#end(key, entry, 'ended');
  }

  #add(key: string, packet: InspectedPacket, now: number): Entry<T> {
    const context = this.#create(packet);
    if (this.#entries.size >= this.#max) {
      const [oldest] = this.#entries;
      this.#end(...oldest, 'evicted');
    }
    const isTcp = packet.protocol === 6;
    const entry: Entry<T> = { context, seenMs: now, movedMs: now, isTcp, tcp: 0 };
    this.#entries.set(key, entry);
    this.#timer ??= setInterval(() => {
      this.#sweep(Math.max(SWEEP_LEAST, Math.ceil(this.#entries.size / SWEEP_PARTS)));
    }, SWEEP_MS).unref();
    return entry;
  }

  #sweep(count: number): void {
    const now = this.#nowMs();
    this.#walk ??= this.#entries.entries();
    for (let n = 0; n < count; n += 1) {
      const { done, value } = this.#walk.next();
      if (done) {
        this.#walk = null;
        return;
      }
      const [key, entry] = value;
      const [idleMs, why] = this.#timerOf(entry);
      if (now - entry.seenMs >= idleMs) this.#end(key, entry, why);
    }
  }

  #timerOf({ isTcp, tcp }: Entry<T>): [number, FlowContextEnd] {
    if (!isTcp) return [this.#otherMs, 'idle'];
    if (tcp & RESET) return [RESET_IDLE_MS, 'reset'];
    const isClosed = (tcp & (FIN_UP | FIN_DOWN)) === (FIN_UP | FIN_DOWN);
    return isClosed ? [CLOSED_IDLE_MS, 'closed'] : [this.#tcpMs, 'idle'];
  }

  #end(key: string, { context }: Entry<T>, why: FlowContextEnd): void {
    this.#entries.delete(key);
    if (this.#entries.size === 0 && this.#timer) {
      clearInterval(this.#timer);
      this.#timer = null;
    }
    this.#onEnd(context, why);
  }
}

/** A SYN on a connection that was past its handshake. */
function opensAnew(packet: InspectedPacket, { isTcp, tcp }: Entry<unknown>): boolean {
  return isTcp && tcp !== 0 && (packet.tcpFlags & (SYN | ACK)) === SYN;
}

function observe(packet: InspectedPacket, entry: Entry<unknown>): void {
  const flags = packet.tcpFlags;
  if ((flags & (SYN | RST)) === 0) entry.tcp |= HANDSHAKE_OVER;
  if (flags & FIN) entry.tcp |= isLowToHigh(packet) ? FIN_UP : FIN_DOWN;
  // A forged RST must not end a connection that goes on.
  entry.tcp = flags & RST ? entry.tcp | RESET : entry.tcp & ~RESET;
}

function isLowToHigh(packet: InspectedPacket): boolean {
  const words = packet.version === 4 ? 1 : 4;
  for (let k = 0; k < words; k += 1) {
    const difference = packet.sourceWord(k) - packet.destinationWord(k);
    if (difference !== 0) return difference < 0;
  }
  return packet.sourcePort <= packet.destinationPort;
}

function keyOf(packet: unknown): string | null {
  if (!InspectedPacket.is(packet)) {
    throw invalidArgument('packet', 'an InspectedPacket', packet);
  }
  if (packet.isLaterFragment || packet.isIcmpError) return null;
  const words = packet.version === 4 ? 1 : 4;
  let source = '';
  let destination = '';
  for (let k = 0; k < words; k += 1) {
    source += `${packet.sourceWord(k)},`;
    destination += `${packet.destinationWord(k)},`;
  }
  source += packet.sourcePort;
  destination += packet.destinationPort;
  const ends = isLowToHigh(packet) ? `${source}-${destination}` : `${destination}-${source}`;
  return `${packet.endpointKey}/${packet.protocol}/${ends}`;
}
