/** How long inner packets may be on the ways to targets and peers: what `clampMss: 'auto'` needs. */
import { binding } from '../native/binding.js';
import { parseIpv4 } from '../packet/address.js';
import type { GatewayBase } from './gateway-base.js';
import { CLAMP_MSS_AUTO } from './option-tables.js';

/** Outer IPv4 and UDP. */
const OUTER_BYTES = 28;
/** GENEVE with its three options, to a target; without, to the peer of an endpoint. */
const TARGET_GENEVE_BYTES = 40;
const PEER_GENEVE_BYTES = 8;
const ETHERNET_BYTES = 14;

/** Hosts that get packets of one kind. */
export interface Way {
  readonly addresses: readonly string[];
  /** Inner packets are Ethernet frames. */
  readonly ethernet: boolean;
}

export interface Ways {
  /** Own address, in host order. */
  readonly source: number;
  /** Network namespace; `''` for the process's own. */
  readonly netns: string;
  readonly targets: Way;
  readonly peers: Way;
}

/**
 * The longest inner packet that goes to every host that can be reached without the outer packet being
 * cut, as the kernel's routes, devices and path MTU cache say it now; 0 where no host can be reached.
 * Rejects with system errors.
 */
export async function innerPathMtu({ source, netns, targets, peers }: Ways): Promise<number> {
  const all = await Promise.all([
    roomOf(source, netns, targets, TARGET_GENEVE_BYTES),
    roomOf(source, netns, peers, PEER_GENEVE_BYTES),
  ]);
  const rooms = all.filter((room) => room !== null);
  return rooms.length === 0 ? 0 : Math.min(...rooms);
}

async function roomOf(
  source: number,
  netns: string,
  way: Way,
  geneveBytes: number,
): Promise<number | null> {
  const numbers = way.addresses.map((address) => parseIpv4(address) ?? 0);
  if (numbers.length === 0) return null;
  const outer = await binding.pathMtu(source, Uint32Array.from(numbers), netns);
  const overhead = OUTER_BYTES + geneveBytes + (way.ethernet ? ETHERNET_BYTES : 0);
  return outer === 0 ? null : Math.max(1, outer - overhead);
}

/** How often it asks. */
const LOOK_MS = 2_000;

/** Tells how long inner packets may be, whenever that has changed. */
export class PathWatch {
  readonly #source: number;
  readonly #netns: string;
  readonly #tell: (bytes: number) => void;
  #bytes = 0;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #looking = false;

  constructor(source: number, netns: string, tell: (bytes: number) => void) {
    this.#source = source;
    this.#netns = netns;
    this.#tell = tell;
  }

  /**
   * Call it often: it asks when it is time, and one thing at a time. What the kernel does not say stays as
   * it was.
   */
  async look(
    gateway: Pick<GatewayBase, 'endpoints' | 'targetGroup' | 'targets'>,
    now = performance.now(),
  ): Promise<void> {
    if (this.#looking || now - this.#lookedAt < LOOK_MS) return;
    this.#lookedAt = now;
    this.#looking = true;
    let bytes: number;
    try {
      bytes = await innerPathMtu({ source: this.#source, netns: this.#netns, ...waysOf(gateway) });
    } catch {
      return; // No sockets left, or the namespace has gone: the next time.
    } finally {
      this.#looking = false;
    }
    if (bytes !== this.#bytes) this.#tell(bytes);
    this.#bytes = bytes;
  }
}

/** What `clampMss` needs of a gateway that listens: nothing unless it is `'auto'`. */
export function watchPaths(
  { clampMss, address, netns }: { clampMss: number; address: number; netns: string },
  tell: (bytes: number) => void,
): PathWatch | null {
  if (clampMss !== CLAMP_MSS_AUTO) return null;
  return new PathWatch(address, netns, tell);
}

function waysOf(gateway: Pick<GatewayBase, 'endpoints' | 'targetGroup' | 'targets'>) {
  const { targetGroup } = gateway;
  const peers = gateway.endpoints().flatMap(({ peer }) => peer ?? []);
  return {
    targets: {
      addresses: gateway.targets().map(({ address }) => address),
      ethernet: targetGroup.inner === 'ethernet',
    },
    peers: {
      addresses: peers.map(({ address }) => address),
      ethernet: peers.some(({ inner }) => inner === 'ethernet'),
    },
  };
}
