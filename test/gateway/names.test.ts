/** The names of the public types are those of native code, none more and none less. */
import t from 'tap';
import type { TunOptions } from '../../src/gateway/device.js';
import { checkTun } from '../../src/gateway/device.js';
import type { FlowDecision } from '../../src/gateway/explain-rules.js';
import type { IdleTimer } from '../../src/gateway/explain-types.js';
import type { FlowCause, FlowEvent } from '../../src/gateway/flow-events.js';
import { GATEWAY_BASE } from '../../src/gateway/option-tables.js';
import type { MidStream } from '../../src/gateway/options.js';
import type { FlowPreviewMove } from '../../src/gateway/preview-types.js';
import { binding } from '../../src/native/binding.js';
import { VERDICTS, Verdict, type VerdictName } from '../../src/packet/names.js';

/** Every name of a type: compilation fails where one is missing or too many. */
type All<Name extends string> = Record<Name, 0>;

const VERDICT: All<VerdictName> = {
  ...{ pending: 0, forward: 0, drop: 0, reply: 0, bypass: 0, moved: 0, held: 0, probe: 0 },
};
const TYPES: All<FlowEvent['type']> = { opened: 0, moved: 0, ended: 0, lives: 0 };
const CAUSES: All<FlowCause | 'none'> = {
  ...{ none: 0, new: 0, 'picked-up': 0, reopened: 0, learnt: 0, 'target-failed': 0 },
  ...{ 'target-gone': 0, closed: 0, reset: 0, idle: 0, replaced: 0, evicted: 0, refused: 0 },
  stopped: 0,
};
const DECISIONS: All<FlowDecision> = {
  ...{ dropped: 0, new: 0, 'picked-up': 0, pinned: 0, reopened: 0, moved: 0, refused: 0 },
  bypassed: 0,
};
const FATES: All<FlowPreviewMove['fate']> = { stays: 0, moves: 0, reset: 0, no_target: 0 };
const IDLE: All<IdleTimer['timeout']> = {
  ...{ tcp: 0, other: 0, closing: 0, reset: 0, 'syn-seen': 0, 'syn-ack-seen': 0 },
};
const MID_STREAM: All<MidStream> = { auto: 0, drop: 0, pickup: 0 };

t.test('names are those of native code', async (t) => {
  const { names } = binding;
  t.strictSame(names.verdicts, Object.keys(VERDICT));
  t.strictSame(names.flowEventTypes, Object.keys(TYPES));
  t.strictSame(names.flowCauses, Object.keys(CAUSES));
  t.strictSame(names.rules, Object.keys(DECISIONS));
  t.strictSame(names.fates, Object.keys(FATES));
  t.strictSame(names.idleClasses, Object.keys(IDLE));
  t.strictSame(names.midStream, Object.keys(MID_STREAM));
  t.strictSame(names.midStream, GATEWAY_BASE.midStream.kind.schema.enum);
  t.strictSame(
    Object.entries(Verdict),
    VERDICTS.map((name, i) => [name, i]),
  );
  const tuns: (string | TunOptions)[] = [
    ...['gwlbe0', { name: 'gwlbe0' }],
    ...[true, false].map((persistent) => ({ name: 'gwlbe0', persistent })),
  ];
  const lifetimes = new Set(tuns.map((tun) => checkTun('tun', tun).lifetime));
  t.strictSame([...lifetimes], names.tunLifetimes);
});
