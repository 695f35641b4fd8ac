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
  const column = () => new Uint32Array(targets.length);
  const packed: NativeTargets = {
    ...{ zones, crossZone, seed },
    ...{ slot: column(), zone: column(), address: column(), port: column() },
    ...{ eligible: column(), reset: column(), gone: column(), keeps: column() },
    ...{ generation: column(), weight: column() },
    identity: new BigUint64Array(targets.length),
  };
  for (const [i, target] of targets.entries()) pack(packed, i, target);
  return packed;
}

function pack(packed: NativeTargets, i: number, target: TableTarget): void {
  packed.slot[i] = target.slot;
  packed.zone[i] = target.zone;
  packed.address[i] = target.address;
  packed.port[i] = target.port;
  packed.eligible[i] = Number(target.eligible);
  packed.reset[i] = Number(target.reset);
  packed.gone[i] = Number(target.gone);
  packed.keeps[i] = Number(target.keeps);
  packed.generation[i] = target.generation;
  packed.weight[i] = target.weight;
  packed.identity[i] = target.identity;
}
