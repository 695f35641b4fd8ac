// An open-addressing table of 16-byte keys over one typed array: the best one would write in
// JavaScript. Entries of eight words: four of the key, value, last seen, used, unused. Two to four
// places a flow, linear probing, so that a hit is one cache line.

const WORDS = 8;
const VALUE = 4;
const LAST_SEEN = 5;
const USED = 6;

export class JsTable {
  readonly #entries: Uint32Array;
  readonly #mask: number;
  #size = 0;

  constructor(flows: number) {
    const places = 2 ** Math.ceil(Math.log2(flows * 2));
    this.#entries = new Uint32Array(places * WORDS);
    this.#mask = places - 1;
  }

  get size(): number {
    return this.#size;
  }

  set(keys: Uint32Array, at: number, value: number, now: number): void {
    const found = this.find(keys, at, now);
    if (found >= 0) {
      this.#entries[found + VALUE] = value;
      return;
    }
    let place = hash(keys, at) & this.#mask;
    while (this.#entries[place * WORDS + USED] !== 0) place = (place + 1) & this.#mask;
    const entry = place * WORDS;
    for (let i = 0; i < 4; i += 1) this.#entries[entry + i] = keys[at + i];
    this.#entries[entry + VALUE] = value;
    this.#entries[entry + LAST_SEEN] = now;
    this.#entries[entry + USED] = 1;
    this.#size += 1;
  }

  /** Where the entry is, or -1. Keeps it alive, as a flow table must. */
  find(keys: Uint32Array, at: number, now: number): number {
    const entries = this.#entries;
    let place = hash(keys, at) & this.#mask;
    for (;;) {
      const entry = place * WORDS;
      if (entries[entry + USED] === 0) return -1;
      if (
        entries[entry] === keys[at] &&
        entries[entry + 1] === keys[at + 1] &&
        entries[entry + 2] === keys[at + 2] &&
        entries[entry + 3] === keys[at + 3]
      ) {
        entries[entry + LAST_SEEN] = now;
        return entry;
      }
      place = (place + 1) & this.#mask;
    }
  }

  value(entry: number): number {
    return this.#entries[entry + VALUE];
  }
}

/** Unkeyed, unlike ours: who knows it can make all flows collide. */
function hash(keys: Uint32Array, at: number): number {
  let mixed = Math.imul(keys[at], 0x9e3779b1) ^ keys[at + 1];
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x85ebca77) ^ keys[at + 2];
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae3d) ^ keys[at + 3];
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x27d4eb2f);
  return (mixed ^ (mixed >>> 15)) >>> 0;
}
