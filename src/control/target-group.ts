/** A fleet of appliances: who belongs to it, how they are, and what may change about them. */
import type { NativeTargets } from '../binding.js';
import { checkArray } from '../checks.js';
import { checkInteger, checkOneOf, checkString, GatewayError, invalidArgument } from '../errors.js';
import type { ProbeResult } from '../health/thresholds.js';
import { TARGETS_MAX, WEIGHT_MAX, ZONES_MAX } from '../limits.js';
import { changeAttributes, type TargetGroupAttributes } from './attributes.js';
import type { TargetGroupHost } from './events.js';
import { GroupSettings } from './group-settings.js';
import { checkProbes, type HealthCheck, sameCheck } from './health-options.js';
import {
  type CheckedTarget,
  checkCombination,
  checkDistinct,
  checkPolicyChange,
  checkTarget,
  checkTargetGroup,
  type Settings,
  type TargetGroupOptions,
  type TargetGroupPolicy,
  type TargetSpec,
} from './options.js';
import { Preview, type TargetGroupChange, type TargetGroupPreview } from './preview.js';
import { Prober, type ProberEvents, type Runtime, SYSTEM_RUNTIME } from './prober.js';
import { Registry, type TargetReference } from './registry.js';
import { type RegistryEvent, registryPolicy } from './registry-types.js';
import { snapshotOf, type ZoneIndex } from './snapshot.js';
import type { Target, TargetRecord } from './target.js';

/** Far above what a group has room for, which is another error. */
const SPECS_MAX = 65_536;

/**
 * The targets of one load balancer. Until a load balancer uses the group, targets are `unused` and
 * are not checked.
 *
 * Events: `health` with every change of a target's state; `weight` with every change of its share; `register` when a target is registered;
 * `deregister` when it is gone, that is after its deregistration delay; `probe` after every health
 * check; `change` when the data plane needs a new `snapshot`. `change` comes before the other events
 * of the same cause, so their listeners see what packets see.
 *
 * Timers do not keep the process alive; a check that is connecting may, until its timeout.
 */
export class TargetGroup extends GroupSettings {
  readonly #runtime: Runtime;
  readonly #registry: Registry;
  #host: TargetGroupHost | null = null;
  #prober: Prober | null = null;
  #zones: ZoneIndex | null = null;
  #crossZone = false;
  #timer: unknown = null;
  #version = 0;
  #closed = false;
  #pending: (() => void)[] = [];
  #emitting = false;

  /** Throws what is wrong with an option, naming it. */
  constructor(options?: TargetGroupOptions);
  /** @internal With clock, timers and checks of another kind: for simulations. */
  constructor(options?: TargetGroupOptions, runtime?: Runtime);
  constructor(options: TargetGroupOptions = {}, runtime: Runtime = SYSTEM_RUNTIME) {
    super(checkTargetGroup(options));
    this.#runtime = runtime;
    const limits = { targets: TARGETS_MAX, zones: ZONES_MAX };
    this.#registry = new Registry(registryPolicy(this.settings), limits);
  }

  /** @internal Whether it is one of this copy of the package, whatever a proxy says. */
  static is(value: unknown): value is TargetGroup {
    return typeof value === 'object' && value !== null && #registry in value;
  }

  /** A load balancer uses the group. */
  get inUse(): boolean {
    return this.#host !== null;
  }

  /**
   * Changes the attributes that are named, as AWS `ModifyTargetGroupAttributes` does; all or none.
   * Throws `ERR_GWLB_ATTRIBUTES`.
   */
  modifyAttributes(changes: TargetGroupAttributes): void {
    this.#checkOpen();
    const changed = changeAttributes(this.settings, changes);
    if (this.#host && changed.stickiness !== this.stickiness) {
      throw new GatewayError(
        'ERR_GWLB_ATTRIBUTES',
        'stickiness.enabled and stickiness.type cannot change while a load balancer uses the group',
        { field: 'stickiness.type' },
      );
    }
    this.#change(changed);
  }

