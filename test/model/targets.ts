/**
 * The targets of a group as the rules T1 to T14 and section 3.3 of the specification have them, and
 * what packets see of them. It is told check results and the time; it does not schedule anything.
 */
import { bestOf, targetIdentity } from './score.js';

export type Failover = 'no_rebalance' | 'rebalance';

export interface Policy {
  readonly failover: Failover;
  /** T4, T8: connections of lost targets are answered with RST. */
  readonly resetOnUnhealthy: boolean;
  readonly resetOnDeregistration: boolean;
  readonly delayMs: number;
  readonly failOpen: boolean;
  readonly crossZone: boolean;
  /** null: no health checks, every target is healthy. */
  readonly thresholds: { readonly healthy: number; readonly unhealthy: number } | null;
}

/** Scores count weights in tenths, so that a slow start has its steps. */
const WEIGHT_UNIT = 10;

export interface ModelTarget {
  readonly id: string;
  readonly slot: number;
  readonly identity: bigint;
  zone: string;
  weight: number;
  /** `gone`: its deregistration delay is over, but flows may still be pinned to it. */
  phase: 'active' | 'draining' | 'gone';
  health: 'initial' | 'healthy' | 'unhealthy';
  /** Results of one kind in a row. */
  successes: number;
  failures: number;
  drainUntil: number;
  /** Its flows were told to move since it failed or left. */
  told: boolean;
}

export class TargetsModel {
  policy: Policy;
  /** By slot: everything that flows may be pinned to. */
  readonly targets = new Map<number, ModelTarget>();
  /** The flows of this slot were told to move with their next packet, or may stay after all. */
  onTold: (slot: number, told: boolean) => void = () => {};
  #slots = 0;

  constructor(policy: Policy) {
    this.policy = policy;
  }

  find(id: string): ModelTarget | undefined {
    const named = [...this.targets.values()].filter((target) => target.id === id);
    return named.find(({ phase }) => phase !== 'gone') ?? named[0];
  }

  /** Who a packet from this target's address comes from: the one its cookie names, or the first. */
  sender(id: string, slot: number): ModelTarget | undefined {
    const named = [...this.targets.values()].filter((target) => target.id === id);
    const [first] = named.sort((a, b) => a.slot - b.slot);
    return named.find((target) => target.slot === slot) ?? first;
  }

  /** One that is not active. What drains comes back in its slot; what is gone is another machine. */
  register(id: string, zone: string, weight: number): void {
    const found = this.find(id);
    const known = found?.phase === 'gone' ? undefined : found;
    const target: ModelTarget = known ?? {
      id,
      slot: this.#slots++,
      identity: targetIdentity(id),
      zone,
      weight,
      phase: 'active',
      health: 'initial',
      successes: 0,
      failures: 0,
      drainUntil: 0,
      told: false,
    };
    Object.assign(target, {
      zone,
      weight,
      phase: 'active',
      successes: 0,
      failures: 0,
    });
    target.health = this.policy.thresholds === null ? 'healthy' : 'initial';
    this.targets.set(target.slot, target);
    this.#settle();
  }

  deregister(id: string, now: number): void {
    const target = this.find(id);
    if (target?.phase !== 'active') return;
    target.phase = 'draining';
    target.drainUntil = now + this.policy.delayMs;
    this.advance(now);
  }

  /** Ends the delays that are over. */
  advance(now: number): void {
    for (const target of this.targets.values()) {
      if (target.phase === 'draining' && target.drainUntil <= now) target.phase = 'gone';
    }
    this.#settle();
  }

  /** Counts a check's result. */
  checked(id: string, ok: boolean): void {
    const target = this.find(id);
    const { thresholds } = this.policy;
    if (target?.phase !== 'active' || thresholds === null) return;
    target.successes = ok ? target.successes + 1 : 0;
    target.failures = ok ? 0 : target.failures + 1;
    if (target.successes >= thresholds.healthy) target.health = 'healthy';
    if (target.failures >= thresholds.unhealthy) target.health = 'unhealthy';
    this.#settle();
  }

  /** Somebody else knows how it is; for groups without checks. */
  say(id: string, health: 'healthy' | 'unhealthy'): void {
    const target = this.find(id);
    if (target?.phase === 'active') target.health = health;
    this.#settle();
  }

  setWeight(id: string, weight: number): void {
    const target = this.find(id);
    if (target !== undefined) target.weight = weight;
    this.#settle();
  }

  setPolicy(policy: Policy): void {
    this.policy = policy;
    this.#settle();
  }

  /** No flow is pinned to it any more, or late returns are over: its slot means nothing now. */
  forget(slot: number): void {
    this.targets.delete(slot);
  }

  /** What users see. */
  stateOf(target: ModelTarget): string {
    return target.phase === 'active' ? target.health : target.phase;
  }

  /** T1, T10, T12, T13: who takes new flows of a zone. */
  eligible(zone: string): ModelTarget[] {
    const takers = [...this.targets.values()].filter(
      (target) => target.phase === 'active' && target.weight > 0 && this.#serves(target, zone),
    );
    const healthy = takers.filter((target) => target.health === 'healthy');
    return healthy.length > 0 ? healthy : takers;
  }

  takesNewFlows(target: ModelTarget): boolean {
    return this.eligible(target.zone).includes(target);
  }

  /** The row's target. */
  choose(zone: string, row: number): ModelTarget | null {
    const candidates = this.eligible(zone).map((target) => {
      return { ...target, weight: target.weight * WEIGHT_UNIT, target };
    });
    return bestOf(candidates, row)?.target ?? null;
  }

  /** Not where there is nobody better (T10). */
  #loses(target: ModelTarget): boolean {
    const lost = target.health === 'unhealthy' || target.phase === 'gone';
    return this.policy.failover === 'rebalance' && lost && this.#hasHealthy(target.zone);
  }

  /** T4, T8: its connections are answered with RST; not where there is nobody better (T10). */
  resets(target: ModelTarget): boolean {
    const { resetOnUnhealthy, resetOnDeregistration } = this.policy;
    const lost =
      (resetOnUnhealthy && target.health === 'unhealthy') ||
      (resetOnDeregistration && target.phase === 'gone');
    return lost && this.#hasHealthy(target.zone);
  }

  /**
   * T3, T7: told once, under the policy of that moment; T9: all is forgiven when it takes new flows
   * again, is well, or is registered again.
   */
  #settle(): void {
    for (const target of this.targets.values()) {
      const well = target.phase === 'active' && target.health !== 'unhealthy';
      const told = this.#loses(target) || (target.told && !well && !this.takesNewFlows(target));
      if (told !== target.told) this.onTold(target.slot, told);
      target.told = told;
    }
  }

  #hasHealthy(zone: string): boolean {
    return this.eligible(zone).some((target) => target.health === 'healthy');
  }

  #serves(target: ModelTarget, zone: string): boolean {
    return this.policy.crossZone || target.zone === zone;
  }
}
