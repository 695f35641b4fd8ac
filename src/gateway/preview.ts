/**
 * What a change would do, before it is made: the commands are applied to a copy of the fleet, and the two
 * target tables and the live flows are compared.
 */

import { checkArray, checkRecord } from '../base/checks.js';
import {
  checkOptions,
  GatewayError,
  invalidArgument,
  mismatch,
  parsePath,
  show,
} from '../base/errors.js';
import { apply, used } from '../fleet/apply.js';
import type { FleetCommand } from '../fleet/commands.js';
import { targetNamed } from '../fleet/find.js';
import { everyTarget, type Fleet, membersOf } from '../fleet/state.js';
import { tableOf } from '../fleet/table.js';
import type { NativeTargetTable } from '../native/binding.js';
import type { FleetHost } from './fleet-host.js';
import { fleetPolicy } from './fleet-policy.js';
import {
  checkCombination,
  checkPolicyChange,
  checkTarget,
  type Settings,
  TARGET,
  type TargetSpec,
} from './group-options.js';
import { compareFlows, compareZones, type FleetWithTable } from './preview-compare.js';
import { previewText } from './preview-text.js';
import type { TargetGroupChange, TargetGroupPreview } from './preview-types.js';
import { type TargetReference, targetName } from './target.js';
import { buildTable } from './target-table.js';

/** What a preview starts from. */
export interface PreviewContext {
  readonly fleet: Fleet;
  readonly settings: Settings;
  readonly host: FleetHost | null;
  readonly now: number;
}

/** Targets of one change. */
const LIST_MAX = 65_536;

export class Preview {
  readonly #host: FleetHost | null;
  readonly #now: number;
  readonly #before: Fleet;
  readonly #after: Fleet;
  readonly #told: string[] = [];
  #settings: Settings;

  constructor({ fleet, settings, host, now }: PreviewContext) {
    this.#host = host;
    this.#now = now;
    this.#settings = settings;
    this.#before = fleet.inUse ? structuredClone(fleet) : usedAndWell(fleet, now);
    this.#after = structuredClone(this.#before);
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
  }

  /** Compares. `hostNow` says who uses the group at that moment. */
  async result(hostNow: () => FleetHost | null): Promise<TargetGroupPreview> {
    const tables: NativeTargetTable[] = [];
    const withTable = async (fleet: Fleet): Promise<FleetWithTable> => {
      const table = await buildTable(tableOf(fleet), tables[0] ?? null);
      tables.push(table);
      return { fleet, table };
    };
    try {
      const before = await withTable(this.#before);
      const after = await withTable(this.#after);
      const zones = compareZones(before, after);
      const flows = await compareFlows(after, this.#host, hostNow);
      return { zones, flows, text: previewText(this.#told, zones, flows) };
    } finally {
      for (const table of tables) table.release();
    }
  }

  register(specs: readonly TargetSpec[], field: string): string {
    const targets = specs.map((spec, i) =>
      checkTarget(spec, this.#settings.port, `${field}[${i}]`),
    );
    targets.forEach(({ address }, i) => {
      this.#host?.checkTarget?.(address, `${field}[${i}].address`);
    });
    this.#do({ type: 'register', targets });
    for (const { id } of targets) this.#turn(id, 'healthy');
    return `register ${targets.map(({ id }) => id).join(', ')}`;
  }

  deregister(references: readonly TargetReference[], field: string): string {
    return this.#named('deregister', references, field, (targets) => {
      this.#do({ type: 'deregister', targets });
    });
  }

  drainOver(references: readonly TargetReference[], field: string): string {
    return this.#named('deregister, delay over:', references, field, (targets) => {
      const slots = everyTarget(this.#after).map(({ slot }) => slot);
      const idle = slots.filter((slot) => (this.#host?.flowsActive(slot) ?? 0) === 0);
      this.#do({ type: 'expire', targets, idle });
    });
  }

  setHealth(
    references: readonly TargetReference[],
    field: string,
    state: 'healthy' | 'unhealthy',
  ): string {
    return this.#named(`${state}:`, references, field, (targets) => {
      for (const target of targets) this.#turn(target, state);
    });
  }

  weigh(reference: TargetReference, field: string, weight: number): string {
    return this.#named(`weight ${weight}:`, [reference], field, ([target]) => {
      this.#do({ type: 'setWeight', target, weight });
    });
  }

  update(policy: unknown, field: string): string {
    const changes = checkPolicyChange(policy, field);
    const { stickiness } = this.#settings;
    if ((changes.stickiness ?? stickiness) !== stickiness) {
      const expected = `"${stickiness}", the stickiness it has (with another one all flows choose anew)`;
      throw invalidArgument(`${field}.stickiness`, expected, changes.stickiness);
    }
    const settings = { ...this.#settings, ...changes };
    checkCombination(settings, field);
    this.#settings = settings;
    this.#do({ type: 'setPolicy', policy: fleetPolicy(settings), recount: false });
    return `update ${Object.keys(changes).join(', ')}`;
  }

  #do(command: FleetCommand): void {
    apply(this.#after, command, this.#now);
  }

  /** A slow start that has begun goes on; another one is over. */
  #turn(target: string, state: 'healthy' | 'unhealthy'): void {
    const { warmingSince } = targetNamed(this.#after, target);
    this.#do({ type: 'setHealth', target, state });
    if (warmingSince === null) this.#do({ type: 'skipSlowStart', target });
  }

  #named(
    what: string,
    references: readonly TargetReference[],
    field: string,
    change: (targets: string[]) => void,
  ): string {
    const ids = references.map((reference, i) => {
      try {
        return targetNamed(this.#after, targetName(reference)).id;
      } catch (error) {
        const at = references.length > 1 ? `${field}[${i}]` : field;
        throw error instanceof GatewayError ? errorAt(error, at) : error;
      }
    });
    change(ids);
    return `${what} ${ids.join(', ')}`;
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
    const checked = TARGET.weight.kind.check(`${field}.weight`, weight);
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
    throw mismatch('ERR_GWLB_INVALID_ARGUMENT', field, expected, received);
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
  if (error.field?.startsWith(at)) return error;
  const [first, i, ...rest] = error.path;
  const place = first === 'targets' && typeof i === 'number' ? [i, ...rest] : [];
  return error.at([...parsePath(at), ...place]);
}

/** As if a load balancer used the group, and every target that nobody spoke ill of were well. */
function usedAndWell(group: Fleet, now: number): Fleet {
  const fleet = used(group, false, now);
  for (const { id, state } of membersOf(fleet)) {
    if (state === 'initial') apply(fleet, { type: 'setHealth', target: id, state: 'healthy' }, now);
  }
  return fleet;
}
