/**
 * What a gateway's packets are decided by: its live configuration, and the table of its targets. Both are
 * told to native code here, and nowhere else.
 *
 * A change is told at once. Of a turn of the event loop with many changes of a large fleet the rest is told
 * together, at the end of the turn or when somebody asks before (`settle`): thousands of targets that fail
 * at a time make two tables, not thousands. A table that takes too long for JavaScript's thread is built on another one:
 * one at a time, the newest state after it, so that no table comes after a newer one.
 */
import type { FleetTable } from '../fleet/table.js';
import type {
  NativeGatewayControl,
  NativeLiveConfig,
  NativeTargetTable,
} from '../native/binding.js';
import type { BuildTable } from './target-table.js';

/** Targets in the tables of a turn that are made at once, all of its tables together. */
const TURN_TARGETS = 4096;

/** What of the configuration is the target group's. */
export type GroupPolicy = Pick<NativeLiveConfig, 'failOpen' | 'stickiness'>;

/** What packets are to be decided by now. */
export interface Wanted {
  readonly targets: FleetTable;
  readonly policy: GroupPolicy;
}

export class DataPlane {
  readonly #native: Pick<NativeGatewayControl, 'configure'>;
  readonly #build: BuildTable;
  readonly #wanted: () => Wanted;
  #live: NativeLiveConfig;
  #table: NativeTargetTable | null;
  #targets: FleetTable = { targets: [], zones: 1, crossZone: false, seed: 0n };
  /** Something has changed that packets are not decided by yet. */
  #behind = false;
  /** The turn in which something was told goes on. */
  #turn: NodeJS.Immediate | null = null;
  /** Targets in the tables that were made in this turn. */
  #made = 0;
  /** While a table is being built. */
  #building: Promise<void> | null = null;
  #closed = false;

  /**
   * @param table One that differs little from what is wanted first, or null; it belongs to this.
   */
  constructor(
    native: Pick<NativeGatewayControl, 'configure'>,
    live: NativeLiveConfig,
    build: BuildTable,
    wanted: () => Wanted,
    table: NativeTargetTable | null,
  ) {
    this.#native = native;
    this.#live = live;
    this.#build = build;
    this.#wanted = wanted;
    this.#table = table;
  }

  /** The targets in force. */
  get targets(): FleetTable {
    return this.#targets;
  }

  /** The live configuration in force. */
  get live(): Readonly<NativeLiveConfig> {
    return this.#live;
  }

  /** How many rows of the table in force each slot has, and how many its zone has in all. */
  rowCounts(): { rows: number; counts: Uint32Array } {
    return this.#table?.rowCounts() ?? { rows: 0, counts: new Uint32Array() };
  }

  /** Changes the live configuration; where it throws nothing has changed. */
  configure(changes: Partial<Omit<NativeLiveConfig, keyof GroupPolicy>>): void {
    const live = { ...this.#live, ...changes };
    this.#native.configure(live, null);
    this.#live = live;
  }

  /** What is wanted is another: has packets decided by it. */
  change(): void {
    this.#behind = true;
    if (this.#turn === null) this.#made = 0;
    if (this.#made < TURN_TARGETS) this.settle();
    // One that holds the event loop: it would sleep before the end of this turn otherwise.
    this.#turn ??= setImmediate(() => {
      this.#turn = null;
      this.settle();
    });
  }

  /** Afterwards packets are decided by what is wanted, unless its table is being built elsewhere. */
  settle(): void {
    if (!this.#behind || this.#building !== null || this.#closed) return;
    const wanted = this.#wanted();
    const built = this.#build(wanted.targets, this.#table);
    this.#behind = false;
    this.#made += wanted.targets.targets.length;
    if (built instanceof Promise) {
      this.#building = built.then((table) => {
        this.#building = null;
        this.#take(table, wanted);
        this.settle();
      });
    } else {
      this.#take(built, wanted);
    }
  }

  /** Resolves when packets are decided by all that has changed up to now, or it was closed. */
  async settled(): Promise<void> {
    this.settle();
    while (this.#building !== null) await this.#building;
  }

  #take(table: NativeTargetTable, { targets, policy }: Wanted): void {
    if (this.#closed) {
      table.release();
      return;
    }
    const live = { ...this.#live, ...policy };
    this.#native.configure(live, table);
    this.#table?.release();
    this.#live = live;
    this.#table = table;
    this.#targets = targets;
  }

  /** Tells nothing any more, and lets go of the table. */
  close(): void {
    this.#closed = true;
    if (this.#turn !== null) clearImmediate(this.#turn);
    this.#table?.release();
    this.#table = null;
  }
}