  /**
   * Registers targets; all or none. A target that is still draining comes back with its flows; one that is gone
   * is another machine, with none.
   * Throws `ERR_GWLB_DUPLICATE_TARGET`, `ERR_GWLB_TARGET_LIMIT`, and what is wrong with a value.
   */
  register(...targets: TargetSpec[]): Target[] {
    this.#checkOpen();
    const checked = this.#checkTargets(targets);
    const events = this.#registry.register(checked, this.#runtime.now());
    this.#apply(events);
    return checked.map((target) => this.#registry.get(target.id).view);
  }

  /**
   * Deregisters targets, named by object, id (`10.0.1.10:6081`) or address; all or none. They drain:
   * no new flows, but their flows stay for `deregistrationDelaySeconds`. One that drains already goes
   * on draining. Throws `ERR_GWLB_UNKNOWN_TARGET`.
   */
  deregister(...targets: TargetReference[]): void {
    this.#checkOpen();
    const records = targets.map((target) => this.#registry.get(target));
    this.#apply(this.#registry.deregister(records, this.#runtime.now()));
  }

  /**
   * Makes the group have exactly these targets: registers, deregisters and changes zone and weight
   * of as many as necessary; all or none.
   */
  setTargets(targets: readonly TargetSpec[]): Target[] {
    this.#checkOpen();
    const given = checkArray('targets', targets, 'an array', SPECS_MAX);
    const now = this.#runtime.now();
    const checked = this.#checkTargets(given);
    const wanted = new Map(checked.map((target) => [target.id, target]));
    checkDistinct(checked);
    const active = this.#registry.targets().filter((record) => record.phase === 'active');
    const known = new Set(active.map((record) => record.id));
    const added = checked.filter((target) => !known.has(target.id));
    this.#registry.checkRegistration(added, now);
    this.#registry.checkZones(checked.map((target) => target.zone));
    const events = this.#registry.deregister(
      active.filter((record) => !wanted.has(record.id)),
      now,
    );
    events.push(...this.#registry.register(added, now));
    for (const record of active) {
      const target = wanted.get(record.id);
      if (target) events.push(...this.#registry.adjust(record, target.weight, target.zone, now));
    }
    this.#apply(events);
    return checked.map((target) => this.#registry.get(target.id).view);
  }

  /** Registered and draining targets, in order of registration. */
  targets(): readonly Target[] {
    return this.#registry.targets().map((record) => record.view);
  }

  /** The target with this id, or this address where that is enough; undefined where none is. */
  target(id: string): Target | undefined {
    return this.#registry.find(id)?.view;
  }

  /** The target in this slot of the data plane; undefined where none is. */
  targetInSlot(slot: number): Target | undefined {
    for (const record of this.#registry.records()) if (record.slot === slot) return record.view;
    return undefined;
  }

  /** Changes a target's share of new flows, 0–1000; existing flows stay. */
  setWeight(target: TargetReference, weight: number): void {
    this.#checkOpen();
    const record = this.#registry.get(target);
    checkInteger('weight', weight, 0, WEIGHT_MAX);
    this.#apply(this.#registry.adjust(record, weight, record.zone, this.#runtime.now()));
  }

  /**
   * Says how a target is, in a group with `healthCheck: false`: for programs that learn it in another
   * way, and for simulations. It holds until it is said again, the target is registered again, or
   * checks are turned on; a target that drains stays as it is. Before a load balancer uses the group it
   * is kept for then. Throws `ERR_GWLB_INVALID_ARGUMENT` where targets are checked.
   *
   * @param description A sentence for `target.description`, 1–200 characters.
   */
  setHealth(target: TargetReference, state: 'healthy' | 'unhealthy', description?: string): void {
    this.#checkOpen();
    const record = this.#registry.get(target);
    checkOneOf('state', state, ['healthy', 'unhealthy']);
    if (description !== undefined) checkString('description', description, { max: 200 });
    if (this.settings.healthCheck) {
      throw invalidArgument('healthCheck', 'false for setHealth', this.healthCheck);
    }
    this.#apply(this.#registry.setHealth(record, state, description, this.#runtime.now()));
  }

  /**
   * Changes what may change while running; everything is checked before anything changes. A
   * `healthCheck` or `sendTcpReset` replaces the one before, with its defaults; the states of targets
   * are kept. Throws what is wrong with a value, and `ERR_GWLB_ATTRIBUTES` where options exclude each
   * other.
   */
  update(policy: TargetGroupPolicy): void {
    this.#checkOpen();
    this.#change(checkPolicyChange(policy));
  }

  /**
   * What changes would do, made one after the other: which rows of the target table move, each
   * target's share of new flows, and what becomes of the flows that are alive. Changes nothing. Rejects
   * with what the change itself would throw, naming `changes[0]` and so on.
   *
   * The flow table is walked in small steps, so that neither packets nor this thread wait; flows
   * that come and go meanwhile are counted or not. Without a load balancer every target counts as
   * healthy, zones are independent, and there are no flows.
   */
  async preview(...changes: TargetGroupChange[]): Promise<TargetGroupPreview> {
    this.#checkOpen();
    const preview = new Preview({
      registry: this.#registry,
      settings: this.settings,
      zones: this.#zones,
      crossZone: this.#crossZone,
      host: this.#host,
      now: this.#runtime.now(),
    });
    changes.forEach((change, i) => {
      preview.apply(change, `changes[${i}]`);
    });
    return preview.result(() => this.#host);
  }

  /**
   * @internal For load balancers: begins to use the group. Throws `ERR_GWLB_IN_USE`, and
   * `ERR_GWLB_INVALID_ARGUMENT` where it cannot make the group's health checks.
   */
  attach(host: TargetGroupHost): void {
    this.#checkOpen();
    if (this.#host) {
      throw new GatewayError(
        'ERR_GWLB_IN_USE',
        `target group ${this.name}: expected a group that no load balancer uses, since flows and ` +
          'health belong to one; received one in use',
      );
    }
    checkProbes(this.settings.healthCheck, host.sendProbe !== undefined);
    this.#host = host;
    this.#apply(this.#registry.attach(this.#runtime.now()));
  }

  /** @internal For load balancers: stops using the group. Without effect where none does. */
  detach(): void {
    if (!this.#host) return;
    this.#host = null;
    this.#zones = null;
    this.#crossZone = false;
    const events = this.#registry.detach(this.#runtime.now());
    // Nobody is there any more for whom the snapshot would matter.
    this.#version = this.#registry.version;
    this.#syncChecks();
    this.#armTimer();
    this.#apply(events);
  }

  /**
   * @internal For load balancers: what the data plane decides by. Zones that are new get their number from
   * `zones`, and those that nobody has any more give theirs back. With `crossZone` a zone without a healthy target may use those of the others.
   */
  snapshot(zones: ZoneIndex, crossZone: boolean): NativeTargets {
    this.#zones = zones;
    this.#crossZone = crossZone;
    zones.keep(this.#registry.zones());
    return snapshotOf(this.#registry, zones, crossZone, this.#runtime.now());
  }

  /**
   * Ends the group: it takes no more calls. Rejects with `ERR_GWLB_IN_USE` while a load balancer uses
   * it: close that first.
   */
  async close(): Promise<void> {
    if (this.#host) {
      throw new GatewayError(
        'ERR_GWLB_IN_USE',
        `target group ${this.name}: expected a group that no load balancer uses, received one in ` +
          'use; close the load balancer first',
      );
    }
    this.#closed = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #checkOpen(): void {
    if (!this.#closed) return;
    throw new GatewayError('ERR_GWLB_CLOSED', `target group ${this.name}: it was closed`);
  }

  #checkTargets(targets: readonly unknown[]): CheckedTarget[] {
    const checked = targets.map((target, i) => checkTarget(target, this.port, `targets[${i}]`));
    this.#zones?.checkRoom(checked.map((target) => target.zone));
    checked.forEach((target, i) => {
      this.#host?.checkTarget?.(target.address, `targets[${i}].address`);
    });
    return checked;
  }

  #change(changes: Partial<Settings>): void {
    const before = this.settings;
    const after = Object.freeze({ ...before, ...changes });
    checkCombination(after);
    if (this.#host) checkProbes(after.healthCheck, this.#host.sendProbe !== undefined);
    this.settings = after;
    const otherChecks = !sameCheck(before.healthCheck, this.settings.healthCheck);
    const policy = registryPolicy(this.settings);
    const events = this.#registry.setPolicy(policy, otherChecks, this.#runtime.now());
    const { healthCheck } = this.settings;
    if (otherChecks && healthCheck) this.#prober?.configure(healthCheck);
    this.#apply(events, otherChecks || before.failOpen !== this.failOpen);
  }

  /** Brings checks and timers in line with the registry, then tells the world. */
  #apply(events: readonly RegistryEvent[], changed = false): void {
    const isNew = changed || this.#version !== this.#registry.version;
    this.#version = this.#registry.version;
    for (const event of events) this.#pending.push(() => this.#tell(event));
    if (isNew) {
      this.#syncChecks();
      this.#armTimer();
    }
    try {
      if (isNew) this.emit('change');
    } finally {
      this.#flush();
    }
  }

  #syncChecks(): void {
    const { healthCheck } = this.settings;
    if (!this.#host || !healthCheck) {
      this.#prober?.close();
      this.#prober = null;
      return;
    }
    this.#prober ??= this.#newProber(healthCheck, this.#host);
    const checked = new Map<string, TargetRecord>();
    for (const record of this.#registry.records()) {
      if (record.phase === 'active') checked.set(record.id, record);
    }
    this.#prober.setTargets(checked);
  }

  #newProber(check: HealthCheck, host: TargetGroupHost): Prober {
    const rule = () => this.settings.healthCheck || check;
    const record = (id: string) => this.#registry.find(id);
    const tell = (target: Target, result: ProbeResult, durationMs: number) => {
      const { ok, detail } = result;
      const failure = result.ok ? null : result.failure;
      this.#pending.push(() => this.emit('probe', { target, ok, durationMs, detail, failure }));
    };
    const events: ProberEvents = {
      started: (id) => {
        const found = record(id);
        if (found) this.#registry.checkStarted(found);
      },
      finished: (id, result, durationMs) => {
        const found = record(id);
        if (!found) return;
        tell(found.view, result, durationMs);
        this.#apply(this.#registry.checked(found, result, rule(), this.#runtime.now()));
      },
      isHealthy: (id) => record(id)?.state === 'healthy',
      asked: (id, result, durationMs) => {
        const found = record(id);
        if (!found) return;
        tell(found.view, result, durationMs);
        this.#flush();
      },
      confirmed: (id, evidence, result) => {
        const found = record(id);
        if (!found) return;
        const now = this.#runtime.now();
        this.#apply(this.#registry.condemned(found, evidence, result, rule(), now));
      },
    };
    return new Prober(check, host, events, this.#runtime);
  }

  #armTimer(): void {
    this.#runtime.clearTimer(this.#timer);
    this.#timer = null;
    const now = this.#runtime.now();
    const deadline = this.#registry.nextDeadline(now);
    if (deadline === null) return;
    this.#timer = this.#runtime.setTimer(() => this.#tick(), Math.max(1, deadline - now));
  }

  #tick(): void {
    const host = this.#host;
    if (!host) return;
    const events = this.#registry.tick(this.#runtime.now(), (slot) => host.flowsActive(slot));
    this.#armTimer();
    this.#apply(events);
  }

  #tell(event: RegistryEvent): void {
    const target = event.record.view;
    const { at } = event;
    if (event.type === 'weight') {
      const { weight, effectiveWeight } = target;
      this.emit('weight', { target, weight, effectiveWeight, cause: event.cause, at });
    } else if (event.type === 'health') {
      const { previous, state, reason, cause } = event;
      this.emit('health', { target, previous, state, reason, cause, at });
    } else {
      this.emit(event.type, { target, cause: event.cause, at });
    }
  }

  /** In order, also where a listener causes further events; a listener that throws stops no other. */
  #flush(): void {
    if (this.#emitting) return;
    this.#emitting = true;
    const thrown: unknown[] = [];
    for (let tell = this.#pending.shift(); tell; tell = this.#pending.shift()) {
      try {
        tell();
      } catch (error) {
        thrown.push(error);
      }
    }
    this.#emitting = false;
    if (thrown.length > 0) throw thrown[0];
  }
}
