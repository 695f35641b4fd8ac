/**
 * A fleet with a clock: has its targets checked, does what time brings, and tells what happened. What
 * decides is data (src/fleet); here are the timers, the probes and the order of events.
 */
import type { EventEmitter } from 'node:events';
import { ENDPOINTS_MAX, TARGETS_MAX, ZONES_MAX } from '../base/limits.js';
import { apply, used } from '../fleet/apply.js';
import type { FleetCommand, FleetEvent } from '../fleet/commands.js';
import { memberWithId } from '../fleet/find.js';
import { nextInstant, slotsAwaited } from '../fleet/instants.js';
import { type GatewayState, restored, resume, savedOf } from '../fleet/saved.js';
import {
  emptyFleet,
  everyTarget,
  type Fleet,
  type FleetTarget,
  type GroupMembers,
  groupOf,
  membersOf,
} from '../fleet/state.js';
import { type FleetTable, tableOf } from '../fleet/table.js';
import { type HealthCheck, sameCheck } from '../health/options.js';
import { Prober } from '../health/prober.js';
import type { Runtime } from '../health/runtime.js';
import type { ProbeResult } from '../health/thresholds.js';
import type { FleetHost } from './fleet-host.js';
import type { TargetGroupEvents } from './group-events.js';
import { SaveGate } from './save-gate.js';
import { followTo, type Target, viewOf } from './target.js';

/** What a load balancer has room for. */
export const FLEET_LIMITS = { targets: TARGETS_MAX, zones: ZONES_MAX, endpoints: ENDPOINTS_MAX };

/** The fleet of a load balancer before it uses a group: one that was saved, or an empty one. */
export function fleetFrom(state: GatewayState | null, crossZone: boolean, now: number): Fleet {
  if (state === null) return emptyFleet(FLEET_LIMITS, true, crossZone);
  return restored(state, FLEET_LIMITS, crossZone, now);
}

/** Keeps the state of a load balancer where it outlives the process. */
export type SaveState = (state: GatewayState) => void | Promise<void>;

/** The group whose targets take new flows, as a fleet knows it. */
export interface FleetMember {
  /** How its targets are checked. */
  check(): HealthCheck | false;
  /** Who tells of it. */
  readonly emitter: EventEmitter<TargetGroupEvents>;
  /** Its targets are part of this fleet from now on. */
  moved(home: LiveFleet): void;
}

export class LiveFleet {
  readonly fleet: Fleet;
  readonly runtime: Runtime;
  #host: FleetHost | null;
  #member: FleetMember | null = null;
  #prober: Prober | null = null;
  /** What the prober does. */
  #check: HealthCheck | false = false;
  #timer: unknown = null;
  /** Who has a slot, or had it last. */
  readonly #views = new Map<number, Target>();
  readonly #pending: (() => void)[] = [];
  /** What happened that packets do not know of yet. */
  readonly #held: (() => void)[] = [];
  #heldChange = false;
  #gate: SaveGate | null = null;
  /** The last table that is saved, where it is. */
  #passed: FleetTable | null = null;
  #emitting = false;

  /** Of a load balancer, or, without one, of a group by itself. */
  constructor(
    runtime: Runtime,
    host: FleetHost | null = null,
    fleet: Fleet = emptyFleet(FLEET_LIMITS, host !== null),
  ) {
    this.runtime = runtime;
    this.#host = host;
    this.fleet = fleet;
  }

  /** The load balancer that has it; null where there is none any more. */
  get host(): FleetHost | null {
    return this.#host;
  }

  /** What packets may be decided by: where it is saved, what is. */
  get table(): FleetTable {
    return this.#passed ?? tableOf(this.fleet);
  }

  /** The target that has this slot, or had it last. */
  targetOf(slot: number): Target | null {
    return this.#views.get(slot) ?? null;
  }

  /** Makes a new group's targets; nobody is told of it. */
  found(member: FleetMember, group: GroupMembers): void {
    apply(this.fleet, { type: 'useGroup', group }, this.runtime.now());
    this.#member = member;
  }

