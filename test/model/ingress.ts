/** What becomes of packets that enter by an endpoint. */
import { type Classified, classify, keyFor, keyWithoutTrain, waitsForPorts } from './classify.js';
import { clamped, isTooBig, mayBeCut } from './fit.js';
import { answersSyn, type Flow, flagsOf, isConnection, isSyn, touch } from './flows.js';
import { HELD_MAX, HOLD_MS, isOver } from './fragments.js';
import type { Key } from './key.js';
import { bytesOf, isLater, type Packet, RST, TCP } from './packets.js';
import { resetFor, tooBigFor } from './replies.js';
import { staysOnLink } from './scope.js';
import { drop, type Outcome, type State } from './state.js';
import type { ModelTarget } from './targets.js';

export interface Entering {
  readonly packet: Packet;
  readonly endpoint: number;
  /** It was held before, and is counted already. */
  readonly held?: boolean;
}

/** F2: a later fragment finds its train also where the first one comes behind it in the batch. */
export function enter(state: State, batch: readonly Entering[], now: number): Outcome[] {
  state.advance(now, batch.length > 0);
  const classified = batch.map(({ packet, endpoint, held = false }) => {
    if (!held) {
      state.count('packetsIn');
      state.count('bytesIn', bytesOf(packet).length);
    }
    const found = classify(state, packet, endpoint);
    if (found.error !== null) return drop(found.error);
    // It is part of its train all the same.
    const dropped = (outcome: Outcome) => ({ ...outcome, late: found.key === 'unknown' });
    if (staysOnLink(packet)) return dropped(drop('never_forwarded'));
    if (!isTooBig(state, packet, endpoint)) return found;
    const fitting = tooBig(state, found);
    return 'verdict' in fitting ? dropped(fitting) : fitting;
  });
  const settled = classified.map((found, i) => {
    const { packet, endpoint, held = false } = batch[i];
    if (!('verdict' in found)) return settle(state, found, held);
    if ('late' in found && found.late) keyFor(state, packet, endpoint);
    return found;
  });
  return settled.map((found) => {
    const outcome = 'verdict' in found ? found : decideFitting(state, found);
    countOutcome(state, outcome);
    return outcome;
  });
}

type Known = Classified & { readonly key: Key };

function settle(state: State, found: Classified, wasHeld: boolean): Known | Outcome {
  const { packet, endpoint } = found;
  if (found.key !== 'unknown') return found as Known;
  const key = keyFor(state, packet, endpoint);
  if (key !== 'unknown') return { ...found, key };
  if (waitsForPorts(packet)) {
    const { held } = state.fragments;
    if (!wasHeld && held.length < HELD_MAX) {
      held.push({ packet, endpoint, since: state.now });
      return { verdict: 'held', reason: 'none' };
    }
    giveUp(state, packet, endpoint);
    state.fragments.come(packet, state.scope(endpoint), 'entering', state.now);
  }
  return { ...found, key: keyWithoutTrain(state, packet, endpoint) };
}

/** F2; but of a train that is over (F8) the fragment is taken for a copy. */
function giveUp(state: State, packet: Packet, endpoint: number): void {
  const scope = state.scope(endpoint);
  if (state.fragments.find(packet, scope, 'entering', state.now) !== null) return;
  state.fragments.giveUp(packet, scope, state.now);
}

/** What waited and may go now, in the order in which it came. */
export function takeHeld(state: State, now: number): Entering[] {
  state.advance(now, false);
  const { fragments } = state;
  const ready = fragments.held.filter(({ packet, endpoint, since }) => {
    const train = fragments.find(packet, state.scope(endpoint), 'entering', now);
    if (train !== null && !isOver(train)) return true;
    if (now - since < HOLD_MS) return false;
    giveUp(state, packet, endpoint);
    return true;
  });
  fragments.held = fragments.held.filter((held) => !ready.includes(held));
  return ready.map(({ packet, endpoint }) => ({ packet, endpoint, held: true }));
}

/** M1, M2. */
function tooBig(state: State, found: Classified): Classified | Outcome {
  const { packet, endpoint } = found;
  if (mayBeCut(state, packet, endpoint)) {
    if (packet.fragment === null && state.options.stickiness === 5) {
      state.fragments.bindWhole(packet, state.scope(endpoint), state.now);
    }
    return { ...found, isCut: true };
  }
  const asked = state.options.pathMtuDiscovery && packet.quote === null && !isLater(packet);
  if (!asked || !state.mayAnswer()) return drop('inner_too_big');
  const { mtu } = state.endpoint(endpoint);
  const reply = tooBigFor(packet, bytesOf(packet).length, mtu);
  return { verdict: 'reply', reason: 'inner_too_big', reply };
}

