// One case's result: what every suite prints, one JSON object a line.

export interface Figure {
  median: number;
  p10: number;
  p90: number;
}

export interface Row {
  /** The suite's name, that of its file. */
  suite: string;
  /** Unique over all suites, such as `lookup ipv4 1m`. */
  case: string;
  unit: string;
  ours: Figure;
  /** By name; a peer that is not installed stands in `missing` instead. */
  peers: Record<string, Figure>;
  /** The best that the hardware does here, measured beside us; null where there is no such thing. */
  limit: Figure | null;
  /** Ours divided by the other, medians; `limit` among them. */
  ratios: Record<string, number>;
  /** Whether less is better: times and shares, not rates. */
  lessIsBetter: boolean;
  /** Peers that are not installed, with what brings them: a Debian package. */
  missing?: Record<string, string>;
  note?: string;
}

/** What `--list` makes a suite print, one JSON object a line. */
export type ListedCase = Pick<Row, 'suite' | 'case'>;

const isFigure = (value: unknown): value is Figure =>
  typeof value === 'object' &&
  value !== null &&
  ['median', 'p10', 'p90'].every((key) => Number.isFinite((value as Record<string, unknown>)[key]));

/** What is wrong with a row, or null. A suite that prints anything else has failed. */
export function rowProblem(value: unknown): string | null {
  const row = value as Partial<Row> | null;
  if (typeof row !== 'object' || row === null) return 'not an object';
  for (const key of ['suite', 'case', 'unit'] as const) {
    if (typeof row[key] !== 'string' || row[key] === '') return `${key}: expected a text`;
  }
  if (typeof row.lessIsBetter !== 'boolean') return 'lessIsBetter: expected true or false';
  if (!isFigure(row.ours)) return 'ours: expected median, p10 and p90';
  if (row.limit !== null && !isFigure(row.limit)) return 'limit: expected a figure or null';
  if (typeof row.peers !== 'object' || typeof row.ratios !== 'object') {
    return 'peers, ratios: expected objects';
  }
  const others = Object.keys(row.peers);
  if (!Object.values(row.peers).every(isFigure)) return 'peers: expected figures';
  if (row.limit) others.push('limit');
  for (const other of others) {
    if (!Number.isFinite(row.ratios[other])) return `ratios.${other}: expected a number`;
  }
  return null;
}
