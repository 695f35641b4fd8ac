/** Fragment trains and the fragments that wait for their first one (rules F1, F2, F4). */
import { hasPorts } from '../../src/packet/names.js';
import { isFragment, isLater, type Packet } from './packets.js';

export const TRAIN_MS = 30_000;
export const HOLD_MS = 50;
export const HELD_MAX = 64;

/** What later fragments cannot show: the ports, and for IPv6 also the protocol. */
export interface Train {
  readonly protocol: number;
  /** null: the train was given up, its later fragments go without. */
  readonly ports: readonly [source: number, destination: number] | null;
  readonly since: number;
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

export class Fragments {
  held: Held[] = [];
  readonly #trains = new Map<string, Train>();

  /** A first fragment names the ports of its train, unless that was given up. */
  bind(sent: Packet, scope: number, now: number): void {
    if (!isFragment(sent) || isLater(sent) || !hasPorts(sent.protocol)) return;
    if (this.find(sent, scope, now)?.ports === null) return;
    const { protocol, sourcePort, destinationPort } = sent;
    const ports = [sourcePort, destinationPort] as const;
    this.#trains.set(trainOf(sent, scope), { protocol, ports, since: now });
  }

  giveUp(later: Packet, scope: number, now: number): void {
    const { protocol } = later;
    this.#trains.set(trainOf(later, scope), { protocol, ports: null, since: now });
  }

  find(sent: Packet, scope: number, now: number): Train | null {
    const train = this.#trains.get(trainOf(sent, scope));
    return train === undefined || now - train.since >= TRAIN_MS ? null : train;
  }
}

function trainOf(sent: Packet, scope: number): string {
  const { version, source, destination, protocol, fragment } = sent;
  return [version, source, destination, version === 4 ? protocol : 0, fragment?.id, scope].join();
}
