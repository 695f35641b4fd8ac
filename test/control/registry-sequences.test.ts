/** Any sequence of events leaves the registry in order. */
import fc from 'fast-check';
import t from 'tap';
import type { Failover } from '../../src/control/options.js';
import type { RegistryEvent, RegistryPolicy } from '../../src/control/registry-types.js';
import type { TargetRecord } from '../../src/control/target.js';
import { BAD, check, OK, POLICY, registry, slots, target } from './registry-rig.js';

type Command =
  | { do: 'register'; n: number; zone: string; weight: number }
  | { do: 'deregister' | 'up' | 'down' | 'weigh'; n: number; weight: number }
  | { do: 'wait'; ms: number }
  | {
      do: 'policy';
      failover: Failover | 'reset';
      which: number;
      checks: boolean;
      slowStartMs: number;
    };

const number = fc.integer({ min: 1, max: 3 });
const failover = fc.constantFrom('rebalance' as const, 'no_rebalance' as const, 'reset' as const);
const slowStartMs = fc.constantFrom(0, 40_000, 900_000);
const weight = fc.constantFrom(0, 1, 5);
const command: fc.Arbitrary<Command> = fc.oneof(
  fc.record({
    do: fc.constant('register' as const),
    n: number,
    zone: fc.constantFrom('a', 'b'),
    weight,
  }),
  fc.record({ do: fc.constantFrom('deregister', 'up', 'down', 'weigh'), n: number, weight }),
  fc.record({
    do: fc.constant('wait' as const),
    ms: fc.constantFrom(1, 1_000, 10_000, 31_000, 301_000, 700_000),
  }),
  fc.record({
    do: fc.constant('policy' as const),
    failover,
    which: fc.integer({ min: 1, max: 3 }),
    checks: fc.boolean(),
    slowStartMs,
  }),
);

const commands = fc.array(command, { maxLength: 60, size: 'max' });

/** The registry with a data plane beside it that pins flows as the real one does. */
class World {
  readonly made = registry();
  readonly crossZone: boolean;
  now = 0;
  policy: RegistryPolicy = POLICY;
  flows: { zone: string; slot: number; generation: number; record: TargetRecord }[] = [];
  freedAt = new Map<number, number>();
  states = new Map<TargetRecord, string>();
  failing = new Set<TargetRecord>();
  /** What was said of targets that are not checked. */
  said = new Map<string, string>();
  /** Since when targets are healthy whose slow start is not over. */
  warming = new Map<TargetRecord, number>();
  problem = '';

  constructor(crossZone: boolean) {
    this.crossZone = crossZone;
    this.made.attach(0);
  }

  run(command: Command): void {
    const before = new Map([...this.made.records()].map((r) => [r, { ...r }]));
    this.follow(this.perform(command));
    this.compareSlots(before);
    this.checkSaid();
    this.checkSteps();
    const generations = new Map([...this.made.records()].map((r) => [r, r.generation]));
    const eligible = this.made.settle(this.crossZone, this.now);
    this.checkEligible(eligible);
    this.checkGenerations(generations, eligible);
    this.checkResets(eligible);
    this.pin(eligible);
  }

  perform(command: Command): RegistryEvent[] {
    if (command.do === 'wait') {
      this.now += command.ms;
      return this.made.tick(this.now, (slot) => this.pinned(slot));
    }
    if (command.do === 'policy') {
      const { failover, which, checks, slowStartMs } = command;
      const resets = failover === 'reset';
      this.policy = {
        ...POLICY,
        failover: resets ? 'no_rebalance' : failover,
        resetOnUnhealthy: resets && (which & 1) !== 0,
        resetOnDeregistration: resets && (which & 2) !== 0,
        checks,
        slowStartMs,
      };
      for (const [record, since] of this.warming) {
        if (this.now - since >= slowStartMs) this.warming.delete(record);
      }
      if (checks) this.said.clear();
      return this.made.setPolicy(this.policy, true, this.now);
    }
    const record = this.made.find(`10.0.0.${command.n}`);
    const active = record?.phase === 'active';
    if (command.do === 'register') {
      const { n, zone, weight } = command;
      if (!active) this.said.delete(target(n).id);
      return active ? [] : this.made.register([target(n, { zone, weight })], this.now);
    }
    if (!record || !active) return [];
    if (command.do === 'deregister') return this.made.deregister([record], this.now);
    if (command.do === 'weigh') {
      return this.made.adjust(record, command.weight, record.zone, this.now);
    }
    const up = command.do === 'up';
    if (this.policy.checks) return check(this.made, record, up ? OK : BAD, this.now);
    this.said.set(record.id, up ? 'healthy' : 'unhealthy');
    return this.made.setHealth(record, up ? 'healthy' : 'unhealthy', undefined, this.now);
  }

  /** Events tell every change of state, each from the state before. */
  follow(events: RegistryEvent[]): void {
    for (const event of events) {
      if (event.type !== 'health') continue;
      const known = this.states.get(event.record) ?? 'unused';
      if (known !== event.previous) this.problem = `said ${event.previous}, was ${known}`;
      this.states.set(event.record, event.state);
      this.warming.delete(event.record);
      const turned = event.cause === 'health-check' || event.cause === 'set-health';
      if (turned && event.state === 'healthy') this.warming.set(event.record, event.at);
      if (event.state === 'unhealthy') this.failing.add(event.record);
      if (event.state === 'healthy' || event.state === 'initial') this.failing.delete(event.record);
    }
    for (const record of this.made.records()) {
      if ((this.states.get(record) ?? 'unused') !== record.state) this.problem = 'a silent change';
    }
  }

