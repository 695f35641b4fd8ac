/** What listening objects have in common: staying alive, being aborted, naming what went wrong. */
import {
  checkString,
  fromSystemError,
  type GatewayError,
  invalidArgument,
} from '../base/errors.js';

/**
 * A timer that keeps the process alive, since native threads do not, and that looks after something
 * meanwhile.
 */
export class KeepAlive {
  readonly #timer: NodeJS.Timeout;

  constructor(look: () => void, intervalMs: number) {
    this.#timer = setInterval(look, intervalMs);
  }

  ref(): void {
    this.#timer.ref();
  }

  unref(): void {
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

/** Runs tasks one after the other, in the order they were given. */
export class TaskQueue {
  #last: Promise<unknown> = Promise.resolve();

  /** Resolves and rejects as the task does. */
  run<T>(task: () => Promise<T>): Promise<T> {
    const ended = this.#last.then(task);
    this.#last = ended.catch(() => {});
    return ended;
  }
}

const aborted = Object.getOwnPropertyDescriptor(AbortSignal.prototype, 'aborted')?.get as (
  this: AbortSignal,
) => boolean;

export function checkSignal(field: string, value: unknown): AbortSignal | undefined {
  if (value === undefined) return undefined;
  try {
    // Throws where it is none; a proxy of one cannot be listened to either.
    aborted.call(value as AbortSignal);
    return value as AbortSignal;
  } catch {
    // Told below.
  }
  throw invalidArgument(field, 'an AbortSignal', value);
}

/** Calls back once when the signal is aborted; returns how to take that back. */
export function onAbort(signal: AbortSignal | undefined, callback: () => void): () => void {
  if (!signal) return () => {};
  signal.addEventListener('abort', callback, { once: true });
  return () => signal.removeEventListener('abort', callback);
}

/** Name of a network namespace; '' for null, the process's own. */
export function checkNetns(field: string, value: unknown): string {
  if (value === null) return '';
  return checkString(field, value, {
    pattern: /^(?!\.{1,2}$)[^/\0]+$/,
    max: 255,
    expected: 'the name of a network namespace, or null',
  });
}

/** Options that the codes of system errors are about. */
const FIELDS: Readonly<Record<string, string>> = {
  ERR_GWLB_ADDRESS_IN_USE: 'address',
  ERR_GWLB_ADDRESS_NOT_AVAILABLE: 'address',
  ERR_GWLB_UNKNOWN_NAMESPACE: 'netns',
  ERR_GWLB_DEVICE: 'tun',
};

/** `fromSystemError`, with the option that it is about as `field`: one of `prefix`. */
export function systemError(error: unknown, action: string, prefix: string): GatewayError {
  const told = fromSystemError(error, action);
  const field = FIELDS[told.code];
  if (field === undefined || told.field !== undefined) return told;
  return told.at(`${prefix}.${field}`);
}
