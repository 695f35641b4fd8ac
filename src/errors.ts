/**
 * Every error this package throws on purpose is a `GatewayError` with a stable `code`. Match on
 * `error.code`, not on `instanceof`: two copies of a package may be loaded, and messages may change.
 * `docs/errors.md` has a heading for each code; a test compares.
 */
import { types } from 'node:util';

/** The codes and what each of them means. */
export const ERROR_CODES = Object.freeze({
  ERR_GWLB_INVALID_ARGUMENT: 'an argument or option has the wrong type or form',
  ERR_GWLB_OUT_OF_RANGE: 'a number is outside of its range',
  ERR_GWLB_ATTRIBUTES: 'target group attributes that exclude each other or do not exist here',
  ERR_GWLB_DUPLICATE_TARGET: 'the target is registered already',
  ERR_GWLB_UNKNOWN_TARGET: 'no such target is registered',
  ERR_GWLB_TARGET_LIMIT: 'the target group has no room for the target',
  ERR_GWLB_DUPLICATE_ENDPOINT: 'the endpoint exists already',
  ERR_GWLB_UNKNOWN_ENDPOINT: 'no such endpoint exists',
  ERR_GWLB_ENDPOINT_LIMIT: 'the load balancer has no room for the endpoint or its zone',
  ERR_GWLB_ADDRESS_IN_USE: 'another socket has the address and port',
  ERR_GWLB_ADDRESS_NOT_AVAILABLE: 'the address belongs to no interface of this host or namespace',
  ERR_GWLB_PERMISSION: 'a privilege is missing; the message names it and the way round',
  ERR_GWLB_UNKNOWN_NAMESPACE: 'no such network namespace exists',
  ERR_GWLB_DEVICE: 'a network device cannot be made or used',
  ERR_GWLB_CLOSED: 'the object was closed before',
  ERR_GWLB_OUT_OF_MEMORY: 'memory that was asked for is not to be had',
  ERR_GWLB_IN_USE: 'the target group belongs to a load balancer already',
  ERR_GWLB_CONFIG: 'the configuration file is wrong',
  ERR_GWLB_CAPTURE: 'the capture file cannot be read',
  ERR_GWLB_SYSTEM: 'the operating system refused something for another reason',
} as const);

/** One of the keys of `ERROR_CODES`. */
export type GatewayErrorCode = keyof typeof ERROR_CODES;

/** What a `GatewayError` says besides its code and message. */
export interface GatewayErrorOptions {
  /** Path of the argument or configuration key, such as `targetGroup.healthCheck.port`. */
  field?: string | undefined;
  /** The error below this one. */
  cause?: unknown;
}

/**
 * Every error that this package throws, rejects with or emits; `code` says its kind. See docs/errors.md.
 */
export class GatewayError extends Error {
  /** Always `'GatewayError'`. */
  override readonly name = 'GatewayError';
  /** Stable; one of `ERROR_CODES`. */
  readonly code: GatewayErrorCode;
  /** Path of the argument or configuration key that was wrong, where the error is about one. */
  declare readonly field?: string;

  constructor(code: GatewayErrorCode, message: string, options: GatewayErrorOptions = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    this.code = code;
    if (options.field !== undefined) this.field = options.field;
  }

  /**
   * An `ERR_GWLB_INVALID_ARGUMENT` in the words of this package, for programs with options of their own:
   * `targetGroup.name: expected a string, received 5`
   */
  static invalidArgument(field: string, expected: string, received: unknown): GatewayError {
    return invalidArgument(field, expected, received);
  }

  /**
   * The error for one of the operating system, which says what to do about it. `action` completes
   * "cannot …": `listen on 10.0.0.1:6081`. A `GatewayError` is returned as it is.
   */
  static fromSystemError(error: unknown, action: string): GatewayError {
    return fromSystemError(error, action);
  }

  /** The message without the field: `expected 5–300, received 2`. */
  get detail(): string {
    return withoutField(this);
  }

