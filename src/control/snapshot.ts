/** The registry's state as the immutable table that the data plane decides by. */
import type { NativeTargets } from '../binding.js';
import { GatewayError } from '../errors.js';
import { targetIdentity } from '../fleet/identity.js';
import { weightIn } from '../fleet/slow-start.js';
import { ZONES_MAX } from '../limits.js';
import type { Registry } from './registry.js';

/**
 * What the rendezvous scores are seeded with: one number for all, so that every node and every
 * restart chooses the same target. It need not be secret: which row a flow takes depends on the
 * gateway's hash key.
 */
export const TARGET_SEED = 0n;

/**
 * Numbers for zone names; shared by the targets and endpoints of one load balancer. A name has its
 * number for as long as a target has it (until the slot is free again, see `keep`) or an endpoint.
 */
export class ZoneIndex {
  readonly #numbers = new Map<string, number>();
  /** How many endpoints hold a name. */
  readonly #holders = new Map<string, number>();

  /** A copy that lives its own life. */
  clone(): ZoneIndex {
    const copy = new ZoneIndex();
    for (const [name, number] of this.#numbers) copy.#numbers.set(name, number);
    for (const [name, holders] of this.#holders) copy.#holders.set(name, holders);
    return copy;
  }

  /** More than the largest number. */
  get size(): number {
    return Math.max(-1, ...this.#numbers.values()) + 1;
  }

  /** The names, with their numbers. */
  entries(): [name: string, number: number][] {
    return [...this.#numbers];
  }

  /** The zone's number; a new name takes the lowest that is free. Throws `ERR_GWLB_ENDPOINT_LIMIT`. */
  number(name: string): number {
    const known = this.#numbers.get(name);
    if (known !== undefined) return known;
    this.checkRoom([name]);
    const taken = new Set(this.#numbers.values());
    let number = 0;
    while (taken.has(number)) number++;
    this.#numbers.set(name, number);
    return number;
  }

  /** `number`, for an endpoint: the name is kept until it is released as often as it was held. */
  hold(name: string): number {
    const number = this.number(name);
    this.#holders.set(name, (this.#holders.get(name) ?? 0) + 1);
    return number;
  }

  release(name: string): void {
    const holders = (this.#holders.get(name) ?? 0) - 1;
    if (holders > 0) this.#holders.set(name, holders);
    else this.#holders.delete(name);
  }

  /** Frees the numbers of all names but these and those that are held. */
  keep(names: ReadonlySet<string>): void {
    for (const name of this.#numbers.keys()) {
      if (!names.has(name) && !this.#holders.has(name)) this.#numbers.delete(name);
    }
  }

  /** Throws `ERR_GWLB_ENDPOINT_LIMIT` where these zones would not all get a number. */
  checkRoom(names: Iterable<string>): void {
    const all = new Set([...this.#numbers.keys(), ...names]);
    if (all.size <= ZONES_MAX) return;
    const message = `zone: expected at most ${ZONES_MAX} zones of targets and endpoints, received ${all.size}`;
    throw new GatewayError('ERR_GWLB_ENDPOINT_LIMIT', message, { field: 'zone' });
  }
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
    keeps: record.phase !== 'gone' && !record.failing,
    generation: record.generation,
    // A weight of 0 is not eligible, and native code takes none below 1.
    weight: Math.max(1, weightIn(record.step, record.weight)),
    identity: targetIdentity(record.id),
  }));
  return { targets, zones: zones.size, crossZone, seed: TARGET_SEED };
}
