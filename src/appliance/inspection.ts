/** Has an inspector look at an engine's batches, and gives them back. */
import type { NativeApplianceBatch, NativeApplianceEngine } from '../native/binding.js';
import { InspectedBatch } from './inspected-batch.js';

/**
 * Looks at packets, in batches. It may return a promise: the batch is kept until that is settled,
 * while up to 15 others go on; packets leave in the order they came.
 */
export type Inspector = (packets: InspectedBatch) => void | PromiseLike<void>;

/** One engine's inspector; null shows nobody anything. */
export class Inspection {
  /** Who is asked, from the next batch on. */
  inspector: Inspector | null = null;
  readonly #engine: NativeApplianceEngine;
  readonly #failOpen: boolean;
  readonly #onError: (error: unknown) => void;
  readonly #batches = new WeakMap<NativeApplianceBatch, InspectedBatch>();
  #stopped = false;

  constructor(engine: NativeApplianceEngine, failOpen: boolean, onError: (error: unknown) => void) {
    this.#engine = engine;
    this.#failOpen = failOpen;
    this.#onError = onError;
  }

  /** The engine was stopped: batches are not given back any more. */
  stop(): void {
    this.#stopped = true;
  }

  /** Shows a batch that the engine has handed over; a promise of its end where that takes time. */
  show(native: NativeApplianceBatch): PromiseLike<void> | undefined {
    let batch = this.#batches.get(native);
    if (!batch) {
      batch = InspectedBatch.of(native);
      this.#batches.set(native, batch);
    }
    const packets = batch;
    packets.lend();
    try {
      const pending = this.inspector?.(packets);
      if (pending && typeof pending.then === 'function') {
        return pending.then(
          () => this.#release(packets),
          (error) => this.#failed(packets, error),
        );
      }
    } catch (error) {
      this.#failed(packets, error);
      return undefined;
    }
    this.#release(packets);
    return undefined;
  }

  #failed(packets: InspectedBatch, error: unknown): void {
    if (!this.#stopped && !this.#failOpen) packets.dropAll();
    this.#release(packets);
    this.#onError(error);
  }

  #release(packets: InspectedBatch): void {
    if (this.#stopped) return;
    packets.giveBack();
    this.#engine.release(packets.native);
  }
}
