/** Health checks of the appliances, and what their results must have come to. */
import type { FleetCommand } from '../../src/fleet/commands.js';
import { type Fleet, type FleetTarget, membersOf, policyOf } from '../../src/fleet/state.js';
import type { ProbeResult } from '../../src/health/thresholds.js';
import type { Network } from './network.js';

const INTERVAL_MS = 10_000;
const OK: ProbeResult = { ok: true, detail: 'answered' };
const BAD: ProbeResult = { ok: false, failure: 'timeout', detail: 'silence' };

/** Results of one kind in a row, since nothing else was said of any target. */
interface Run {
  ok: boolean;
  length: number;
}

export class Probes {
  #nextMs: number;
  readonly #runs = new Map<number, Run>();

  constructor(startMs: number) {
    this.#nextMs = startMs + INTERVAL_MS;
  }

  get nextMs(): number {
    return this.#nextMs;
  }

  /** Results count anew after whatever else may change a state. */
  told({ type }: FleetCommand): void {
    if (type !== 'checked' && type !== 'checkStarted' && type !== 'tick') this.#runs.clear();
  }

  /** Results that are there now. */
  *due(fleet: Fleet, network: Network, now: number): Generator<FleetCommand> {
    if (this.#nextMs > now) return;
    this.#nextMs = now + INTERVAL_MS;
    for (const target of membersOf(fleet).filter((one) => isChecked(fleet, one))) {
      const ok = network.isUp(target.address);
      const run = this.#runs.get(target.slot);
      const length = run?.ok === ok ? run.length + 1 : 1;
      yield { type: 'checkStarted', target: target.id };
      yield { type: 'checked', target: target.id, result: ok ? OK : BAD };
      this.#runs.set(target.slot, { ok, length });
    }
  }

  /** What is said of a target although its checks say otherwise. */
  wrongState(fleet: Fleet): string | null {
    for (const target of membersOf(fleet)) {
      const run = this.#runs.get(target.slot);
      const rule = policyOf(fleet, target).rule;
      if (!run || !rule || target.phase !== 'active' || rule.flapDamping) continue;
      const most = run.ok ? rule.healthyThreshold : rule.unhealthyThreshold;
      const state = run.ok ? 'healthy' : 'unhealthy';
      if (run.length < most || target.state === state) continue;
      return `${target.id} is ${target.state} after ${run.length} checks of a ${state} one`;
    }
    return null;
  }
}

function isChecked(fleet: Fleet, target: FleetTarget): boolean {
  return target.phase === 'active' && policyOf(fleet, target).rule !== null;
}
