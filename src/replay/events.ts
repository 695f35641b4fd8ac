/** What happens to the targets while a capture is replayed: one JSON object a line. */
import { checkRecord } from '../base/checks.js';
import {
  checkOneOf,
  checkOptions,
  checkString,
  type ErrorPath,
  GatewayError,
  invalidArgument,
  mismatch,
  outOfRange,
} from '../base/errors.js';
import type { TargetGroupAttributes } from '../gateway/group-attributes.js';
import { TARGET, type TargetSpec } from '../gateway/group-options.js';
import type { TargetGroup } from '../gateway/target-group.js';

/** One event; `at` is seconds since the first frame. Before a frame of the same time. */
export type ReplayEvent = {
  /** Seconds since the first frame, 0 to 10^9, to the nanosecond. */
  at: number;
} & (
  | {
      /** Address or id of a target, `10.0.1.10:6081`. */
      target: string;
      /** State that it turns to. */
      health: 'healthy' | 'unhealthy';
    }
  | {
      /** The target that is registered. */
      register: TargetSpec;
    }
  | {
      /** Address or id of a target. */
      target: string;
      /** It begins to drain. */
      deregister: true;
    }
  | {
      /** Address or id of a target. */
      target: string;
      /** Its weight from now on, 0–1000. */
      weight: number;
    }
  | {
      /** Attributes that change. */
      attribute: TargetGroupAttributes;
    }
  | {
      /** Keys of the gateway, 32 hexadecimal digits each; only as the first event. */
      keys: {
        /** `GatewayBaseOptions.hashKey`. */
        hash?: string;
        /** `GatewayBaseOptions.cookieKey`. */
        cookie?: string;
      };
    }
);

/** Where an event stands. */
export interface EventPlace {
  /** Line of the file, from 1, or position in the array, from 0. */
  readonly number: number;
  /** `line 3`, or `events[2]`. */
  readonly text: string;
}

/** An event with its place. */
export interface TimedEvent {
  readonly atNs: bigint;
  readonly place: EventPlace;
  readonly event: ReplayEvent;
}

/** One thing that is wrong with the events. */
export interface EventProblem {
  /** Where the event was written. */
  readonly place: EventPlace;
  /** Key of the event; '' where it is about all of it. */
  readonly field: string;
  /** What was expected and received, without the field. */
  readonly message: string;
}

/** An event as it was written, and where. */
export interface GivenEvent {
  readonly place: EventPlace;
  readonly value: unknown;
}

const AT_MAX = 1e9;
const FORMS =
  'register, attribute, keys, or target with health, deregister or weight (docs/command.md, gwlb replay)';

/** The keys that an event may have besides `at`, by the one that says what it is. */
const KEYS: Readonly<Record<string, readonly string[]>> = {
  health: ['target'],
  register: [],
  attribute: [],
  deregister: ['target'],
  weight: ['target'],
  keys: [],
};
const ALL_KEYS = ['at', 'target', ...Object.keys(KEYS)];

/** The lines of an events file; blank ones are none. Lines that are no JSON are problems. */
export function readEventLines(text: string): { given: GivenEvent[]; problems: EventProblem[] } {
  const given: GivenEvent[] = [];
  const problems: EventProblem[] = [];
  text.split('\n').forEach((line, i) => {
    if (line.trim() === '') return;
    const place = { number: i + 1, text: `line ${i + 1}` };
    try {
      given.push({ place, value: JSON.parse(line) });
    } catch {
      problems.push({ place, field: '', message: 'expected a JSON object, received other text' });
    }
  });
  return { given, problems };
}

/** What an event must be by itself, and when: not before the one in front of it. */
export function checkEvents(given: readonly GivenEvent[]): {
  events: TimedEvent[];
  problems: EventProblem[];
} {
  const events: TimedEvent[] = [];
  const problems: EventProblem[] = [];
  for (const { place, value } of given) {
    try {
      const event = checkEvent(value);
      const last = events.at(-1);
      if (last && event.at < last.event.at) {
        throw outOfRange('at', `at least ${last.event.at}, as ${last.place.text} has it`, event.at);
      }
      if (last && 'keys' in event) {
        throw invalidArgument('keys', 'keys in the first event only', 'others before them');
      }
      events.push({ atNs: BigInt(Math.round(event.at * 1e9)), place, event });
    } catch (error) {
      problems.push(problemOf(place, error));
    }
  }
  return { events, problems };
}

