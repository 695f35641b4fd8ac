/**
 * Slot numbers of targets. The slot is part of every flow cookie, so a number that belonged to
 * another target is given out as late as possible: first numbers that never carried traffic, then
 * the one that was freed longest ago, and none before its quarantine is over.
 */

/** Longer than most flows live after their target left; see `SlotAllocator`. */
export const SLOT_QUARANTINE_MS = 600_000;

export class SlotAllocator {
  readonly capacity: number;
  readonly #quarantineMs: number;
  #neverUsed = 0;
  /** Freed without having carried traffic. */
  readonly #clean: number[] = [];
  /** Freed, oldest first. */
  readonly #freed: { slot: number; at: number }[] = [];

  constructor(capacity: number, quarantineMs: number = SLOT_QUARANTINE_MS) {
    this.capacity = capacity;
    this.#quarantineMs = quarantineMs;
  }

  /** A copy that lives its own life. */
  clone(): SlotAllocator {
    const copy = new SlotAllocator(this.capacity, this.#quarantineMs);
    copy.#neverUsed = this.#neverUsed;
    copy.#clean.push(...this.#clean);
    copy.#freed.push(...this.#freed);
    return copy;
  }

  /** How many slots can be given out at `now`. */
  available(now: number): number {
    let waiting = 0;
    while (waiting < this.#freed.length && this.#isOver(waiting, now)) waiting++;
    return this.capacity - this.#neverUsed + this.#clean.length + waiting;
  }

  /** A slot, or -1 where none is available. */
  allocate(now: number): number {
    const clean = this.#clean.pop();
    if (clean !== undefined) return clean;
    if (this.#neverUsed < this.capacity) return this.#neverUsed++;
    if (this.#freed.length > 0 && this.#isOver(0, now)) return this.#freed.shift()?.slot ?? -1;
    return -1;
  }

  /** `clean`: no flow was ever pinned to it, so that it needs no quarantine. */
  release(slot: number, now: number, clean: boolean): void {
    if (clean) this.#clean.push(slot);
    else this.#freed.push({ slot, at: now });
  }

  #isOver(index: number, now: number): boolean {
    const freed = this.#freed[index];
    return freed !== undefined && now - freed.at >= this.#quarantineMs;
  }
}
