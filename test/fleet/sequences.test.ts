/** Any sequence of commands leaves the fleet in order, and a copy by JSON goes on alike. */
import fc from 'fast-check';
import t from 'tap';
import type { GatewayError } from '../../src/base/errors.js';
import { apply } from '../../src/fleet/apply.js';
import type { FleetCommand, FleetEvent } from '../../src/fleet/commands.js';
import { nextInstant, slotsAwaited } from '../../src/fleet/instants.js';
import { restored, savedOf } from '../../src/fleet/saved.js';
import type { Fleet, FleetPolicy, FleetTarget, RegisteredTarget } from '../../src/fleet/state.js';
import { emptyFleet, GENERATIONS } from '../../src/fleet/state.js';
import { tableOf } from '../../src/fleet/table.js';
import { checkState } from '../../src/gateway/check-state.js';
import { brokenInvariant } from './invariants.js';
import { BAD, group, LIMITS, OK, POLICY, spec } from './rig.js';

type Step = { readonly command: FleetCommand } | { readonly wait: number };

const number = fc.integer({ min: 1, max: 4 });
const name = number.map((n) => `10.0.0.${n}`);
const id = number.map((n) => `10.0.0.${n}:6081`);
const zone = fc.constantFrom('a', 'b', '__proto__');
const weight = fc.constantFrom(0, 1, 5);
const target: fc.Arbitrary<RegisteredTarget> = fc
  .record({ n: number, zone, weight })
  .map(({ n, ...options }) => spec(n, options));
const targets = fc.array(target, { maxLength: 4 });
const names = fc.array(name, { maxLength: 2 });
const endpoint = fc.constantFrom(...[1, 2, 3].map((n) => `vpce-0000000000000000${n}`));
const policy: fc.Arbitrary<FleetPolicy> = fc
  .record({
    onLoss: fc.constantFrom('rebalance', 'no_rebalance', 'reset'),
    which: fc.integer({ min: 1, max: 3 }),
    rule: fc.constantFrom(null, POLICY.rule, { ...POLICY.rule, flapDamping: true } as const),
    slowStartMs: fc.constantFrom(0, 40_000, 900_000),
    deregistrationDelayMs: fc.constantFrom(0, 10_000, 300_000),
  })
  .map(({ onLoss, which, ...rest }) => ({
    ...(rest as Pick<FleetPolicy, 'rule' | 'slowStartMs' | 'deregistrationDelayMs'>),
    failover: onLoss === 'rebalance' ? 'rebalance' : 'no_rebalance',
    resetOnUnhealthy: onLoss === 'reset' && (which & 1) !== 0,
    resetOnDeregistration: onLoss === 'reset' && (which & 2) !== 0,
  }));
const command: fc.Arbitrary<FleetCommand> = fc.oneof(
  fc.record({ type: fc.constant('register' as const), targets }),
  fc.record({ type: fc.constant('setTargets' as const), targets }),
  fc.record({ type: fc.constant('deregister' as const), targets: names }),
  fc.record({ type: fc.constant('expire' as const), targets: names, idle: fc.constant([]) }),
  fc.record({ type: fc.constant('setWeight' as const), target: name, weight }),
  fc.record({
    type: fc.constant('setHealth' as const),
    target: name,
    state: fc.constantFrom('healthy' as const, 'unhealthy' as const),
  }),
  fc.record({ type: fc.constant('skipSlowStart' as const), target: name }),
  fc.record({ type: fc.constant('setPolicy' as const), policy, recount: fc.boolean() }),
  fc.record({ type: fc.constant('setCrossZone' as const), crossZone: fc.boolean() }),
  fc.record({ type: fc.constant('checkStarted' as const), target: id }),
  fc.record({ type: fc.constant('checked' as const), target: id, result: fc.constant(OK) }),
  fc.record({ type: fc.constant('checked' as const), target: id, result: fc.constant(BAD) }),
  fc.record({
    type: fc.constant('condemned' as const),
    target: id,
    evidence: fc.constant('silence'),
    result: fc.constant({ ok: false, failure: 'timeout', detail: 'silence' } as const),
  }),
  fc
    .record({ targets, policy })
    .map(({ targets, policy }) => ({ type: 'useGroup' as const, group: group(targets, policy) })),
  fc.record({
    type: fc.constant('addEndpoint' as const),
    id: endpoint,
    zone,
  }),
  fc.record({
    type: fc.constant('removeEndpoint' as const),
    id: endpoint,
    unused: fc.boolean(),
  }),
);
const wait = fc.constantFrom(1, 1_000, 10_000, 31_000, 301_000, 700_000);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 40, arbitrary: fc.record({ command }) },
  { weight: 1, arbitrary: fc.constant({ command: { type: 'release' as const } }) },
  { weight: 10, arbitrary: fc.record({ wait }) },
);
const steps = fc.array(step, { maxLength: 60, size: 'max' });

