/**
 * Where packets go: which routes lead into a device, and where packets would go around it if it went
 * away. A lookup that finds no route in a table goes on with the next rule, at last with the main table
 * and its default route.
 */
import type { Route, RoutingTables } from 'gwlb';

const UNICAST = 1;
/** Blackhole, unreachable, prohibit: packets end there. */
const CLOSED: readonly number[] = [6, 7, 8];
const THROW = 9;
const TO_TABLE = 1;
const KERNEL = 2;
const MAIN = 254;

/** A prefix that a device has, and what would carry its packets without it. */
export interface Gap {
  readonly device: string;
  readonly version: 4 | 6;
  readonly prefix: string;
  readonly table: string;
  /** `default dev eth0 (table main)` */
  readonly to: string;
  /** The command that closes it. */
  readonly remedy: string;
}

/** Whether any route leads into the device. */
export function leadsInto({ routes }: RoutingTables, device: string): boolean {
  return routes.some((route) => leadsTo(route, device));
}

function leadsTo(route: Route, device: string): boolean {
  return route.type === UNICAST && route.devices.includes(device) && !isLinkLocal(route);
}

/** fe80::/10, which the kernel gives to every device with IPv6. */
function isLinkLocal({ version, prefix, bits }: Route): boolean {
  return version === 6 && bits >= 10 && prefix[0] === 0xfe && (prefix[1] & 0xc0) === 0x80;
}

/**
 * The prefixes whose packets would be carried otherwise if all of `devices`, those of a gateway in one
 * network namespace, went away: with a crash, or set down.
 */
export function gapsOf(tables: RoutingTables, devices: readonly string[]): Gap[] {
  const isOurs = ({ type, devices: to }: Route) =>
    type === UNICAST && to.length > 0 && to.every((device) => devices.includes(device));
  const others = tables.routes.filter((route) => !isOurs(route));
  const left = { ...tables, routes: others };
  const gaps: Gap[] = [];
  for (const route of tables.routes) {
    // The kernel's own are about addresses of the device, behind which nothing is.
    if (!isOurs(route) || isLinkLocal(route) || route.protocol === KERNEL) continue;
    const to = otherWay(left, route);
    if (to) gaps.push(gapOf(route, to));
  }
  return gaps;
}

function gapOf(route: Route, to: Route): Gap {
  const { version, table } = route;
  const prefix = prefixText(route);
  const where = table === MAIN ? '' : ` table ${table}`;
  return {
    device: route.devices[0],
    version,
    prefix,
    table: tableText(table),
    to: `${prefixText(to)}${to.devices.map((device) => ` dev ${device}`).join('')} (table ${tableText(to.table)})`,
    remedy: `ip ${version === 6 ? '-6 ' : ''}route add blackhole ${prefix} metric 4294967295${where}`,
  };
}

/** The route that packets of a lost route's prefix would take; null where none would carry them. */
function otherWay(left: RoutingTables, lost: Route): Route | null {
  const same = bestFor(left.routes, lost.table, lost);
  if (same && same.type !== THROW) return CLOSED.includes(same.type) ? null : same;
  const rules = left.rules.filter(({ version }) => version === lost.version);
  const asked = rules.filter(({ action, table }) => action === TO_TABLE && table === lost.table);
  for (const rule of asked) {
    const found = otherTables(left, rules.slice(rules.indexOf(rule) + 1), rule.input, lost);
    if (found) return found;
  }
  return null;
}

/** The same, by the rules behind the one that led to the lost route, for packets from `input`. */
function otherTables(
  { routes }: RoutingTables,
  rules: RoutingTables['rules'],
  input: string,
  lost: Route,
): Route | null {
  for (const { action, table, input: from } of rules) {
    if (from && input && from !== input) continue;
    if (CLOSED.includes(action)) return null;
    if (action !== TO_TABLE || table === lost.table) continue;
    const narrower = routes.find(
      (route) => route.table === table && route.type === UNICAST && contains(lost, route),
    );
    if (narrower) return narrower;
    const wider = bestFor(routes, table, lost);
    if (wider && wider.type !== THROW) return CLOSED.includes(wider.type) ? null : wider;
  }
  return null;
}

/** The longest prefix around another one in a table; of equal ones the least metric. */
function bestFor(routes: readonly Route[], table: number, inner: Route): Route | null {
  let best: Route | null = null;
  for (const route of routes) {
    if (route.table !== table || !contains(route, inner)) continue;
    const better =
      !best || route.bits > best.bits || (route.bits === best.bits && route.metric < best.metric);
    if (better) best = route;
  }
  return best;
}

function contains(outer: Route, inner: Route): boolean {
  if (outer.version !== inner.version || outer.bits > inner.bits) return false;
  const whole = outer.bits >> 3;
  for (let i = 0; i < whole; i += 1) if (outer.prefix[i] !== inner.prefix[i]) return false;
  const rest = outer.bits & 7;
  return rest === 0 || (outer.prefix[whole] ^ inner.prefix[whole]) >> (8 - rest) === 0;
}

function tableText(table: number): string {
  return table === MAIN ? 'main' : String(table);
}

/** As `ip route` shows it. */
function prefixText({ bits, text }: Route): string {
  return bits === 0 ? 'default' : text;
}
