/** Target tables of fleets, as native code builds them. */
import type { FleetTable, TableTarget } from '../fleet/table.js';
import { binding, type NativeTargets, type NativeTargetTable } from '../native/binding.js';

/** Builds the table of these targets, sooner where the one before differs little. */
export type BuildTable = (
  targets: FleetTable,
  previous: NativeTargetTable | null,
) => NativeTargetTable | Promise<NativeTargetTable>;

/** Elsewhere, with a promise, what takes too long for JavaScript's thread. */
export const buildTable: BuildTable = (targets, previous) =>
  binding.targetTable(packTargets(targets), previous);

/** At once, however long it takes. */
export const buildTableNow = (targets: FleetTable, previous: NativeTargetTable | null) =>
  new binding.TargetTable(packTargets(targets), previous);

/** In the form in which native code reads them. */
export function packTargets({ targets, zones, crossZone, seed }: FleetTable): NativeTargets {
  const column = (word: (target: TableTarget) => number | boolean) =>
    Uint32Array.from(targets, (target) => Number(word(target)));
  return {
    zones,
    crossZone,
    seed,
    slot: column(({ slot }) => slot),
    zone: column(({ zone }) => zone),
    address: column(({ address }) => address),
    port: column(({ port }) => port),
    eligible: column(({ eligible }) => eligible),
    reset: column(({ reset }) => reset),
    gone: column(({ gone }) => gone),
    keeps: column(({ keeps }) => keeps),
    generation: column(({ generation }) => generation),
    weight: column(({ weight }) => weight),
    identity: BigUint64Array.from(targets, ({ identity }) => identity),
  };
}
