/** Two target tables and the live flows between them, compared row by row and flow by flow. */
import { setImmediate } from 'node:timers/promises';
import { GatewayError } from '../base/errors.js';
import { everyTarget, type Fleet, type FleetTarget } from '../fleet/state.js';
import { zoneNames, zoneNumber } from '../fleet/zones.js';
import type { NativeFlowMove, NativeTargetTable } from '../native/binding.js';
import type { FleetHost } from './fleet-host.js';
import type { FlowPreview, FlowPreviewMove, RowMove, ZonePreview } from './preview-types.js';

/** A fleet, and how packets are steered by it. */
export interface FleetWithTable {
  readonly fleet: Fleet;
  readonly table: NativeTargetTable;
}

/** Places of the flow table that are looked at in one go: half a millisecond of a worker. */
const POSITIONS = 16_384;
const NO_TARGET = 0xffff;

export function compareZones(before: FleetWithTable, after: FleetWithTable): ZonePreview[] {
  if (after.fleet.crossZone) return [compareZone(null, before, after)];
  const names = new Set([...zoneNames(before.fleet), ...zoneNames(after.fleet)]);
  return [...names].map((name) => compareZone(name, before, after));
}

function compareZone(
  zone: string | null,
  before: FleetWithTable,
  after: FleetWithTable,
): ZonePreview {
  const old = rowsOf(before, zone);
  const now = rowsOf(after, zone);
  // A table of another size is a multiple of the other, row by row.
  const rows = Math.max(old.length, now.length);
  const counts = new Map<number, number>();
  for (let row = 0; row < rows; row++) {
    const pair = old[row % old.length] * 0x10000 + now[row % now.length];
    counts.set(pair, (counts.get(pair) ?? 0) + 1);
  }
  const shares = new Map<string, { before: number; after: number }>();
  for (const { fleet } of [before, after]) {
    for (const target of presentIn(fleet)) {
      if (zone === null || target.zone === zone) shares.set(target.id, { before: 0, after: 0 });
    }
  }
  const names = [before, after].map(({ fleet }) => idsBySlot(fleet));
  const moves: RowMove[] = [];
  for (const [pair, count] of counts) {
    const from = names[0].get(Math.floor(pair / 0x10000)) ?? null;
    const to = names[1].get(pair % 0x10000) ?? null;
    const was = from === null ? undefined : shares.get(from);
    const is = to === null ? undefined : shares.get(to);
    if (was) was.before += count;
    if (is) is.after += count;
    if (from !== to) moves.push({ from, to, rows: count });
  }
  moves.sort((a, b) => b.rows - a.rows || compare(a, b));
  const moved = moves.reduce((total, move) => total + move.rows, 0);
  const targets = [...shares].map(([target, share]) => ({ target, ...share }));
  return { zone, rows, moved, moves, targets };
}

/** A zone that one of the fleets does not have takes no flows there. */
function rowsOf({ fleet, table }: FleetWithTable, zone: string | null): Uint16Array {
  const number = zone === null ? 0 : zoneNumber(fleet, zone);
  return number < 0 ? Uint16Array.of(NO_TARGET) : table.rows(number);
}

/** Targets that are registered or draining, of whatever group. */
function presentIn(fleet: Fleet): FleetTarget[] {
  return everyTarget(fleet).filter(({ phase }) => phase !== 'gone');
}

function idsBySlot(fleet: Fleet): Map<number, string> {
  return new Map(everyTarget(fleet).map(({ slot, id }) => [slot, id]));
}

/** Null without a data plane. `hostNow` says who has the fleet at that moment. */
export async function compareFlows(
  { fleet, table }: FleetWithTable,
  host: FleetHost | null,
  hostNow: () => FleetHost | null,
): Promise<FlowPreview | null> {
  if (!host?.previewFlows) return null;
  const counts = new Map<string, NativeFlowMove>();
  let cursor = 0;
  do {
    if (hostNow() !== host) {
      throw new GatewayError('ERR_GWLB_CLOSED', 'the load balancer was closed during the preview');
    }
    const part = host.previewFlows(table, cursor, POSITIONS);
    for (const move of part.moves) {
      const key = `${move.from} ${move.to} ${move.fate}`;
      const known = counts.get(key);
      if (known) known.count += move.count;
      else counts.set(key, { ...move });
    }
    cursor = part.cursor;
    await setImmediate();
  } while (cursor !== 0);
  return flowPreview([...counts.values()], fleet, host);
}

function flowPreview(
  counts: readonly NativeFlowMove[],
  fleet: Fleet,
  host: FleetHost,
): FlowPreview {
  const ids = idsBySlot(fleet);
  const name = (slot: number) => ids.get(slot) ?? host.targetOf?.(slot)?.id ?? null;
  const moves = counts.map(({ from, to, fate, count }) => ({
    from: name(from),
    to: name(to),
    fate: fate as FlowPreviewMove['fate'],
    flows: count,
  }));
  moves.sort((a, b) => b.flows - a.flows || compare(a, b));
  const sum = (fate?: FlowPreviewMove['fate']) =>
    moves.reduce((sum, move) => sum + (fate && move.fate !== fate ? 0 : move.flows), 0);
  return {
    total: sum(),
    stay: sum('stays'),
    move: sum('moves'),
    reset: sum('reset'),
    noTarget: sum('no_target'),
    moves,
  };
}

interface Move {
  readonly from: string | null;
  readonly to: string | null;
}

function compare(a: Move, b: Move): number {
  const text = ({ from, to }: Move) => `${from} ${to}`;
  return text(a) < text(b) ? -1 : 1;
}
