/**
 * The targets of a group and what becomes of them: registered → healthy ⇄ unhealthy → draining →
 * gone. A pure state machine: time and the number of flows are arguments, what happened is returned
 * as events, and nothing here opens a socket or sets a timer.
 *
 * New flows go to targets of the pool (the zone, or all zones with cross-zone) that are healthy and
 * have a weight; where none is, to all of the pool that are registered and have a weight, checked or
 * not: AWS fails open to its appliances, never around them.
 *
 * Existing flows are moved by generations: a flow pinned under another generation than its target's
 * chooses again with its next packet. With failover `rebalance` a target that failed or left gets a
 * new generation as soon as its pool has a healthy target. Where its flows may stay after all (it
 * recovered, came back, or none is healthy any more) it has the one before again: nothing was pinned
 * to it meanwhile. With TCP reset such a target's flows are answered with a RST, likewise
 * only while its pool has a healthy target.
 */
import { wrongObject } from '../checks.js';
import { GatewayError, invalidArgument, show } from '../errors.js';
import { LATE_RETURNS_MS } from '../fleet/change.js';
import { FLOWS_POLL_MS } from '../fleet/life.js';
import { beginOf, LAST_STEP, stepAfter } from '../fleet/slow-start.js';
import type * as H from '../health/thresholds.js';
import {
  checking,
  condemn,
  REGISTERING,
  recount,
  saidToBe,
  step,
  UNCHECKED,
} from '../health/thresholds.js';
import type { CheckedTarget } from './options.js';
import type {
  HealthCause,
  RegistryEvent,
  RegistryLimits,
  RegistryPolicy,
} from './registry-types.js';
import { SlotAllocator } from './slots.js';
import { Target, TargetRecord } from './target.js';

export { FLOWS_POLL_MS };

/** How a target is named: its id, its address where that is enough, or the object. */
export type TargetReference = string | Target;

const DESCRIPTIONS = {
  notInUse: 'No load balancer uses the target group.',
  draining: 'Deregistered; keeps its flows until the deregistration delay is over.',
  notRegistered: 'The target is not registered.',
} as const;

export class Registry {
  readonly #limits: RegistryLimits;
  #slots: SlotAllocator;
  readonly #generations: Uint8Array;
  /** By id; gone ones whose id is registered again by their `formerKey`. */
  readonly #records = new Map<string, TargetRecord>();
  #policy: RegistryPolicy;
  #inUse = false;
  #version = 0;
  #events: RegistryEvent[] = [];

  constructor(policy: RegistryPolicy, limits: RegistryLimits) {
    this.#policy = policy;
    this.#limits = limits;
    this.#slots = new SlotAllocator(limits.targets);
    this.#generations = new Uint8Array(limits.targets);
  }

