/** The flow table by itself, for embedders who keep their own state per flow. */
import { randomBytes } from 'node:crypto';
import { checkBytes, checkBytesOf, checkWords, native, nativeError } from '../base/checks.js';
import { checkInteger, checkOneOf, mismatch, outOfRange, show } from '../base/errors.js';
import { FLOWS_MAX, FLOWS_MIN } from '../base/limits.js';
import { integer, oneOf } from '../base/option-kinds.js';
import { readOptions, type TableOf } from '../base/option-table.js';
import { binding } from '../native/binding.js';
import type { NativeFlowTable } from '../native/binding-codec.js';
import { secretKey } from './option-kinds.js';

/** What makes packets one flow; protocols without ports have the 3-tuple also under `5-tuple`. */
export type Stickiness = '5-tuple' | '3-tuple' | '2-tuple';

const TUPLE: Readonly<Record<Stickiness, 5 | 3 | 2>> = { '5-tuple': 5, '3-tuple': 3, '2-tuple': 2 };

/** Scope of flows that belong to no endpoint in particular. */
export const SCOPE_ALL = 0xffff;

/** What `lookup` and `insert` return for "none". */
export const NO_FLOW = 0xffffffff;

/**
 * The canonical key of an IP packet's flow, the same for both directions: 16 bytes for IPv4, 40 for
 * IPv6; null where the packet is malformed. `scope` (0–0xffff) keeps apart flows whose addresses may
 * be equal, such as those of different endpoints; by default all flows are one space.
 */
export function flowKey(
  packet: Uint8Array,
  stickiness: Stickiness = '5-tuple',
  scope: number = SCOPE_ALL,
): Uint8Array | null {
  checkBytes('packet', packet);
  const tuple = TUPLE[checkOneOf('stickiness', stickiness, ['5-tuple', '3-tuple', '2-tuple'])];
  checkInteger('scope', scope, 0, 0xffff);
  return native(() => binding.flowKey(packet, tuple, scope));
}

/** Options of a `FlowTable`. */
export interface FlowTableOptions {
  /** Flows the table has room for, 1,024 to 2^27. All memory is taken at once. */
  capacity: number;
  /** 4 or 6: the IP version of its keys. Default 4. */
  family?: 4 | 6;
  /** After so many milliseconds without a lookup a flow may be swept, 1 to 2^31 - 1. Default 350,000. */
  idleMs?: number;
  /** 16 secret bytes that the hash depends on. Default random. */
  hashKey?: Uint8Array;
}

/** The options of a `FlowTable`. */
export const FLOW_TABLE = {
  capacity: {
    says: 'flows the table has room for, taken at once',
    kind: integer(FLOWS_MIN, FLOWS_MAX),
  },
  family: { says: 'IP version of its keys', kind: oneOf(4, 6), preset: 4 },
  idleMs: {
    says: 'after so many milliseconds without a lookup a flow may be swept',
    kind: integer(1, 0x7fffffff),
    preset: 350_000,
  },
  hashKey: {
    says: 'secret that the hash depends on',
    kind: secretKey,
    fresh: () => randomBytes(16),
    presetText: 'random',
  },
} as const satisfies TableOf<FlowTableOptions>;

/**
 * A bounded map from flow keys to 32-bit values, with bulk lookup and idle expiry. It never reads a
 * clock: `now` is an argument, in milliseconds from any fixed point.
 */
export class FlowTable {
  /** 4 or 6. */
  readonly family: 4 | 6;
  /** Bytes of one key: 16 or 40. */
  readonly keyBytes: 16 | 40;
  readonly #native: NativeFlowTable;
  readonly #one = new Uint32Array(1);

  constructor(options: FlowTableOptions) {
    const { family, capacity, idleMs, hashKey } = readOptions(FLOW_TABLE, 'options', options);
    this.family = family;
    this.keyBytes = family === 4 ? 16 : 40;
    this.#native = native(
      () => new binding.FlowTable(family, capacity, idleMs, hashKey),
      'make a flow table',
    );
  }

  /** Flows it has room for. */
  get capacity(): number {
    return this.#native.capacity;
  }

  /** Flows in it. */
  get size(): number {
    return this.#native.size();
  }

  /** Bytes it takes. */
  get memoryBytes(): number {
    return this.#native.memoryBytes();
  }

  /**
   * Looks up `count` keys that lie one behind the other, and writes their positions (`NO_FLOW` for
   * those that are not there) into `positions`. Found flows are alive again. At most 256 at a time.
   */
  lookup(keys: Uint8Array, count: number, positions: Uint32Array, now: number): void {
    checkBytes('keys', keys);
    checkWords('positions', positions);
    const room = Math.min(Math.floor(keys.length / this.keyBytes), positions.length, 256);
    checkInteger('count', count, 0, room);
    const time = checkNow(now);
    try {
      this.#native.lookup(keys, count, positions, time);
    } catch (error) {
      throw nativeError(error);
    }
  }

  /** The value of a flow, or undefined. Keeps the flow alive. */
  get(key: Uint8Array, now: number): number | undefined {
    const at = this.#find(key, now);
    return at === NO_FLOW ? undefined : this.#native.value(at);
  }

  /**
   * Adds a flow or changes its value (0–0xffffffff). Returns its position, or `NO_FLOW` where the
   * table is full: go on without an entry then.
   */
  set(key: Uint8Array, value: number, now: number): number {
    checkInteger('value', value, 0, 0xffffffff);
    const at = this.#find(key, now);
    if (at === NO_FLOW) return this.#native.insert(key, value, checkNow(now));
    this.#native.setValue(at, value);
    return at;
  }

  /** Removes a flow; false where it was not there. */
  delete(key: Uint8Array, now: number): boolean {
    const at = this.#find(key, now);
    if (at === NO_FLOW) return false;
    this.#native.erase(at);
    return true;
  }

  /** The value at a position that `lookup` gave. */
  value(position: number): number {
    this.#checkPosition(position);
    return native(() => this.#native.value(position));
  }

  /** Changes the value at a position that `lookup` gave. */
  setValue(position: number, value: number): void {
    checkInteger('value', value, 0, 0xffffffff);
    this.#checkPosition(position);
    native(() => this.#native.setValue(position, value));
  }

  /**
   * Ends flows that were idle for too long; looks at `positions` places from where the last call
   * stopped. Returns how many it ended. Call often with a small number.
   */
  sweep(now: number, positions = 1024): number {
    return this.#native.sweep(checkNow(now), checkInteger('positions', positions, 1, 0xffffffff));
  }

  /** Ends all flows. */
  clear(): void {
    this.#native.clear();
  }

  #find(key: Uint8Array, now: number): number {
    checkBytesOf('key', key, this.keyBytes, ' (see flowKey)');
    this.#native.lookup(key, 1, this.#one, checkNow(now));
    return this.#one[0];
  }

  #checkPosition(position: number): number {
    if (position === NO_FLOW) throw outOfRange('position', 'the position of a flow', 'NO_FLOW');
    return checkInteger('position', position, 0, 0xfffffffe);
  }
}

/** A time in whole milliseconds, as the data plane takes it. */
export function checkNow(now: unknown): number {
  if (typeof now !== 'number' || !(now >= 0 && now <= Number.MAX_SAFE_INTEGER)) {
    throw mismatch(
      'ERR_GWLB_INVALID_ARGUMENT',
      'now',
      'milliseconds from a fixed point, at least 0',
      show(now),
    );
  }
  return Math.floor(now);
}
