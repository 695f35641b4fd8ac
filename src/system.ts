/** What a program around a gateway or an appliance asks and tells the kernel of its host. */

import { checkArray } from './base/checks.js';
import {
  checkOneOf,
  checkString,
  fromSystemError,
  GatewayError,
  invalidArgument,
  mismatch,
  show,
} from './base/errors.js';
import { tunName } from './gateway/device.js';
import { binding } from './native/binding.js';
import type { NativeRoute, NativeRouteRule } from './native/binding-system.js';
import { formatIp } from './packet/address.js';
import { checkNetns, systemError } from './packet/lifecycle.js';

/** A route as rtnetlink has it. */
export interface Route extends NativeRoute {
  /** Prefix and its length: `10.0.0.0/8`. */
  text: string;
}

/** A rule that says which table is asked for a packet. */
export type RouteRule = NativeRouteRule;

/** How a network namespace routes packets. */
export interface RoutingTables {
  /** Of all tables but `local`. */
  routes: Route[];
  /** In the order they are tried. */
  rules: RouteRule[];
  /** False: there are more than 65,536 routes; these are the first. */
  complete: boolean;
}

/**
 * The routes and rules of a network namespace, by default the process's own: for programs that want to
 * know whether packets get into a TUN device, and where they would go without it. Throws
 * `ERR_GWLB_UNKNOWN_NAMESPACE`, `ERR_GWLB_PERMISSION`.
 */
export function readRoutes(netns: string | null = null): RoutingTables {
  const space = checkNetns('netns', netns);
  try {
    const { routes, ...rest } = binding.readRoutes(space);
    return { ...rest, routes: routes.map((route) => ({ ...route, text: prefixText(route) })) };
  } catch (error) {
    throw systemError(error, `read the routes${inNamespace(space)}`, 'options');
  }
}

/**
 * Takes away a persistent TUN device that nobody holds, and with it every route into it. Throws
 * `ERR_GWLB_DEVICE` where there is none or a program uses it, `ERR_GWLB_PERMISSION`.
 */
export function removeTun(name: string, netns: string | null = null): void {
  const device = tunName.check('name', name);
  const space = checkNetns('netns', netns);
  try {
    binding.removeTun(device, space);
  } catch (error) {
    throw systemError(error, `remove TUN device ${device}${inNamespace(space)}`, 'device');
  }
}

function prefixText({ prefix, bits }: NativeRoute): string {
  return `${formatIp(prefix)}/${bits}`;
}

function inNamespace(space: string): string {
  return space && ` in network namespace ${space}`;
}

/** Bits of linux/capability.h. */
const CAPABILITIES = {
  /** Ports below 1024. */
  CAP_NET_BIND_SERVICE: 10n,
  /** Devices and large socket buffers. */
  CAP_NET_ADMIN: 12n,
  /** Network namespaces. */
  CAP_SYS_ADMIN: 21n,
} as const;

/** One of the capabilities that gateways and appliances can use. */
export type Capability = keyof typeof CAPABILITIES;

/**
 * Every thread of the process becomes `user` (by default stays who it is), keeps of its capabilities
 * those that are named, and gets no others any more, nor does a program that it starts. Such a program
 * has those that `inherit` names, by default none; where the process stays root, all that are kept.
 * Throws `ERR_GWLB_INVALID_ARGUMENT`, field `user`, where there is no such user, `ERR_GWLB_PERMISSION`
 * where it may not become that one.
 */
export function limitPrivileges(
  keep: readonly Capability[],
  user?: string,
  inherit: readonly Capability[] = [],
): void {
  const kept = capabilityBits('keep', keep);
  const inherited = capabilityBits('inherit', inherit);
  if ((inherited & ~kept) !== 0n) {
    throw invalidArgument('inherit', 'capabilities that keep names too', inherit);
  }
  const name = user === undefined ? '' : checkString('user', user, { max: 255 });
  try {
    binding.limitPrivileges(kept, name, inherited);
  } catch (error) {
    throw aboutUser(error, name);
  }
}

function capabilityBits(field: string, given: unknown): bigint {
  const names = Object.keys(CAPABILITIES) as Capability[];
  return checkArray(field, given, 'an array of capabilities', names.length).reduce(
    (bits: bigint, name, i) =>
      bits | (1n << CAPABILITIES[checkOneOf(`${field}[${i}]`, name, names)]),
    0n,
  );
}

function aboutUser(error: unknown, user: string): GatewayError {
  const { code, message } = error as NodeJS.ErrnoException;
  if (user === '') return fromSystemError(error, 'give up privileges');
  const field = 'user';
  if (code === 'ENOENT') {
    const expected = 'the name of a user of this system';
    return mismatch('ERR_GWLB_INVALID_ARGUMENT', field, expected, show(user), error);
  }
  const text =
    `cannot become ${user}: CAP_SETUID and CAP_SETGID are needed: start the process as root, or as ` +
    `${user} (${message})`;
  return new GatewayError('ERR_GWLB_PERMISSION', text, { cause: error }).at(field);
}
