/** Where the service keeps what outlives it: records by key, changed a set at a time. */

export type Json =
  | null
  | boolean
  | number
  | string
  | readonly Json[]
  | { readonly [key: string]: Json };

/** Takes effect as a whole or not at all. */
export interface ChangeSet {
  readonly puts: Readonly<Record<string, Json>>;
  readonly deletes: readonly string[];
  /** Why, for people. */
  readonly cause: string;
}

/** One process at a time has it. */
export interface StateStore {
  /** Grows by one with every change set. */
  readonly revision: number;
  /** Undefined where there is none. */
  read(key: string): Json | undefined;
  /** Those whose key begins with `prefix`, in the order of the keys. */
  entries(prefix: string): [string, Json][];
  /**
   * Resolves with the revision when the change outlives a crash of this machine. Where it rejects nothing has
   * changed, and reading goes on: `ERR_GWLB_IN_USE` where `expectedRevision` is given and is not the revision any
   * more, else what the system said.
   */
  commit(change: ChangeSet, expectedRevision?: number): Promise<number>;
  /** What is being committed comes to its end first. */
  close(): Promise<void>;
}
