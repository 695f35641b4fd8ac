/** A fleet of appliances: who belongs to it, how they are, and what may change about them. */
import { checkArray } from '../base/checks.js';
import { checkOneOf, checkString, GatewayError, invalidArgument } from '../base/errors.js';
import { findTarget, targetNamed } from '../fleet/find.js';
import type { GatewayState } from '../fleet/saved.js';
import { everyTarget, membersOf, type RegisteredTarget } from '../fleet/state.js';
import type { FleetTable } from '../fleet/table.js';
import { checkProbes, sameCheck } from '../health/options.js';
import { type Runtime, SYSTEM_RUNTIME } from '../health/runtime.js';
import { fleetPolicy } from './fleet-policy.js';
import { changeAttributes, type TargetGroupAttributes } from './group-attributes.js';
import {
  checkCombination,
  checkPolicyChange,
  checkTarget,
  checkTargetGroup,
  type Settings,
  TARGET,
  type TargetGroupOptions,
  type TargetGroupPolicy,
  type TargetSpec,
} from './group-options.js';
import { GroupSettings } from './group-settings.js';
import { type FleetMember, LiveFleet } from './live-fleet.js';
import { Preview } from './preview.js';
import type { TargetGroupChange, TargetGroupPreview } from './preview-types.js';
import { type Target, type TargetReference, targetName, viewOf } from './target.js';

/** Far above what a group has room for, which is another error. */
const SPECS_MAX = 65_536;

/** Whether it is a group of this copy of the package, whatever a proxy says. */
export let isTargetGroup: (value: unknown) => value is TargetGroup;

/** What a new load balancer with this group, or one that goes on from `state`, will decide by at first. */
export let firstTable: (
  group: TargetGroup,
  crossZone: boolean,
  state: GatewayState | null,
) => FleetTable;

/**
 * A load balancer begins to send new flows to the group's targets. Throws `ERR_GWLB_IN_USE`,
 * `ERR_GWLB_INVALID_ARGUMENT` where it cannot make the group's health checks, and what has no room.
 * `done` is called when it has begun, before anybody hears of it.
 */
export let useGroup: (fleet: LiveFleet, group: TargetGroup, done?: () => void) => void;

/** Clock, timers and checks of the group. */
export let runtimeOf: (group: TargetGroup) => Runtime;

/** A group with clock, timers and checks of another kind: for simulations. */
export let groupWithRuntime: (options: TargetGroupOptions, runtime: Runtime) => TargetGroup;

/**
 * The targets of one load balancer. Until a load balancer uses the group, targets are `unused` and
 * are not checked.
 *
 * Events: `health` with every change of a target's state; `weight` with every change of its share; `register` when a target is registered;
 * `deregister` when it is gone, that is after its deregistration delay; `probe` after every health
 * check; `change` when packets may be decided about otherwise. `change` comes before the other events
 * of the same cause, so their listeners see what packets see.
 *
 * Timers do not keep the process alive; a check that is connecting may, until its timeout.
 */
export class TargetGroup extends GroupSettings {
  #home: LiveFleet;
  readonly #member: FleetMember;
  #closed = false;

  static {
    isTargetGroup = (value): value is TargetGroup =>
      typeof value === 'object' && value !== null && #home in value;
    useGroup = (fleet, group, done) => group.#enter(fleet, done);
    runtimeOf = (group) => group.#home.runtime;
    firstTable = (group, crossZone, state) => group.#home.firstTable(crossZone, state);
    groupWithRuntime = (options, runtime) => {
      const group = new TargetGroup(options);
      group.#found(runtime);
      return group;
    };
  }

