/** The checks of options, for programs that take options from elsewhere: a file, an API. */

import { checkOneOf, checkOptions, checkString } from './base/errors.js';
import type { JsonSchema } from './base/option-kinds.js';
import {
  describeTable,
  type OptionDescription,
  type OptionTable,
  schemaOf,
} from './base/option-table.js';
import { checkReportInterval } from './gateway/base-settings.js';
import { checkTun, TUN } from './gateway/device.js';
import { checkEndpoint, ENDPOINT } from './gateway/endpoint.js';
import { checkGeneve, GENEVE_PEER } from './gateway/geneve-peer.js';
import { checkTarget, checkTargetGroup, TARGET, TARGET_GROUP } from './gateway/group-options.js';
import { checkListen, LISTEN } from './gateway/listen-options.js';
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

/** The table of each kind; what has none is a single value. */
const TABLES: Record<Exclude<OptionsKind, 'flowReports'>, OptionTable> = {
  listen: LISTEN,
  targetGroup: TARGET_GROUP,
  target: TARGET,
  endpoint: {
    ...ENDPOINT,
    netns: { ...LISTEN.netns, says: 'namespace of the device', presetText: "the gateway's" },
  },
  tun: TUN,
  geneve: GENEVE_PEER,
};

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
  CHECKS[checkOneOf('kind', kind, kinds)](checkString('field', field), options);
}

function checkEndpointAlone(field: string, value: unknown): void {
  const { netns, ...given } = checkOptions(field, value, ['id', 'zone', 'mtu', 'netns']);
  checkEndpoint(field, given);
  if (netns !== undefined) checkNetns(`${field}.netns`, netns);
}

function tableOf(kind: unknown): OptionTable {
  const kinds = Object.keys(TABLES) as (keyof typeof TABLES)[];
  return TABLES[checkOneOf('kind', kind, kinds)];
}

/**
 * What the library knows of each option of a kind, by its key and in the order of the documentation:
 * meaning, values, default, and whether it may change while it is in use.
 */
export function describeOptions(
  kind: Exclude<OptionsKind, 'flowReports'>,
): Readonly<Record<string, OptionDescription>> {
  return describeTable(tableOf(kind));
}

/**
 * A JSON schema (2020-12) of the options of a kind. What depends on two options at once it does not know:
 * `checkOptionsOf` does.
 */
export function optionsSchema(kind: Exclude<OptionsKind, 'flowReports'>): JsonSchema {
  return schemaOf(tableOf(kind));
}