interface Flow {
  readonly target: FleetTarget;
  readonly generation: number;
}

/** The fleet with a data plane beside it that pins flows as the real one does. */
class World {
  readonly fleet: Fleet;
  /** The same, read anew from JSON before each command. */
  twin: Fleet;
  now = 0;
  flows: Flow[] = [];
  readonly states = new Map<number, string>();
  readonly freedAt = new Map<number, number>();

  constructor(inUse: boolean, crossZone: boolean) {
    const limits = { ...LIMITS, zones: 3 };
    this.fleet = emptyFleet(limits, inUse, crossZone);
    this.twin = emptyFleet(limits, inUse, crossZone);
    this.run({ command: { type: 'useGroup', group: group() } });
  }

  get every(): FleetTarget[] {
    return Object.values(this.fleet.targets);
  }

  /** What is wrong afterwards; null where nothing is. */
  run(step: Step): string | null {
    const before = this.every;
    const generations = new Map(before.map((target) => [target, target.generation]));
    const table = show(tableOf(this.fleet));
    const { revision } = this.fleet;
    const problem = 'command' in step ? this.perform(step.command) : this.wait(step.wait);
    const changed = show(tableOf(this.fleet)) !== table;
    return (
      problem ??
      brokenInvariant(this.fleet) ??
      (changed && this.fleet.revision === revision ? 'a change that nobody hears of' : null) ??
      this.wrongSlots(before) ??
      this.wrongEligibility() ??
      this.wrongGenerations(generations) ??
      this.wrongResets() ??
      this.wrongRestored() ??
      this.pin()
    );
  }

  perform(command: FleetCommand): string | null {
    const before = JSON.stringify(this.fleet);
    const there = this.every;
    this.twin = JSON.parse(JSON.stringify(this.twin));
    const events = outcome(() => apply(this.fleet, command, this.now));
    const same = outcome(() => apply(this.twin, command, this.now));
    if (JSON.stringify(events) !== JSON.stringify(same)) return 'the copy tells something else';
    if (JSON.stringify(this.fleet) !== JSON.stringify(this.twin)) return 'the copy is different';
    if (show(tableOf(this.fleet)) !== show(tableOf(this.twin))) return 'the copy decides otherwise';
    if (this.fleet.inUse) {
      const now = new Set(this.every);
      for (const target of there) if (!now.has(target)) this.freedAt.set(target.slot, this.now);
    }
    if (command.type === 'release') {
      this.flows = [];
      this.freedAt.clear();
    }
    if (!Array.isArray(events)) {
      return JSON.stringify(this.fleet) === before ? null : `it threw ${events}, and changed`;
    }
    return this.follow(events);
  }

  /** Another process goes on from what is saved: it decides alike, and lends no number twice. */
  wrongRestored(): string | null {
    const { inUse, limits, crossZone } = this.fleet;
    if (!inUse) return null;
    const read = JSON.parse(JSON.stringify(savedOf(this.fleet)));
    const saved = checkState('state', read, limits);
    const next = restored(saved, limits, crossZone, this.now);
    const decided = (fleet: Fleet) =>
      tableOf(fleet)
        .targets.map(({ zone: _, weight: __, identity, ...rest }) => `${identity} ${show(rest)}`)
        .sort();
    if (show(decided(next)) !== show(decided(this.fleet))) return 'restored, it decides otherwise';
    const nextOwners = ({ slots, generations }: Fleet) =>
      [...slots.clean, ...slots.waiting.map(({ number }) => number)].map(
        (slot) => `${slot}: ${generations[slot] ?? 0}`,
      );
    if (show(nextOwners(next)) !== show(nextOwners(this.fleet))) return 'a generation is lost';
    for (const [id, { index, zone }] of Object.entries(this.fleet.endpoints)) {
      apply(next, { type: 'addEndpoint', id, zone }, this.now);
      if (next.endpoints[id].index !== index) return `${id} has another index`;
    }
    return brokenInvariant(next);
  }

  /** Time passes; what is due is done when it is due. */
  wait(ms: number): string | null {
    const end = this.now + ms;
    // Flows end meanwhile.
    if (ms > 100_000) this.flows = [];
    for (let i = 0; i < 1_000; i++) {
      const next = nextInstant(this.fleet);
      if (next !== null && next <= this.now && i > 0) return 'time stands still';
      if (next === null || next > end) break;
      this.now = Math.max(this.now, next);
      const problem = this.perform({ type: 'tick', idle: this.idle() });
      if (problem) return problem;
    }
    this.now = end;
    const late = nextInstant(this.fleet);
    return late !== null && late < end ? 'something is overdue' : null;
  }

  idle(): number[] {
    const pinned = new Set(this.flows.map(({ target }) => target.slot));
    return slotsAwaited(this.fleet, this.now).filter((slot) => !pinned.has(slot));
  }

