/** One registered target: what the registry keeps, and the view of it that users get. */
import { inspect } from 'node:util';
import { invalidArgument } from '../errors.js';
import { LAST_STEP, WEIGHT_UNIT, weightIn } from '../fleet/slow-start.js';
import type { Health, TargetReason, TargetState } from '../health/thresholds.js';
import { REGISTERING } from '../health/thresholds.js';
import type { CheckedTarget } from './options.js';

/**
 * `active`: registered. `draining`: deregistered, keeps its flows until the delay is over. `gone`: no
 * target any more for users; its slot stays known to the data plane until its flows have left.
 */
export type Phase = 'active' | 'draining' | 'gone';

/** The registry's record of a target; only the registry writes it. */
export class TargetRecord {
  readonly id: string;
  readonly address: string;
  readonly number: number;
  readonly port: number;
  readonly slot: number;
  readonly view: Target;
  zone: string;
  weight: number;
  /** Flows that were pinned under another generation choose again. 8 bits. */
  generation: number;
  phase: Phase = 'active';
  state: TargetState = 'unused';
  reason: TargetReason | null = 'Target.NotInUse';
  description = '';
  since = 0;
  health: Health = REGISTERING;
  /** What `setHealth` said last; null where it said nothing, or checks were turned on since. */
  said: Health | null = null;
  /** Turned unhealthy and was not healthy since. */
  failing = false;
  /** The flows it had when it failed or left were told to choose again. */
  moved = false;
  /** TCP flows that are pinned to it are answered with a RST; since the last `settle`. */
  reset = false;
  /** When it turned healthy, while its slow start lasts; null otherwise. */
  warmingSince: number | null = null;
  /** How far its slow start is; see slow-start.ts. */
  step = LAST_STEP;
  /** The data plane has seen its slot, so that flows may be pinned to it. */
  published = false;
  /** When a draining target is gone. */
  drainUntil = 0;
  /** When a gone target's slot is free; null: when no flow is pinned to it. */
  freeAt: number | null = null;

  constructor(target: CheckedTarget, slot: number, generation: number) {
    this.id = target.id;
    this.address = target.address;
    this.number = target.number;
    this.port = target.port;
    this.zone = target.zone;
    this.weight = target.weight;
    this.slot = slot;
    this.generation = generation;
    this.view = Target.of(this);
  }

  /** What it is found by where its id is registered again; no target has such an id. */
  get formerKey(): string {
    return `${this.id} in ${this.slot}`;
  }

  /** Flows that were told to move and have had no packet since stay: their generation is back. */
  keepFlows(): void {
    if (!this.moved) return;
    this.moved = false;
    this.generation = (this.generation - 1) & 0xff;
  }

  /** A copy that lives its own life, with a view of its own. */
  clone(): TargetRecord {
    const copy = new TargetRecord(this, this.slot, this.generation);
    return Object.assign(copy, { ...this, view: copy.view });
  }
}

/** What only `of` can give to the constructor. */
const PRIVATE = Symbol('Target.of');

/**
 * A target of a target group. Its properties always tell the present; after it was deregistered and
 * its delay is over they keep the last values.
 */
export class Target {
  readonly #record: TargetRecord;

  private constructor(key: symbol, record: TargetRecord) {
    if (key !== PRIVATE) throw invalidArgument('Target', 'a call of TargetGroup.register', key);
    this.#record = record;
  }

  /** @internal Whether it is one of this copy of the package, whatever a proxy says. */
  static is(value: unknown): value is Target {
    return typeof value === 'object' && value !== null && #record in value;
  }

  /** @internal For the registry. */
  static of(record: TargetRecord): Target {
    return new Target(PRIVATE, record);
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

  /** Its number in the data plane and in flow cookies, 0–4095. */
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
