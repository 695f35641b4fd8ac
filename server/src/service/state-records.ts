/** A gateway's state as records, so that a change of one target writes that target alone. */
import type { GatewayState } from 'gwlb';
import type { ChangeSet, Json } from '../state/store.js';

/** What each list of the state is found by. */
const LISTS = {
  targets: 'slot',
  freeSlots: 'number',
  endpoints: 'index',
  freeIndices: 'number',
} as const;

type ListName = keyof typeof LISTS;
const NAMES = Object.keys(LISTS) as ListName[];
const HEAD = 'fleet/head';

/** By key: `fleet/targets/7`. */
export function recordsOf(state: GatewayState): Map<string, Json> {
  const { targets, freeSlots: _, endpoints: __, freeIndices: ___, ...head } = state;
  const order = targets.map(({ slot }) => slot);
  const records = new Map<string, Json>([[HEAD, { ...head, order } as unknown as Json]]);
  for (const name of NAMES) {
    for (const one of state[name] as readonly unknown[] as readonly Record<string, Json>[]) {
      records.set(`fleet/${name}/${one[LISTS[name]]}`, one);
    }
  }
  return records;
}

/** Undefined where nothing was ever saved. Whether it is a state is the library's to say. */
export function stateOf(records: ReadonlyMap<string, Json>): GatewayState | undefined {
  const head = records.get(HEAD);
  if (head === undefined) return undefined;
  const { order = [], ...rest } = head as { readonly order?: readonly number[] };
  const place = new Map(order.map((slot, i) => [slot, i]));
  const lists = NAMES.map((name): [ListName, Json[]] => {
    const prefix = `fleet/${name}/`;
    return [name, [...records].flatMap(([key, one]) => (key.startsWith(prefix) ? [one] : []))];
  });
  const { targets, ...others } = Object.fromEntries(lists) as Record<ListName, { slot: number }[]>;
  targets.sort((a, b) => (place.get(a.slot) ?? 0) - (place.get(b.slot) ?? 0));
  return { ...rest, targets, ...others } as unknown as GatewayState;
}

/** What makes `after` of `before`. */
export function differences(
  before: ReadonlyMap<string, Json>,
  after: ReadonlyMap<string, Json>,
): Pick<ChangeSet, 'puts' | 'deletes'> {
  const changed = [...after].filter(([key, value]) => !isSame(before.get(key), value));
  const deletes = [...before.keys()].filter((key) => !after.has(key));
  return { puts: Object.fromEntries(changed), deletes };
}

/** Some times as quick as comparing what JSON makes of them: there may be thousands of targets. */
function isSame(a: Json | undefined, b: Json): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  const keys = Object.keys(b);
  if (Object.keys(a).length !== keys.length) return false;
  return keys.every((key) =>
    isSame((a as Record<string, Json>)[key], (b as Record<string, Json>)[key]),
  );
}