  /** Targets that are not checked are as somebody said, or healthy. */
  checkSaid(): void {
    if (this.policy.checks) return;
    for (const record of this.made.records()) {
      if (record.phase !== 'active' || record.state === (this.said.get(record.id) ?? 'healthy'))
        continue;
      this.problem = `${record.id} is ${record.state}`;
    }
  }

  /** Five steps, a quarter of the time apart; only of healthy targets. */
  checkSteps(): void {
    const { slowStartMs } = this.policy;
    for (const record of this.made.records()) {
      const elapsed = this.now - (this.warming.get(record) ?? Number.NEGATIVE_INFINITY);
      const passed = [1, 2, 3, 4].filter((step) => elapsed >= (slowStartMs / 4) * step);
      if (elapsed >= slowStartMs) this.warming.delete(record);
      if (record.step !== passed.length) this.problem = `step ${record.step} of ${record.id}`;
      if (record.step < 4 && record.state !== 'healthy') this.problem = 'warms up, but is not well';
    }
  }

  compareSlots(before: Map<TargetRecord, unknown>): void {
    const records = [...this.made.records()];
    if (new Set(slots(records)).size < records.length) this.problem = 'a slot is used twice';
    for (const record of before.keys()) {
      if (!records.includes(record)) this.freedAt.set(record.slot, this.now);
    }
    for (const record of records) {
      if (before.has(record)) continue;
      const freed = this.freedAt.get(record.slot) ?? Number.NEGATIVE_INFINITY;
      if (this.now - freed < 600_000) this.problem = 'a slot was reused in quarantine';
    }
  }

  pool(record: TargetRecord): TargetRecord[] {
    return [...this.made.records()].filter((r) => this.crossZone || r.zone === record.zone);
  }

  checkEligible(eligible: Set<TargetRecord>): void {
    for (const record of this.made.records()) {
      const can = (r: TargetRecord) => r.phase === 'active' && r.weight > 0;
      const healthy = this.pool(record).some((r) => can(r) && r.state === 'healthy');
      const expected = can(record) && (!healthy || record.state === 'healthy');
      if (eligible.has(record) !== expected) this.problem = `eligibility of ${record.id}`;
    }
  }

  checkGenerations(before: Map<TargetRecord, number>, eligible: Set<TargetRecord>): void {
    for (const record of this.made.records()) {
      const away = record.phase === 'gone' || this.failing.has(record);
      const moves = this.policy.failover === 'rebalance' && away && this.isHelped(record);
      const was = before.get(record) ?? 0;
      // Flows that were told to move, and had no packet since, may stay where new ones go again.
      const kept = eligible.has(record) && record.generation === ((was - 1) & 0xff);
      if (record.generation !== was && !moves && !kept) this.problem = 'moved without need';
      const left = this.flows.filter(
        (f) => f.record === record && f.generation === record.generation,
      );
      if (moves && left.length > 0) this.problem = 'flows stayed on a failed target';
    }
    for (const record of [...this.made.records()]) {
      const generation = record.generation;
      this.made.settle(this.crossZone, this.now);
      if (record.generation !== generation) this.problem = 'asking twice moved flows';
    }
  }

  /** Somebody else of its pool is healthy and takes new flows. */
  isHelped(record: TargetRecord): boolean {
    return this.pool(record).some(
      (r) => r !== record && r.phase === 'active' && r.weight > 0 && r.state === 'healthy',
    );
  }

  checkResets(eligible: Set<TargetRecord>): void {
    const { resetOnUnhealthy, resetOnDeregistration } = this.policy;
    for (const record of this.made.records()) {
      const lost =
        (resetOnUnhealthy && this.failing.has(record)) ||
        (resetOnDeregistration && record.phase === 'gone');
      if (record.reset !== (lost && this.isHelped(record))) this.problem = `reset of ${record.id}`;
      if (record.reset && eligible.has(record)) this.problem = 'resets what it has just been given';
    }
  }

  pinned(slot: number): number {
    return this.flows.filter((flow) => flow.slot === slot).length;
  }

  /** Every flow sends a packet, and every zone opens one flow to each target that takes new ones. */
  pin(eligible: Set<TargetRecord>): void {
    this.flows = this.flows.filter((flow) => flow.generation === flow.record.generation).slice(-50);
    for (const record of eligible) {
      const { slot, generation, zone } = record;
      this.flows.push({ zone, slot, generation, record });
    }
  }
}

t.test('property: any sequence of events', async (t) => {
  fc.assert(
    fc.property(
      commands,
      fc.boolean(),
      failover,
      slowStartMs,
      (commands, crossZone, failover, slowStartMs) => {
        const world = new World(crossZone);
        world.run({ do: 'policy', failover, which: 3, checks: true, slowStartMs });
        for (const command of commands) {
          world.run(command);
          if (world.problem) throw new Error(`${JSON.stringify(command)}: ${world.problem}`);
        }
      },
    ),
    { numRuns: 500 },
  );
  t.pass('held');
});
