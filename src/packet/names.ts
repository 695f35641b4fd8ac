/** Names of the numbers in packets and batches: verdicts, drop reasons, IP protocols. */

import { checkInteger } from '../base/errors.js';
import { binding } from '../native/binding.js';

/**
 * What became of a packet, as in `batch.verdict`:
 *
 * - `pending` 0: not decided yet
 * - `forward` 1: send it; to a target where it is encapsulated, else out by its endpoint
 * - `drop` 2: `batch.reason` says why
 * - `reply` 3: rewritten into an answer of the gateway itself; send it back by its endpoint
 * - `bypass` 4: no target takes new flows and `failOpen` is set; send it on uninspected
 * - `moved` 5: another worker took it over (never seen by embedders)
 * - `held` 6: a later fragment that waits inside the gateway for its first one
 * - `probe` 7: no flow's packet but a data-path health check that a target returned; nothing is to do
 */
export const VERDICTS = Object.freeze(binding.names.verdicts as VerdictName[]);

/** One of `VERDICTS`. */
export type VerdictName = keyof typeof Verdict;

/** The numbers of `VERDICTS`, for comparing with `batch.verdict[i]`. */
export const Verdict = Object.freeze({
  pending: 0,
  forward: 1,
  drop: 2,
  reply: 3,
  bypass: 4,
  moved: 5,
  held: 6,
  probe: 7,
} as const);

/** Every reason for which a packet is dropped; the native list is native/base/drop_reasons.def. */
export type DropReason =
  | 'inner_truncated'
  | 'inner_bad_version'
  | 'inner_bad_header_length'
  | 'inner_bad_total_length'
  | 'inner_too_many_extensions'
  | 'inner_bad_fragment'
  | 'inner_too_big'
  | 'never_forwarded'
  | 'no_headroom'
  | 'outer_truncated'
  | 'outer_not_geneve'
  | 'outer_bad_checksum'
  | 'geneve_truncated'
  | 'geneve_bad_version'
  | 'geneve_control'
  | 'geneve_bad_options'
  | 'geneve_critical_option'
  | 'geneve_bad_protocol'
  | 'gateway_options_missing'
  | 'gateway_options_length'
  | 'unknown_source'
  | 'returned_to_source_port'
  | 'unknown_endpoint'
  | 'wrong_target'
  | 'wrong_cookie'
  | 'no_flow'
  | 'ecn_not_capable'
  | 'no_targets'
  | 'tcp_not_syn'
  | 'flow_refused'
  | 'icmp_bad_quote'
  | 'icmp_no_flow'
  | 'appliance_verdict'
  | 'appliance_stopped'
  | 'device_unknown_flow'
  | 'device_flow_limit'
  | 'device_unavailable'
  | 'device_not_allowed'
  | 'device_limit'
  | 'receive_overflow'
  | 'device_overflow'
  | 'receive_truncated'
  | 'bad_super_packet'
  | 'send_failed'
  | 'send_would_block'
  | 'worker_ring_full'
  | 'endpoint_has_no_device';

/** Name of each code in `batch.reason`; entry 0 is `none`. */
export const REASON_NAMES: readonly (DropReason | 'none')[] = Object.freeze(
  binding.dropReasons.map((reason) => reason.name as DropReason | 'none'),
);

/** Each drop reason with the sentence that explains it. */
export const DROP_REASONS: Readonly<Record<DropReason, string>> = Object.freeze(
  Object.fromEntries(
    binding.dropReasons
      .filter((reason) => reason.name !== 'none')
      .map((reason) => [reason.name, reason.sentence]),
  ) as Record<DropReason, string>,
);

/** The code of a drop reason in `batch.reason`. */
export function reasonCode(reason: DropReason): number {
  return REASON_NAMES.indexOf(reason);
}

const PROTOCOLS: Readonly<Record<string, number>> = Object.freeze({
  icmp: 1,
  igmp: 2,
  ipip: 4,
  tcp: 6,
  udp: 17,
  ipv6: 41,
  gre: 47,
  esp: 50,
  ah: 51,
  icmp6: 58,
  ospf: 89,
  sctp: 132,
  udplite: 136,
});

const PROTOCOL_NAMES = new Map(Object.entries(PROTOCOLS).map(([name, value]) => [value, name]));

/** `tcp` for 6; the number as text where it has no common name. */
export function protocolName(protocol: number): string {
  checkInteger('protocol', protocol, 0, 255);
  return PROTOCOL_NAMES.get(protocol) ?? String(protocol);
}

/** A name of `protocolName`, in any case (also `icmpv6`), or a number 0–255, to the number. */
export function protocolNumber(protocol: unknown): number | null {
  if (typeof protocol === 'number') {
    return Number.isInteger(protocol) && protocol >= 0 && protocol <= 255 ? protocol : null;
  }
  if (typeof protocol !== 'string') return null;
  const name = protocol.toLowerCase();
  if (name === 'icmpv6') return PROTOCOLS.icmp6;
  return Object.hasOwn(PROTOCOLS, name) ? PROTOCOLS[name] : null;
}

/** TCP, UDP, SCTP and UDP-Lite: the protocols whose flows have ports. */
export function hasPorts(protocol: number): boolean {
  return protocol === 6 || protocol === 17 || protocol === 132 || protocol === 136;
}
