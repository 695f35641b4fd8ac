/**
 * Deliberate faults, each in place of one thing that the product does right. README.md lists them; a test
 * plays them one by one.
 */
import type { FleetCommand } from '../../src/fleet/commands.js';
import { everyTarget, type Fleet, GENERATIONS } from '../../src/fleet/state.js';
import type { FleetTable } from '../../src/fleet/table.js';
import { REAL, type Seams } from './seams.js';

export interface Fault {
  readonly name: string;
  /** Why the simulation does not find it. */
  readonly unfound?: string;
  /** Made anew for every play. */
  seams(): Seams;
}

/** With something that is done to the fleet after each command. */
function after(change: (fleet: Fleet, command: FleetCommand, now: number) => void): Seams {
  return {
    ...REAL,
    apply: (fleet, command, now) => {
      const events = REAL.apply(fleet, command, now);
      change(fleet, command, now);
      return events;
    },
  };
}

/** With a table that says something else than the fleet. */
function publishing(change: (table: FleetTable) => FleetTable): Seams {
  return { ...REAL, tableOf: (fleet) => change(REAL.tableOf(fleet)) };
}

export const FAULTS: readonly Fault[] = [
  {
    name: 'a deregistered target leaves at once, whatever its delay',
    seams: () =>
      after((fleet, _command, now) => {
        for (const target of everyTarget(fleet)) {
          if (target.phase === 'draining') target.drainUntil = Math.min(target.drainUntil, now + 1);
        }
      }),
  },
  {
    name: 'a slot is given up while flows are pinned to it',
    seams: () => ({
      ...REAL,
      idleSlots: (fleet, now) => REAL.idleSlots(fleet, now, () => 0),
    }),
  },
  {
    name: 'a slot is given out again without its quarantine',
    seams: () =>
      after((fleet) => {
        fleet.slots.clean.push(...fleet.slots.waiting.splice(0).map(({ number }) => number));
      }),
  },
  {
    name: 'the index of an endpoint is given out again at once',
    seams: () => ({
      ...REAL,
      apply: (fleet, command, now) =>
        REAL.apply(
          fleet,
          command.type === 'removeEndpoint' ? { ...command, unused: true } : command,
          now,
        ),
    }),
  },
  {
    name: 'a zone is not released when its endpoint goes',
    seams: () =>
      after((fleet, command) => {
        const zone = fleet.zones.find((one) => one !== null && one.endpoints > 0);
        if (command.type === 'removeEndpoint' && zone) zone.endpoints++;
      }),
  },
  {
    name: 'a weight of 0 still takes new flows',
    seams: () =>
      publishing((table) => {
        for (const target of table.targets) {
          if (!target.eligible && target.keeps) target.eligible = true;
        }
        return table;
      }),
  },
  {
    name: 'flows of a target are told to move when its weight changes',
    seams: () =>
      publishing((table) => {
        for (const target of table.targets) {
          target.generation = (target.generation + target.weight) % GENERATIONS;
        }
        return table;
      }),
  },
  {
    name: 'a table is published only when the number of its targets changes',
    seams: () => {
      let before: FleetTable | null = null;
      return {
        ...REAL,
        publish: (table) => {
          if (before?.targets.length === table.targets.length) return before;
          before = table;
          return table;
        },
      };
    },
  },
  {
    name: 'a restart forgets the generations of slots that are free',
    seams: () => ({
      ...REAL,
      load: (saved) => ({ ...REAL.load(saved), generations: [] }),
    }),
  },
  {
    name: 'a failed check of one target counts as a success',
    seams: () => ({
      ...REAL,
      apply: (fleet, command, now) => {
        const wrong = command.type === 'checked' && command.target.startsWith('10.0.0.2:');
        if (!wrong) return REAL.apply(fleet, command, now);
        return REAL.apply(fleet, { ...command, result: { ok: true, detail: 'yes' } }, now);
      },
    }),
  },
  {
    name: 'the end of a drain is noticed five seconds late',
    seams: () => ({
      ...REAL,
      nextInstant: (fleet) => {
        const next = REAL.nextInstant(fleet);
        return next === null ? null : next + 5_000;
      },
    }),
  },
  {
    name: 'cross-zone is on when only one zone has targets for new flows',
    seams: () =>
      publishing((table) => {
        const zones = new Set(table.targets.filter(({ eligible }) => eligible).map((t) => t.zone));
        return zones.size === 1 ? { ...table, crossZone: true } : table;
      }),
  },
  {
    name: 'flows of a lost target are not told to move',
    seams: () =>
      publishing((table) => {
        for (const target of table.targets) {
          if (!target.keeps)
            target.generation = (target.generation + GENERATIONS - 1) % GENERATIONS;
        }
        return table;
      }),
  },
  {
    name: 'connections of a target that is well are answered with a RST',
    seams: () =>
      publishing((table) => {
        for (const target of table.targets) target.reset ||= target.keeps;
        return table;
      }),
  },
  {
    name: 'a weight counts half',
    unfound: 'shares of new flows are not judged here; test/fleet/table.test.ts does',
    seams: () =>
      publishing((table) => {
        for (const target of table.targets) target.weight = Math.ceil(target.weight / 2);
        return table;
      }),
  },
];
