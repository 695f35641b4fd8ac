/** What must not happen before its time, and what not after it; noted when it began. */
import type { FleetCommand } from '../../src/fleet/commands.js';
import { everyTarget, type Fleet, policyOf } from '../../src/fleet/state.js';

const SLOT_QUARANTINE_MS = 600_000;
const INDEX_QUARANTINE_MS = 6_060_000;

interface Draining {
  readonly id: string;
  readonly until: number;
}

export class Deadlines {
  /** By slot. */
  readonly #draining = new Map<number, Draining>();
  readonly #lent = new Set<number>();
  readonly #slotsLeft = new Map<number, number>();
  readonly #indicesLeft = new Map<number, number>();

  /** After a command. */
  check(fleet: Fleet, command: FleetCommand, now: number): string | null {
    const targets = everyTarget(fleet);
    return (
      this.#wrongSlots(new Set(targets.map(({ slot }) => slot)), now) ??
      this.#wrongDrains(fleet, command, now)
    );
  }

  #wrongSlots(slots: ReadonlySet<number>, now: number): string | null {
    for (const slot of this.#lent) {
      if (slots.has(slot)) continue;
      this.#lent.delete(slot);
      this.#slotsLeft.set(slot, now);
    }
    for (const slot of slots) {
      if (this.#lent.has(slot)) continue;
      this.#lent.add(slot);
      const left = this.#slotsLeft.get(slot);
      if (left !== undefined && now - left < SLOT_QUARANTINE_MS) {
        return `slot ${slot} was given out ${now - left} ms after it was left`;
      }
    }
    return null;
  }

  #wrongDrains(fleet: Fleet, command: FleetCommand, now: number): string | null {
    const targets = new Map(everyTarget(fleet).map((target) => [target.slot, target]));
    for (const [slot, { id, until }] of this.#draining) {
      const target = targets.get(slot);
      if (target?.phase === 'draining') continue;
      this.#draining.delete(slot);
      if (target?.phase !== 'active' && now < until && command.type !== 'expire') {
        return `${id} left ${until - now} ms before its deregistration delay was over`;
      }
    }
    for (const [slot, target] of targets) {
      if (target.phase !== 'draining' || this.#draining.has(slot)) continue;
      const { deregistrationDelayMs } = policyOf(fleet, target);
      this.#draining.set(slot, { id: target.id, until: now + deregistrationDelayMs });
    }
    return null;
  }

  /** What should have ended by now. */
  overdue(fleet: Fleet, now: number): string | null {
    const slots = new Map(everyTarget(fleet).map((target) => [target.slot, target.phase]));
    for (const [slot, { id, until }] of this.#draining) {
      if (slots.get(slot) === 'draining' && until < now) return `${id} drains for too long`;
    }
    return null;
  }

  /** An endpoint that had packets is gone. */
  indexLeft(index: number, now: number): void {
    this.#indicesLeft.set(index, now);
  }

  indexTaken(index: number, now: number): string | null {
    const left = this.#indicesLeft.get(index);
    if (left === undefined || now - left >= INDEX_QUARANTINE_MS) return null;
    return `index ${index} was given out ${now - left} ms after its endpoint was removed`;
  }
}
