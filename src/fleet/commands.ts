/** What can be done to a fleet, and what it tells of it. Both are plain data. */
import type { FailedProbe, ProbeResult, TargetReason, TargetState } from '../health/thresholds.js';
import type { FleetPolicy, GroupMembers, RegisteredTarget } from './state.js';

/**
 * `target` and `targets` name registered or draining targets of the group in use: by id, or by address
 * where that is enough. What checks tell (`checkStarted`, `checked`, `condemned`) is by id, and does
 * nothing where the target has left meanwhile.
 */
export type FleetCommand =
  /**
   * New flows go to the targets of this group from now on. Those of the one before that it does not
   * have drain by their own policy; those that it has too stay with their flows.
   */
  | { readonly type: 'useGroup'; readonly group: GroupMembers }
  /**
   * The load balancer is gone, and with it every flow and endpoint; what is left is the group in use, by
   * itself. On a copy of a fleet: what remains of a group that a load balancer does not use any more.
   */
  | { readonly type: 'release' }
  /** All or none. One that drains comes back in its slot; one that is gone is another machine. */
  | { readonly type: 'register'; readonly targets: readonly RegisteredTarget[] }
  | { readonly type: 'deregister'; readonly targets: readonly string[] }
  /** Deregisters what is not yet, and ends the drain: what time would do. `idle` as for `tick`. */
  | {
      readonly type: 'expire';
      readonly targets: readonly string[];
      readonly idle: readonly number[];
    }
  /** Registers, deregisters and changes zone and weight, until exactly these are registered. */
  | { readonly type: 'setTargets'; readonly targets: readonly RegisteredTarget[] }
  | { readonly type: 'setWeight'; readonly target: string; readonly weight: number }
  /** What somebody else knows of the target's health; for groups whose targets are not checked. */
  | {
      readonly type: 'setHealth';
      readonly target: string;
      readonly state: 'healthy' | 'unhealthy';
      readonly description?: string | undefined;
    }
  /** Its whole weight counts at once. */
  | { readonly type: 'skipSlowStart'; readonly target: string }
  /**
   * A delay that changes counts for targets that are deregistered from now on. `recount`: targets are
   * checked in another way than before, so that results in a row are counted anew.
   */
  | { readonly type: 'setPolicy'; readonly policy: FleetPolicy; readonly recount: boolean }
  | { readonly type: 'setCrossZone'; readonly crossZone: boolean }
  /** The first check of a target is on its way. */
  | { readonly type: 'checkStarted'; readonly target: string }
  /** A check came to its end. */
  | { readonly type: 'checked'; readonly target: string; readonly result: ProbeResult }
  /** What packets told against a target (`evidence`) was confirmed by checks: it has failed, at once. */
  | {
      readonly type: 'condemned';
      readonly target: string;
      readonly evidence: string;
      readonly result: FailedProbe;
    }
  /**
   * Time has passed: ends what is due. `idle`: those of the slots that `slotsAwaited` names that no flow
   * is pinned to.
   */
  | { readonly type: 'tick'; readonly idle: readonly number[] }
  | { readonly type: 'addEndpoint'; readonly id: string; readonly zone: string }
  /** `unused`: no packet ever entered by it. */
  | { readonly type: 'removeEndpoint'; readonly id: string; readonly unused: boolean };

/** The command of one type. */
export type CommandOf<Type extends FleetCommand['type']> = Extract<
  FleetCommand,
  { readonly type: Type }
>;

/**
 * What made a target change its state: `health-check`, the results of its checks; `set-health`,
 * `register`, `deregister` and `update`, the call of that name; `delay-expired`, the end of its
 * deregistration delay; `attach` and `detach`, a load balancer that began or ceased to use the group.
 */
export type HealthCause =
  | 'register'
  | 'deregister'
  | 'delay-expired'
  | 'health-check'
  | 'set-health'
  | 'suspicion'
  | 'attach'
  | 'detach'
  | 'update';

/**
 * What made a target take another share of new flows: a call of `setWeight` or `setTargets`, or the next
 * step of its slow start (`slowStartSeconds`).
 */
export type WeightCause = 'set-weight' | 'slow-start';

interface OfTarget {
  /** Id of the target. */
  readonly target: string;
  readonly slot: number;
  /** Number of the group that the target belonged to then. */
  readonly group: number;
  readonly at: number;
}

export type FleetEvent =
  /** It was registered, or is gone. */
  | (OfTarget & { readonly type: 'register' | 'deregister'; readonly cause: HealthCause })
  /** It takes another share of new flows. */
  | (OfTarget & { readonly type: 'weight'; readonly cause: WeightCause })
  | (OfTarget & {
      readonly type: 'health';
      readonly previous: TargetState;
      readonly state: TargetState;
      readonly reason: TargetReason | null;
      readonly cause: HealthCause;
    });
