/** What an appliance counts. */
import { binding, type NativeApplianceEngine } from '../native/binding.js';
import { COUNTER_NAMES, readDrops } from '../packet/counter-names.js';
import type { DropReason } from '../packet/names.js';

/** Numbers above 2^53 lose their last digits. */
export interface ApplianceCounters {
  /** Datagrams received from gateways. */
  packetsReceived: number;
  /** Bytes of them, inner packet. */
  bytesReceived: number;
  /** Packets returned to the gateway. */
  packetsReturned: number;
  /** Bytes of them, inner packet. */
  bytesReturned: number;
  /** Packets returned with changed contents. */
  packetsRewritten: number;
  /** Packets returned as an answer to their sender that refuses them (`packet.reject()`). */
  packetsRejected: number;
  /**
   * Packets returned from the own port, since the one that they came from is not to be had: another program
   * has it, or it needs a privilege (`CAP_NET_BIND_SERVICE`, below 1024).
   */
  packetsOtherPort: number;
  /** Packets shown to the inspector. */
  packetsInspected: number;
  /** Packets that the inspector's filter is not about. */
  packetsUnmatched: number;
  /** Packets shown to it whose flow found no room: no verdict on it lasts. */
  packetsUntracked: number;
  /** Verdicts to pass a flow that took effect. */
  flowsPassed: number;
  /** Verdicts to drop a flow that took effect. */
  flowsDropped: number;
  /** Verdicts on flows that ended: idle, closed, opened anew, or all of them. */
  flowsEnded: number;
  /** Packets returned by their flow's verdict. */
  flowPacketsPassed: number;
  /** Bytes of them, inner packet. */
  flowBytesPassed: number;
  /** Packets dropped by their flow's verdict (among `drops.appliance_verdict`). */
  flowPacketsDropped: number;
  /** Bytes of them, inner packet. */
  flowBytesDropped: number;
  /** Packets that entered the kernel by a device (`attachTun`). */
  packetsToKernel: number;
  /** Bytes of them. */
  bytesToKernel: number;
  /** Packets that came out of the kernel by a device. */
  packetsFromKernel: number;
  /** Bytes of them. */
  bytesFromKernel: number;
  /** Flows of devices that gave way to newer ones before their ends had answered each other. */
  tunFlowsEvicted: number;
  /** Every reason, also those that never occurred. */
  drops: Record<DropReason, number>;
}

/** An engine's counters under their names. */
export function readCounters({ counters }: NativeApplianceEngine): ApplianceCounters {
  const named = COUNTER_NAMES.appliance.map((name, i) => [name, Number(counters[i])]);
  const at = binding.counterLayout.applianceDropsAt;
  return {
    ...(Object.fromEntries(named) as Omit<ApplianceCounters, 'drops'>),
    drops: readDrops((code) => counters[at + code]),
  };
}
