/**
 * What a change would do, before it is made: the change is made to a copy of the registry, and the two
 * target tables and the live flows are compared row by row and flow by flow.
 */
import { setImmediate } from 'node:timers/promises';
import {
  binding,
  type NativeFlowMove,
  type NativeTargets,
  type NativeTargetTable,
} from '../binding.js';
import { checkArray, checkRecord } from '../checks.js';
import { checkInteger, checkOptions, GatewayError, show, withoutField } from '../errors.js';
import { WEIGHT_MAX } from '../limits.js';
import type { TargetGroupHost } from './events.js';
import {
  checkCombination,
  checkPolicyChange,
  checkTarget,
  type Settings,
  type TargetGroupPolicy,
  type TargetSpec,
} from './options.js';
import type { Registry, TargetReference } from './registry.js';
import { registryPolicy } from './registry-types.js';
import { snapshotOf, ZoneIndex } from './snapshot.js';
import type { TargetRecord } from './target.js';

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

/** What a preview starts from. */
export interface PreviewContext {
  readonly registry: Registry;
  readonly settings: Settings;
  readonly zones: ZoneIndex | null;
  readonly crossZone: boolean;
  readonly host: TargetGroupHost | null;
  readonly now: number;
}

/** Places of the flow table that are looked at in one go: half a millisecond of a worker. */
const POSITIONS = 16_384;
/** Targets of one change. */
const LIST_MAX = 65_536;
const NO_TARGET = 0xffff;
const FATES = ['stays', 'moves', 'reset', 'no_target'] as const;

export class Preview {
  readonly #context: PreviewContext;
  readonly #before: Registry;
  readonly #after: Registry;
  readonly #zones: ZoneIndex;
  readonly #told: string[] = [];
  #settings: Settings;

  constructor(context: PreviewContext) {
    this.#context = context;
    this.#settings = context.settings;
    this.#zones = context.zones?.clone() ?? new ZoneIndex();
    this.#before = context.registry.clone();
    if (!this.#before.inUse) useAllHealthy(this.#before, context.now);
    this.#settle(this.#before);
    this.#after = this.#before.clone();
  }

  /** Makes one more change; throws what is wrong with it, naming `field`. */
  apply(change: TargetGroupChange, field: string): void {
    const [kind, value] = checkChange(change, field);
    const at = `${field}.${kind}`;
    try {
      this.#told.push(CHANGES[kind](this, value, at));
    } catch (error) {
      throw error instanceof GatewayError ? errorAt(error, at) : error;
    }
    // Each change reaches the data plane by itself.
    this.#settle(this.#after);
  }

  /** Compares. `hostNow` says who uses the group at that moment. */
  async result(hostNow: () => TargetGroupHost | null): Promise<TargetGroupPreview> {
    const before = new binding.TargetTable(this.#snapshot(this.#before), null);
    let after: NativeTargetTable | null = null;
    try {
      after = new binding.TargetTable(this.#snapshot(this.#after), before);
      const zones = this.#zonesOf(before, after);
      const flows = await this.#flows(after, hostNow);
      return { zones, flows, text: textOf(this.#told, zones, flows) };
    } finally {
      before.release();
      after?.release();
    }
  }

  #zonesOf(before: NativeTargetTable, after: NativeTargetTable): ZonePreview[] {
    if (this.#context.crossZone) return [this.#zone(null, 0, before, after)];
    return this.#zones.entries().map(([name, number]) => this.#zone(name, number, before, after));
  }

  register(specs: readonly TargetSpec[], field: string): string {
    const targets = specs.map((spec, i) =>
      checkTarget(spec, this.#settings.port, `${field}[${i}]`),
    );
    targets.forEach(({ address }, i) => {
      this.#context.host?.checkTarget?.(address, `${field}[${i}].address`);
    });
    this.#zones.checkRoom(targets.map(({ zone }) => zone));
    this.#after.register(targets, this.#context.now);
    for (const { id } of targets) this.#setHealth(this.#after.get(id), 'healthy');
    return `register ${targets.map(({ id }) => id).join(', ')}`;
  }

  deregister(references: TargetReference[], field: string): string {
    return this.#named('deregister', references, field, (records) => {
      this.#after.deregister(records, this.#context.now);
    });
  }

  drainOver(references: TargetReference[], field: string): string {
    return this.#named('deregister, delay over:', references, field, (records) => {
      const { host, now } = this.#context;
      this.#after.expire(records, now, (slot) => host?.flowsActive(slot) ?? 0);
    });
  }

  setHealth(references: TargetReference[], field: string, state: 'healthy' | 'unhealthy'): string {
    return this.#named(`${state}:`, references, field, (records) => {
      for (const record of records) this.#setHealth(record, state);
    });
  }

