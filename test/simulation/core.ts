/** The real data plane, driven batch by batch, and an account of its packets that is kept beside it. */

import type { FleetTable } from '../../src/fleet/table.js';
import { checkBase, liveOf } from '../../src/gateway/base-settings.js';
import { CounterReader } from '../../src/gateway/counters.js';
import { buildTableNow } from '../../src/gateway/target-table.js';
import { PacketBatch, REASON_NAMES, TargetGroup } from '../../src/index.js';
import {
  binding,
  type NativeGateway,
  type NativeLiveConfig,
  type NativeTargetTable,
} from '../../src/native/binding.js';
import { VERDICTS } from '../../src/packet/names.js';
import { LIMITS, type Setting } from './steps.js';

const FLOWS_IS_NEW = 1;
const FLOW_IS_MOVED = 2;
/** Positions of a sweep that sees every place of both tables. */
const WHOLE_TABLE = 1 << 20;

/** What became of one packet. */
export interface Fate {
  readonly verdict: string;
  readonly reason: string;
  /** Slot of the target. */
  readonly target: number;
  /** Of the peer that it came from or goes to, host order. */
  readonly address: number;
  readonly endpoint: number;
  /** It opened its flow, or moved it. */
  readonly chosen: boolean;
  readonly bytes: Uint8Array;
}

const batch = new PacketBatch({ packets: 1 });

/** Packets by what became of them, counted outside of the core. */
interface Account {
  in: number;
  toTargets: number;
  bypassed: number;
  replied: number;
  held: number;
  fromTargets: number;
  drops: Map<string, number>;
  /** By slot. */
  to: number[];
  from: number[];
}

export class Core {
  readonly #native: NativeGateway;
  readonly #live: NativeLiveConfig;
  #built: NativeTargetTable | null = null;
  readonly #counters: CounterReader;
  readonly #account: Account = {
    ...{ in: 0, toTargets: 0, bypassed: 0, replied: 0, held: 0, fromTargets: 0 },
    drops: new Map(),
    to: new Array(LIMITS.targets).fill(0),
    from: new Array(LIMITS.targets).fill(0),
  };
  /** What was published last. */
  table: FleetTable | null = null;

  constructor({ stickiness, scopeGateway, seed }: Setting) {
    const group = new TargetGroup({
      stickiness: `${stickiness}-tuple`,
      scope: scopeGateway ? 'gateway' : 'endpoint',
    });
    const { config } = checkBase(
      'options',
      {
        targetGroup: group,
        limits: { flows: 1024, flowsIpv6: 1024 },
        hashKey: Uint8Array.from({ length: 16 }, (_, i) => i * 5 + seed),
        cookieKey: Uint8Array.from({ length: 16 }, (_, i) => i * 3 + seed),
      },
      0,
      6081,
    );
    this.#live = liveOf(config);
    this.#native = new binding.Gateway(config);
    this.#counters = new CounterReader([this.#native.counters]);
  }

  publish(table: FleetTable): void {
    const built = buildTableNow(table, this.#built);
    this.#native.configure(this.#live, built);
    this.#built?.release();
    this.#built = built;
    this.table = table;
  }

  setEndpoint(index: number, id: string, zone: number): void {
    const number = BigInt(`0x${id.slice('vpce-'.length)}`);
    this.#native.setEndpoint(index, { id: number, zone, mtu: 0, cuts: false });
  }

  removeEndpoint(index: number): void {
    this.#native.removeEndpoint(index);
  }

  /** Packets that entered by this endpoint index, whoever had it. */
  packetsIn(index: number): number {
    return this.#counters.endpoint(index).packetsIn;
  }

  flowsActive(slot: number): number {
    return this.#counters.flowsActive(slot);
  }

  enter(bytes: Uint8Array, endpoint: number, now: number): Fate {
    batch.clear();
    batch.add(bytes);
    this.#account.in++;
    return this.#decide(endpoint, now);
  }

  /** Those that were held and may go now, with what became of them. */
  release(now: number): Fate[] {
    const fates: Fate[] = [];
    while (this.#native.takeHeld(batch.native.id, now) > 0) {
      batch.filled(1);
      this.#account.held--;
      fates.push(this.#decide(batch.endpoint[0], now));
    }
    return fates;
  }

  /** Fragments that wait. */
  get held(): number {
    return this.#account.held;
  }

  #decide(endpoint: number, now: number): Fate {
    this.#native.toTargets(batch.native.id, 1, endpoint, now);
    const fate = fateOf(0);
    const { verdict, target } = fate;
    const account = this.#account;
    if (verdict === 'forward') {
      account.toTargets++;
      account.to[target]++;
    } else if (verdict === 'bypass') {
      account.bypassed++;
    } else if (verdict === 'held') {
      account.held++;
    } else {
      this.#drop(fate);
      if (verdict === 'reply') account.replied++;
    }
    return fate;
  }

  return(bytes: Uint8Array, address: number, now: number): Fate {
    batch.clear();
    batch.add(bytes, address);
    this.#native.fromTargets(batch.native.id, 1, now);
    const fate = fateOf(0);
    // From a target's address it is that target's, whatever becomes of it.
    if (fate.target < LIMITS.targets) {
      this.#account.fromTargets++;
      this.#account.from[fate.target]++;
    }
    if (fate.verdict !== 'forward') this.#drop(fate);
    return fate;
  }

  sweep(now: number): void {
    this.#native.sweep(now, WHOLE_TABLE);
    this.#native.discardEvents();
  }

  #drop({ reason }: Fate): void {
    const { drops } = this.#account;
    drops.set(reason, (drops.get(reason) ?? 0) + 1);
  }

  /** Where the core's counters and the account differ; null where nowhere. */
  wrongCounters(): string | null {
    const totals = this.#counters.totals();
    const account = this.#account;
    const pairs: [name: string, counted: number, expected: number][] = [
      ['packetsIn', totals.packetsIn, account.in],
      ['packetsToTargets', totals.packetsToTargets, account.toTargets],
      ['packetsBypassed', totals.packetsBypassed, account.bypassed],
      ['packetsReplied', totals.packetsReplied, account.replied],
      ['packetsWaiting', totals.packetsWaiting, account.held],
      ['packetsFromTargets', totals.packetsFromTargets, account.fromTargets],
      ...Object.entries(totals.drops).map(([reason, counted]): [string, number, number] => [
        `drops of ${reason}`,
        counted,
        account.drops.get(reason) ?? 0,
      ]),
    ];
    for (let slot = 0; slot < LIMITS.targets; slot++) {
      const { packetsTo, packetsFrom } = this.#counters.target(slot);
      pairs.push([`packets to slot ${slot}`, packetsTo, account.to[slot]]);
      pairs.push([`packets from slot ${slot}`, packetsFrom, account.from[slot]]);
    }
    const wrong = pairs.find(([, counted, expected]) => counted !== expected);
    return wrong ? `${wrong[0]}: counted ${wrong[1]}, were ${wrong[2]}` : null;
  }

  close(): void {
    this.#native.release();
  }
}

function fateOf(i: number): Fate {
  const flags = batch.flags[i];
  return {
    verdict: VERDICTS[batch.verdict[i]],
    reason: REASON_NAMES[batch.reason[i]],
    target: batch.target[i],
    address: batch.address[i],
    endpoint: batch.endpoint[i],
    chosen: (flags & (FLOWS_IS_NEW | FLOW_IS_MOVED)) !== 0,
    bytes: batch.bytes(i).slice(),
  };
}
