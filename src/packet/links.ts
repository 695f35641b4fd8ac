/** Link types of captures that are read. */

/** LINKTYPE_ numbers whose frames are read, with their names. */
export const LINK_TYPES: ReadonlyMap<number, string> = new Map([
  [0, 'NULL'],
  [1, 'Ethernet'],
  [12, 'raw IP'],
  [101, 'raw IP'],
  [108, 'LOOP'],
  [113, 'Linux cooked'],
  [228, 'IPv4'],
  [229, 'IPv6'],
  [276, 'Linux cooked v2'],
]);

/** Counts the frames of a capture whose link type is not read. */
export class UnknownLinks {
  readonly #frames = new Map<number, number>();

  add(link: number): void {
    this.#frames.set(link, (this.#frames.get(link) ?? 0) + 1);
  }

  /** A sentence that names them; null where there were none. */
  get text(): string | null {
    if (this.#frames.size === 0) return null;
    const found = [...this.#frames].map(([link, n]) => `${link} (${n} frame${n === 1 ? '' : 's'})`);
    const known = [...LINK_TYPES].map(([link, name]) => `${link} ${name}`);
    return `link type ${found.join(', ')} is not read: expected one of ${known.join(', ')}`;
  }
}
