/** When a verdict on a flow takes effect. */
import { integer, type Kind } from '../base/option-kinds.js';
import { readOptions, type TableOf } from '../base/option-table.js';

/** From when on a verdict on a flow takes effect; where both are given, whichever comes first. */
export interface FlowVerdictOptions {
  /** After so many more packets of the flow, 0 or more. */
  afterPackets?: number;
  /** After so many more bytes of it (of inner packets), 0 or more: with the packet that completes them. */
  afterBytes?: number;
}

const after = {
  kind: integer(0, Number.MAX_SAFE_INTEGER) as Kind<number | null, number>,
  preset: null,
  presetText: 'at once',
} as const;

/** The options of a verdict on a flow. */
export const FLOW_VERDICT = {
  afterPackets: { says: 'after so many more packets of the flow', ...after, unit: 'packets' },
  afterBytes: { says: 'after so many more bytes of it', ...after, unit: 'bytes' },
} as const satisfies TableOf<FlowVerdictOptions>;

const AT_ONCE = { packets: 0, bytes: 0 };

/** What of a flow comes before a verdict on it. */
export function checkFlowVerdict(options: unknown): { packets: number; bytes: number } {
  if (options === undefined) return AT_ONCE;
  const { afterPackets, afterBytes } = readOptions(FLOW_VERDICT, 'options', options);
  if (afterPackets === null && afterBytes === null) return AT_ONCE;
  const { MAX_SAFE_INTEGER } = Number;
  return { packets: afterPackets ?? MAX_SAFE_INTEGER, bytes: afterBytes ?? MAX_SAFE_INTEGER };
}
