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

/**
 * A sentence that names the link types of frames that are not read, `frames` having the number of frames
 * for each of them; null where there are none.
 */
export function unknownLinksText(frames: ReadonlyMap<number, number>): string | null {
  if (frames.size === 0) return null;
  const found = [...frames].map(([link, n]) => `${link} (${n} frame${n === 1 ? '' : 's'})`);
  const known = [...LINK_TYPES].map(([link, name]) => `${link} ${name}`);
  return `link type ${found.join(', ')} is not read: expected one of ${known.join(', ')}`;
}