  /** The same error about another field, for who knows what was wrong by another name. */
  at(field: string): GatewayError {
    return new GatewayError(this.code, `${field}: ${this.detail}`, { field, cause: this });
  }
}

const SHOWN_MAX = 80;

/** A value as messages show it: short, unambiguous, one line. */
export function show(value: unknown): string {
  switch (typeof value) {
    case 'string': {
      const text = JSON.stringify(value.slice(0, SHOWN_MAX));
      return value.length + 2 > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}…` : text;
    }
    case 'bigint': {
      const text = `${value}n`;
      return text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}…` : text;
    }
    case 'function':
      return 'a function';
    case 'symbol':
      return 'a symbol';
    case 'object':
      return value === null ? 'null' : showObject(value);
    default:
      return String(value);
  }
}

function showObject(value: object): string {
  if (types.isDate(value)) return 'a Date';
  if (types.isUint8Array(value)) return `a Uint8Array of ${value.length} bytes`;
  try {
    return Array.isArray(value) ? `an array of ${value.length}` : 'an object';
  } catch {
    return 'an object';
  }
}

function mismatch(code: GatewayErrorCode, field: string, expected: string, received: unknown) {
  const message = `${field}: expected ${expected}, received ${show(received)}`;
  return new GatewayError(code, message, { field });
}

/** `targetGroup.name: expected a string, received 5` */
export function invalidArgument(field: string, expected: string, received: unknown): GatewayError {
  return mismatch('ERR_GWLB_INVALID_ARGUMENT', field, expected, received);
}

/** `targetGroup.healthCheck.intervalSeconds: expected 5–300, received 2` */
export function outOfRange(field: string, expected: string, received: unknown): GatewayError {
  return mismatch('ERR_GWLB_OUT_OF_RANGE', field, expected, received);
}

/** Returns `value` if it is an integer in min..max. */
export function checkInteger(field: string, value: unknown, min: number, max: number): number {
  if (typeof value !== 'number' || !Number.isInteger(value)) {
    throw invalidArgument(field, `an integer ${min}–${max}`, value);
  }
  if (value < min || value > max) throw outOfRange(field, `${min}–${max}`, value);
  return value;
}

/** Returns `value` if it is a number in min..max, fractions included. */
export function checkNumber(field: string, value: unknown, min: number, max: number): number {
  if (typeof value !== 'number' || Number.isNaN(value)) {
    throw invalidArgument(field, `a number ${min}–${max}`, value);
  }
  if (value < min || value > max) throw outOfRange(field, `${min}–${max}`, value);
  return value;
}

export interface StringRule {
  /** Least and most characters; default 1 and unlimited. */
  min?: number;
  max?: number;
  pattern?: RegExp;
  /** What the message says was expected; default describes the lengths. */
  expected?: string;
}

/** Returns `value` if it is a string that follows the rule. */
export function checkString(field: string, value: unknown, rule: StringRule = {}): string {
  const min = rule.min ?? 1;
  const max = rule.max ?? Number.POSITIVE_INFINITY;
  const lengths = max === Number.POSITIVE_INFINITY ? '' : ` of ${min}–${max} characters`;
  const expected =
    rule.expected ?? (min > 0 && !lengths ? 'a non-empty string' : `a string${lengths}`);
  if (typeof value !== 'string' || value.length < min || value.length > max) {
    throw invalidArgument(field, expected, value);
  }
  if (rule.pattern && !rule.pattern.test(value)) throw invalidArgument(field, expected, value);
  return value;
}

export function checkBoolean(field: string, value: unknown): boolean {
  if (typeof value !== 'boolean') throw invalidArgument(field, 'true or false', value);
  return value;
}

/** Returns `value` if it is one of `choices`. */
export function checkOneOf<T extends string | number>(
  field: string,
  value: unknown,
  choices: readonly T[],
): T {
  const found = choices.find((choice) => choice === value);
  if (found === undefined) {
    throw invalidArgument(field, alternatives(choices.map((choice) => show(choice))), value);
  }
  return found;
}

