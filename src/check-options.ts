/** The checks of options, for programs that take options from elsewhere: a file, an API. */

import { checkOneOf, checkOptions } from './base/errors.js';
import { checkTun } from './gateway/device.js';
import { checkEndpoint } from './gateway/endpoint.js';
import { checkGeneve } from './gateway/geneve-peer.js';
import { checkTarget, checkTargetGroup } from './gateway/group-options.js';
import { checkListen } from './gateway/listen-options.js';
import { checkReportInterval } from './gateway/options.js';
import { checkNetns } from './packet/lifecycle.js';

/**
 * A kind of options that can be checked alone: those of `GatewayLoadBalancer.listen`, a
 * `TargetGroup`, a target (`TargetSpec`), an endpoint besides its `tun` and `geneve`, those two, and the
 * seconds that `setFlowReports` takes.
 */
export type OptionsKind =
  | 'listen'
  | 'targetGroup'
  | 'target'
  | 'endpoint'
  | 'tun'
  | 'geneve'
  | 'flowReports';

const CHECKS: Record<OptionsKind, (field: string, value: unknown) => unknown> = {
  listen: (field: string, value: unknown) => checkListen(value, field),
  targetGroup: (field: string, value: unknown) => checkTargetGroup(value, field),
  target: (field: string, value: unknown) => checkTarget(value, 6081, field),
  endpoint: checkEndpointAlone,
  tun: checkTun,
  geneve: checkGeneve,
  flowReports: checkReportInterval,
};

/**
 * Checks options as the library does when it is given them, and makes nothing of them. Throws the same
 * `GatewayError`; its `field` begins with `field` (default: the kind).
 */
export function checkOptionsOf(kind: OptionsKind, options: unknown, field: string = kind): void {
  const kinds = Object.keys(CHECKS) as OptionsKind[];
  CHECKS[checkOneOf('kind', kind, kinds)](field, options);
}

function checkEndpointAlone(field: string, value: unknown): void {
  const { netns, ...given } = checkOptions(field, value, ['id', 'zone', 'mtu', 'netns']);
  checkEndpoint(field, given);
  if (netns !== undefined) checkNetns(`${field}.netns`, netns);
}
