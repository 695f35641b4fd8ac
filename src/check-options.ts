/** The checks of options, for programs that take options from elsewhere: a file, an API. */

import { APPLIANCE, checkAppliance } from './appliance/options.js';
import { checkOneOf, checkString, type GatewayError } from './base/errors.js';
import { describeTable, type OptionDescription, schemaOf } from './base/option-description.js';
import type { JsonSchema } from './base/option-kinds.js';
import { completed, problemsOf } from './base/option-problems.js';
import { type OptionTable, readOptions } from './base/option-table.js';
import { checkTun, TUN } from './gateway/device.js';
import {
  BATCH_ENDPOINT,
  checkBatchEndpoint,
  checkEndpoint,
  ENDPOINT,
} from './gateway/endpoint-options.js';
import { checkGateway, GATEWAY } from './gateway/gateway-options.js';
import { checkGeneve, GENEVE_PEER } from './gateway/geneve-peer.js';
import { TARGET_GROUP_ATTRIBUTES } from './gateway/group-attributes.js';
import { checkTarget, checkTargetGroup, TARGET, TARGET_GROUP } from './gateway/group-options.js';
import { checkListen, LISTEN } from './gateway/listen-options.js';
import { LISTENER_ATTRIBUTES } from './gateway/listener-attributes.js';
import { FLOW_REPORTS } from './gateway/option-tables.js';

/**
 * A kind of options that can be checked alone: those of `GatewayLoadBalancer.listen` and its
 * `createEndpoint`, of a `Gateway` and its `createEndpoint`, of `Appliance.listen`, of a `TargetGroup`, a target
 * (`TargetSpec`), the `tun` and `geneve` of an endpoint, and what `setFlowReports` takes, as an object with
 * `intervalSeconds`.
 */
export type OptionsKind =
  | 'listen'
  | 'endpoint'
  | 'tun'
  | 'geneve'
  | 'gateway'
  | 'batchEndpoint'
  | 'targetGroup'
  | 'target'
  | 'flowReports'
  | 'appliance';

/**
 * A kind of options that is described: also attributes under their AWS names, which are checked where they
 * are changed, beside those that a target group or listener has.
 */
export type DescribedKind = OptionsKind | 'targetGroupAttributes' | 'listenerAttributes';

const TABLES: Record<DescribedKind, OptionTable> = {
  listen: LISTEN,
  endpoint: ENDPOINT,
  tun: TUN,
  geneve: GENEVE_PEER,
  gateway: GATEWAY,
  batchEndpoint: BATCH_ENDPOINT,
  targetGroup: TARGET_GROUP,
  target: TARGET,
  flowReports: FLOW_REPORTS,
  appliance: APPLIANCE,
  targetGroupAttributes: TARGET_GROUP_ATTRIBUTES,
  listenerAttributes: LISTENER_ATTRIBUTES,
};

const CHECKS: Record<OptionsKind, (field: string, value: unknown) => unknown> = {
  listen: (field, value) => checkListen(value, field),
  endpoint: checkEndpoint,
  tun: checkTun,
  geneve: checkGeneve,
  gateway: (field, value) => checkGateway(value, field),
  batchEndpoint: checkBatchEndpoint,
  targetGroup: (field, value) => checkTargetGroup(value, field),
  target: (field, value) => checkTarget(value, TARGET.port.preset, field),
  flowReports: (field, value) => readOptions(FLOW_REPORTS, field, value),
  appliance: (field, value) => checkAppliance(value, field),
};

const KINDS = Object.keys(CHECKS) as OptionsKind[];
const DESCRIBED = Object.keys(TABLES) as DescribedKind[];

/**
 * Checks options as the library does when it is given them, and makes nothing of them. Throws the same
 * `GatewayError`; its `field` begins with `field` (default: the kind).
 */
export function checkOptionsOf(kind: OptionsKind, options: unknown, field: string = kind): void {
  CHECKS[checkOneOf('kind', kind, KINDS)](checkString('field', field), options);
}

/**
 * The same for whoever wants every mistake at once: those of single options in the order of the documentation,
 * then unknown ones; where there is none, what is wrong between options. Empty where nothing is wrong.
 */
export function optionProblems(
  kind: OptionsKind,
  options: unknown,
  field: string = kind,
): GatewayError[] {
  const check = CHECKS[checkOneOf('kind', kind, KINDS)];
  return problemsOf(TABLES[kind], checkString('field', field), options, check);
}

/**
 * Options with every default filled in, in the form in which they are given; objects of options too. Left out
 * is what is random, what depends on more than these options (an endpoint's MTU on its gateway's), and what
 * has no place beside them (the path of a TCP health check). Throws what is wrong with them.
 */
export function completeOptions(kind: OptionsKind, options: unknown): Record<string, unknown> {
  checkOptionsOf(kind, options);
  return completed(TABLES[kind], kind, options);
}

/**
 * What the library knows of each option of a kind, by its key and in the order of the documentation:
 * meaning, values, default, and whether it may change while it is in use.
 */
export function describeOptions(kind: DescribedKind): Readonly<Record<string, OptionDescription>> {
  return describeTable(TABLES[checkOneOf('kind', kind, DESCRIBED)]);
}

/**
 * A JSON schema (2020-12) of the options of a kind. What depends on two options at once it does not know:
 * `checkOptionsOf` does.
 */
export function optionsSchema(kind: DescribedKind): JsonSchema {
  return schemaOf(TABLES[checkOneOf('kind', kind, DESCRIBED)]);
}