/** M2, M3: and what goes on fits. */
function decideFitting(state: State, found: Known): Outcome {
  const packet = clamped(state, found.packet, found.endpoint);
  const outcome = decide(state, { ...found, packet });
  const goesOn = outcome.verdict === 'forward' || outcome.verdict === 'bypass';
  if (goesOn && found.isCut) state.count('packetsFragmented');
  if (goesOn && packet !== found.packet) state.count('mssClamped');
  return { ...outcome, packet };
}

function decide(state: State, found: Known): Outcome {
  const flow = state.find(found.key);
  if (found.packet.quote !== null) return decideError(state, found, flow);
  return flow === null ? decideFirst(state, found) : decideKnown(state, found, flow);
}

/** T11: nobody takes this packet. */
function withoutTarget(state: State): Outcome {
  if (!state.targets.policy.failOpen) return drop('no_targets');
  state.carryUntracked();
  return { verdict: 'bypass', reason: 'none' };
}

function failsOpen(state: State, found: Known): boolean {
  const { failOpen } = state.targets.policy;
  return failOpen && state.choose(found.endpoint, state.hash(found.key)) === null;
}

/** I1, I2, I5: it goes where its flow goes, and changes nothing. */
function decideError(state: State, found: Known, flow: Flow | null): Outcome {
  if (flow && !state.isVoid(flow)) return forward(flow);
  if (failsOpen(state, found)) return withoutTarget(state);
  if (flow !== null || !state.learning()) return drop('icmp_no_flow');
  const { endpoint, key } = found;
  const hash = state.hash(key);
  const chosen = state.choose(endpoint, hash);
  if (chosen === null) return drop('no_targets');
  const cookie = state.cookie(endpoint, hash, chosen.slot, 0);
  return { verdict: 'forward', reason: 'none', target: chosen.slot, cookie };
}

/** A packet of a flow that has an entry. */
function decideKnown(state: State, found: Known, flow: Flow): Outcome {
  const { packet, key, endpoint } = found;
  const target = state.targets.targets.get(flow.slot);
  const replaced = isConnection(key) ? takeSyn(state, found, flow, target) : null;
  if (replaced !== null) return replaced;
  if (isRefused(state, packet, flow, target)) return refuse(state, packet, flow);
  touchIngress(state, found, flow);
  const isVoid = state.isVoid(flow);
  if (isVoid) {
    const chosen = state.choose(endpoint, flow.hash);
    if (chosen === null) return withoutTarget(state);
    move(state, flow, chosen, target, endpoint);
  }
  flow.told = false;
  return { ...forward(flow), moved: isVoid };
}

function touchIngress(state: State, { packet, key }: Known, flow: Flow): void {
  const { promoteOnIngress } = state.options;
  const witness = promoteOnIngress;
  const { now } = state;
  touch(flow, { packet, forward: key.forward, ingress: true, witness, promoteOnIngress, now });
}

/** C4: the entry's connection is over, was never answered, or its target is lost. */
function choosesAgain(state: State, flow: Flow, target: ModelTarget | undefined): boolean {
  if (flow.life === 'closing' || flow.life === 'reset' || flow.refused) return true;
  if (target === undefined) return true;
  if (state.targets.takesNewFlows(target)) return false;
  const lost = target.phase === 'gone' || target.health === 'unhealthy';
  return lost || (flow.handshake && flow.synAck === null && !flow.handshakeOver);
}

/** C4: what becomes of a packet that opens a new connection in the entry's place; else null. */
function takeSyn(
  state: State,
  found: Known,
  flow: Flow,
  target: ModelTarget | undefined,
): Outcome | null {
  const { packet, key } = found;
  if (answersSyn(flow, packet, key.forward)) {
    const stays = target !== undefined && state.targets.takesNewFlows(target);
    return replace(state, found, flow, stays ? target : null);
  }
  if (!isSyn(packet)) return null;
  if (choosesAgain(state, flow, target)) return replace(state, found, flow, null);
  if (!flow.handshake) {
    flow.synFrom.add(key.forward ? 'low' : 'high');
    return null;
  }
  return flow.handshakeOver ? replace(state, found, flow, target as ModelTarget) : null;
}

