/**
 * What a gateway or an appliance may do beyond an ordinary user, and when. Whatever it needs no more it
 * gives up, in every thread of the process and for every program it might run.
 */
import type { Capability } from 'gwlb';
import type { Config } from '../config/types.js';

/** Until everything is open: ports below 1024, devices and large socket buffers, network namespaces. */
export const TO_START: readonly Capability[] = [
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_ADMIN',
  'CAP_SYS_ADMIN',
];

/** An appliance may have to return datagrams from any port. */
export const TO_RETURN: readonly Capability[] = ['CAP_NET_BIND_SERVICE'];

/** For as long as the gateway runs. */
export function toGoOn({
  gateway,
  endpoints,
}: Pick<Config, 'gateway' | 'endpoints'>): Capability[] {
  // Devices may be lost and made again, and come by a reload.
  const devices = endpoints.some(({ tun }) => tun !== undefined);
  // Each health check enters the namespace anew.
  const spaces = [gateway.netns, ...endpoints.map(({ netns }) => netns ?? null)];
  const namespaces = spaces.some((netns) => netns !== null);
  return [
    ...(devices ? (['CAP_NET_ADMIN'] as const) : []),
    ...(namespaces ? (['CAP_SYS_ADMIN'] as const) : []),
  ];
}
