/** What health checks need of the load balancer whose targets they check. */
import type { Traffic } from './suspicion.js';

/** Where a probe goes: slot, address as a number, and UDP port. */
export interface ProbedTarget {
  readonly slot: number;
  readonly number: number;
  readonly port: number;
}

/** The load balancer, as its health checks know it. */
export interface ProbeHost {
  /** Network namespace that health checks are made from; '' for the process's own. */
  readonly netns: string;
  /** Packets of the target in this slot, sent and returned so far; for suspicion. */
  traffic?(slot: number): Traffic;
  /**
   * Targets whose hosts answered with ICMP port unreachable since this was asked last, each as address
   * x 65536 + port.
   */
  unreachable?(): readonly number[];
  /**
   * Sends an inner packet to a target as a health check with this nonce; whether it went. Absent where
   * nothing can be sent, and there is no health check of `protocol: 'GENEVE'`.
   */
  sendProbe?(target: ProbedTarget, nonce: number, inner: Uint8Array): boolean;
  /** The last health check that the target in this slot returned had this nonce. */
  probeReturned?(slot: number, nonce: number): boolean;
}
