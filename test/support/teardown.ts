/** What of a test undoes things at its end. */
export interface Teardown {
  teardown(undo: () => unknown): void;
}
