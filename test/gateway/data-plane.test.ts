/** What packets are decided by is told at once, together, in order, and never twice. */
import { setImmediate as turn } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { FleetTable } from '../../src/fleet/table.js';
import { DataPlane, type Wanted } from '../../src/gateway/data-plane.js';
import type { NativeTargetTable } from '../../src/native/binding.js';
import { liveConfig } from '../binding/fixtures.js';

const LIVE = liveConfig();

const TARGET = {} as FleetTable['targets'][number];

interface Table extends NativeTargetTable {
  readonly state: number;
  released: boolean;
}

/** A data plane whose fleet is a number, and whose tables take as long as the test says. */
class Rig {
  state = 0;
  targets = 4096;
  failOpen = false;
  slow = false;
  refuses = false;
  /** Numbers and `failOpen` of what packets were decided by. */
  readonly told: [number | null, boolean][] = [];
  readonly tables: Table[] = [];
  readonly #finish: (() => void)[] = [];
  readonly data = new DataPlane(
    {
      configure: (live, table) => {
        if (this.refuses) throw new RangeError('refused');
        this.told.push([(table as Table | null)?.state ?? null, live.failOpen]);
        this.live = live;
      },
    },
    LIVE,
    (targets, previous) => {
      if (previous !== null && (previous as Table).released) throw new Error('released');
      const table = this.#table(Number(targets.seed));
      if (!this.slow) return table;
      return new Promise((resolve) => this.#finish.push(() => resolve(table)));
    },
    () => this.#wanted(),
    null,
  );
  live = LIVE;

  #wanted(): Wanted {
    const targets: FleetTable = {
      targets: Array(this.targets).fill(TARGET),
      zones: 1,
      crossZone: false,
      seed: BigInt(this.state),
    };
    return { targets, policy: { failOpen: this.failOpen, stickiness: 5 } };
  }

  #table(state: number): Table {
    const table: Table = {
      state,
      released: false,
      rows: () => new Uint16Array(),
      rowCounts: () => ({ rows: state, counts: new Uint32Array() }),
      release: () => {
        table.released = true;
      },
    };
    this.tables.push(table);
    return table;
  }

  change(state: number): void {
    this.state = state;
    this.data.change();
  }

  /** The table that is being built is there. */
  finish(): void {
    this.#finish.shift()?.();
  }

  states(): (number | null)[] {
    return this.told.map(([state]) => state);
  }
}

t.test('changes of a small fleet are told at once, however many there are in a turn', async (t) => {
  const rig = new Rig();
  rig.targets = 3;
  const states = Array.from({ length: 100 }, (_, i) => i + 1);
  for (const state of states) {
    rig.change(state);
    t.equal(rig.states().at(-1), state);
  }
  await turn();
  t.strictSame(rig.states(), states);
});

t.test(
  'of a large fleet the first change of a turn is told at once, the others together',
  async (t) => {
    const rig = new Rig();
    for (let state = 1; state <= 100; state += 1) rig.change(state);
    t.strictSame(rig.states(), [1]);
    await turn();
    t.strictSame(rig.states(), [1, 100]);
    await turn();
    rig.change(101);
    t.strictSame(rig.states(), [1, 100, 101], 'a single change waits for nothing');
    rig.change(102);
    rig.data.settle();
    t.strictSame(rig.states(), [1, 100, 101, 102], 'nor one that somebody asks about');
    t.equal(rig.data.targets.seed, 102n);
    t.equal(rig.data.rowCounts().rows, 102);
    await turn();
    t.equal(rig.told.length, 4, 'nothing is told twice');
    t.strictSame(
      rig.tables.filter(({ released }) => !released).map(({ state }) => state),
      [102],
      'no table is kept but that in force',
    );
  },
);

t.test('what waits for the end of the turn keeps the event loop from sleeping', async (t) => {
  const holds = () => process.getActiveResourcesInfo().includes('Immediate');
  await turn();
  t.notOk(holds());
  const rig = new Rig();
  rig.change(1);
  rig.change(2);
  t.ok(holds(), 'nothing else has to wake it first');
  await turn();
  t.strictSame(rig.states(), [1, 2]);
});

t.test('one table is built elsewhere at a time, and the newest state comes after it', async (t) => {
  const rig = new Rig();
  rig.change(1);
  await turn();
  rig.slow = true;
  rig.change(2);
  rig.data.settle();
  await turn();
  t.strictSame(rig.states(), [1], 'it is not there yet');
  t.equal(rig.data.targets.seed, 1n, 'what is in force');
  // Smaller ones would be there at once: they wait for the older one.
  rig.slow = false;
  for (const state of [3, 4, 5]) {
    rig.change(state);
    await turn();
  }
  t.strictSame(rig.states(), [1]);
  t.equal(rig.tables.length, 2);
  const settled = rig.data.settled();
  rig.finish();
  await settled;
  t.strictSame(rig.states(), [1, 2, 5]);
});

t.test('a policy is told with the table that it came with', async (t) => {
  const rig = new Rig();
  rig.change(1);
  await turn();
  rig.slow = true;
  rig.failOpen = true;
  rig.change(2);
  rig.data.configure({ pathMtu: 1400, reportMs: 5 });
  t.strictSame(rig.told, [
    [1, false],
    [null, false],
  ]);
  rig.finish();
  await rig.data.settled();
  t.strictSame(rig.told.at(-1), [2, true]);
  t.match(rig.live, { pathMtu: 1400, reportMs: 5 }, 'what was changed meanwhile stays');
  rig.slow = false;
  rig.failOpen = false;
  rig.change(3);
  await turn();
  t.strictSame(rig.told.at(-1), [3, false]);
  t.match(rig.data.live, { pathMtu: 1400, reportMs: 5, failOpen: false });
});

t.test('what is refused has changed nothing', async (t) => {
  const rig = new Rig();
  rig.refuses = true;
  t.throws(() => rig.data.configure({ pathMtu: -1 }), RangeError);
  t.equal(rig.data.live.pathMtu, 0);
});

for (const when of ['before', 'while', 'after'] as const) {
  t.test(`closed ${when} a table is built: nothing is told any more, none is kept`, async (t) => {
    await closed(t, when);
  });
}

async function closed(t: Test, when: 'before' | 'while' | 'after'): Promise<void> {
  const rig = new Rig();
  rig.change(1);
  if (when === 'before') rig.change(2);
  await (when === 'before' ? null : turn());
  rig.slow = when === 'while';
  if (when !== 'before') rig.change(2);
  const told = rig.told.length;
  rig.data.close();
  rig.change(3);
  rig.finish();
  await rig.data.settled();
  await turn();
  t.equal(rig.told.length, told);
  t.ok(rig.tables.every(({ released }) => released));
}
