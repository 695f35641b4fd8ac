/**
 * What is likely wrong where counters look as after a known mistake. Guesses: each says what was seen
 * and what to look at; docs/operations.md has every drop reason.
 */
import type { DropReason, GatewayCounters } from 'gwlb';

export interface Hint {
  /** The drop reason it is about, or `nothing_returned`. */
  readonly reason: DropReason | 'nothing_returned';
  /** One sentence, without a full stop. */
  readonly text: string;
}

/** Packets to a target after which it is odd that none came back. */
const SILENT_PACKETS = 100;

/** By drop reason, most telling first: what follows "<count> packets: ". */
const LIKELY: readonly (readonly [DropReason, string])[] = [
  [
    'returned_to_source_port',
    'an appliance swaps the UDP ports; it has to return to the destination port it received, the ' +
      "gateway's own, and from the source port it received",
  ],
  [
    'outer_bad_checksum',
    'an appliance writes a wrong outer UDP checksum, or leaves it to an offload that is not there; ' +
      'it has to write a right one, or 0',
  ],
  [
    'gateway_options_missing',
    'an appliance returns packets without the GENEVE options it received; it has to keep the header',
  ],
  [
    'geneve_bad_protocol',
    'an appliance or peer sends Ethernet frames where IP packets are expected, or the reverse',
  ],
  [
    'unknown_source',
    'an appliance answers from another address than it is registered with, or strangers send here',
  ],
  ['wrong_cookie', 'an appliance mixes up the GENEVE headers of different flows'],
  ['device_overflow', 'workers are too slow for a TUN device, or its txqueuelen is too small'],
  [
    'send_failed',
    'no route leads to a target or peer, or a firewall of this machine is in the way',
  ],
];

/** For people, most telling first; empty where nothing looks wrong. */
export function hintsOf({ drops, targets }: Pick<GatewayCounters, 'drops' | 'targets'>): Hint[] {
  const hints: Hint[] = LIKELY.filter(([reason]) => drops[reason] > 0).map(([reason, text]) => ({
    reason,
    text: `${reason} ${drops[reason]}: ${text}`,
  }));
  // Those say why nothing comes back.
  if (drops.returned_to_source_port + drops.outer_bad_checksum > 0) return hints;
  for (const [id, { packetsTo, packetsFrom }] of Object.entries(targets)) {
    if (packetsTo < SILENT_PACKETS || packetsFrom > 0) continue;
    const text =
      `target ${id} was sent ${packetsTo} packets and has returned none: nothing reads them there, ` +
      'or it returns them to another address or port, or it reads raw sockets and refuses unfinished ' +
      'checksums (offloads: false)';
    hints.push({ reason: 'nothing_returned', text });
  }
  return hints;
}
