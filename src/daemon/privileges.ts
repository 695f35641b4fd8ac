/**
 * What a gateway or an appliance may do beyond an ordinary user, and when. Whatever it needs no more it
 * gives up, in every thread of the process and for every program it might run.
 */
import { binding } from '../binding.js';
import { GatewayError } from '../errors.js';
import type { Config } from './config-types.js';

/** Numbers of linux/capability.h. */
const NET_BIND_SERVICE = 1n << 10n;
const NET_ADMIN = 1n << 12n;
const SYS_ADMIN = 1n << 21n;

/** Until everything is open: ports below 1024, devices and large socket buffers, network namespaces. */
export const TO_START = NET_BIND_SERVICE | NET_ADMIN | SYS_ADMIN;

/** An appliance may have to return datagrams from any port. */
export const TO_RETURN = NET_BIND_SERVICE;

/** For as long as the gateway runs. */
export function toGoOn({ gateway, endpoints }: Pick<Config, 'gateway' | 'endpoints'>): bigint {
  // Devices may be lost and made again, and come by a reload.
  const devices = endpoints.some(({ tun }) => tun !== undefined);
  // Each health check enters the namespace anew.
  const spaces = [gateway.netns, ...endpoints.map(({ netns }) => netns ?? null)];
  const namespaces = spaces.some((netns) => netns !== null);
  return (devices ? NET_ADMIN : 0n) | (namespaces ? SYS_ADMIN : 0n);
}

/**
 * Keeps these capabilities, where they are there, and gives up all others; becomes `user` if one is
 * named. Throws a GatewayError, field `--user`.
 */
export function keepOnly(capabilities: bigint, user = ''): void {
  try {
    binding.limitPrivileges(capabilities, user);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const field = '--user';
    if (code === 'ENOENT') {
      const text = `${field}: expected the name of a user of this system, received "${user}"`;
      throw new GatewayError('ERR_GWLB_INVALID_ARGUMENT', text, { field, cause: error });
    }
    if (user === '') {
      const text = `cannot give up privileges: ${message}`;
      throw new GatewayError('ERR_GWLB_SYSTEM', text, { cause: error });
    }
    const text =
      `${field}: cannot become ${user}: CAP_SETUID and CAP_SETGID are needed: start it as root, or as ` +
      `${user} without --user (${message})`;
    throw new GatewayError('ERR_GWLB_PERMISSION', text, { field, cause: error });
  }
}
