/** Counter words of native code, by name. */

import type { Traffic } from '../health/suspicion.js';
import { binding } from '../native/binding.js';
import { COUNTER_NAMES, readDrops } from '../packet/counter-names.js';
import type { DropReason } from '../packet/names.js';

/** What a gateway has done since it was made, except where it says otherwise. */
export interface GatewayTotals {
  /** Packets that entered by an endpoint. */
  packetsIn: number;
  /** Bytes of them, inner packet. */
  bytesIn: number;
  /**
   * Packets sent to a target. At rest `packetsIn` is the sum of these, of `packetsBypassed`, of
   * `packetsWaiting` and of the drops of what entered: each packet is one of them, once.
   */
  packetsToTargets: number;
  /** Datagrams received from targets. */
  packetsFromTargets: number;
  /** The health checks of `protocol: 'GENEVE'` among them. */
  probesReturned: number;
  /** Packets that left by an endpoint. */
  packetsOut: number;
  /** Bytes of them, inner packet. */
  bytesOut: number;
  /** Packets forwarded uninspected (`failOpen`). */
  packetsBypassed: number;
  /** Packets answered by the gateway itself: RST and ICMP errors. */
  packetsReplied: number;
  /** The RST among those answers. */
  resetsSent: number;
  /** Answers that could not be sent; they are in `packetsReplied`, but are no drops. */
  repliesUnsent: number;
  /** Later fragments that waited for their first one. */
  packetsHeld: number;
  /** Packets longer than the endpoint's MTU that left in fragments. */
  packetsFragmented: number;
  /** SYN and SYN-ACK packets that left with a lower maximum segment size (`clampMss`). */
  mssClamped: number;
  /** Later fragments that wait for their first one now, 50 ms at most. */
  packetsWaiting: number;
  /** Flows opened. */
  flowsNew: number;
  /** Flows ended: closed, expired or evicted. */
  flowsEnded: number;
  /** Flows that moved to another target. */
  flowsMoved: number;
  /** IPv4 flows in the table now. */
  flowsActiveIpv4: number;
  /** IPv6 flows in the table now. */
  flowsActiveIpv6: number;
  /** First packets that got no target. */
  flowsRejected: number;
  /** The TCP ones among them. */
  flowsRejectedTcp: number;
  /** Packets forwarded without an entry because the flow table was full. */
  packetsUntracked: number;
  /** TCP flows picked up in mid-stream. */
  flowsPickedUp: number;
  /** Flows in probation that gave way to newer ones. */
  flowsEvicted: number;
  /** Flows whose packets were answered with a RST, since their target was lost. */
  flowsRefused: number;
  /** Flow events that nobody read in time; they are lost too while nobody listens. */
  eventsLost: number;
}

/** Of one target, since it was registered. Numbers above 2^53 lose their last digits. */
export interface TargetCounters {
  /** Packets sent to it. */
  packetsTo: number;
  /** Bytes of them, inner packet. */
  bytesTo: number;
  /** Packets that it returned. */
  packetsFrom: number;
  /** Bytes of them, inner packet. */
  bytesFrom: number;
  /** Flows opened on it, and those that moved to it. */
  flowsNew: number;
  /** Flows in the table now. */
  flowsActive: number;
}

/** Of one endpoint, since it was made. Numbers above 2^53 lose their last digits. */
export interface EndpointCounters {
  /** Packets that entered by it. */
  packetsIn: number;
  /** Bytes of them, inner packet. */
  bytesIn: number;
  /** Packets that left by it. */
  packetsOut: number;
  /** Bytes of them, inner packet. */
  bytesOut: number;
}

/** Numbers above 2^53 lose their last digits. */
export interface GatewayCounters extends GatewayTotals {
  /** Every reason, also those that never occurred. */
  drops: Record<DropReason, number>;
  /** By the id of each target that is registered or draining, since it was registered. */
  targets: Record<string, TargetCounters>;
  /** By the id of each endpoint. */
  endpoints: Record<string, EndpointCounters>;
}

const layout = binding.counterLayout;

const GATEWAY = COUNTER_NAMES.gateway;
const TARGET = COUNTER_NAMES.target;
const ENDPOINT = COUNTER_NAMES.endpoint;
const ACTIVE = TARGET.indexOf('flowsActive');
const TO = TARGET.indexOf('packetsTo');
const FROM = TARGET.indexOf('packetsFrom');

/**
 * Reads one or more blocks (one a worker) as their sum. Slots of targets and indices of endpoints
 * are used again: `startTarget` and `startEndpoint` make counting begin at 0 for a new owner.
 */
export class CounterReader {
  readonly #blocks: readonly BigUint64Array[];
  readonly #before = new Map<number, bigint>();

  constructor(blocks: readonly BigUint64Array[]) {
    this.#blocks = blocks;
  }

  totals(): GatewayTotals & { drops: Record<DropReason, number> } {
    const totals = this.#group(0, GATEWAY) as unknown as GatewayTotals;
    return { ...totals, drops: readDrops((at) => this.#sum(layout.dropsAt + at)) };
  }

  target(slot: number): TargetCounters {
    return this.#group(this.#targetAt(slot), TARGET) as unknown as TargetCounters;
  }

  endpoint(index: number): EndpointCounters {
    return this.#group(this.#endpointAt(index), ENDPOINT) as unknown as EndpointCounters;
  }

  /** Flows in the table that are pinned to the target in this slot. */
  flowsActive(slot: number): number {
    return Number(this.#sum(this.#targetAt(slot) + ACTIVE));
  }

  /** Packets to and from the target in this slot. */
  traffic(slot: number): Traffic {
    const at = this.#targetAt(slot);
    return { sent: Number(this.#sum(at + TO)), returned: Number(this.#sum(at + FROM)) };
  }

  /** The last probe that came back from the target in this slot, at any worker, had this nonce. */
  probeReturned(slot: number, nonce: number): boolean {
    return this.#blocks.some((block) => block[layout.probesAt + slot] === BigInt(nonce));
  }

  startTarget(slot: number): void {
    const at = this.#targetAt(slot);
    TARGET.forEach((_, i) => {
      if (i !== ACTIVE) this.#before.set(at + i, this.#raw(at + i));
    });
  }

  startEndpoint(index: number): void {
    const at = this.#endpointAt(index);
    ENDPOINT.forEach((_, i) => {
      this.#before.set(at + i, this.#raw(at + i));
    });
  }

  #targetAt(slot: number): number {
    return layout.targetsAt + slot * TARGET.length;
  }

  #endpointAt(index: number): number {
    return layout.endpointsAt + index * ENDPOINT.length;
  }

  #group(at: number, keys: readonly string[]): Record<string, number> {
    return Object.fromEntries(keys.map((key, i) => [key, Number(this.#sum(at + i))]));
  }

  #sum(at: number): bigint {
    return BigInt.asUintN(64, this.#raw(at) - (this.#before.get(at) ?? 0n));
  }

  #raw(at: number): bigint {
    let total = 0n;
    for (const block of this.#blocks) total += block[at];
    return BigInt.asUintN(64, total);
  }
}
