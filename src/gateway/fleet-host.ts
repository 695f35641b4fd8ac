/** What a load balancer does for its fleet. */
import type { ProbeHost } from '../health/probe-host.js';
import type { NativeFlowMove, NativeTargetTable } from '../native/binding.js';
import type { Stickiness } from './group-options.js';
import type { Target } from './target.js';

/** What the load balancer that has a fleet does for it, and tells. */
export interface FleetHost extends ProbeHost {
  /** How many flows are pinned to the target in this slot. */
  flowsActive(slot: number): number;
  /** The table of targets is another one: the data plane must hear of it. */
  publish(): void;
  /** The target has a slot from now on; `anew`: it is another one, or another time, so counts begin. */
  took(target: Target, anew: boolean): void;
  /** The target that has this slot, or had it last. */
  targetOf?(slot: number): Target | null;
  /**
   * What the next packets of live flows would do if these were the targets: a part of the flow table
   * from `cursor` on, which is 0 at first, and again in the answer when that was all.
   */
  previewFlows?(
    targets: NativeTargetTable,
    cursor: number,
    positions: number,
  ): { moves: NativeFlowMove[]; cursor: number };
  /** Throws where it cannot have this address as a target; `field` names it in the message. */
  checkTarget?(address: string, field: string): void;
  /** Throws where the load balancer's own settings exclude it. */
  checkStickiness?(stickiness: Stickiness): void;
}
