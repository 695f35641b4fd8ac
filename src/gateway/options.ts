/** The options that an embedded gateway and a listening one share: meaning, ranges, defaults. */
import type { TargetGroup } from './target-group.js';

/** After how long without packets a flow ends. */
export interface IdleTimeout {
  /**
   * Seconds after its last packet in which a TCP flow keeps its entry, 60–6000. Default 350. Only
   * with 5-tuple stickiness may it differ from the default. AWS `tcp.idle_timeout.seconds`.
   */
  tcpSeconds?: number;
  /** The same for every other protocol, 1–6000. Default 120, in AWS fixed. */
  otherSeconds?: number;
}

/** How many flows a gateway has room for. */
export interface GatewayLimits {
  /** IPv4 flows, 1,024 to 2^27. Memory (about 45 bytes each) is taken at once. Default 1,048,576. */
  flows?: number;
  /** IPv6 flows (about 85 bytes each), the same range. Default a quarter of `flows`. */
  flowsIpv6?: number;
}

/** The outer UDP source ports of a gateway. */
export interface SourcePorts {
  /** Lowest outer UDP source port, 1–65535. Default 32768. */
  base?: number;
  /**
   * How many ports, from `base` on, flows are spread over, 1–1024; a flow keeps its port, the same
   * for both directions. Default 256.
   */
  count?: number;
}

/**
 * What becomes of a TCP packet of an unknown flow that does not open a connection: `'drop'` it,
 * `'pickup'` the flow, or `'auto'`: pick up for the TCP idle timeout after the first packet (flows
 * that were there before this gateway), then drop.
 */
export type MidStream = 'auto' | 'drop' | 'pickup';

/** Whether and to what the maximum segment size of TCP connections is lowered. */
export type ClampMss = 'off' | 'auto' | number | false;

/** When TCP packets of unknown flows are answered with a RST. */
export interface ListenerTcpReset {
  /**
   * Answer a TCP packet of no flow that does not open one with a RST to its sender, instead of dropping
   * it. Default false. AWS `send_tcp_reset.on_idle_timeout.enabled`.
   */
  onIdleTimeout?: boolean;
}

/** Options of `rotateCookieKey`. */
export interface CookieKeyOptions {
  /** 16 secret bytes. Default random. */
  key?: Uint8Array;
  /** How long signatures with the key before stay good, 0–6000. Default the TCP idle timeout. */
  overlapSeconds?: number;
}

/** Options that `Gateway` and `GatewayLoadBalancer` share. */
export interface GatewayBaseOptions {
  /** Where flows go. It belongs to one gateway at a time. Required. */
  targetGroup: TargetGroup;
  /** Whether an endpoint's flows may go to targets of other zones. Default false, as in AWS. */
  crossZone?: boolean;
  /** After how long without packets a flow ends. */
  idleTimeout?: IdleTimeout;
  /** Largest inner packet in bytes, 576–8500; larger ones are dropped. Default 8500, as in AWS. */
  mtu?: number;
  /** Room for flows. */
  limits?: GatewayLimits;
  /** TCP packets of unknown flows. Default `'auto'`. */
  midStream?: MidStream;
  /** Outer UDP source ports. */
  sourcePorts?: SourcePorts;
  /**
   * `'lenient'` (default) takes a returned packet with an older cookie of its flow's tuple;
   * `'strict'` drops it, as AWS does.
   */
  cookieCheck?: 'lenient' | 'strict';
  /**
   * What takes a new flow out of probation, where flows evict each other when there are too many of
   * them (SYN floods): the first packet that its target returns (`'return'`, default), or its second
   * packet (`'ingress'`: appliances that send packets onward themselves and return none).
   */
  promotion?: 'return' | 'ingress';
  /**
   * Answer packets longer than the MTU with ICMP Fragmentation Needed (RFC 1191) or ICMPv6 Packet Too
   * Big (RFC 8201), at most 1000 a second. Default true; AWS does not.
   */
  pathMtuDiscovery?: boolean;
  /**
   * Lower the maximum segment size that SYN and SYN-ACK packets tell, IPv4 and IPv6, for paths on which
   * ICMP errors are lost: to so many bytes, 88–8460, or with `'auto'` to what the endpoint's MTU has room
   * for, and with a `GatewayLoadBalancer` the paths to targets and peers as the kernel knows them. It is
   * never raised, and none is added. Default `'off'` (`false` is the same).
   */
  clampMss?: ClampMss;
  /** RST answers of the listener. */
  sendTcpReset?: ListenerTcpReset;
  /**
   * Count the packets and bytes of each flow, for flow logs; 32 more bytes a flow. Default false.
   */
  flowCounters?: boolean;
  /** 64 bits that every packet carries as attachment id. Default 0, as in AWS. */
  attachmentId?: bigint;
  /**
   * 16 secret bytes that flow hashes depend on: gateways with equal keys, groups and endpoint ids
   * choose equal targets. Default random.
   */
  hashKey?: Uint8Array;
  /** 16 secret bytes that flow cookies are signed with. Default random. */
  cookieKey?: Uint8Array;
}
