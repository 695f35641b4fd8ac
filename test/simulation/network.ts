/** The way between the gateway and its appliances, and these: each returns what it gets, while it is up. */
import { Random } from './random.js';
import type { Weather } from './steps.js';

/** A datagram that an appliance has returned. */
export interface Returned {
  readonly dueMs: number;
  readonly order: number;
  /** Of the appliance. */
  readonly address: number;
  readonly bytes: Uint8Array;
  /** What the sender noted of it. */
  readonly note: Sent;
}

/** What was so when a datagram was sent to an appliance. */
export interface Sent {
  readonly flow: number;
  readonly endpoint: string;
  readonly slot: number;
  readonly owner: number;
  readonly generation: number;
  /** How often the gateway had been started. */
  readonly life: number;
}

export class Network {
  readonly #random: Random;
  readonly #down = new Set<string>();
  #weather: Weather = { loss: 0, duplication: 0, delayMs: 1 };
  #sent = 0;
  #underWay: Returned[] = [];

  constructor(seed: number) {
    this.#random = new Random(seed ^ 0x2e7);
  }

  set weather(weather: Weather) {
    this.#weather = weather;
  }

  isUp(address: string): boolean {
    return !this.#down.has(address);
  }

  setAppliance(address: string, up: boolean): void {
    if (up) this.#down.delete(address);
    else this.#down.add(address);
  }

  /** A datagram leaves for the appliance; it may come back. */
  send(bytes: Uint8Array, host: string, address: number, now: number, note: Sent): void {
    const { loss, duplication, delayMs } = this.#weather;
    const lost = this.#random.chance(loss);
    const twice = this.#random.chance(duplication);
    const ways = [this.#random.below(delayMs) + 1, this.#random.below(delayMs) + 1];
    if (lost || !this.isUp(host)) return;
    for (const way of twice ? ways : ways.slice(0, 1)) {
      this.#underWay.push({ dueMs: now + way, order: this.#sent++, address, bytes, note });
    }
  }

  /** When the next one is there. */
  get nextMs(): number | null {
    return this.#underWay.length === 0
      ? null
      : Math.min(...this.#underWay.map(({ dueMs }) => dueMs));
  }

  /** Takes those that are there now, in their order. */
  arrive(now: number): Returned[] {
    const there = this.#underWay.filter(({ dueMs }) => dueMs <= now);
    this.#underWay = this.#underWay.filter(({ dueMs }) => dueMs > now);
    return there.sort((a, b) => a.dueMs - b.dueMs || a.order - b.order);
  }
}
