/**
 * Maxima of the data plane. The numbers, with their reasons, are native: native/base/limits.h.
 */
import { binding } from '../native/binding.js';

const native = binding.limits;

/** Most packets of one `PacketBatch`. */
export const BATCH_PACKETS_MAX: number = native.batchPackets;

/** Bytes of a slot for packets up to an ordinary MTU, headroom included. */
export const SLOT_STRIDE_STANDARD: number = native.slotStrideStandard;

/** Bytes of a slot for 8,500-byte packets, headroom included. */
export const SLOT_STRIDE_JUMBO: number = native.slotStrideJumbo;

/** Smallest value of an MTU, in bytes of inner packet. */
export const INNER_BYTES_MIN: number = native.innerBytesMin;

/** Largest inner packet in bytes; AWS's 8,500. */
export const INNER_BYTES_MAX: number = native.innerBytesMax;

/** Most targets of a target group, draining ones included: a slot takes 12 bits of the cookie. */
export const TARGETS_MAX: number = native.targets;

/** Most endpoints of a load balancer. */
export const ENDPOINTS_MAX: number = native.endpoints;

/** Most zones of a load balancer, those of targets and of endpoints together. */
export const ZONES_MAX: number = native.zones;

/** Largest weight of a target. */
export const WEIGHT_MAX: number = native.weight;

/** Most worker threads of a gateway. */
export const WORKERS_MAX: number = native.workers;

/** Most sockets that give flows different outer source ports. */
export const SOURCE_PORTS_MAX: number = native.sourcePorts;

/** Most sockets that an appliance returns packets from. */
export const RETURN_PORTS_MAX: number = native.returnPorts;

/** Least flows that a flow table has room for, per address family. */
export const FLOWS_MIN: number = native.flowsMin;

/** Most of them. */
export const FLOWS_MAX: number = native.flowsMax;

/** Bytes of the longest health-check path, as in AWS. */
export const HEALTH_CHECK_PATH_MAX = 1024;

/** Characters of the longest target group or load balancer name, as in AWS. */
export const NAME_LENGTH_MAX = 32;
