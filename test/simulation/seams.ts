/**
 * What a simulation takes from the product, by name: so that a fault can stand in place of each, and be
 * looked for.
 */
import { apply } from '../../src/fleet/apply.js';
import type { FleetCommand, FleetEvent } from '../../src/fleet/commands.js';
import { nextInstant, slotsAwaited } from '../../src/fleet/instants.js';
import type { Fleet } from '../../src/fleet/state.js';
import { type FleetTable, tableOf } from '../../src/fleet/table.js';

export interface Seams {
  apply(fleet: Fleet, command: FleetCommand, now: number): FleetEvent[];
  tableOf(fleet: Fleet): FleetTable;
  nextInstant(fleet: Fleet): number | null;
  /** Which of the slots that wait for their flows have none. */
  idleSlots(fleet: Fleet, now: number, flowsActive: (slot: number) => number): number[];
  save(fleet: Fleet): string;
  load(saved: string): Fleet;
  /** The table is about to be published. */
  publish(table: FleetTable): FleetTable;
}

export const REAL: Seams = {
  apply,
  tableOf,
  nextInstant,
  idleSlots: (fleet, now, flowsActive) =>
    slotsAwaited(fleet, now).filter((slot) => flowsActive(slot) === 0),
  save: (fleet) => JSON.stringify(fleet),
  load: (saved) => JSON.parse(saved),
  publish: (table) => table,
};
