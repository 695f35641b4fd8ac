/** The options of `GatewayLoadBalancer.listen`: their meaning, ranges and defaults, and the check of them. */

import { checkOptions, invalidArgument } from '../base/errors.js';
import { WORKERS_MAX } from '../base/limits.js';
import { flag, integer, nameForLogs } from '../base/option-kinds.js';
import { fillOptions, type TableOf } from '../base/option-table.js';
import type { GatewayState } from '../fleet/saved.js';
import type { NativeUdpConfig } from '../native/binding.js';
import { formatIpv4 } from '../packet/address.js';
import {
  abortSignal,
  gatewayAddress,
  networkNamespace,
  portNumber,
} from '../packet/option-kinds.js';
import { type BaseSettings, checkBase } from './base-settings.js';
import { gatewayState, saveState } from './check-state.js';
import type { SaveState } from './live-fleet.js';
import { GATEWAY_BASE } from './option-tables.js';
import type { GatewayBaseOptions } from './options.js';

/** Options of `GatewayLoadBalancer.listen`. */
export interface ListenOptions extends GatewayBaseOptions {
  /** Own IPv4 address: GENEVE is sent from and received on it. Required. */
  address: string;
  /** UDP port that GENEVE is received on, 1–65535. Default 6081. */
  port?: number;
  /**
   * Named network namespace (`ip netns`) that sockets are opened and health checks made in. Default:
   * the process's own.
   */
  netns?: string | null;
  /** 1–32 letters, digits and hyphens; for logs and metrics. Default `'gateway'`. */
  name?: string;
  /** Worker threads that forward packets, 1–64. Default 1. */
  workers?: number;
  /**
   * Use what the kernel has to carry many packets at once: TCP and UDP super-packets of TUN devices,
   * and trains of UDP datagrams (generic segmentation and receive offload). What it has not is done
   * packet by packet; `GatewayLoadBalancer.offloads` tells. Default true.
   */
  offloads?: boolean;
  /**
   * Write the UDP checksum of what is sent. False: 0, none, which GENEVE over IPv4 allows (RFC 8926,
   * section 3.3) and raw sockets can always read; datagrams then leave one by one. True with
   * `offloads: false`: finished before a network device sees it. Default true.
   */
  udpChecksum?: boolean;
  /** Closes the load balancer when it is aborted. */
  signal?: AbortSignal;
  /**
   * What a former load balancer left (`state()`, or what `saveState` was given): this one goes on from there.
   * Targets are made those of the group; one that is there already keeps slot, flows and health. An endpoint with
   * an id of before gets its number of before. Needs the same `hashKey` and `cookieKey` to be of use. Default: none.
   */
  state?: GatewayState | undefined;
  /**
   * Keeps the state where it outlives the process: called before `listen` resolves, and with every change of
   * it; packets are decided by a change when the promise resolves. One call at a time. Where it rejects, `listen` and
   * `createEndpoint` reject with the same; for other changes, or where it takes longer than a second, packets are decided
   * by them all the same. Default: none.
   */
  saveState?: SaveState | undefined;
}

const OWN = {
  name: {
    says: 'name for logs',
    kind: nameForLogs,
    preset: 'gateway',
  },
  address: {
    says: 'GENEVE is sent from and received here',
    kind: gatewayAddress,
  },
  port: { says: 'UDP port of GENEVE', kind: portNumber, preset: 6081 },
  netns: {
    says: 'named network namespace of sockets and health checks',
    kind: networkNamespace,
    preset: '',
    given: null,
    presetText: 'null',
  },
  workers: { says: 'threads that forward packets', kind: integer(1, WORKERS_MAX), preset: 1 },
  udpChecksum: {
    says: 'write the outer UDP checksum; false: 0, none',
    kind: flag,
    preset: true,
  },
  offloads: {
    says: 'carry many packets at once where the kernel can (TUN super-packets, UDP GSO and GRO)',
    kind: flag,
    preset: true,
  },
  signal: {
    says: 'closes it when aborted',
    kind: abortSignal,
    preset: undefined,
    presetText: 'none',
  },
  state: {
    says: 'what a former one left, to go on from',
    kind: gatewayState,
    preset: null,
    presetText: 'none',
  },
  saveState: {
    says: 'keeps the state; packets are decided by a change when it is kept',
    kind: saveState,
    preset: undefined,
    presetText: 'none',
  },
} as const satisfies TableOf<Omit<ListenOptions, keyof GatewayBaseOptions>>;

/** The options of `listen`. */
export const LISTEN = { ...OWN, ...GATEWAY_BASE } satisfies TableOf<ListenOptions>;

export interface CheckedListen {
  base: BaseSettings;
  udp: NativeUdpConfig;
  name: string;
  workers: number;
  signal: AbortSignal | undefined;
  saveState: SaveState | undefined;
}

/** Room for about 1,000 jumbo packets, or some 10 ms of 10 Gbit/s. */
const SOCKET_BUFFER_BYTES = 8 << 20;

/** The options of `listen`, checked. */
export function checkListen(options: unknown, field = 'options'): CheckedListen {
  const given = checkOptions(field, options, Object.keys(LISTEN));
  const { address, port, name, workers, signal, state, saveState, ...own } = fillOptions(
    OWN,
    field,
    given,
  );
  const base = { ...checkBase(field, given, address, port), state };
  checkOwnAddress(`${field}.address`, base, address);
  return {
    base,
    udp: {
      address,
      port,
      ...own,
      sourcePortBase: base.config.sourcePortBase,
      sourcePortCount: base.config.sourcePortCount,
      receiveBufferBytes: SOCKET_BUFFER_BYTES,
      sendBufferBytes: SOCKET_BUFFER_BYTES,
      ttl: 255,
    },
    name,
    workers,
    signal,
    saveState,
  };
}

/** Throws where it is a target's. */
export function checkOwnAddress(
  field: string,
  { targetGroup }: BaseSettings,
  address: number,
): void {
  const own = formatIpv4(address);
  if (targetGroup.targets().every((target) => target.address !== own)) return;
  throw invalidArgument(field, "an address that is not a target's", own);
}