function checkEvent(value: unknown): ReplayEvent {
  const event = checkRecord('', value);
  for (const key of Object.keys(event)) {
    if (!ALL_KEYS.includes(key)) {
      throw unknownKey(key, ALL_KEYS);
    }
  }
  const { at } = event;
  if (typeof at !== 'number' || !(at >= 0 && at <= AT_MAX)) {
    throw invalidArgument('at', `seconds since the first frame, 0–${AT_MAX}`, at);
  }
  const said = Object.keys(KEYS).filter((key) => Object.hasOwn(event, key));
  if (said.length !== 1) {
    throw new GatewayError(
      'ERR_GWLB_INVALID_ARGUMENT',
      `expected one of ${FORMS}, received ${said.length === 0 ? 'none' : said.join(' and ')}`,
    );
  }
  const [what] = said;
  const wantsTarget = KEYS[what].includes('target');
  if (wantsTarget && typeof event.target !== 'string') {
    throw invalidArgument('target', 'the address or id of a target', event.target);
  }
  if (!wantsTarget && event.target !== undefined) {
    throw invalidArgument('target', `nothing beside ${what}`, event.target);
  }
  if (what === 'deregister' && event.deregister !== true) {
    throw invalidArgument('deregister', 'true', event.deregister);
  }
  if (what === 'health') checkOneOf('health', event.health, ['healthy', 'unhealthy']);
  if (what === 'weight') TARGET.weight.kind.check('weight', event.weight);
  if (what === 'attribute' || what === 'register') event[what] = checkRecord(what, event[what]);
  if (what === 'keys') event.keys = checkKeys(event.keys);
  return event as unknown as ReplayEvent;
}

function checkKeys(value: unknown): Record<string, unknown> {
  const keys = checkOptions('keys', value, ['hash', 'cookie']);
  for (const name of ['hash', 'cookie'] as const) {
    if (keys[name] === undefined) continue;
    const expected = '32 hexadecimal digits';
    checkString(`keys.${name}`, keys[name], { pattern: /^[0-9a-f]{32}$/, expected });
  }
  return keys;
}

/** The keys that the first event gives the gateway. */
export function keysOf(events: readonly TimedEvent[]): { hashKey?: Buffer; cookieKey?: Buffer } {
  const event = events[0]?.event;
  if (event === undefined || !('keys' in event)) return {};
  const { hash, cookie } = event.keys;
  return {
    ...(hash !== undefined && { hashKey: Buffer.from(hash, 'hex') }),
    ...(cookie !== undefined && { cookieKey: Buffer.from(cookie, 'hex') }),
  };
}

function unknownKey(key: string, known: readonly string[]): GatewayError {
  return mismatch(
    'ERR_GWLB_INVALID_ARGUMENT',
    [key],
    `one of the keys ${known.join(', ')}`,
    'an unknown key',
  );
}

/** Does to the group what the event says (keys are the gateway's); throws what the group says, by the event's keys. */
export function applyEvent(group: TargetGroup, event: ReplayEvent): void {
  if ('keys' in event) return;
  try {
    if ('health' in event) group.setHealth(event.target, event.health);
    else if ('register' in event) group.register(event.register);
    else if ('attribute' in event) group.modifyAttributes(event.attribute);
    else if ('weight' in event) group.setWeight(event.target, event.weight);
    else group.deregister(event.target);
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    throw error.at(pathIn(event, error.path));
  }
}

/** What the library calls a field, as the event's key. */
function pathIn(event: ReplayEvent, path: ErrorPath): ErrorPath {
  if ('attribute' in event) return ['attribute', ...path];
  if (!('register' in event) || path[0] !== 'targets') return path;
  return ['register', ...path.slice(path[1] === 0 ? 2 : 1)];
}

/** The problem that an error is. */
export function problemOf(place: EventPlace, error: unknown): EventProblem {
  if (!(error instanceof GatewayError)) throw error;
  const { field = '', detail } = error;
  return { place, field, message: detail };
}

/** `line 3: at: expected …` */
export function eventProblemText({ place, field, message }: EventProblem): string {
  return `${place.text}: ${field === '' ? '' : `${field}: `}${message}`;
}
