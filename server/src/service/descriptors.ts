/**
 * Open files of this process: sockets, devices and logs need one each, and where none is left health
 * checks and reloads fail first. Strangers' connections get only what forwarding and checks leave.
 */
import { readdirSync, readFileSync } from 'node:fs';

/** For what a reload opens: the file itself, keys, logs, endpoints. */
const RELOAD = 16;

/** Of each listener, where there are few descriptors. */
const CONNECTIONS_MIN = 4;

export interface Descriptors {
  /** How many this process may have open; Infinity where that is not told. */
  readonly limit: number;
  /** How many it has open. */
  readonly open: number;
}

/** As they are now. */
export function descriptors(): Descriptors {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8');
    const limit = Number(/^Max open files +(\d+)/m.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY);
    // The one that reads the folder is among them.
    return { limit, open: readdirSync('/proc/self/fd').length - 1 };
  } catch {
    return { limit: Number.POSITIVE_INFINITY, open: 0 };
  }
}

/**
 * Connections that each of some listeners may have at a time: at most `max`, and no more than leaves a
 * descriptor for a check of each target and for a reload.
 */
export function connectionsFor(
  { limit, open }: Descriptors,
  targets: number,
  listeners: number,
  max: number,
): number {
  const free = Math.floor((limit - open - targets - RELOAD) / Math.max(1, listeners));
  return Math.max(CONNECTIONS_MIN, Math.min(max, free));
}

/** What is short, as a sentence; null where there are enough for everything at once. */
export function shortage(
  { limit, open }: Descriptors,
  targets: number,
  listeners: number,
): string | null {
  const wanted = open + targets + RELOAD + listeners * CONNECTIONS_MIN;
  if (wanted <= limit) return null;
  return (
    `this process may have ${limit} files open and may need ${wanted}: ${open} are open, and checks of ` +
    `${targets} targets, reloads and connections want more; raise the limit (LimitNOFILE= of the ` +
    `unit, ulimit -n), or some checks cannot be made`
  );
}
