/** The options of `GatewayLoadBalancer.listen`: their meaning, ranges and defaults, and the check of them. */

import { checkOptions, invalidArgument } from '../base/errors.js';
import { WORKERS_MAX } from '../base/limits.js';
import { flag, integer, nameForLogs, special } from '../base/option-kinds.js';
import { fillOptions, type TableOf } from '../base/option-table.js';
import type { NativeUdpConfig } from '../native/binding.js';
import { formatIpv4 } from '../packet/address.js';
import { checkNetns, checkSignal } from '../packet/lifecycle.js';
import { checkGatewayAddress } from '../packet/own-address.js';
import { type BaseSettings, checkBase } from './base-settings.js';
import type { TunOptions } from './device.js';
import type { GenevePeerOptions } from './geneve-peer.js';
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
}

interface EndpointOptionsBase {
  /** `vpce-`, 0 and 16 hex digits. Default random. */
  id?: string;
  /** Zone whose targets its flows go to. Default `'default'`. */
  zone?: string;
  /** Largest inner packet in bytes, 576 up to the gateway's. Default the gateway's. */
  mtu?: number;
}

/** An endpoint that is a TUN device: kernel routes that lead into it lead to the gateway. */
export interface TunEndpointOptions extends EndpointOptionsBase {
  /** The device, or its name alone. */
  tun: string | TunOptions;
  /** Named network namespace of the device. Default: the gateway's. */
  netns?: string | null;
  /** Not of a TUN endpoint. */
  geneve?: never;
}

/** An endpoint that is a remote GENEVE peer, told from others by its address and VNI. */
export interface GeneveEndpointOptions extends EndpointOptionsBase {
  /** The peer. */
  geneve: GenevePeerOptions;
  /** Not of a GENEVE endpoint. */
  tun?: never;
  /** Not of a GENEVE endpoint: its packets use the gateway's sockets. */
  netns?: never;
}

/** Options of `GatewayLoadBalancer.createEndpoint`: `tun` or `geneve` says which kind. */
export type EndpointOptions = TunEndpointOptions | GeneveEndpointOptions;

const OWN = {
  name: {
    says: 'name for logs',
    kind: nameForLogs,
    preset: 'gateway',
  },
  address: {
    says: 'GENEVE is sent from and received here',
    kind: special<number, string>(
      'IPv4 address',
      { type: 'string', format: 'ipv4' },
      checkGatewayAddress,
    ),
  },
  port: { says: 'UDP port of GENEVE', kind: integer(1, 65_535), preset: 6081 },
  netns: {
    says: 'named network namespace of sockets and health checks',
    kind: special<string, string | null>('name or null', { type: ['string', 'null'] }, checkNetns),
    preset: '',
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
    kind: special<AbortSignal | undefined, AbortSignal>('AbortSignal', {}, checkSignal),
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
}

/** Room for about 1,000 jumbo packets, or some 10 ms of 10 Gbit/s. */
const SOCKET_BUFFER_BYTES = 8 << 20;

/** The options of `listen`, checked. */
export function checkListen(options: unknown, field = 'options'): CheckedListen {
  const given = checkOptions(field, options, Object.keys(LISTEN));
  const { address, port, name, workers, signal, ...own } = fillOptions(OWN, field, given);
  const base = checkBase(field, given, address, port);
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
