/** Endpoints of a fleet: each has an index and holds its zone. */
import { GatewayError, mismatch } from '../base/errors.js';
import type { Plan } from './change.js';
import type { CommandOf } from './commands.js';
import { available, giveBack, isKept, takeFor } from './numbers.js';
import type { Fleet } from './state.js';
import { checkZones, holdZone, releaseZone, zoneNumber } from './zones.js';

export function planEndpoint(
  fleet: Fleet,
  { id, zone }: CommandOf<'addEndpoint'>,
  now: number,
): Plan {
  if (Object.hasOwn(fleet.endpoints, id)) {
    throw mismatch(
      'ERR_GWLB_DUPLICATE_ENDPOINT',
      'endpoint.id',
      'an id that no endpoint has',
      `"${id}"`,
    );
  }
  if (available(fleet.indices, now) === 0 && !isKept(fleet.indices, id)) {
    const count = Object.keys(fleet.endpoints).length;
    throw new GatewayError(
      'ERR_GWLB_ENDPOINT_LIMIT',
      `endpoint: expected at most ${fleet.limits.endpoints} endpoints (the numbers of removed ones ` +
        `wait until their flows have ended), received one more than the ${count} there are`,
    );
  }
  checkZones(fleet, [zone]);
  return (change) => {
    // The data plane knows no endpoint in a zone that it has not heard of.
    if (zoneNumber(fleet, zone) < 0) change.revised = true;
    holdZone(fleet, zone);
    fleet.endpoints[id] = { index: takeFor(fleet.indices, id, now), zone };
  };
}

export function planEndpointRemoval(fleet: Fleet, command: CommandOf<'removeEndpoint'>): Plan {
  const { id, unused } = command;
  const endpoint = Object.hasOwn(fleet.endpoints, id) ? fleet.endpoints[id] : undefined;
  if (endpoint === undefined) {
    throw mismatch('ERR_GWLB_UNKNOWN_ENDPOINT', 'endpoint', 'an endpoint of this gateway', id);
  }
  return ({ now }) => {
    delete fleet.endpoints[id];
    giveBack(fleet.indices, endpoint.index, now, unused);
    releaseZone(fleet, endpoint.zone);
  };
}
