/** Whether a saved state is one: it comes from a file, and whatever it says must leave a fleet in order. */
import { checkArray } from '../base/checks.js';
import { invalidArgument, mismatch } from '../base/errors.js';
import { WEIGHT_MAX } from '../base/limits.js';
import { object } from '../base/option-description.js';
import {
  flag,
  integer,
  type Kind,
  nameForLogs,
  oneOf,
  special,
  text,
} from '../base/option-kinds.js';
import { readOptions, type TableOf } from '../base/option-table.js';
import type { FreeNumber } from '../fleet/numbers.js';
import {
  type GatewayState,
  type SavedEndpoint,
  type SavedFreeSlot,
  type SavedGroup,
  type SavedTarget,
  STATE_VERSION,
} from '../fleet/saved.js';
import type { FleetLimits, FleetPolicy } from '../fleet/state.js';
import { type Penalty, POINTS_MAX } from '../health/damping.js';
import type { Health, HealthRule } from '../health/thresholds.js';
import { parseEndpointId } from '../packet/address.js';
import { unicastIpv4, zoneName } from '../packet/option-kinds.js';
import { FLEET_LIMITS, type SaveState } from './live-fleet.js';

function nullable<Out, Given>({ range, schema, check }: Kind<Out, Given>) {
  return special<Out | null, Given | null>(range, schema, (field, value) => {
    return value === null ? null : check(field, value);
  });
}

const count = integer(0, Number.MAX_SAFE_INTEGER);
const instant: Kind<number> = special(
  'milliseconds since 1970',
  { type: 'number' },
  (field, value) => {
    if (typeof value === 'number' && value >= 0 && value <= Number.MAX_SAFE_INTEGER) return value;
    throw invalidArgument(field, 'milliseconds since 1970', value);
  },
);
const sentence = text('1–10,000 characters', /^/, 10_000);
const says = 'as it was';
/** Without a default: all of it must be there. */
const of = <Out, Given>(kind: Kind<Out, Given>) => ({ says, kind });

const PENALTY = {
  points: of(integer(0, POINTS_MAX)),
  at: of(instant),
  suppressed: of(flag),
} as const satisfies TableOf<Penalty>;

const HEALTH = {
  state: of(oneOf('initial', 'healthy', 'unhealthy', 'unavailable')),
  reason: of(
    nullable(
      oneOf(
        'Elb.RegistrationInProgress',
        'Elb.InitialHealthChecking',
        'Elb.InternalError',
        'Target.FailedHealthChecks',
        'Target.ResponseCodeMismatch',
        'Target.Timeout',
      ),
    ),
  ),
  description: of(sentence),
  successes: of(count),
  failures: of(count),
  passing: of(flag),
  penalty: of(nullable(object<typeof PENALTY, Penalty>(PENALTY))),
  impeded: of(nullable(sentence)),
} as const;

const health = object<typeof HEALTH, Health>(HEALTH);

const TARGET = {
  address: of(unicastIpv4),
  port: of(integer(1, 65_535)),
  slot: of(count),
  generation: of(integer(0, 255)),
  group: of(count),
  zone: of(zoneName),
  weight: of(integer(0, WEIGHT_MAX)),
  phase: of(oneOf('active', 'draining', 'gone')),
  since: of(instant),
  health: of(health),
  said: of(nullable(health)),
  failing: of(flag),
  moved: of(flag),
  warmingSince: of(nullable(instant)),
  drainUntil: of(instant),
  freeAt: of(nullable(instant)),
} as const satisfies TableOf<SavedTarget>;

const RULE = {
  healthyThreshold: of(integer(1, 1000)),
  unhealthyThreshold: of(integer(1, 1000)),
  profile: of(oneOf('aws', 'fast')),
  flapDamping: of(flag),
} as const satisfies TableOf<HealthRule>;

const POLICY = {
  failover: of(oneOf('no_rebalance', 'rebalance')),
  resetOnUnhealthy: of(flag),
  resetOnDeregistration: of(flag),
  deregistrationDelayMs: of(integer(0, 3_600_000)),
  slowStartMs: of(integer(0, 900_000)),
  rule: of(nullable(object<typeof RULE, HealthRule>(RULE))),
} as const satisfies TableOf<FleetPolicy>;

const GROUP = {
  number: of(integer(1, Number.MAX_SAFE_INTEGER)),
  name: of(nameForLogs),
  policy: of(object<typeof POLICY, FleetPolicy>(POLICY)),
} as const satisfies TableOf<SavedGroup>;

const FREE = {
  number: of(count),
  since: of(nullable(instant)),
} as const satisfies TableOf<FreeNumber>;
const FREE_SLOT = {
  ...FREE,
  generation: of(integer(0, 255)),
} as const satisfies TableOf<SavedFreeSlot>;

const endpointId: Kind<string> = special(
  'id of an endpoint',
  { type: 'string' },
  (field, value) => {
    if (parseEndpointId(value) !== null) return value as string;
    throw invalidArgument(field, 'the id of an endpoint, vpce-0 and 16 hex digits', value);
  },
);
const ENDPOINT = { id: of(endpointId), index: of(count) } as const;

function list<T>(max: number, read: (field: string, value: unknown) => T): Kind<readonly T[]> {
  return special('list', { type: 'array' }, (field, value) => {
    return checkArray(field, value, 'an array', max).map((one, i) => read(`${field}[${i}]`, one));
  });
}

