/** What a preview is asked, and what it answers. */
import type { TargetGroupPolicy, TargetSpec } from './group-options.js';
import type { TargetReference } from './target.js';

type OneOrMore<T> = T | readonly T[];

/** A change to look at; an object with one key. */
export type TargetGroupChange =
  /** Targets are registered, and healthy: as when their first checks have passed and a slow start is over. */
  | {
      /** One target or several. */
      readonly register: OneOrMore<TargetSpec>;
    }
  /** Targets begin to drain. */
  | {
      /** One target or several. */
      readonly deregister: OneOrMore<TargetReference>;
    }
  /** Targets are deregistered and their deregistration delay is over. */
  | {
      /** One target or several. */
      readonly drainOver: OneOrMore<TargetReference>;
    }
  /** Targets turn unhealthy. */
  | {
      /** One target or several. */
      readonly fail: OneOrMore<TargetReference>;
    }
  /** Targets turn healthy; as when a slow start is over. */
  | {
      /** One target or several. */
      readonly recover: OneOrMore<TargetReference>;
    }
  /** A target gets another weight, 0–1000. */
  | {
      /** Whose, and which. */
      readonly weight: {
        /** The target, its id, or its address where that is enough. */
        readonly target: TargetReference;
        /** Its weight from then on, 0–1000. */
        readonly weight: number;
      };
    }
  /** The policy changes, as `update` changes it. */
  | {
      /** What changes; the rest stays. */
      readonly update: TargetGroupPolicy;
    };

/** Rows of one zone that change their target. */
export interface RowMove {
  /** Id of the target, `10.0.1.10:6081`; null where the row had none. */
  readonly from: string | null;
  /** null where it has none any more. */
  readonly to: string | null;
  /** How many rows. */
  readonly rows: number;
}

/** What becomes of a zone's rows, that is of its new flows. */
export interface ZonePreview {
  /** null with `crossZone`, where all zones are one. */
  readonly zone: string | null;
  /** Rows of its target table. */
  readonly rows: number;
  /** How many of them change their target. */
  readonly moved: number;
  /** From where to where, most rows first. */
  readonly moves: readonly RowMove[];
  /** Rows of each target: divided by `rows` they are its exact share of new flows. */
  readonly targets: readonly {
    /** Its id. */
    readonly target: string;
    /** Rows that it has. */
    readonly before: number;
    /** Rows that it would have. */
    readonly after: number;
  }[];
}

/** What the next packets of live flows do. */
export interface FlowPreviewMove {
  /** Id of the target the flows are pinned to; null where nobody knows it any more. */
  readonly from: string | null;
  /** Where they go: `from` where they stay, null where they find no target. */
  readonly to: string | null;
  /**
   * `stays`; `moves` to another target; `reset`, TCP packets are answered with a RST; `no_target`, they
   * are dropped, or forwarded uninspected with `failOpen`.
   */
  readonly fate: 'stays' | 'moves' | 'reset' | 'no_target';
  /** How many flows. */
  readonly flows: number;
}

/** What becomes of live flows. */
export interface FlowPreview {
  /** All live flows. */
  readonly total: number;
  /** Those that stay on their target. */
  readonly stay: number;
  /** Those that move to another target with their next packet. */
  readonly move: number;
  /** Those whose TCP packets are answered with a RST. */
  readonly reset: number;
  /** Those that find no target: dropped, or forwarded uninspected with `failOpen`. */
  readonly noTarget: number;
  /** Who goes where, most flows first. */
  readonly moves: readonly FlowPreviewMove[];
}

/** What `preview` answers. */
export interface TargetGroupPreview {
  /** New flows, zone by zone. */
  readonly zones: readonly ZonePreview[];
  /** Live flows; null without a load balancer. */
  readonly flows: FlowPreview | null;
  /** All of it for people, several lines. */
  readonly text: string;
}
