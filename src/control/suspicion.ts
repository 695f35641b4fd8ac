/**
 * What packets tell about a target, between two health checks. A suspicion is no verdict: an appliance
 * that drops everything may be doing its job. It only is a reason to ask the target at once.
 */
import type { HealthProfile } from '../health/thresholds.js';

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

/** What is held against one target. A pure machine: counts and times are arguments. */
export class Suspicion {
  readonly #silenceMs: number;
  #last: (Traffic & { readonly at: number }) | null = null;
  /** The first packet that was not answered was sent after this. */
  #silentSince = 0;
  #unanswered = 0;
  #usuallySent = 0;
  #usuallyReturned = 0;
  #backoffMs: number;
  #quietUntil = Number.NEGATIVE_INFINITY;

  constructor(silenceMs: number) {
    this.#silenceMs = silenceMs;
    this.#backoffMs = silenceMs;
  }

  /** Takes in the counters as they are now. Answers what is suspicious, or null. */
  sample(traffic: Traffic, now: number): string | null {
    const last = this.#last;
    this.#last = { ...traffic, at: now };
    if (last === null) return null;
    const sent = traffic.sent - last.sent;
    const returned = traffic.returned - last.returned;
    if (sent < 0 || returned < 0) return null;
    if (returned > 0) {
      this.#answered(sent, returned, last.at);
      return null;
    }
    if (this.#unanswered === 0) this.#silentSince = last.at;
    this.#unanswered += sent;
    const silentMs = now - this.#silentSince;
    if (this.#unanswered < PACKETS_MIN || silentMs < this.#silenceMs) return null;
    if (this.#usuallySent < PACKETS_MIN) return null;
    if (this.#usuallyReturned * RETURNED_OF <= this.#usuallySent) return null;
    return this.#act(`none of ${this.#unanswered} packets came back within ${silentMs} ms`, now);
  }

  /** Its host answered a packet with an ICMP port unreachable. */
  unreachable(now: number): string | null {
    return this.#act('its host says that no program receives on its port (ICMP)', now);
  }

  /** A silence that was long enough for a suspicion is no habit. */
  #answered(sent: number, returned: number, since: number): void {
    const isHabit = since - this.#silentSince < this.#silenceMs;
    this.#usuallySent += sent + (isHabit ? this.#unanswered : 0);
    this.#usuallyReturned += returned;
    this.#unanswered = 0;
    this.#backoffMs = this.#silenceMs;
    if (this.#usuallySent < PACKETS_REMEMBERED) return;
    this.#usuallySent /= 2;
    this.#usuallyReturned /= 2;
  }

  #act(evidence: string, now: number): string | null {
    if (now < this.#quietUntil) return null;
    this.#quietUntil = now + this.#backoffMs;
    this.#backoffMs = Math.min(this.#backoffMs * 2, BACKOFF_MAX_MS);
    return evidence;
  }
}