/**
 * The options in `value`, read once, if it is an object with no other keys of its own than `keys`: a
 * misspelled option is an error, not a default.
 */
export function checkOptions<K extends string>(
  field: string,
  value: unknown,
  keys: readonly K[],
): Partial<Record<K, unknown>> {
  const { known, unknown } = readObject(field, value, keys);
  if (unknown === undefined) return known;
  throw new GatewayError(
    'ERR_GWLB_INVALID_ARGUMENT',
    `${field}.${unknown}: expected one of the options ${keys.join(', ')}, received an unknown option`,
    { field: `${field}.${unknown}` },
  );
}

/** The values of `keys` in an object that have one, and a key of its own that is none of them. */
function readObject<K extends string>(
  field: string,
  value: unknown,
  keys: readonly K[],
): { known: Partial<Record<K, unknown>>; unknown: string | undefined } {
  const known: Partial<Record<K, unknown>> = {};
  try {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw invalidArgument(field, 'an object', value);
    }
    const unknown = Object.keys(value).find((key) => !keys.includes(key as K));
    for (const key of keys) if (key in value) known[key] = (value as typeof known)[key];
    return { known, unknown };
  } catch (cause) {
    if (cause instanceof GatewayError) throw cause;
    const message = `${field}: expected an object, received one that throws when it is read`;
    throw new GatewayError('ERR_GWLB_INVALID_ARGUMENT', message, { field, cause });
  }
}

function alternatives(shown: readonly string[]): string {
  if (shown.length < 2) return shown.join('');
  return `${shown.slice(0, -1).join(', ')} or ${shown.at(-1)}`;
}

/** What native code and Node attach to an error of the operating system. */
interface SystemError extends Error {
  code?: unknown;
  syscall?: unknown;
  detail?: unknown;
  path?: unknown;
}

// Not by setcap: every script of every user would have what node has.
const WAY_ROUND =
  'run as root, give it to this service alone (AmbientCapabilities={cap} in its unit) or run inside a ' +
  'user namespace (unshare -Urn)';

const ANY_WAY_ROUND =
  'run as root, or give this service alone the capability that the action needs (AmbientCapabilities= ' +
  'in its unit)';

/** EMFILE, told where it happens. */
export const TOO_MANY_FILES =
  'too many open files: raise the limit of this process (LimitNOFILE= of its unit, ulimit -n); a ' +
  'gateway needs one for each outer source port, worker and endpoint, and about 100 more';

const PERMISSIONS = {
  file: 'the user of this process may not: see owner and mode of the file and its folders (ls -ld)',
  tun: `CAP_NET_ADMIN is needed for a TUN device: ${WAY_ROUND.replace('{cap}', 'CAP_NET_ADMIN')}`,
  bind:
    'CAP_NET_BIND_SERVICE is needed for ports below 1024: run as root, give it to this service alone ' +
    '(AmbientCapabilities=CAP_NET_BIND_SERVICE in its unit), take a port of 1024 or above, or lower ' +
    'net.ipv4.ip_unprivileged_port_start',
  netns:
    'CAP_SYS_ADMIN is needed to enter a network namespace: run as root, or start the program ' +
    'inside the namespace (ip netns exec NAME …) and configure no namespace',
} as const;

/** What a system error is about: the call that failed tells, or else what was tried. */
function subject(error: SystemError, action: string): keyof typeof PERMISSIONS | 'other' {
  const syscall = typeof error.syscall === 'string' ? error.syscall : '';
  const detail = typeof error.detail === 'string' ? error.detail : null;
  // Of Node's file system functions; errors of native code have a detail.
  if (typeof error.path === 'string') return 'file';
  if (detail === '/dev/net/tun' || syscall.startsWith('ioctl')) return 'tun';
  if (syscall === 'setns' || (syscall === 'open' && detail !== null)) return 'netns';
  if (syscall === 'bind' || syscall === 'listen') return 'bind';
  if (/\btun\b/i.test(action)) return 'tun';
  if (/\b(netns|namespace)\b/i.test(action)) return 'netns';
  return /\b(bind|listen)\b/i.test(action) ? 'bind' : 'other';
}