  weigh(target: TargetReference, field: string, weight: number): string {
    return this.#named(`weight ${weight}:`, [target], field, ([record]) => {
      this.#after.adjust(record, weight, record.zone, this.#context.now);
    });
  }

  update(policy: unknown, field: string): string {
    const changes = checkPolicyChange(policy, field);
    const settings = { ...this.#settings, ...changes };
    checkCombination(settings, field);
    this.#settings = settings;
    this.#after.setPolicy(registryPolicy(settings), false, this.#context.now);
    return `update ${Object.keys(changes).join(', ')}`;
  }

  #named(
    what: string,
    references: TargetReference[],
    field: string,
    change: (records: TargetRecord[]) => void,
  ): string {
    const records = references.map((reference, i) => {
      try {
        return this.#after.get(reference);
      } catch (error) {
        const at = references.length > 1 ? `${field}[${i}]` : field;
        throw error instanceof GatewayError ? errorAt(error, at) : error;
      }
    });
    change(records);
    return `${what} ${records.map(({ id }) => id).join(', ')}`;
  }

  #setHealth(record: TargetRecord, state: 'healthy' | 'unhealthy'): void {
    const warming = record.warmingSince;
    this.#after.setHealth(record, state, undefined, this.#context.now);
    if (warming === null) this.#after.skipSlowStart(record, this.#context.now);
  }

  #settle(registry: Registry): void {
    registry.settle(this.#context.crossZone, this.#context.now);
  }

  #snapshot(registry: Registry): NativeTargets {
    const { crossZone, now } = this.#context;
    // Both tables have the same zones.
    for (const zone of this.#after.zones()) this.#zones.number(zone);
    const snapshot = snapshotOf(registry, this.#zones, crossZone, now);
    return { ...snapshot, zones: Math.max(1, this.#zones.size) };
  }

  #zone(
    zone: string | null,
    number: number,
    before: NativeTargetTable,
    after: NativeTargetTable,
  ): ZonePreview {
    const old = before.rows(number);
    const now = after.rows(number);
    // A table of another size is a multiple of the other, row by row.
    const rows = Math.max(old.length, now.length);
    const counts = new Map<number, number>();
    for (let row = 0; row < rows; row++) {
      const pair = old[row % old.length] * 0x10000 + now[row % now.length];
      counts.set(pair, (counts.get(pair) ?? 0) + 1);
    }
    const shares = new Map<string, { before: number; after: number }>();
    for (const registry of [this.#before, this.#after]) {
      for (const record of registry.targets()) {
        if (zone === null || record.zone === zone) shares.set(record.id, { before: 0, after: 0 });
      }
    }
    const moves: RowMove[] = [];
    for (const [pair, count] of counts) {
      const from = nameOf(this.#before, Math.floor(pair / 0x10000));
      const to = nameOf(this.#after, pair % 0x10000);
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

  async #flows(
    targets: NativeTargetTable,
    hostNow: () => TargetGroupHost | null,
  ): Promise<FlowPreview | null> {
    const { host } = this.#context;
    if (!host?.previewFlows) return null;
    const counts = new Map<string, NativeFlowMove>();
    let cursor = 0;
    do {
      const part = host.previewFlows(targets, cursor, POSITIONS);
      for (const move of part.moves) {
        const key = `${move.from} ${move.to} ${move.fate}`;
        const known = counts.get(key);
        if (known) known.count += move.count;
        else counts.set(key, { ...move });
      }
      cursor = part.cursor;
      await setImmediate();
      if (hostNow() !== host) {
        throw new GatewayError(
          'ERR_GWLB_CLOSED',
          'the load balancer was closed during the preview',
        );
      }
    } while (cursor !== 0);
    const name = (slot: number) => nameOf(this.#after, slot) ?? host.targetOf?.(slot)?.id ?? null;
    const moves = [...counts.values()].map(({ from, to, fate, count }) => ({
      from: name(from),
      to: name(to),
      fate: FATES[fate],
      flows: count,
    }));
    moves.sort((a, b) => b.flows - a.flows || compare(a, b));
    const sum = (fate?: (typeof FATES)[number]) =>
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
}

type Kind = TargetGroupChange extends infer C ? (C extends C ? keyof C : never) : never;

/** One entry for each kind of change: makes it, and says it. */
const CHANGES: Record<Kind, (preview: Preview, value: unknown, field: string) => string> = {
  register: (preview, value, field) => preview.register(list(value, field), field),
  deregister: (preview, value, field) => preview.deregister(list(value, field), field),
  drainOver: (preview, value, field) => preview.drainOver(list(value, field), field),
  fail: (preview, value, field) => preview.setHealth(list(value, field), field, 'unhealthy'),
  recover: (preview, value, field) => preview.setHealth(list(value, field), field, 'healthy'),
  weight: (preview, value, field) => {
    const { target, weight } = checkOptions(field, value, ['target', 'weight']);
    const checked = checkInteger(`${field}.weight`, weight, 0, WEIGHT_MAX);
    return preview.weigh(target as TargetReference, `${field}.target`, checked);
  },
  update: (preview, value, field) => preview.update(value, field),
};
const KINDS = Object.keys(CHANGES) as Kind[];

function checkChange(change: unknown, field: string): [Kind, unknown] {
  const given = typeof change === 'object' && change !== null ? checkRecord(field, change) : {};
  const keys = Object.keys(given);
  const [kind] = KINDS.filter((known) => keys.includes(known));
  if (!kind || keys.length !== 1) {
    const received = keys.length > 0 ? `one with ${keys.join(', ')}` : show(change);
    const expected = `an object with one of the keys ${KINDS.join(', ')}`;
    const message = `${field}: expected ${expected}, received ${received}`;
    throw new GatewayError('ERR_GWLB_INVALID_ARGUMENT', message, { field });
  }
  return [kind, given[kind]];
}

/** One or several of what a change is about; the elements are checked later. */
function list<T>(value: unknown, field: string): T[] {
  let several: boolean;
  try {
    several = Array.isArray(value);
  } catch {
    several = true;
  }
  return (several ? checkArray(field, value, 'an array', LIST_MAX) : [value]) as T[];
}

/** The same error about its place among the changes. */
function errorAt(error: GatewayError, at: string): GatewayError {
  const { field = '', code } = error;
  if (field.startsWith(at)) return error;
  const place = `${at}${/^targets(\[\d+\].*)$/.exec(field)?.[1] ?? ''}`;
  return new GatewayError(code, `${place}: ${withoutField(error)}`, { field: place, cause: error });
}

/** As if a load balancer used the group, and every target that nobody spoke ill of were well. */
function useAllHealthy(registry: Registry, now: number): void {
  registry.attach(now);
  for (const record of registry.targets()) {
    if (record.state === 'initial') registry.setHealth(record, 'healthy', undefined, now);
  }
}

function nameOf(registry: Registry, slot: number): string | null {
  if (slot === NO_TARGET) return null;
  for (const record of registry.records()) if (record.slot === slot) return record.id;
  return null;
}

interface Move {
  readonly from: string | null;
  readonly to: string | null;
}

function compare(a: Move, b: Move): number {
  const text = ({ from, to }: Move) => `${from} ${to}`;
  return text(a) < text(b) ? -1 : 1;
}

function textOf(
  told: readonly string[],
  zones: readonly ZonePreview[],
  flows: FlowPreview | null,
): string {
  const lines = told.length > 0 ? [...told] : ['no change'];
  for (const { zone, rows, moved, moves, targets } of zones) {
    const percent = (part: number) => `${((part / rows) * 100).toFixed(1)} %`;
    const name = zone === null ? 'all zones' : `zone ${zone}`;
    lines.push(`  ${name}: ${moved} of ${rows} rows move (${percent(moved)})`);
    for (const { target, before, after } of targets) {
      lines.push(`    ${target}: ${percent(before)} of new flows, then ${percent(after)}`);
    }
    for (const { from, to, rows: count } of moves) {
      lines.push(`    ${from ?? 'nobody'} > ${to ?? 'nobody'}: ${count} rows`);
    }
  }
  if (!flows) return lines.join('\n');
  const { total, stay, move, reset, noTarget } = flows;
  lines.push(
    `  ${total} live flows: ${stay} stay, ${move} move, ${reset} are reset, ${noTarget} find no target`,
  );
  for (const { from, to, fate, flows: count } of flows.moves) {
    const what = fate === 'moves' ? ` > ${to}: ${count} move` : `: ${count} ${VERBS[fate]}`;
    lines.push(`    ${from ?? 'a former target'}${what}`);
  }
  return lines.join('\n');
}

const VERBS = { stays: 'stay', reset: 'are reset', no_target: 'find no target' };
