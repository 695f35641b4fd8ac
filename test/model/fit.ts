/** What a path has no room for: rules M1 to M3. */
import { flagsOf } from './flows.js';
import {
  bytesOf,
  type Fragment,
  ipHeaderBytes,
  type Packet,
  SYN,
  tcpHeaderBytes,
} from './packets.js';
import type { State } from './state.js';

const DATAGRAM_MAX = 65_535;
const END_OF_OPTIONS = 0;
const NO_OPERATION = 1;
const MAXIMUM_SEGMENT_SIZE = 2;

export function isTooBig(state: State, packet: Packet, endpoint: number): boolean {
  return bytesOf(packet).length > state.endpoint(endpoint).mtu;
}

/** M2. */
export function mayBeCut(state: State, packet: Packet, endpoint: number): boolean {
  if (!state.endpoint(endpoint).cuts || packet.version !== 4 || packet.dontFragment) return false;
  return bytesOf(packet).length + (packet.fragment?.offset ?? 0) <= DATAGRAM_MAX;
}

/**
 * M2: an IPv4 packet in pieces of which none is longer than `mtu`; a piece of a piece is one too. One
 * that fits, or is of IPv6, is the only piece.
 */
export function fragmentsOf(packet: Packet, mtu: number): Packet[] {
  if (packet.version === 6 || bytesOf(packet).length <= mtu) return [packet];
  const header = ipHeaderBytes(packet);
  const room = Math.floor((mtu - header) / 8) * 8;
  const all = bytesOf(packet).length - header;
  const { offset: first, more: goesOn } = packet.fragment ?? { offset: 0, more: false };
  const id = packet.fragment?.id ?? packet.id;
  const pieces: Packet[] = [];
  for (let at = 0; at < all; at += room) {
    const length = Math.min(room, all - at);
    const fragment: Fragment = {
      id,
      offset: first + at,
      length,
      more: goesOn || at + length < all,
    };
    pieces.push({ ...packet, fragment });
  }
  return pieces;
}

/** M3: the most that the ends of a connection through this endpoint may tell each other. */
function segmentRoom(state: State, { version }: Packet, endpoint: number): number {
  const { clampMss } = state.options;
  if (clampMss === null) return Number.POSITIVE_INFINITY;
  return clampMss === 'auto' ? state.endpoint(endpoint).mtu - (version === 4 ? 40 : 60) : clampMss;
}

/** M3: the packet that goes on in this one's place. */
export function clamped(state: State, packet: Packet, endpoint: number): Packet {
  const flags = flagsOf(packet);
  if (flags === null || (flags & SYN) === 0) return packet;
  const most = segmentRoom(state, packet, endpoint);
  const tooHigh = sizesIn(packet).filter(({ told }) => told > most);
  if (tooHigh.length === 0) return packet;
  const options = [...packet.options];
  for (const { at } of tooHigh) options.splice(at, 2, most >> 8, most & 0xff);
  return { ...packet, options };
}

/** The segment sizes that are told in the options, as far as this piece of the packet has them. */
function sizesIn(packet: Packet): { at: number; told: number }[] {
  const { options } = packet;
  const here =
    (packet.fragment?.length ?? DATAGRAM_MAX) - tcpHeaderBytes({ ...packet, options: [] });
  const end = Math.min(options.length, here);
  const sizes = [];
  for (let at = 0; at < end && options[at] !== END_OF_OPTIONS; ) {
    const length = options[at] === NO_OPERATION ? 1 : options[at + 1];
    if (options[at] !== NO_OPERATION && (!(length >= 2) || at + length > end)) break;
    if (options[at] === MAXIMUM_SEGMENT_SIZE && length === 4) {
      sizes.push({ at: at + 2, told: options[at + 2] * 256 + options[at + 3] });
    }
    at += length;
  }
  return sizes;
}
