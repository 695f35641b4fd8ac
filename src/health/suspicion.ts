/**
 * What packets tell about a target, between two health checks. A suspicion is no verdict: an appliance
 * that drops everything may be doing its job. It only is a reason to ask the target at once.
 */
import type { HealthProfile } from './thresholds.js';

/** How many packets a target was sent and has returned. */
export interface Traffic {
  readonly sent: number;
  readonly returned: number;
}

/** So long a target has to be silent. */
export const SILENCE_MS: Record<HealthProfile, number> = { aws: 1000, fast: 300 };

/** So many packets have to be unanswered, and known of its habits. */
const PACKETS_MIN = 50;

/** A target that returned less than one in so many packets is not expected to return any. */
const RETURNED_OF = 10;

/** Its habits are those of about the last so many packets. */
const PACKETS_REMEMBERED = 10_000;

/** A suspicion that was not confirmed is not acted on again for a while; twice as long each time. */
export const BACKOFF_MAX_MS = 64_000;

/** What is held against one target. */
export interface Suspicion {
  /** The counters as they were looked at last. */
  readonly last: (Traffic & { readonly at: number }) | null;
  /** The first packet that was not answered was sent after this. */
  readonly silentSince: number;
  readonly unanswered: number;
  readonly usuallySent: number;
  readonly usuallyReturned: number;
  /** How long nothing is said after the next suspicion. */
  readonly backoffMs: number;
  /** Until when nothing is said after the last one. */
  readonly quietUntil: number;
}

/** What is held against it now, and what is suspicious, or null. */
export interface Suspected {
  readonly suspicion: Suspicion;
  readonly evidence: string | null;
}

/** Nothing is held against it, and nothing known of it. */
export function unsuspected(profile: HealthProfile): Suspicion {
  return {
    last: null,
    silentSince: 0,
    unanswered: 0,
    usuallySent: 0,
    usuallyReturned: 0,
    backoffMs: SILENCE_MS[profile],
    quietUntil: 0,
  };
}

/** Takes in the counters as they are now. */
export function sampled(
  before: Suspicion,
  traffic: Traffic,
  profile: HealthProfile,
  now: number,
): Suspected {
  const { last } = before;
  const suspicion = { ...before, last: { ...traffic, at: now } };
  const sent = traffic.sent - (last?.sent ?? 0);
  const returned = traffic.returned - (last?.returned ?? 0);
  // Counters that went back belong to another target.
  if (last === null || sent < 0 || returned < 0) return { suspicion, evidence: null };
  if (returned > 0) {
    return { suspicion: answered(suspicion, sent, returned, last.at, profile), evidence: null };
  }
  const silentSince = before.unanswered === 0 ? last.at : before.silentSince;
  const unanswered = before.unanswered + sent;
  const silent = { ...suspicion, silentSince, unanswered };
  const silentMs = now - silentSince;
  const { usuallySent, usuallyReturned } = before;
  const isSuspicious =
    unanswered >= PACKETS_MIN &&
    silentMs >= SILENCE_MS[profile] &&
    usuallySent >= PACKETS_MIN &&
    usuallyReturned * RETURNED_OF > usuallySent;
  if (!isSuspicious) return { suspicion: silent, evidence: null };
  return act(silent, `none of ${unanswered} packets came back within ${silentMs} ms`, now);
}

/** Its host answered a packet with an ICMP port unreachable. */
export function unreachable(before: Suspicion, now: number): Suspected {
  return act(before, 'its host says that no program receives on its port (ICMP)', now);
}

/** A silence that was long enough for a suspicion is no habit. */
function answered(
  before: Suspicion,
  sent: number,
  returned: number,
  since: number,
  profile: HealthProfile,
): Suspicion {
  const isHabit = since - before.silentSince < SILENCE_MS[profile];
  const usuallySent = before.usuallySent + sent + (isHabit ? before.unanswered : 0);
  const usuallyReturned = before.usuallyReturned + returned;
  const part = usuallySent < PACKETS_REMEMBERED ? 1 : 2;
  return {
    ...before,
    unanswered: 0,
    usuallySent: usuallySent / part,
    usuallyReturned: usuallyReturned / part,
    backoffMs: SILENCE_MS[profile],
  };
}

function act(before: Suspicion, evidence: string, now: number): Suspected {
  if (now < before.quietUntil) return { suspicion: before, evidence: null };
  const { backoffMs } = before;
  const quietUntil = now + backoffMs;
  const next = Math.min(backoffMs * 2, BACKOFF_MAX_MS);
  return { suspicion: { ...before, quietUntil, backoffMs: next }, evidence };
}