  /** Throws what is wrong with an option, naming it. */
  constructor(options: TargetGroupOptions = {}) {
    super(checkTargetGroup(options));
    this.#member = {
      check: () => this.settings.healthCheck,
      emitter: this,
      moved: (home) => {
        this.#home = home;
      },
    };
    this.#home = this.#found(SYSTEM_RUNTIME);
  }

  /** A load balancer uses the group. */
  get inUse(): boolean {
    return this.#home.host !== null;
  }

  /**
   * Changes the attributes that are named, as AWS `ModifyTargetGroupAttributes` does; all or none.
   * Throws `ERR_GWLB_ATTRIBUTES`.
   */
  modifyAttributes(changes: TargetGroupAttributes): void {
    this.#checkOpen();
    this.#change(changeAttributes(this.settings, changes));
  }

  /**
   * Registers targets; all or none. A target that is still draining comes back with its flows; one that is gone
   * is another machine, with none.
   * Throws `ERR_GWLB_DUPLICATE_TARGET`, `ERR_GWLB_TARGET_LIMIT`, and what is wrong with a value.
   */
  register(...targets: TargetSpec[]): Target[] {
    this.#checkOpen();
    return this.#join('register', this.#checkTargets(targets));
  }

  /**
   * Deregisters targets, named by object, id (`10.0.1.10:6081`) or address; all or none. They drain:
   * no new flows, but their flows stay for `deregistrationDelaySeconds`. One that drains already goes
   * on draining. Throws `ERR_GWLB_UNKNOWN_TARGET`.
   */
  deregister(...targets: TargetReference[]): void {
    this.#checkOpen();
    this.#home.apply({ type: 'deregister', targets: targets.map(targetName) });
  }

  /**
   * Makes the group have exactly these targets: registers, deregisters and changes zone and weight
   * of as many as necessary; all or none.
   */
  setTargets(targets: readonly TargetSpec[]): Target[] {
    this.#checkOpen();
    const given = checkArray('targets', targets, 'an array', SPECS_MAX);
    const checked = this.#checkTargets(given);
    return this.#join('setTargets', checked);
  }

  /** Registered and draining targets, in order of registration. */
  targets(): readonly Target[] {
    return membersOf(this.#home.fleet).map(viewOf);
  }

  /** The target with this id, or this address where that is enough; undefined where none is. */
  target(id: string): Target | undefined {
    const record = findTarget(this.#home.fleet, targetName(id));
    return record ? viewOf(record) : undefined;
  }

  /** The target in this slot of the data plane; undefined where none is. */
  targetInSlot(slot: number): Target | undefined {
    const { fleet } = this.#home;
    const record = everyTarget(fleet).find(
      (target) => target.slot === slot && target.group === fleet.group,
    );
    return record && viewOf(record);
  }

  /** Changes a target's share of new flows, 0–1000; existing flows stay. */
  setWeight(target: TargetReference, weight: number): void {
    this.#checkOpen();
    const { id } = targetNamed(this.#home.fleet, targetName(target));
    TARGET.weight.kind.check('weight', weight);
    this.#home.apply({ type: 'setWeight', target: id, weight });
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
    const { id } = targetNamed(this.#home.fleet, targetName(target));
    checkOneOf('state', state, ['healthy', 'unhealthy']);
    if (description !== undefined) checkString('description', description, { max: 200 });
    if (this.settings.healthCheck) {
      throw invalidArgument('healthCheck', 'false for setHealth', this.healthCheck);
    }
    this.#home.apply({ type: 'setHealth', target: id, state, description });
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
    const { fleet, host, runtime } = this.#home;
    const preview = new Preview({ fleet, settings: this.settings, host, now: runtime.now() });
    changes.forEach((change, i) => {
      preview.apply(change, `changes[${i}]`);
    });
    return preview.result(() => this.#home.host);
  }

  /**
   * Ends the group: it takes no more calls. Rejects with `ERR_GWLB_IN_USE` while a load balancer uses
   * it: close that first.
   */
  async close(): Promise<void> {
    if (this.inUse) {
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

  #found(runtime: Runtime): LiveFleet {
    const { settings } = this;
    this.#home = new LiveFleet(runtime);
    const policy = fleetPolicy(settings);
    this.#home.found(this.#member, { name: settings.name, policy, targets: [] });
    return this.#home;
  }

  #enter(fleet: LiveFleet, done?: () => void): void {
    this.#checkOpen();
    if (this.inUse) {
      throw new GatewayError(
        'ERR_GWLB_IN_USE',
        `target group ${this.name}: expected a group that no load balancer uses, since flows and ` +
          'health belong to one; received one in use',
      );
    }
    checkProbes(this.settings.healthCheck, fleet.host?.sendProbe !== undefined);
    fleet.use(this.#member, this.#home, done);
  }

  #checkTargets(targets: readonly unknown[]): RegisteredTarget[] {
    const checked = targets.map((target, i) => checkTarget(target, this.port, `targets[${i}]`));
    checked.forEach((target, i) => {
      this.#home.host?.checkTarget?.(target.address, `targets[${i}].address`);
    });
    return checked;
  }

  #join(type: 'register' | 'setTargets', targets: readonly RegisteredTarget[]): Target[] {
    const joined: Target[] = [];
    this.#home.apply({ type, targets }, false, () => {
      const { fleet } = this.#home;
      joined.push(...targets.map(({ id }) => viewOf(targetNamed(fleet, id))));
    });
    return joined;
  }

  #change(changes: Partial<Settings>): void {
    const before = this.settings;
    const after = Object.freeze({ ...before, ...changes });
    checkCombination(after);
    const { host } = this.#home;
    if (host) checkProbes(after.healthCheck, host.sendProbe !== undefined);
    if (before.stickiness !== after.stickiness) host?.checkStickiness?.(after.stickiness);
    this.settings = after;
    const recount = !sameCheck(before.healthCheck, after.healthCheck);
    const isNews =
      recount || before.failOpen !== after.failOpen || before.stickiness !== after.stickiness;
    this.#home.apply({ type: 'setPolicy', policy: fleetPolicy(after), recount }, isNews);
  }
}
