/** Options of a gateway that listens, and of its endpoints. */

import {
  checkBoolean,
  checkInteger,
  checkOptions,
  checkString,
  invalidArgument,
} from '../base/errors.js';
import { NAME_LENGTH_MAX, WORKERS_MAX } from '../base/limits.js';
import type { NativeUdpConfig } from '../native/binding.js';
import { formatIpv4 } from '../packet/address.js';
import { checkNetns, checkSignal } from '../packet/lifecycle.js';
import { checkGatewayAddress } from '../packet/own-address.js';
import type { TunOptions } from './device.js';
import { BASE_KEYS, type BaseSettings, checkBase, type GatewayBaseOptions } from './options.js';

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
  geneve: {
    /** IPv4 address of the peer; it must not be a target's. */
    peer: string;
    /** UDP port that the peer receives on. Default 6081. */
    port?: number;
    /** 0–0xffffff. Default 0. */
    vni?: number;
    /** IP packets, or Ethernet frames. Default `'ip'`. */
    inner?: 'ip' | 'ethernet';
    /**
     * Source address of frames to the peer, with `inner: 'ethernet'`. Default: the destination of the
     * last frame it sent.
     */
    sourceMac?: string;
    /** Destination address likewise. Default: the source of the last frame it sent. */
    destinationMac?: string;
  };
  /** Not of a GENEVE endpoint. */
  tun?: never;
  /** Not of a GENEVE endpoint: its packets use the gateway's sockets. */
  netns?: never;
}

/** Options of `GatewayLoadBalancer.createEndpoint`: `tun` or `geneve` says which kind. */
export type EndpointOptions = TunEndpointOptions | GeneveEndpointOptions;

export interface CheckedListen {
  base: BaseSettings;
  udp: NativeUdpConfig;
  name: string;
  workers: number;
  signal: AbortSignal | undefined;
}

/** Room for about 1,000 jumbo packets, or some 10 ms of 10 Gbit/s. */
const SOCKET_BUFFER_BYTES = 8 << 20;

const LISTEN_KEYS = [
  ...BASE_KEYS,
  'address',
  'port',
  'netns',
  'name',
  'workers',
  'offloads',
  'udpChecksum',
  'signal',
] as const;

/** The options of `listen`, checked. */
export function checkListen(options: unknown, field = 'options'): CheckedListen {
  const given = checkOptions(field, options, LISTEN_KEYS);
  const address = checkGatewayAddress(`${field}.address`, given.address);
  const port = checkInteger(`${field}.port`, given.port ?? 6081, 1, 65_535);
  const base = checkBase(field, given, address, port);
  checkOwnAddress(`${field}.address`, base, address);
  return {
    base,
    udp: {
      address,
      port,
      netns: checkNetns(`${field}.netns`, given.netns ?? null),
      sourcePortBase: base.config.sourcePortBase,
      sourcePortCount: base.config.sourcePortCount,
      receiveBufferBytes: SOCKET_BUFFER_BYTES,
      sendBufferBytes: SOCKET_BUFFER_BYTES,
      ttl: 255,
      offloads: checkBoolean(`${field}.offloads`, given.offloads ?? true),
      udpChecksum: checkBoolean(`${field}.udpChecksum`, given.udpChecksum ?? true),
    },
    name: checkString(`${field}.name`, given.name ?? 'gateway', {
      pattern: /^[A-Za-z0-9-]+$/,
      max: NAME_LENGTH_MAX,
      expected: `1–${NAME_LENGTH_MAX} letters, digits and hyphens`,
    }),
    workers: checkInteger(`${field}.workers`, given.workers ?? 1, 1, WORKERS_MAX),
    signal: checkSignal(`${field}.signal`, given.signal),
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
