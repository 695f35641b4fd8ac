/** Fragment trains and the fragments that wait for their first one (rules F1, F2, F4, F8). */
import { hasPorts } from '../../src/packet/names.js';
import { datagramBytes, isFragment, isLater, type Packet } from './packets.js';

export const TRAIN_MS = 30_000;
export const HOLD_MS = 50;
export const HELD_MAX = 64;

/** A datagram that goes to a target and comes back passes twice, and each pass is a train. */
export type Pass = 'entering' | 'returned';

/** What later fragments cannot show: the ports, and for IPv6 also the protocol. */
export interface Train {
  readonly protocol: number;
  /** null: the train was given up, its later fragments go without. */
  readonly ports: readonly [source: number, destination: number] | null;
  readonly since: number;
  /** Offsets of the units of 8 bytes that have come. */
  readonly came: Set<number>;
  /** Where the datagram ends; null: its last fragment has not come. */
  end: number | null;
}

export interface Held {
  readonly packet: Packet;
  readonly endpoint: number;
  readonly since: number;
}

/** How much of a transport header a first fragment must have (RFC 1858, RFC 3128, RFC 7112). */
function headerNeeded({ version, protocol }: Packet): number {
  if (protocol === 6) return version === 4 ? 16 : 20;
  if (protocol === 132) return version === 4 ? 8 : 12;
  return hasPorts(protocol) || protocol === 1 || protocol === 58 ? 8 : 0;
}

/** F4: a piece that hides the ports or the flags of a connection. */
export function isAttack(sent: Packet): boolean {
  if (sent.fragment === null || !isFragment(sent)) return false;
  const { offset, length } = sent.fragment;
  return offset === 0 ? length < headerNeeded(sent) : sent.protocol === 6 && offset === 8;
}

/** F8: all of the datagram has come. */
export function isOver({ came, end }: Train): boolean {
  if (end === null) return false;
  for (let at = 0; at < end; at += 8) if (!came.has(at)) return false;
  // With more behind its end it is no datagram, and ends by its lifetime.
  return [...came].every((at) => at < end);
}

export class Fragments {
  held: Held[] = [];
  readonly #trains = new Map<string, Train>();

  /** A first fragment names the ports of its train, unless that was given up. */
  bind(sent: Packet, scope: number, pass: Pass, now: number): void {
    if (!isFragment(sent) || isLater(sent) || !hasPorts(sent.protocol)) return;
    const known = this.#alive(sent, scope, pass, now);
    if (known !== null && known.ports === null && !isOver(known)) {
      note(known, sent);
      return;
    }
    const { protocol, sourcePort, destinationPort } = sent;
    const ports = [sourcePort, destinationPort] as const;
    const train: Train = { protocol, ports, since: now, came: new Set(), end: null };
    note(train, sent);
    this.#trains.set(nameOf(sent, scope, pass), train);
  }

  /** A whole packet that goes on in fragments: their datagram has come. */
  bindWhole(sent: Packet, scope: number, now: number): void {
    if (!hasPorts(sent.protocol)) return;
    const { protocol, sourcePort, destinationPort } = sent;
    const ports = [sourcePort, destinationPort] as const;
    const train: Train = { protocol, ports, since: now, came: new Set(), end: 0 };
    this.#trains.set(nameOf(sent, scope, 'entering'), train);
  }

  giveUp(later: Packet, scope: number, now: number): void {
    const { protocol } = later;
    const train: Train = { protocol, ports: null, since: now, came: new Set(), end: null };
    this.#trains.set(nameOf(later, scope, 'entering'), train);
  }

  /** Whose part a later fragment is; it may be over. What returns falls back to what entered. */
  find(later: Packet, scope: number, pass: Pass, now: number): Train | null {
    const own = this.#alive(later, scope, pass, now);
    if (pass === 'entering' || (own !== null && !isOver(own))) return own;
    return this.#alive(later, scope, 'entering', now) ?? own;
  }

  /** The same of one that comes: it is part of its train from now on. */
  come(later: Packet, scope: number, pass: Pass, now: number): Train | null {
    const found = this.find(later, scope, pass, now);
    const own = this.#alive(later, scope, pass, now);
    const wasOver = own !== null && isOver(own);
    if (own !== null && !wasOver) note(own, later);
    return found;
  }

  /** Of a quoted one. */
  findQuoted(later: Packet, scope: number, now: number): Train | null {
    const entered = this.#alive(later, scope, 'entering', now);
    return entered ?? this.#alive(later, scope, 'returned', now);
  }

  #alive(sent: Packet, scope: number, pass: Pass, now: number): Train | null {
    const train = this.#trains.get(nameOf(sent, scope, pass));
    return train === undefined || now - train.since >= TRAIN_MS ? null : train;
  }
}

/** What the piece really has: it may be shorter than it was asked to be. */
function note(train: Train, piece: Packet): void {
  const { offset, length, more } = piece.fragment as NonNullable<Packet['fragment']>;
  const end = Math.min(offset + length, datagramBytes(piece));
  const last = more ? Math.floor(end / 8) * 8 : end;
  for (let at = offset; at < last; at += 8) train.came.add(at);
  if (!more) train.end = end;
}

function nameOf(sent: Packet, scope: number, pass: Pass): string {
  const { version, source, destination, protocol, fragment } = sent;
  const named = version === 4 ? protocol : 0;
  return [version, source, destination, named, fragment?.id ?? sent.id, scope, pass].join();
}