  /**
   * Does what the command says, has the data plane hear of it, and tells who listens. Throws what is wrong
   * with the command: then nothing has changed. `isNews`: the data plane must hear of it in any case.
   * `done` is called as soon as the fleet has changed.
   */
  apply(command: FleetCommand, isNews = false, done?: () => void): void {
    const { revision } = this.fleet;
    const events = apply(this.fleet, command, this.runtime.now());
    done?.();
    for (const { type, target } of events) {
      const record = type === 'register' ? memberWithId(this.fleet, target) : null;
      if (record) this.#take(record, true);
    }
    const isNew = isNews || this.fleet.revision !== revision;
    const { type } = command;
    this.#follow(events, isNew, type !== 'addEndpoint' && type !== 'removeEndpoint');
  }

  /**
   * New flows go to another group's targets, which was by itself (`alone`) so far; a fleet that was restored
   * goes on with it. Throws, and changes nothing, where there is no room for it. `done` is called when it
   * has begun.
   */
  use(member: FleetMember, alone: LiveFleet, done?: () => void): void {
    const { fleet, runtime } = this;
    const former = this.#member;
    const resumes = former === null && fleet.group !== 0;
    const known = new Set(resumes ? [] : everyTarget(fleet).map(({ slot }) => slot));
    const copy = former && structuredClone(fleet);
    const group = groupOf(alone.fleet);
    const events = resumes
      ? resume(fleet, group, runtime.now())
      : apply(fleet, { type: 'useGroup', group }, runtime.now());
    const left = copy && new LiveFleet(runtime, null, copy);
    if (left && former) this.#part(left, former);
    this.#member = member;
    const members = new Set(membersOf(fleet));
    for (const record of resumes ? everyTarget(fleet) : members) {
      const own = members.has(record) ? memberWithId(alone.fleet, record.id) : null;
      if (own) followTo(viewOf(own), record);
      this.#take(record, !known.has(record.slot));
    }
    member.moved(this);
    done?.();
    this.#stopChecks();
    try {
      this.#follow(events, true);
    } finally {
      if (left) left.#follow(apply(left.fleet, { type: 'release' }, runtime.now()), false);
    }
  }

  /** Of a group by itself: what the first load balancer that uses it will decide by. */
  firstTable(crossZone: boolean, state: GatewayState | null): FleetTable {
    const now = this.runtime.now();
    if (state === null) return tableOf(used(this.fleet, crossZone, now));
    const fleet = fleetFrom(state, crossZone, now);
    resume(fleet, groupOf(this.fleet), now);
    return tableOf(fleet);
  }

