/** Which flow a packet belongs to: rules K1, K2, F1, F2, F4, I1, I3, I4, M1. */
import { hasPorts } from '../../src/packet/names.js';
import { isAttack, type Train } from './fragments.js';
import { type Ends, type Key, keyOf } from './key.js';
import { bytesOf, ipHeaderBytes, isLater, type Packet } from './packets.js';
import type { State } from './state.js';

export interface Classified {
  readonly packet: Packet;
  readonly endpoint: number;
  /** Why it goes no further. */
  readonly error: string | null;
  /** 'unknown': a later fragment whose train has not been seen. */
  readonly key: Key | 'unknown' | null;
}

/** What one packet is, as far as it and those before it tell. Notes the ports of its train. */
export function classify(state: State, packet: Packet, endpoint: number): Classified {
  const failed = (error: string): Classified => ({ packet, endpoint, error, key: null });
  if (!state.endpoints.has(endpoint)) return failed('unknown_endpoint');
  if (isAttack(packet)) return failed('inner_bad_fragment');
  if (packet.quote !== null && !isGoodQuote(packet.quote, packet.quoted)) {
    return failed('icmp_bad_quote');
  }
  const scope = state.scope(endpoint);
  if (packet.quote === null) state.fragments.bind(packet, scope, state.now);
  return { packet, endpoint, error: null, key: keyFor(state, packet, endpoint) };
}

export function keyFor(state: State, packet: Packet, endpoint: number): Key | 'unknown' {
  const { stickiness } = state.options;
  const scope = state.scope(endpoint);
  const keyed = packet.quote ?? packet;
  const plain = packet.quote === null ? endsOf(packet) : quotedEnds(packet.quote, packet.quoted);
  if (stickiness !== 5 || !isLater(keyed) || plain.protocol === FRAGMENT_HEADER) {
    return keyOf(plain, stickiness, scope);
  }
  const train = state.fragments.find(keyed, scope, state.now);
  if (train === null) return 'unknown';
  return keyOf(train.ports === null ? plain : withTrain(plain, train), stickiness, scope);
}

/** The key of a later fragment whose train nobody knows. */
export function keyWithoutPorts(state: State, packet: Packet, endpoint: number): Key {
  const ends = endsOf(packet.quote ?? packet);
  return keyOf({ ...ends, ports: null }, state.options.stickiness, state.scope(endpoint));
}

/** Whether it is worth waiting for the first fragment: others have no ports to show. */
export function waitsForPorts(packet: Packet): boolean {
  return packet.quote === null && hasPorts(packet.protocol);
}

function withTrain(ends: Ends, { protocol, ports }: Train): Ends {
  return { ...ends, protocol, ports };
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

export function isTooBig(state: State, packet: Packet, endpoint: number): boolean {
  return bytesOf(packet).length > state.endpoint(endpoint).mtu;
}
