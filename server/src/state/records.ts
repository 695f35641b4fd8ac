/** The records of a store, in memory. */
import { GatewayError } from 'gwlb';
import type { ChangeSet, Json } from './store.js';

/** Throws where a change was made for another revision than the one that it comes to. */
export function checkRevision(expected: number | undefined, revision: number): void {
  if (expected === undefined || expected === revision) return;
  const received = `${expected}: the state has changed since`;
  throw GatewayError.mismatch('ERR_GWLB_IN_USE', 'expectedRevision', `${revision}`, received);
}

export class Records {
  readonly #values = new Map<string, Json>();

  get size(): number {
    return this.#values.size;
  }

  read(key: string): Json | undefined {
    return this.#values.get(key);
  }

  /** All of them, in no order; what is changed meanwhile may be left out. */
  [Symbol.iterator](): IterableIterator<[string, Json]> {
    return this.#values.entries();
  }

  entries(prefix: string): [string, Json][] {
    const found = [...this.#values].filter(([key]) => key.startsWith(prefix));
    return found.sort(([a], [b]) => (a < b ? -1 : 1));
  }

  put(key: string, value: Json): void {
    this.#values.set(key, value);
  }

  apply({ puts, deletes }: Pick<ChangeSet, 'puts' | 'deletes'>): void {
    for (const key of deletes) this.#values.delete(key);
    for (const [key, value] of Object.entries(puts)) this.#values.set(key, value);
  }
}
