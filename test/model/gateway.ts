/**
 * The gateway's decisions, written from docs/rules.md for reading, not for speed. Packets go in one
 * after the other with the time; what becomes of each is returned, and flow events are kept.
 *
 * Entries end only in `sweep` (one that is overdue and was not swept counts as alive), and slots of
 * former targets are forgotten when the model is told so.
 */
import { endOf, timeoutOf } from './flows.js';
import { type Entering, enter, takeHeld } from './ingress.js';
import { giveBack, type Returned } from './returns.js';
import { type Outcome, State } from './state.js';

export class GatewayModel extends State {
  enter(batch: readonly Entering[], now: number): Outcome[] {
    return enter(this, batch, now);
  }

  takeHeld(now: number): Entering[] {
    return takeHeld(this, now);
  }

  giveBack(returned: Returned, now: number): Outcome {
    return giveBack(this, returned, now);
  }

  /** C5, C6, C7. */
  sweep(now: number): number {
    this.advance(now, false);
    const due = this.flows().filter(
      (flow) => now - flow.lastSeen >= timeoutOf(flow.life, this.idle),
    );
    for (const flow of due) this.end(flow, endOf(flow));
    return due.length;
  }

  /** How many flows are pinned to the target in this slot. */
  pinned(slot: number): number {
    return this.flows().filter((flow) => flow.slot === slot).length;
  }
}
