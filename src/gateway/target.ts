/** One target of a group, as users see it. */
import { inspect } from 'node:util';
import { wrongObject } from '../base/checks.js';
import { invalidArgument } from '../base/errors.js';
import { WEIGHT_UNIT, weightIn } from '../fleet/slow-start.js';
import type { FleetTarget } from '../fleet/state.js';
import type { TargetReason, TargetState } from '../health/thresholds.js';

/** What only `viewOf` can give to the constructor. */
const PRIVATE = Symbol('viewOf');

/** One for each record that somebody has asked for. */
const views = new WeakMap<FleetTarget, Target>();

/** What users get of a record: always the same object. */
export let viewOf: (record: FleetTarget) => Target;

/** The view is of this record from now on, in another fleet. */
export let followTo: (view: Target, record: FleetTarget) => void;

/** How a target is named: its id, its address where that is enough, or the object. */
export type TargetReference = string | Target;

/** Whether it is a target of this copy of the package, whatever a proxy says. */
export let isTarget: (value: unknown) => value is Target;

/**
 * A target of a target group. Its properties always tell the present; after it was deregistered and
 * its delay is over they keep the last values.
 */
export class Target {
  #record: FleetTarget;

  static {
    viewOf = (record) => {
      const view = views.get(record) ?? new Target(PRIVATE, record);
      views.set(record, view);
      return view;
    };
    followTo = (view, record) => {
      views.delete(view.#record);
      views.set(record, view);
      view.#record = record;
    };
    isTarget = (value): value is Target =>
      typeof value === 'object' && value !== null && #record in value;
  }

  private constructor(key: symbol, record: FleetTarget) {
    if (key !== PRIVATE) throw invalidArgument('Target', 'a call of TargetGroup.register', key);
    this.#record = record;
  }

  /** Address and port, such as `10.0.1.10:6081`; unique in the group. */
  get id(): string {
    return this.#record.id;
  }

  /** Its IPv4 address. */
  get address(): string {
    return this.#record.address;
  }

  /** UDP port on which it receives GENEVE. */
  get port(): number {
    return this.#record.port;
  }

  /** The zone whose endpoints it serves. */
  get zone(): string {
    return this.#record.zone;
  }

  /** 0–1000; see `TargetSpec`. */
  get weight(): number {
    return this.#record.weight;
  }

  /**
   * The weight that its share comes from now: less than `weight` during a slow start
   * (`slowStartSeconds`), in tenths.
   */
  get effectiveWeight(): number {
    return weightIn(this.#record.step, this.#record.weight) / WEIGHT_UNIT;
  }

  /**
   * Its number in the data plane and in flow cookies, 0–4095. A load balancer that begins to use the group
   * gives it another.
   */
  get slot(): number {
    return this.#record.slot;
  }

  /** How it is; see `TargetState`. */
  get state(): TargetState {
    return this.#record.state;
  }

  /** AWS reason code of the state; null where the state is `healthy`. */
  get reason(): TargetReason | null {
    return this.#record.reason;
  }

  /** The reason as a sentence. */
  get description(): string {
    return this.#record.description;
  }

  /**
   * Why this host could not make its last health check, as a sentence: its state is what it was before,
   * whatever became of it since. Null where the check was made, and where there are none.
   */
  get impeded(): string | null {
    return this.#record.health.impeded;
  }

  /** When it entered its state, in milliseconds since 1970. */
  get since(): number {
    return this.#record.since;
  }

  /** Its properties as plain values. */
  toJSON() {
    const { id, address, port, zone, weight, effectiveWeight } = this;
    const { slot, state, reason, description, impeded, since } = this;
    const share = { weight, effectiveWeight };
    return { id, address, port, zone, ...share, slot, state, reason, description, impeded, since };
  }

  [inspect.custom](): unknown {
    return this.toJSON();
  }
}

/** What messages and commands call the target. */
export function targetName(reference: unknown): string {
  const name = isTarget(reference) ? reference.id : reference;
  if (typeof name === 'string') return name;
  const expected = 'a target or its id such as "10.0.1.10:6081"';
  throw wrongObject('target', 'Target', reference, expected);
}