  /** Events tell every change of state, each from the state before; another group's begin anew. */
  follow(events: readonly FleetEvent[]): string | null {
    for (const event of events) {
      if (event.type !== 'health') continue;
      const known = this.states.get(event.slot) ?? 'unused';
      const anew = event.previous === 'unused' && ['attach', 'register'].includes(event.cause);
      if (known !== event.previous && !anew) return `said ${event.previous}, was ${known}`;
      this.states.set(event.slot, event.state);
    }
    const silent = this.every.find(
      ({ slot, state }) => (this.states.get(slot) ?? 'unused') !== state,
    );
    return silent === undefined ? null : `${silent.id} changed silently`;
  }

  wrongSlots(before: readonly FleetTarget[]): string | null {
    const now = new Set(this.every);
    const known = new Set(before);
    for (const target of before) {
      if (!now.has(target)) this.states.delete(target.slot);
    }
    for (const { slot } of this.every.filter((target) => !known.has(target))) {
      const freed = this.freedAt.get(slot) ?? Number.NEGATIVE_INFINITY;
      if (this.now - freed < 600_000) return `slot ${slot} was given out in its quarantine`;
    }
    return null;
  }

  pool({ zone }: FleetTarget): FleetTarget[] {
    return this.every.filter((other) => this.fleet.crossZone || other.zone === zone);
  }

  /** Somebody of its pool is healthy and takes new flows. */
  isHelped(target: FleetTarget): boolean {
    return this.pool(target).some((other) => isReady(other) && other.state === 'healthy');
  }

  wrongEligibility(): string | null {
    for (const { slot, eligible } of tableOf(this.fleet).targets) {
      const target = this.every.find((one) => one.slot === slot);
      const expected =
        target && isReady(target) && (target.state === 'healthy' || !this.isHelped(target));
      if (eligible !== expected) return `eligibility of ${target?.id}`;
    }
    return null;
  }

  wrongGenerations(before: Map<FleetTarget, number>): string | null {
    if (!this.fleet.inUse) return null;
    for (const target of this.every) {
      const { failover } = this.fleet.groups[target.group].policy;
      const away = target.phase === 'gone' || target.failing;
      const moves = failover === 'rebalance' && away && this.isHelped(target);
      const left = this.flows.some(
        (flow) => flow.target === target && flow.generation === target.generation,
      );
      if (moves && left) return `flows stayed on ${target.id}, which is lost`;
      const was = before.get(target);
      const kept = target.generation === ((was ?? 0) + GENERATIONS - 1) % GENERATIONS;
      if (was !== undefined && was !== target.generation && !moves && !kept) {
        return `flows of ${target.id} moved without need`;
      }
    }
    return null;
  }

  wrongResets(): string | null {
    for (const { slot, reset, eligible } of tableOf(this.fleet).targets) {
      const target = this.every.find((one) => one.slot === slot);
      if (target === undefined) return `slot ${slot} is nobody's`;
      const { resetOnUnhealthy, resetOnDeregistration } = this.fleet.groups[target.group].policy;
      const lost =
        (resetOnUnhealthy && target.failing) || (resetOnDeregistration && target.phase === 'gone');
      if (reset !== (lost && this.isHelped(target))) return `reset of ${target.id}`;
      if (reset && eligible) return `${target.id} resets what it has just been given`;
    }
    return null;
  }

  /** Every flow sends a packet, and one is opened to each target that takes new ones. */
  pin(): null {
    this.flows = this.flows
      .filter(({ target, generation }) => generation === target.generation)
      .slice(-50);
    for (const { slot, eligible } of tableOf(this.fleet).targets) {
      const target = this.every.find((one) => one.slot === slot);
      if (!eligible || !target) continue;
      this.flows.push({ target, generation: target.generation });
    }
    return null;
  }
}

function isReady({ phase, weight }: FleetTarget): boolean {
  return phase === 'active' && weight > 0;
}

/** The events, or the error's code. */
function outcome(run: () => FleetEvent[]): FleetEvent[] | string {
  try {
    return run();
  } catch (error) {
    const { code } = error as GatewayError;
    if (code === undefined) throw error;
    return code;
  }
}

function show(value: unknown): string {
  return JSON.stringify(value, (_key, part) => (typeof part === 'bigint' ? `${part}` : part));
}

t.test('property: any sequence of commands', async (t) => {
  fc.assert(
    fc.property(steps, fc.boolean(), fc.boolean(), (steps, alone, crossZone) => {
      const world = new World(!alone, crossZone);
      for (const step of steps) {
        const problem = world.run(step);
        if (problem !== null) throw new Error(`${JSON.stringify(step)}: ${problem}`);
      }
    }),
    { numRuns: 500 },
  );
  t.pass('held');
});
