/** What is told of the devices of an appliance: how they are, what passed, what happened to them. */
import type { GatewayError } from '../base/errors.js';
import type { DeviceState } from '../packet/device-watch.js';
import type { DropReason } from '../packet/names.js';

/** What passed by the devices of an appliance, or by one of them. Numbers above 2^53 lose their last digits. */
export interface ApplianceTunCounters {
  /** Packets that entered the kernel by it. */
  packetsToKernel: number;
  /** Bytes of them. */
  bytesToKernel: number;
  /** Packets that came back out of it, those of the kernel's own making among them. */
  packetsFromKernel: number;
  /** Bytes of them. */
  bytesFromKernel: number;
  /** Of those, packets that were returned to the gateway. */
  packetsReturned: number;
  /** Bytes of them. */
  bytesReturned: number;
  /** Packets of either way that were dropped, by reason; also those reasons that never occurred. */
  drops: Record<DropReason, number>;
}

/** A device of an appliance, or a pair: as it is now. */
export interface ApplianceTunDevice {
  /** By which packets enter the kernel, as the kernel named it. */
  readonly name: string;
  /** By which they come back; null where that is the same. */
  readonly out: string | null;
  /** The endpoint whose packets it has, `vpce-…`; null for all. */
  readonly endpoint: string | null;
  /** Named network namespace; null for the process's own. */
  readonly netns: string | null;
  /** Interface index of `name` in its namespace. */
  readonly ifindex: number;
  /** That of `out`; null where there is none. */
  readonly outIfindex: number | null;
  /**
   * How it is; of a pair, what is worse. Its packets are dropped while it is not up. One that is gone is made again
   * as soon as that can be.
   */
  readonly state: DeviceState;
  /** What is wrong and what to do; null while it is up. */
  readonly error: GatewayError | null;
  /** What passed by it. */
  readonly counters: ApplianceTunCounters;
}

/** Flows whose way back is known. */
export interface ApplianceTunFlows {
  /** Those of IPv4. */
  ipv4: number;
  /** Those of IPv6. */
  ipv6: number;
}

/** Events of an `ApplianceTun`, each with the arguments of its listeners. */
export interface ApplianceTunEvents {
  /** A device is there: the one of an endpoint whose first packet came, or one that was lost is back. */
  device: [ApplianceTunDevice];
  /** A device was lost or set down (its `state` says which). */
  gone: [ApplianceTunDevice];
  /** A device cannot be made, or not made again; it is tried again every two seconds, and told once. */
  error: [GatewayError];
  /** The devices were taken away: by `detach`, or since the appliance was closed. */
  detach: [];
}