/** Objects of a table; what it makes of them is what was given. */
function listOf<T>(max: number, table: TableOf<T>): Kind<readonly T[]> {
  return list(max, (field, value) => readOptions(table, field, value) as unknown as T);
}

/** The state as a copy; throws what is wrong with it, naming the place. */
export function checkState(field: string, value: unknown, limits: FleetLimits): GatewayState {
  const table = {
    version: of(
      special<1, 1>(`${STATE_VERSION}`, { const: STATE_VERSION }, (at, given) => {
        if (given === STATE_VERSION) return given;
        throw invalidArgument(at, `${STATE_VERSION}, the version of this package's states`, given);
      }),
    ),
    group: of(count),
    // One of a target each, and the one in use.
    groups: of(listOf<SavedGroup>(limits.targets + 1, GROUP)),
    zones: of(list(limits.zones, nullable(zoneName).check)),
    targets: of(listOf<SavedTarget>(limits.targets, TARGET)),
    freeSlots: of(listOf<SavedFreeSlot>(limits.targets, FREE_SLOT)),
    endpoints: of(listOf<SavedEndpoint>(limits.endpoints, ENDPOINT)),
    freeIndices: of(listOf<FreeNumber>(limits.endpoints, FREE)),
  } as const satisfies TableOf<GatewayState>;
  const state: GatewayState = readOptions(table, field, value);
  checkSlots(field, state, limits);
  checkIndices(field, state, limits);
  checkGroups(field, state);
  checkZones(field, state);
  checkIds(field, state);
  return state;
}

interface Placed {
  readonly number: number;
  /** Where it stands. */
  readonly at: string;
}

function checkSlots(field: string, state: GatewayState, limits: FleetLimits): void {
  const lent = state.targets.map(({ slot }, i) => ({
    number: slot,
    at: `${field}.targets[${i}].slot`,
  }));
  checkNumbers('slot', [...lent, ...free(`${field}.freeSlots`, state.freeSlots)], limits.targets);
}

function checkIndices(field: string, state: GatewayState, limits: FleetLimits): void {
  const lent = state.endpoints.map(({ index }, i) => ({
    number: index,
    at: `${field}.endpoints[${i}].index`,
  }));
  const all = [...lent, ...free(`${field}.freeIndices`, state.freeIndices)];
  checkNumbers('index', all, limits.endpoints);
}

function free(field: string, numbers: readonly FreeNumber[]): Placed[] {
  return numbers.map(({ number }, i) => ({ number, at: `${field}[${i}].number` }));
}

/** Each number up to the highest is lent or free, and each once. */
function checkNumbers(what: string, all: readonly Placed[], capacity: number): void {
  const most = Math.min(all.length, capacity);
  const seen = new Set<number>();
  for (const { number, at } of all) {
    if (number >= most || seen.has(number)) {
      const expected = `each ${what} below ${most} once`;
      throw mismatch('ERR_GWLB_INVALID_ARGUMENT', at, expected, `${number}`);
    }
    seen.add(number);
  }
}

function checkGroups(field: string, { group, groups, targets }: GatewayState): void {
  const known = distinct(
    groups.map(({ number }) => number),
    (i) => `${field}.groups[${i}].number`,
    'a number that no other group has',
  );
  const check = (at: string, number: number): void => {
    if (!known.has(number)) throw invalidArgument(at, 'the number of one of the groups', number);
  };
  check(`${field}.group`, group);
  for (const [i, target] of targets.entries()) check(`${field}.targets[${i}].group`, target.group);
}

function checkZones(field: string, { zones, targets }: GatewayState): void {
  const names = zones.map((name, i) => name ?? i);
  const known = distinct(names, (i) => `${field}.zones[${i}]`, 'a name that no other zone has');
  for (const [i, { zone }] of targets.entries()) {
    if (known.has(zone)) continue;
    throw invalidArgument(`${field}.targets[${i}].zone`, 'the name of one of the zones', zone);
  }
}

function checkIds(field: string, { targets, endpoints }: GatewayState): void {
  const there = [...targets.entries()].filter(([, { phase }]) => phase !== 'gone');
  distinct(
    there.map(([, { address, port }]) => `${address}:${port}`),
    (i) => `${field}.targets[${there[i][0]}].address`,
    'an address and port that no other target has',
  );
  distinct(
    endpoints.map(({ id }) => id),
    (i) => `${field}.endpoints[${i}].id`,
    'an id that no other endpoint has',
  );
}

function distinct<T>(values: readonly T[], at: (i: number) => string, expected: string): Set<T> {
  const seen = new Set<T>();
  for (const [i, value] of values.entries()) {
    if (seen.has(value)) throw invalidArgument(at(i), expected, value);
    seen.add(value);
  }
  return seen;
}

export const gatewayState: Kind<GatewayState | null, GatewayState> = special(
  'GatewayState',
  {},
  (field, value) => checkState(field, value, FLEET_LIMITS),
);

export const saveState: Kind<SaveState | undefined, SaveState> = special(
  'function',
  {},
  (field, value) => {
    if (value === undefined || value === null) return undefined;
    if (typeof value === 'function') return value as SaveState;
    throw invalidArgument(field, 'a function', value);
  },
);
