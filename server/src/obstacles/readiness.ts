/**
 * Whether packets that enter by an endpoint get anywhere, and what is in their way. Unlike a failure
 * it may be over without anybody's doing: targets become healthy, routes are made.
 */
import type { TargetState } from 'gwlb';

/**
 * `no_targets`: none that could take a flow is registered. `no_healthy_target`: there are, and none
 * passes its health checks. `targets_unchecked`: their first health checks are not over yet. The rest is
 * about the device of the endpoint.
 */
export type UnreadyReason =
  | 'no_targets'
  | 'no_healthy_target'
  | 'targets_unchecked'
  | 'device_gone'
  | 'device_down'
  | 'no_route';

export interface Obstacle {
  readonly reason: UnreadyReason;
  /** One sentence, without a full stop. */
  readonly text: string;
}

export interface EndpointReadiness {
  readonly endpoint: string;
  readonly zone: string;
  readonly ready: boolean;
  /** What is in the way; empty where it is ready. */
  readonly obstacles: readonly Obstacle[];
}

export interface Readiness {
  /** Every endpoint is, and there is one. */
  readonly ready: boolean;
  readonly endpoints: readonly EndpointReadiness[];
  /** For people: one for each endpoint. */
  readonly lines: readonly string[];
}

/** What matters of a target here; `Target`, or one of a configuration. */
export interface ReadinessTarget {
  readonly zone: string;
  readonly weight: number;
  readonly state: TargetState;
}

export interface ReadinessPolicy {
  readonly crossZone: boolean;
  readonly failOpen: boolean;
}

const STATE_TEXTS: Readonly<Partial<Record<TargetState, string>>> = {
  unhealthy: 'unhealthy',
  unavailable: 'cannot be checked',
  initial: 'not checked yet',
};

/** Why flows of a zone find no target that is known to work; null where they do. */
export function zoneObstacle(
  zone: string,
  targets: readonly ReadinessTarget[],
  { crossZone, failOpen }: ReadinessPolicy,
): Obstacle | null {
  const pool = crossZone ? targets : targets.filter((target) => target.zone === zone);
  const where = crossZone ? 'the target group' : `zone "${zone}"`;
  const able = pool.filter(({ state, weight }) => weight > 0 && state !== 'draining');
  if (able.length === 0) {
    // Uninspected, but on their way: that is what the option is for.
    if (failOpen) return null;
    const what =
      pool.length === 0
        ? `${where} has no target${elsewhere(targets)}`
        : `${where} has no target that takes flows (all of its ${pool.length} drain or have weight 0)`;
    return { reason: 'no_targets', text: `${what}: every packet of a new flow is dropped` };
  }
  if (able.some(({ state }) => state === 'healthy')) return null;
  const states = [...new Set(able.map(({ state }) => STATE_TEXTS[state] ?? state))].join(' or ');
  const unchecked = able.every(({ state }) => state === 'initial' || state === 'unused');
  return {
    reason: unchecked ? 'targets_unchecked' : 'no_healthy_target',
    text: `every target of ${where} is ${states}: packets go to all of them, in the hope that some work`,
  };
}

/** Where targets are instead: a zone's name may be misspelt. */
function elsewhere(targets: readonly ReadinessTarget[]): string {
  const zones = [...new Set(targets.map(({ zone }) => `"${zone}"`))];
  if (zones.length === 0) return '';
  const shown = zones.slice(0, 4).join(', ');
  return ` (targets are in ${shown}${zones.length > 4 ? ' and others' : ''})`;
}

export interface ReadinessEndpoint {
  readonly id: string;
  readonly zone: string;
}

/** `deviceObstacles` says what is wrong with the device of an endpoint. */
export function readinessOf<E extends ReadinessEndpoint>(
  endpoints: readonly E[],
  targets: readonly ReadinessTarget[],
  policy: ReadinessPolicy,
  deviceObstacles: (endpoint: E) => readonly Obstacle[],
): Readiness {
  const zones = new Map<string, Obstacle | null>();
  const found = endpoints.map((endpoint) => {
    const { id, zone } = endpoint;
    if (!zones.has(zone)) zones.set(zone, zoneObstacle(zone, targets, policy));
    const ofZone = zones.get(zone) ?? null;
    const obstacles = [...deviceObstacles(endpoint), ...(ofZone ? [ofZone] : [])];
    return { endpoint: id, zone, ready: obstacles.length === 0, obstacles };
  });
  return {
    ready: found.length > 0 && found.every(({ ready }) => ready),
    endpoints: found,
    lines: found.length > 0 ? found.map(readinessLine) : ['there is no endpoint'],
  };
}

/** `vpce-… (zone a): ready`, or what is in the way. */
function readinessLine({ endpoint, zone, ready, obstacles }: EndpointReadiness): string {
  const told = ready ? 'ready' : `not ready: ${obstacles.map(({ text }) => text).join('; ')}`;
  return `${endpoint} (zone ${zone}): ${told}`;
}

/** Tells of every endpoint that becomes unready, otherwise unready, or ready again. */
export class ReadinessWatch {
  readonly #tell: (endpoint: EndpointReadiness) => void;
  readonly #last = new Map<string, string>();

  constructor(tell: (endpoint: EndpointReadiness) => void) {
    this.#tell = tell;
  }

  look({ endpoints }: Readiness): void {
    const ids = new Set(endpoints.map(({ endpoint }) => endpoint));
    for (const id of this.#last.keys()) if (!ids.has(id)) this.#last.delete(id);
    for (const endpoint of endpoints) {
      const { endpoint: id, obstacles } = endpoint;
      const now = obstacles.map(({ reason }) => reason).join();
      if ((this.#last.get(id) ?? '') === now) continue;
      this.#last.set(id, now);
      this.#tell(endpoint);
    }
  }
}
