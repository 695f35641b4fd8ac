/** When a verdict on a flow takes effect. */
import { flag, integer, type Kind } from '../base/option-kinds.js';
import { readOptions, type SettingsOf, type TableOf } from '../base/option-table.js';

/** From when on a verdict on a flow takes effect; where both are given, whichever comes first. */
export interface FlowVerdictOptions {
  /** After so many more packets of the flow, 0 or more. */
  afterPackets?: number;
  /** After so many more bytes of it (of inner packets), 0 or more: with the packet that completes them. */
  afterBytes?: number;
}

/** The same of a verdict to pass a flow. */
export interface PassFlowOptions extends FlowVerdictOptions {
  /**
   * Return its packets at once, without the kernel, where the appliance has devices (`attachTun`): also this
   * packet, unless more of the flow is to come before. The kernel sees nothing more of the flow then. Default
   * false.
   */
  pastKernel?: boolean;
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

/** The options of a verdict to pass a flow. */
export const PASS_FLOW = {
  ...FLOW_VERDICT,
  pastKernel: { says: 'return its packets without the kernel', kind: flag, preset: false },
} as const satisfies TableOf<PassFlowOptions>;

/** As native code knows them. */
const VERDICT = { pass: 2, drop: 3, direct: 4 } as const;

/** A verdict on a flow, and what of it comes before. */
export interface CheckedVerdict {
  verdict: (typeof VERDICT)[keyof typeof VERDICT];
  packets: number;
  bytes: number;
}

function before({ afterPackets, afterBytes }: SettingsOf<typeof FLOW_VERDICT>) {
  if (afterPackets === null && afterBytes === null) return { packets: 0, bytes: 0 };
  const { MAX_SAFE_INTEGER } = Number;
  return { packets: afterPackets ?? MAX_SAFE_INTEGER, bytes: afterBytes ?? MAX_SAFE_INTEGER };
}

/** The options of `dropFlow`. */
export function checkDropFlow(options: unknown = {}): CheckedVerdict {
  return { verdict: VERDICT.drop, ...before(readOptions(FLOW_VERDICT, 'options', options)) };
}

/** The options of `passFlow`. */
export function checkPassFlow(options: unknown = {}): CheckedVerdict {
  const settings = readOptions(PASS_FLOW, 'options', options);
  return { verdict: settings.pastKernel ? VERDICT.direct : VERDICT.pass, ...before(settings) };
}
