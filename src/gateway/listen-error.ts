/** What stood in the way of a gateway's sockets. */

import { GatewayError } from '../base/errors.js';
import type { NativeUdpConfig } from '../native/binding.js';
import { formatIpv4 } from '../packet/address.js';
import { systemError } from '../packet/lifecycle.js';

/** Names the option that is to be changed: `address`, `netns`, or `sourcePorts`. */
export function listenError(error: unknown, udp: NativeUdpConfig): GatewayError {
  const address = formatIpv4(udp.address);
  const inside = udp.netns && ` in network namespace ${udp.netns}`;
  const { code, detail } = error as { code?: unknown; detail?: unknown };
  // Taken ports among many are left out: this is said where none is left.
  if (code !== 'EADDRINUSE' || detail === `${address}:${udp.port}`) {
    return systemError(error, `listen on ${address}:${udp.port}${inside}`, 'options');
  }
  const field = 'options.sourcePorts';
  const ports = `${udp.sourcePortBase}–${udp.sourcePortBase + udp.sourcePortCount - 1}`;
  const message =
    `cannot send from ${address}${inside}: other sockets have all of its ports ${ports}, ` +
    'as another gateway with this address has by default: choose other ports (base), or an address ' +
    'for each (bind EADDRINUSE)';
  return new GatewayError('ERR_GWLB_ADDRESS_IN_USE', message, { cause: error }).at(field);
}