/** A new connection in the old one's place, at this target or at one of its own. */
function replace(state: State, found: Known, old: Flow, target: ModelTarget | null): Outcome {
  const { key, endpoint } = found;
  const chosen = target ?? state.choose(endpoint, old.hash);
  if (!chosen) {
    if (!state.targets.policy.failOpen) countRejected(state, found);
    return withoutTarget(state);
  }
  state.end(old, 'replaced');
  const incarnation = (old.incarnation + 1) % 16;
  const cookie = state.cookie(endpoint, old.hash, chosen.slot, incarnation);
  // Its entry becomes the new one's, so there is room.
  const flow = state.insert({
    key,
    cookie,
    cause: 'reopened',
    endpoint,
    handshake: true,
  }) as Flow;
  if (!isSyn(found.packet)) for (const end of old.synFrom) flow.synFrom.add(end);
  touchIngress(state, found, flow);
  return { ...forward(flow), isNew: true };
}

/** T4, T8: only TCP headers can be answered, and a RST is not. */
function isRefused(state: State, packet: Packet, flow: Flow, target?: ModelTarget): boolean {
  const flags = flagsOf(packet);
  if (!isConnection(flow.key) || flags === null || (flags & RST) !== 0) return false;
  return flow.refused || (target !== undefined && state.targets.resets(target));
}

function refuse(state: State, packet: Packet, flow: Flow): Outcome {
  if (!flow.refused) state.count('flowsRefused');
  flow.refused = true;
  flow.life = 'reset';
  flow.lastSeen = state.now;
  return { verdict: 'reply', reason: 'flow_refused', reply: resetFor(packet) };
}

/** T3, T7. */
function move(
  state: State,
  flow: Flow,
  to: ModelTarget,
  from: ModelTarget | undefined,
  endpoint: number,
): void {
  const previous = flow.slot;
  if (flow.synAck === null) flow.moved = { slot: previous, at: state.now };
  flow.slot = to.slot;
  flow.cookie = state.cookie(endpoint, flow.hash, to.slot, flow.incarnation);
  state.count('flowsMoved');
  const gone = from === undefined || from.phase === 'gone';
  state.tell('moved', flow, gone ? 'target-gone' : 'target-failed', endpoint, previous);
}

/** A packet of no flow: K3, K4, C1, C2, C3, F7. */
function decideFirst(state: State, found: Known): Outcome {
  const { packet, key, endpoint } = found;
  if (failsOpen(state, found)) return withoutTarget(state);
  const flags = flagsOf(packet);
  // A later fragment is what its train is; without ports it is no connection's, as far as can be told.
  const ofConnection = isLater(packet) ? isConnection(key) : packet.protocol === TCP;
  const midStream = ofConnection && !isSyn(packet);
  const isReset = flags !== null && (flags & RST) !== 0;
  if (midStream && (isReset || !state.learning())) {
    if (!state.resetOnIdle || flags === null || isReset) return drop('tcp_not_syn');
    return { verdict: 'reply', reason: 'tcp_not_syn', reply: resetFor(packet) };
  }
  const hash = state.hash(key);
  const chosen = state.choose(endpoint, hash);
  if (chosen === null) {
    countRejected(state, found);
    return withoutTarget(state);
  }
  const cookie = state.cookie(endpoint, hash, chosen.slot, 0);
  const handshake = isConnection(key) && isSyn(packet);
  const cause = midStream ? 'picked-up' : 'new';
  const flow = state.insert({ key, cookie, cause, endpoint, handshake });
  if (flow === null) {
    state.count('packetsUntracked');
    state.carryUntracked();
    return { verdict: 'forward', reason: 'none', target: chosen.slot, cookie };
  }
  if (midStream) state.count('flowsPickedUp');
  touchIngress(state, found, flow);
  return { ...forward(flow), isNew: true };
}

function forward(flow: Flow): Outcome {
  return { verdict: 'forward', reason: 'none', target: flow.slot, cookie: flow.cookie };
}

function countRejected(state: State, { packet, key }: Known): void {
  state.count('flowsRejected');
  const protocol = key.kind === 5 ? key.protocol : packet.protocol;
  if (protocol === TCP) state.count('flowsRejectedTcp');
}

function countOutcome(state: State, { verdict, reason, reply }: Outcome): void {
  if (verdict === 'forward') state.count('packetsToTargets');
  if (verdict === 'bypass') {
    state.count('packetsBypassed');
    state.count('packetsOut');
  }
  if (verdict === 'held') state.count('packetsHeld');
  if (verdict === 'reply') state.count('packetsReplied');
  if (reply?.type === 'reset') state.count('resetsSent');
  if (reason !== 'none') state.count(`drop ${reason}`);
}
