/** What is in the way of packets at the devices of endpoints: the devices themselves, and the routes. */
import { type DeviceStatus, type Endpoint, type RoutingTables, readRoutes } from 'gwlb';
import { type Gap, gapsOf, leadsInto } from './routes.js';

/** Routes are read again after this time, or after so many times as long as reading them took. */
const FRESH_MS = 1_000;
const COST_FACTOR = 500;

interface Reading {
  tables: RoutingTables | null;
  until: number;
}

/** The routes of network namespaces, read anew when they are asked for and old. */
export class RouteReader {
  readonly #readings = new Map<string, Reading>();

  /** Null where they cannot be read, or are too many. */
  read(netns: string | null): RoutingTables | null {
    const key = netns ?? '';
    const began = performance.now();
    const known = this.#readings.get(key);
    if (known && began < known.until) return known.tables;
    const tables = readTables(netns);
    const now = performance.now();
    const until = now + Math.max(FRESH_MS, (now - began) * COST_FACTOR);
    this.#readings.set(key, { tables, until });
    return tables;
  }

  /** The next reading is a new one. */
  forget(): void {
    this.#readings.clear();
  }
}

function readTables(netns: string | null): RoutingTables | null {
  try {
    const tables = readRoutes(netns);
    return tables.complete ? tables : null;
  } catch {
    return null;
  }
}

/** A device by its name and network namespace. */
export type DevicePlace = Pick<Endpoint, 'device' | 'netns'>;

export interface DeviceObstacle {
  readonly reason: 'device_gone' | 'device_down' | 'no_route';
  /** One sentence, without a full stop. */
  readonly text: string;
}

/** What is in the way of packets into an endpoint's device; `status` as the gateway has it. */
export function deviceObstacles(
  { device, netns }: DevicePlace,
  status: DeviceStatus | null,
  routes: RouteReader,
): DeviceObstacle[] {
  if (device === null) return [];
  if (status && status.state !== 'up') {
    const reason = status.state === 'gone' ? 'device_gone' : 'device_down';
    return [{ reason, text: status.error?.message ?? `TUN device ${device} is ${status.state}` }];
  }
  const tables = routes.read(netns);
  if (!tables || leadsInto(tables, device)) return [];
  const where = netns === null ? '' : ` in network namespace ${netns}`;
  return [{ reason: 'no_route', text: `no route leads into TUN device ${device}${where}` }];
}

/** A gap, and the network namespace that it is in. */
export interface Bypass extends Gap {
  readonly netns: string | null;
}

/** Where packets would go around the devices if these went away. */
export function bypasses(places: readonly DevicePlace[], routes: RouteReader): Bypass[] {
  const byNetns = new Map<string | null, string[]>();
  for (const { device, netns } of places) {
    if (device === null) continue;
    byNetns.set(netns, [...(byNetns.get(netns) ?? []), device]);
  }
  return [...byNetns].flatMap(([netns, devices]) => {
    const tables = routes.read(netns);
    const gaps = tables ? gapsOf(tables, devices) : [];
    return gaps.map((gap) => ({ ...gap, netns }));
  });
}

/** For people: what would happen, and the command that keeps it from happening. */
export function bypassText({ device, netns, prefix, table, to, remedy }: Bypass): string {
  const command = netns === null ? remedy : remedy.replace(/^ip/, `ip -n ${netns}`);
  return (
    `packets to ${prefix} (table ${table}) would go around ${device} by ${to} if it went away; ` +
    `a route behind it keeps them from that: ${command}`
  );
}
