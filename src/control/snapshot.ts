/** The registry's state as the immutable table that the data plane decides by. */
import type { NativeTargets } from '../binding.js';
import { GatewayError } from '../errors.js';
import { ZONES_MAX } from '../limits.js';
import { fnv1a64 } from './hash.js';
import type { Registry } from './registry.js';
import { weightIn } from './slow-start.js';

/**
 * What the rendezvous scores are seeded with: one number for all, so that every node and every
 * restart chooses the same target. It need not be secret: which row a flow takes depends on the
 * gateway's hash key.
 */
export const TARGET_SEED = 0n;

/**
 * Numbers for zone names, in the order they are first named; shared by the targets and endpoints of
 * one load balancer.
 */
export class ZoneIndex {
  readonly #numbers = new Map<string, number>();

  /** A copy that lives its own life. */
  clone(): ZoneIndex {
    const copy = new ZoneIndex();
    for (const [name, number] of this.#numbers) copy.#numbers.set(name, number);
    return copy;
  }

  /** How many zones have a number. */
  get size(): number {
    return this.#numbers.size;
  }

  /** The names; the position is the number. */
  names(): string[] {
    return [...this.#numbers.keys()];
  }

  /** The zone's number; a new name takes the next one. Throws `ERR_GWLB_ENDPOINT_LIMIT`. */
  number(name: string): number {
    const known = this.#numbers.get(name);
    if (known !== undefined) return known;
    this.checkRoom([name]);
    this.#numbers.set(name, this.size);
    return this.size - 1;
  }

  /** Throws `ERR_GWLB_ENDPOINT_LIMIT` where these zones would not all get a number. */
  checkRoom(names: Iterable<string>): void {
    const all = new Set([...this.#numbers.keys(), ...names]);
    if (all.size <= ZONES_MAX) return;
    const message = `zone: expected at most ${ZONES_MAX} zones of targets and endpoints, received ${all.size}`;
    throw new GatewayError('ERR_GWLB_ENDPOINT_LIMIT', message, { field: 'zone' });
  }
}

/**
 * What a target's rendezvous scores are computed from: FNV-1a 64 of its id, `10.0.1.10:6081`. The
 * same on every node and after every restart, whatever the slot.
 */
export function targetIdentity(id: string): bigint {
  return fnv1a64(id);
}

/** Settles the registry and writes down what the data plane must know. */
export function snapshotOf(
  registry: Registry,
  zones: ZoneIndex,
  crossZone: boolean,
  now: number,
): NativeTargets {
  const eligible = registry.settle(crossZone, now);
  const targets = [...registry.records()].map((record) => ({
    slot: record.slot,
    zone: zones.number(record.zone),
    address: record.number,
    port: record.port,
    eligible: eligible.has(record),
    reset: record.reset,
    gone: record.phase === 'gone',
    generation: record.generation,
    // A weight of 0 is not eligible, and native code takes none below 1.
    weight: Math.max(1, weightIn(record.step, record.weight)),
    identity: targetIdentity(record.id),
  }));
  return { targets, zones: zones.size, crossZone, seed: TARGET_SEED };
}
