/** Change sets that say by their revision what they have done. */
import type { ChangeSet, Json, StateStore } from '../../src/state/store.js';

const KEYS = 7;

/** Two records that belong together, and one that is there every other time. */
export function changeOf(revision: number): ChangeSet {
  const i = revision % KEYS;
  const puts: Record<string, Json> = {
    [`left/${i}`]: revision,
    [`right/${i}`]: { revision, é: '☃' },
  };
  const sometimes = `sometimes/${i}`;
  if (revision % 2 === 1) puts[sometimes] = revision;
  return { puts, deletes: revision % 2 === 1 ? [] : [sometimes], cause: `change ${revision}` };
}

/** The records after all changes up to a revision. */
export function recordsAt(revision: number): [string, Json][] {
  const records = new Map<string, Json>();
  for (let r = Math.max(1, revision - KEYS + 1); r <= revision; r++) {
    for (const [key, value] of Object.entries(changeOf(r).puts)) records.set(key, value);
  }
  return [...records].sort(([a], [b]) => (a < b ? -1 : 1));
}

/** Commits so many, one after the other. */
export async function commits(store: StateStore, count: number): Promise<void> {
  for (let i = 0; i < count; i++) await store.commit(changeOf(store.revision + 1));
}