  /** A copy that lives its own life: to try what would be. */
  clone(): Registry {
    const copy = new Registry(this.#policy, this.#limits);
    copy.#slots = this.#slots.clone();
    copy.#generations.set(this.#generations);
    for (const [key, record] of this.#records) copy.#records.set(key, record.clone());
    copy.#inUse = this.#inUse;
    copy.#version = this.#version;
    return copy;
  }

  /** Grows with every change that the data plane must hear of. */
  get version(): number {
    return this.#version;
  }

  get inUse(): boolean {
    return this.#inUse;
  }

  /** Everything the data plane must know, gone targets included, in order of registration. */
  records(): IterableIterator<TargetRecord> {
    return this.#records.values();
  }

  /** Registered and draining targets. */
  targets(): TargetRecord[] {
    return [...this.#records.values()].filter((record) => record.phase !== 'gone');
  }

  /** Names of the zones in use. */
  zones(): Set<string> {
    return new Set([...this.#records.values()].map((record) => record.zone));
  }

  find(reference: TargetReference): TargetRecord | null {
    const id = Target.is(reference) ? reference.id : reference;
    if (typeof id !== 'string') {
      const expected = 'a target or its id such as "10.0.1.10:6081"';
      throw wrongObject('target', 'Target', reference, expected);
    }
    const record = this.#records.get(id);
    if (record) return record.phase === 'gone' ? null : record;
    const named = this.targets().filter((candidate) => candidate.address === id);
    if (named.length < 2) return named[0] ?? null;
    const ids = named.map((candidate) => candidate.id).join(', ');
    throw invalidArgument('target', `address and port, since ${ids} are registered`, id);
  }

  get(reference: TargetReference): TargetRecord {
    const record = this.find(reference);
    if (record) return record;
    const id = Target.is(reference) ? reference.id : reference;
    throw new GatewayError(
      'ERR_GWLB_UNKNOWN_TARGET',
      `target: expected a registered target, received ${show(id)}`,
      { field: 'target' },
    );
  }

  /** Throws what is wrong with registering these; changes nothing. */
  checkRegistration(targets: readonly CheckedTarget[], now: number): void {
    const seen = new Set<string>();
    let added = 0;
    for (const [i, target] of targets.entries()) {
      const known = this.#records.get(target.id);
      if (seen.has(target.id) || known?.phase === 'active') {
        throw new GatewayError(
          'ERR_GWLB_DUPLICATE_TARGET',
          `targets[${i}]: expected a target that is not registered, received "${target.id}"`,
          { field: `targets[${i}]` },
        );
      }
      seen.add(target.id);
      if (known?.phase !== 'draining') added++;
    }
    this.checkZones(targets.map((target) => target.zone));
    this.#checkRoom(added, now);
  }

  /** Throws where the group would have targets in too many zones. */
  checkZones(names: readonly string[]): void {
    const zones = new Set([...this.zones(), ...names]).size;
    if (zones <= this.#limits.zones) return;
    throw new GatewayError(
      'ERR_GWLB_TARGET_LIMIT',
      `targets: expected targets of at most ${this.#limits.zones} zones, received ${zones}`,
      { field: 'targets' },
    );
  }

  #checkRoom(added: number, now: number): void {
    const targetsMax = this.#limits.targets;
    const total = this.#records.size + added;
    const available = this.#slots.available(now);
    let message: string | null = null;
    if (total > targetsMax) {
      message = `targets: expected at most ${targetsMax} targets, draining ones included, received ${total}`;
    } else if (added > available) {
      message =
        `targets: expected at most ${available} new targets (the other slots wait until the flows ` +
        `of former targets have ended), received ${added}`;
    }
    if (message) throw new GatewayError('ERR_GWLB_TARGET_LIMIT', message, { field: 'targets' });
  }

  /** All or none. A target that drains comes back in its slot; one that is gone is another machine. */
  register(targets: readonly CheckedTarget[], now: number): RegistryEvent[] {
    this.checkRegistration(targets, now);
    for (const target of targets) {
      let record = this.#records.get(target.id);
      if (record?.phase === 'gone') {
        this.#records.delete(record.id);
        this.#records.set(record.formerKey, record);
        record = undefined;
      }
      if (record) {
        record.zone = target.zone;
        record.weight = target.weight;
        record.said = null;
      } else {
        const slot = this.#slots.allocate(now);
        record = new TargetRecord(target, slot, this.#generations[slot]);
        record.since = now;
        record.description = DESCRIPTIONS.notInUse;
        this.#records.set(record.id, record);
      }
      this.#events.push({ type: 'register', record, cause: 'register', at: now });
      this.#activate(record, 'register', now);
    }
    return this.#changed(targets.length > 0);
  }

  deregister(records: readonly TargetRecord[], now: number): RegistryEvent[] {
    const active = records.filter((record) => record.phase === 'active');
    for (const record of active) {
      record.phase = 'draining';
      record.drainUntil = now + this.#policy.deregistrationDelayMs;
      if (this.#inUse) {
        const reason = 'Target.DeregistrationInProgress';
        this.#enter(record, 'draining', reason, DESCRIPTIONS.draining, 'deregister', now);
      }
      if (!this.#inUse || record.drainUntil <= now) this.#leave(record, 'deregister', now);
    }
    return this.#changed(active.length > 0);
  }

  /** Changes weight and zone in place; flows stay where they are. */
  adjust(record: TargetRecord, weight: number, zone: string, now: number): RegistryEvent[] {
    const differs = record.weight !== weight || record.zone !== zone;
    if (record.weight !== weight) {
      record.weight = weight;
      this.#events.push({ type: 'weight', record, cause: 'set-weight', at: now });
    }
    record.zone = zone;
    return this.#changed(differs);
  }

  /** A load balancer begins to use the group. */
  attach(now: number): RegistryEvent[] {
    this.#inUse = true;
    for (const record of this.#records.values()) this.#activate(record, 'attach', now);
    return this.#changed(true);
  }

  /** The load balancer is gone, and with it every flow. */
  detach(now: number): RegistryEvent[] {
    this.#inUse = false;
    for (const record of [...this.#records.values()]) {
      record.published = false;
      if (record.phase === 'draining') this.#leave(record, 'detach', now);
      else if (record.phase === 'gone') this.#free(record, now);
      else {
        const reason = 'Target.NotInUse';
        this.#enter(record, 'unused', reason, DESCRIPTIONS.notInUse, 'detach', now);
      }
    }
    return this.#changed(true);
  }

  /**
   * A delay that changes counts for targets that are deregistered from now on. `otherChecks`: targets
   * are checked in another way than before, so results in a row are counted anew.
   */
  setPolicy(policy: RegistryPolicy, otherChecks: boolean, now: number): RegistryEvent[] {
    const before = this.#policy;
    this.#policy = policy;
    for (const record of this.#records.values()) {
      if (record.phase !== 'active' || !this.#inUse) continue;
      if (!policy.checks) this.#setHealth(record, record.said ?? UNCHECKED, 'update', now);
      else if (otherChecks) record.health = recount(record.health);
    }
    for (const record of this.#records.values()) {
      if (policy.checks) record.said = null;
      this.#warmUp(record, now);
    }
    return this.#changed(
      before.failover !== policy.failover ||
        before.resetOnUnhealthy !== policy.resetOnUnhealthy ||
        before.resetOnDeregistration !== policy.resetOnDeregistration,
    );
  }

  /** The first check of a target is on its way. */
  checkStarted(record: TargetRecord): void {
    record.health = checking(record.health);
    this.#describe(record);
  }

  /** Counts a check's result. */
  checked(
    record: TargetRecord,
    result: H.ProbeResult,
    rule: H.HealthRule,
    now: number,
  ): RegistryEvent[] {
    if (record.phase !== 'active' || !this.#inUse || !this.#policy.checks) return [];
    const before = record.state;
    this.#setHealth(record, step(record.health, result, rule, now), 'health-check', now);
    return this.#changed(record.state !== before);
  }

  /** What somebody else knows of the target's health; for groups whose targets are not checked. */
  setHealth(
    record: TargetRecord,
    state: 'healthy' | 'unhealthy',
    description: string | undefined,
    now: number,
  ): RegistryEvent[] {
    if (record.phase !== 'active') return [];
    record.said = saidToBe(state, description);
    if (!this.#inUse) return [];
    const before = record.state;
    this.#setHealth(record, record.said, 'set-health', now);
    return this.#changed(record.state !== before);
  }

  /** What packets told against a target was confirmed by checks: it has failed, at once. */
  condemned(
    record: TargetRecord,
    evidence: string,
    result: H.FailedProbe,
    rule: H.HealthRule,
    now: number,
  ): RegistryEvent[] {
    if (record.state !== 'healthy' || !this.#inUse || !this.#policy.checks) return [];
    this.#setHealth(record, condemn(record.health, evidence, result, rule, now), 'suspicion', now);
    return this.#changed(true);
  }

  /** Ends what is due: drains, and slots whose flows have left. */
  tick(now: number, flowsActive: (slot: number) => number): RegistryEvent[] {
    let changed = false;
    for (const record of [...this.#records.values()]) {
      this.#warmUp(record, now);
      if (record.phase === 'draining' && record.drainUntil <= now) {
        this.#leave(record, 'delay-expired', now);
        changed = true;
      }
      if (record.phase !== 'gone') continue;
      const over = record.freeAt !== null ? record.freeAt <= now : flowsActive(record.slot) === 0;
      if (over) {
        this.#free(record, now);
        changed = true;
      }
    }
    return this.#changed(changed);
  }

  /** Deregisters what is not yet, and ends the drain of these: what time would do. */
  expire(
    records: readonly TargetRecord[],
    now: number,
    flowsActive: (slot: number) => number,
  ): RegistryEvent[] {
    const events = this.deregister(records, now);
    for (const record of records) record.drainUntil = now;
    return [...events, ...this.tick(now, flowsActive)];
  }

  /** When `tick` has something to do next, or null. */
  nextDeadline(now: number): number | null {
    let next = Number.POSITIVE_INFINITY;
    for (const record of this.#records.values()) {
      if (record.phase === 'draining') next = Math.min(next, record.drainUntil);
      if (record.warmingSince !== null) next = Math.min(next, this.#nextStepAt(record));
      if (record.phase === 'gone') next = Math.min(next, record.freeAt ?? now + FLOWS_POLL_MS);
    }
    return next === Number.POSITIVE_INFINITY ? null : next;
  }

  /**
   * Who takes new flows, for one arrangement of zones. Brings the generations, and whose flows are
   * reset, up to date first, so the answer is what the data plane must see; asking again changes
   * nothing.
   */
  settle(crossZone: boolean, now: number): Set<TargetRecord> {
    const pool = (record: TargetRecord) => (crossZone ? '' : record.zone);
    const candidates = [...this.#records.values()].filter(
      (record) => record.phase === 'active' && record.weight > 0,
    );
    const healthy = candidates.filter((record) => record.state === 'healthy');
    const pools = new Set(healthy.map(pool));
    const eligible = new Set([...healthy, ...candidates.filter((r) => !pools.has(pool(r)))]);
    for (const record of this.#records.values()) {
      const helped = pools.has(pool(record));
      record.published = true;
      record.reset = helped && this.#resets(record);
      if (eligible.has(record) && record.failing) record.keepFlows();
      else if (helped) this.#moveFlows(record, now);
    }
    return eligible;
  }

  #resets({ failing, phase }: TargetRecord): boolean {
    const { resetOnUnhealthy, resetOnDeregistration } = this.#policy;
    return (resetOnUnhealthy && failing) || (resetOnDeregistration && phase === 'gone');
  }

  #moveFlows(record: TargetRecord, now: number): void {
    const away = record.failing || record.phase === 'gone';
    if (this.#policy.failover !== 'rebalance' || !away || record.moved) return;
    record.generation = (record.generation + 1) & 0xff;
    record.moved = true;
    if (record.phase === 'gone') record.freeAt = now + LATE_RETURNS_MS;
  }

  #activate(record: TargetRecord, cause: HealthCause, now: number): void {
    record.phase = 'active';
    record.failing = false;
    record.keepFlows();
    if (!this.#inUse) return;
    const health = this.#policy.checks ? REGISTERING : (record.said ?? UNCHECKED);
    this.#setHealth(record, health, cause, now);
  }

  #setHealth(record: TargetRecord, health: H.Health, cause: HealthCause, now: number): void {
    record.health = health;
    if (health.state === 'unhealthy') record.failing = true;
    if (health.state === 'healthy') {
      record.failing = false;
      record.keepFlows();
    }
    if (record.state === health.state) {
      this.#describe(record);
      return;
    }
    this.#enter(record, health.state, health.reason, health.description, cause, now);
    // Those that nobody checks, and that nobody spoke of, have always been healthy.
    const turned = cause === 'health-check' || cause === 'set-health';
    if (turned && health.state === 'healthy' && this.#policy.slowStartMs > 0) {
      record.warmingSince = now;
      this.#warmUp(record, now);
    }
  }

  /** Brings the step of a slow start up to date. */
  #warmUp(record: TargetRecord, now: number): void {
    const { warmingSince } = record;
    const before = record.step;
    record.step =
      warmingSince === null ? LAST_STEP : stepAfter(now - warmingSince, this.#policy.slowStartMs);
    if (record.step === LAST_STEP) record.warmingSince = null;
    if (record.step === before) return;
    this.#events.push({ type: 'weight', record, cause: 'slow-start', at: now });
  }

  #nextStepAt({ warmingSince, step }: TargetRecord): number {
    return (warmingSince ?? 0) + beginOf(step + 1, this.#policy.slowStartMs);
  }

  /** Ends a slow start at once, with the whole weight. */
  skipSlowStart(record: TargetRecord, now: number): RegistryEvent[] {
    record.warmingSince = null;
    this.#warmUp(record, now);
    return this.#changed(false);
  }

  #describe(record: TargetRecord): void {
    record.reason = record.health.reason;
    record.description = record.health.description;
  }

  #enter(
    record: TargetRecord,
    state: H.TargetState,
    reason: H.TargetReason | null,
    description: string,
    cause: HealthCause,
    now: number,
  ): void {
    const previous = record.state;
    record.reason = reason;
    record.description = description;
    if (previous === state) return;
    record.state = state;
    record.since = now;
    this.#events.push({ type: 'health', record, previous, state, reason, cause, at: now });
    record.warmingSince = null;
    this.#warmUp(record, now);
  }

  /** The target is gone for users; the data plane keeps its slot until its flows have left. */
  #leave(record: TargetRecord, cause: HealthCause, now: number): void {
    record.phase = 'gone';
    const reason = 'Target.NotRegistered';
    this.#enter(record, 'unused', reason, DESCRIPTIONS.notRegistered, cause, now);
    this.#events.push({ type: 'deregister', record, cause, at: now });
    record.freeAt = record.moved ? now + LATE_RETURNS_MS : null;
    if (!this.#inUse) this.#free(record, now);
  }

  #free(record: TargetRecord, now: number): void {
    const current = this.#records.get(record.id) === record;
    this.#records.delete(current ? record.id : record.formerKey);
    this.#slots.release(record.slot, now, !record.published);
    // Flows of the former target that still wait for their next packet must not stay pinned.
    this.#generations[record.slot] = record.generation + 1;
  }

  #changed(changed: boolean): RegistryEvent[] {
    const events = this.#events;
    if (changed || events.length > 0) this.#version++;
    this.#events = [];
    return events;
  }
}