  /**
   * Has it saved, now and with every change before packets are decided by that. Rejects where that fails now: then
   * nothing is saved.
   */
  async saveBy(save: SaveState): Promise<void> {
    const { fleet } = this;
    let revision: number;
    do {
      ({ revision } = fleet);
      await save(savedOf(fleet));
    } while (fleet.revision !== revision);
    if (this.#host === null) return;
    this.#passed = tableOf(fleet);
    this.#gate = new SaveGate(() => {
      const table = tableOf(fleet);
      const count = this.#held.length;
      const isChange = this.#heldChange;
      this.#heldChange = false;
      const pass = () => {
        this.#pending.push(...this.#held.splice(0, count));
        this.#passed = table;
        this.#tell(true, isChange);
      };
      const state = savedOf(fleet);
      return { start: async () => save(state), pass };
    }, this.runtime);
  }

  /** Resolves when it is saved as it is, where it is saved at all; rejects where that fails. */
  async saved(): Promise<void> {
    await this.#gate?.request();
  }

  /** The load balancer is gone: ends checks and timers; the group goes on by itself. Idempotent. */
  close(): void {
    if (this.#host === null) return;
    this.#host = null;
    this.#gate?.close();
    this.#gate = null;
    this.#passed = null;
    this.#pending.push(...this.#held.splice(0));
    this.#stopChecks();
    this.runtime.clearTimer(this.#timer);
    const events = apply(this.fleet, { type: 'release' }, this.runtime.now());
    this.#follow(events, false);
  }

  /** The member's targets are its own again, in `left`; other views stay here with their flows. */
  #part(left: LiveFleet, member: FleetMember): void {
    const bySlot = new Map(everyTarget(this.fleet).map((record) => [record.slot, record]));
    for (const copy of membersOf(left.fleet)) {
      const record = bySlot.get(copy.slot);
      if (record === undefined) continue;
      const view = viewOf(record);
      followTo(view, copy);
      left.#views.set(copy.slot, view);
      this.#views.set(copy.slot, viewOf(record));
      this.#host?.took(viewOf(record), false);
    }
    left.#member = member;
    member.moved(left);
  }

  /** A target has its slot from now on. */
  #take(record: FleetTarget, anew: boolean): void {
    const view = viewOf(record);
    this.#views.set(record.slot, view);
    this.#host?.took(view, anew);
  }

  /** Brings checks and timers in line with the fleet, then tells the world. */
  #follow(events: readonly FleetEvent[], isNews: boolean, isChange = isNews): void {
    for (const event of events) this.#queue(event);
    if (isNews && this.#host) {
      this.#syncChecks();
      this.#armTimer();
    }
    if (this.#gate === null) {
      this.#pending.push(...this.#held.splice(0));
      this.#tell(isNews, isChange);
    } else if (isNews) {
      this.#heldChange ||= isChange;
      // Who saves it knows why it failed; packets go on.
      this.#gate.request().catch(() => {});
    } else {
      this.#flush();
    }
  }

  #tell(isNews: boolean, isChange: boolean): void {
    try {
      if (isNews) {
        this.#host?.publish();
        if (isChange) this.#member?.emitter.emit('change');
      }
    } finally {
      this.#flush();
    }
  }

  #syncChecks(): void {
    const host = this.#host;
    const check = this.#member?.check() ?? false;
    if (!host || !check) {
      this.#stopChecks();
      return;
    }
    if (!this.#prober) this.#prober = this.#newProber(check, host);
    else if (!sameCheck(check, this.#check)) this.#prober.configure(check);
    this.#check = check;
    const active = membersOf(this.fleet).filter(({ phase }) => phase === 'active');
    this.#prober.setTargets(new Map(active.map((target) => [target.id, target])));
  }

  #stopChecks(): void {
    this.#prober?.close();
    this.#prober = null;
  }

  #newProber(check: HealthCheck, host: FleetHost): Prober {
    const tell = (id: string, result: ProbeResult, durationMs: number): boolean => {
      const record = memberWithId(this.fleet, id);
      if (record === null) return false;
      const { ok, detail } = result;
      const failure = result.ok ? null : result.failure;
      const target = viewOf(record);
      const member = this.#member;
      this.#pending.push(() =>
        member?.emitter.emit('probe', { target, ok, durationMs, detail, failure }),
      );
      return true;
    };
    return new Prober(
      check,
      host,
      {
        started: (target) => this.apply({ type: 'checkStarted', target }),
        finished: (target, result, durationMs) => {
          if (tell(target, result, durationMs)) this.apply({ type: 'checked', target, result });
        },
        isHealthy: (id) => memberWithId(this.fleet, id)?.state === 'healthy',
        asked: (target, result, durationMs) => {
          if (tell(target, result, durationMs)) this.#flush();
        },
        confirmed: (target, evidence, result) =>
          this.apply({ type: 'condemned', target, evidence, result }),
      },
      this.runtime,
    );
  }

  #armTimer(): void {
    this.runtime.clearTimer(this.#timer);
    this.#timer = null;
    const next = nextInstant(this.fleet);
    if (next === null) return;
    const delayMs = Math.max(1, next - this.runtime.now());
    this.#timer = this.runtime.setTimer(() => this.#tick(), delayMs);
  }

  #tick(): void {
    const host = this.#host;
    if (!host) return;
    const awaited = slotsAwaited(this.fleet, this.runtime.now());
    const idle = awaited.filter((slot) => host.flowsActive(slot) === 0);
    this.apply({ type: 'tick', idle }, false, () => this.#armTimer());
  }

  /** What others than the member are is told nobody: they are former members' flows. */
  #queue(event: FleetEvent): void {
    const member = this.#member;
    const target = this.#views.get(event.slot);
    if (!member || !target || event.group !== this.fleet.group) return;
    this.#held.push(() => tell(member, target, event));
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

function tell({ emitter }: FleetMember, target: Target, event: FleetEvent): void {
  const { at } = event;
  if (event.type === 'weight') {
    const { weight, effectiveWeight } = target;
    emitter.emit('weight', { target, weight, effectiveWeight, cause: event.cause, at });
  } else if (event.type === 'health') {
    const { previous, state, reason, cause } = event;
    emitter.emit('health', { target, previous, state, reason, cause, at });
  } else {
    emitter.emit(event.type, { target, cause: event.cause, at });
  }
}
