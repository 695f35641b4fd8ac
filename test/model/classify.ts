/** Which flow a packet belongs to: rules K1, K2, F1, F2, F4, F8, I1, I3, I4. */
import { hasPorts } from '../../src/packet/names.js';
import { isAttack, isOver, type Pass, type Train } from './fragments.js';
import { type Ends, type Key, keyOf } from './key.js';
import { ipHeaderBytes, isLater, type Packet } from './packets.js';
import type { State } from './state.js';

export interface Classified {
  readonly packet: Packet;
  readonly endpoint: number;
  /** Why it goes no further. */
  readonly error: string | null;
  /** 'unknown': a later fragment that is part of no train under way. */
  readonly key: Key | 'unknown' | null;
  /** It is to go on in fragments (M2). */
  readonly isCut?: boolean;
}

/** What one packet is, as far as it and those before it tell. Notes the ports of its train. */
export function classify(
  state: State,
  packet: Packet,
  endpoint: number,
  pass: Pass = 'entering',
): Classified {
  const failed = (error: string): Classified => ({ packet, endpoint, error, key: null });
  if (!state.endpoints.has(endpoint)) return failed('unknown_endpoint');
  if (isAttack(packet)) return failed('inner_bad_fragment');
  if (packet.quote !== null && !isGoodQuote(packet.quote, packet.quoted)) {
    return failed('icmp_bad_quote');
  }
  const scope = state.scope(endpoint);
  // Ports are looked for where they make keys.
  if (packet.quote === null && state.options.stickiness === 5) {
    state.fragments.bind(packet, scope, pass, state.now);
  }
  return { packet, endpoint, error: null, key: keyFor(state, packet, endpoint, pass) };
}

export function keyFor(
  state: State,
  packet: Packet,
  endpoint: number,
  pass: Pass = 'entering',
): Key | 'unknown' {
  const { stickiness } = state.options;
  const scope = state.scope(endpoint);
  const keyed = packet.quote ?? packet;
  const plain = packet.quote === null ? endsOf(packet) : quotedEnds(packet.quote, packet.quoted);
  if (stickiness !== 5 || !isLater(keyed) || plain.protocol === FRAGMENT_HEADER) {
    return keyOf(plain, stickiness, scope);
  }
  if (packet.quote !== null) {
    const train = state.fragments.findQuoted(keyed, scope, state.now);
    return train === null ? 'unknown' : keyOf(withTrain(plain, train), stickiness, scope);
  }
  // It may be what completes its train, and is part of it all the same.
  const before = state.fragments.find(keyed, scope, pass, state.now);
  const wasOver = pass === 'entering' && before !== null && isOver(before);
  const train = state.fragments.come(keyed, scope, pass, state.now);
  if (train === null || wasOver) return 'unknown';
  return keyOf(withTrain(plain, train), stickiness, scope);
}

/**
 * The key of a later fragment that is part of no train: that of the last one with its name, which is
 * over, or else without ports.
 */
export function keyWithoutTrain(state: State, packet: Packet, endpoint: number): Key {
  const ends = { ...endsOf(packet.quote ?? packet), ports: null };
  const scope = state.scope(endpoint);
  const over =
    packet.quote === null ? state.fragments.find(packet, scope, 'entering', state.now) : null;
  return keyOf(over === null ? ends : withTrain(ends, over), state.options.stickiness, scope);
}

/** Whether it is worth waiting for the first fragment: others have no ports to show. */
export function waitsForPorts(packet: Packet): boolean {
  return packet.quote === null && hasPorts(packet.protocol);
}

function withTrain(ends: Ends, { protocol, ports }: Train): Ends {
  return ports === null ? ends : { ...ends, protocol, ports };
}

function endsOf(packet: Packet): Ends {
  const { version, source, destination, protocol, sourcePort, destinationPort } = packet;
  const ports = isLater(packet) ? null : ([sourcePort, destinationPort] as const);
  return { version, source, destination, protocol, ports };
}

const FRAGMENT_HEADER = 44;

/** I3: of a quote that may end anywhere behind its addresses. */
function quotedEnds(quote: Packet, quoted: number): Ends {
  const ends = endsOf(quote);
  const extension = quote.version === 6 && quote.fragment !== null ? 8 : 0;
  const transport = ipHeaderBytes(quote) + extension;
  if (extension > 0 && quoted < transport)
    return { ...ends, protocol: FRAGMENT_HEADER, ports: null };
  return quoted < transport + 4 ? { ...ends, ports: null } : ends;
}

/** I4. */
function isGoodQuote(quote: Packet, quoted: number): boolean {
  return quote.quote === null && quoted >= ipHeaderBytes(quote);
}