function explainSystemError(
  errno: string,
  about: ReturnType<typeof subject>,
): [GatewayErrorCode, string] | null {
  switch (errno) {
    case 'ENOMEM':
      return ['ERR_GWLB_OUT_OF_MEMORY', 'there is not so much memory: ask for less'];
    case 'EADDRINUSE':
      return [
        'ERR_GWLB_ADDRESS_IN_USE',
        'another socket has this address and port: stop that program, or choose another address or port',
      ];
    case 'EADDRNOTAVAIL':
      return [
        'ERR_GWLB_ADDRESS_NOT_AVAILABLE',
        'no interface of this host or network namespace has this address: add it (ip address add) ' +
          'or choose one that exists',
      ];
    case 'EPERM':
    case 'EACCES':
      if (about === 'other')
        return ['ERR_GWLB_PERMISSION', `permission is missing: ${ANY_WAY_ROUND}`];
      return ['ERR_GWLB_PERMISSION', PERMISSIONS[about]];
    case 'ENOENT':
    case 'EINVAL':
    case 'ENOTDIR':
      if (about === 'netns') {
        return [
          'ERR_GWLB_UNKNOWN_NAMESPACE',
          'no such network namespace: ip netns list shows those that exist, ip netns add makes one',
        ];
      }
      if (about === 'tun' && errno === 'ENOENT') {
        return [
          'ERR_GWLB_DEVICE',
          '/dev/net/tun does not exist: load the kernel module (modprobe tun)',
        ];
      }
      if (about === 'tun') {
        return ['ERR_GWLB_DEVICE', 'the name is invalid, or a device of another kind has it'];
      }
      return null;
    case 'EMFILE':
      return ['ERR_GWLB_SYSTEM', TOO_MANY_FILES];
    case 'ENFILE':
      return ['ERR_GWLB_SYSTEM', 'this host has too many open files: raise fs.file-max'];
    case 'ENAMETOOLONG':
      return about === 'tun'
        ? ['ERR_GWLB_DEVICE', 'a device name has at most 15 characters']
        : null;
    case 'EBUSY':
      return ['ERR_GWLB_DEVICE', 'another program uses the device'];
    case 'EEXIST':
      return ['ERR_GWLB_DEVICE', 'a device with this name exists already'];
    case 'ENODEV':
    case 'ENXIO':
      return ['ERR_GWLB_DEVICE', 'no such device exists, or its kernel module is not loaded'];
    default:
      return null;
  }
}

/**
 * The `GatewayError` for an error of the operating system (or of native code, which has the same
 * properties). `action` completes "cannot …": `listen on 10.0.0.1:6081`. A `GatewayError` is returned
 * as it is.
 */
export function fromSystemError(error: unknown, action: string): GatewayError {
  if (error instanceof GatewayError) return error;
  const system: SystemError = error instanceof Error ? error : new Error(String(error));
  const errno = typeof system.code === 'string' ? system.code : '';
  const explained = explainSystemError(errno, subject(system, action));
  const syscall = typeof system.syscall === 'string' && system.syscall ? `${system.syscall} ` : '';
  const told = errno ? ` (${syscall}${errno})` : '';
  if (explained) {
    const [code, sentence] = explained;
    return new GatewayError(code, `cannot ${action}: ${sentence}${told}`, { cause: error });
  }
  return new GatewayError('ERR_GWLB_SYSTEM', `cannot ${action}: ${system.message}${told}`, {
    cause: error,
  });
}

/** The message without the field's name, for callers that know the field by another one. */
export function withoutField(error: GatewayError): string {
  const { message, field } = error;
  return field && message.startsWith(`${field}: `) ? message.slice(field.length + 2) : message;
}
