/** What becomes of datagrams that come from targets: rules W2 to W5, E1, M1 to M3. */
import { classify, keyWithoutTrain } from './classify.js';
import { parted } from './cookie.js';
import { clamped, isTooBig, mayBeCut } from './fit.js';
import { type Flow, isConnection, isSyn, touch } from './flows.js';
import type { Key } from './key.js';
import type { Packet } from './packets.js';
import { drop, type Outcome, type State } from './state.js';
import type { ModelTarget } from './targets.js';

/** How long returns of the target that a flow moved away from are welcome. */
export const LATE_RETURNS_MS = 30_000;

/** A datagram, as the model needs it. */
export interface Returned {
  /** The id of the target that it comes from; null for a stranger. */
  readonly from: string | null;
  readonly endpointId: bigint;
  readonly cookie: number;
  readonly packet: Packet;
  readonly outerEcn: number;
}

export function giveBack(state: State, returned: Returned, now: number): Outcome {
  state.advance(now);
  const outcome = judge(state, returned);
  if (outcome.verdict === 'forward') state.count('packetsOut');
  if (outcome.reason !== 'none') state.count(`drop ${outcome.reason}`);
  return outcome;
}

function judge(state: State, returned: Returned): Outcome {
  const { packet, endpointId, outerEcn } = returned;
  const { slot } = parted(returned.cookie);
  const from = returned.from === null ? undefined : state.targets.sender(returned.from, slot);
  if (from === undefined) return drop('unknown_source');
  state.count('packetsFromTargets');
  const index = [...state.endpoints].find(([, { id }]) => id === endpointId)?.[0];
  if (index === undefined) return drop('unknown_endpoint');
  const found = classify(state, packet, index, 'returned');
  if (found.error !== null) return drop(found.error);
  const ecn = decapsulatedEcn(packet.ecn, outerEcn);
  if (ecn === null) return drop('ecn_not_capable');
  const key = found.key === 'unknown' ? keyWithoutTrain(state, packet, index) : (found.key as Key);
  const fitting = clamped(state, packet, index);
  const refused = judgeFlow(state, returned, key, from, index);
  if (refused !== null) return drop(refused);
  if (isTooBig(state, packet, index)) {
    if (!mayBeCut(state, packet, index)) return drop('inner_too_big');
    state.count('packetsFragmented');
  }
  if (fitting !== packet) state.count('mssClamped');
  return { verdict: 'forward', reason: 'none', endpoint: index, packet: { ...fitting, ecn } };
}

/** Why the packet must not go out, or null. */
function judgeFlow(
  state: State,
  returned: Returned,
  key: Key,
  from: ModelTarget,
  endpoint: number,
): string | null {
  const { packet, cookie } = returned;
  const flow = state.find(key);
  if (flow === null) return judgeUnknown(state, returned, key, from, endpoint);
  const wrong = wrongCookie(state, flow, from, cookie, endpoint);
  if (wrong !== null || packet.quote !== null) return wrong;
  touchReturn(state, packet, key, flow, from.slot === flow.slot);
  return null;
}

/** W2, W3, W4. */
function wrongCookie(
  state: State,
  flow: Flow,
  from: ModelTarget,
  cookie: number,
  endpoint: number,
): string | null {
  if (cookie === flow.cookie) return from.slot === flow.slot ? null : 'wrong_target';
  if (!state.isGood(cookie, endpoint, flow.hash)) return 'wrong_cookie';
  const { slot } = parted(cookie);
  if (from.slot !== slot) return 'wrong_target';
  if (slot === flow.slot) return state.options.strict ? 'wrong_cookie' : null;
  const justLeft = flow.moved?.slot === slot && state.now - flow.moved.at < LATE_RETURNS_MS;
  return justLeft ? null : 'wrong_target';
}

/** W5, I5. */
function judgeUnknown(
  state: State,
  returned: Returned,
  key: Key,
  from: ModelTarget,
  endpoint: number,
): string | null {
  const { packet, cookie } = returned;
  const own = from.slot === parted(cookie).slot;
  const good = own && state.learning() && state.isGood(cookie, endpoint, state.hash(key));
  if (!good) return packet.quote === null ? 'no_flow' : 'icmp_no_flow';
  if (packet.quote !== null) return null;
  const handshake = isConnection(key) && isSyn(packet);
  const flow = state.insert({ key, cookie, cause: 'learnt', endpoint, handshake });
  if (flow !== null) touchReturn(state, packet, key, flow, true);
  return null;
}

function touchReturn(state: State, packet: Packet, key: Key, flow: Flow, own: boolean): void {
  const { promoteOnIngress } = state.options;
  const witness = own && !promoteOnIngress;
  const { now } = state;
  touch(flow, { packet, forward: key.forward, ingress: false, witness, promoteOnIngress, now });
}

/** RFC 6040, figure 4. Null: the packet must be dropped. */
export function decapsulatedEcn(inner: number, outer: number): number | null {
  const [notEct, ect1, ect0, ce] = [0, 1, 2, 3];
  if (inner === notEct) return outer === ce ? null : notEct;
  if (inner === ce || outer === ce) return ce;
  return inner === ect0 && outer === ect1 ? ect1 : inner;
}
