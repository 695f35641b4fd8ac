/** A GENEVE header as an object. */
import type { DropReason } from './names.js';

/** Where reading stopped, and why. Offsets count from the first byte given. */
export interface DecodeError {
  /** What is wrong, as it is counted. */
  reason: DropReason;
  /** `geneve`, `inner_ipv4`, … */
  layer: string;
  /** First byte of that layer. */
  offset: number;
  /** Bytes the layer needed there. */
  needed: number;
  /** Bytes there were. */
  had: number;
}

/** One option of a GENEVE header (RFC 8926, section 3.5). */
export interface GeneveOption {
  /** 0–0xffff. */
  class: number;
  /** All eight bits, 0–255: 0x80 is the critical bit (a critical type 1 is 129). */
  type: number;
  /** Up to 124 bytes, a multiple of 4. */
  data: Uint8Array;
}

/** What the three options of a gateway load balancer say. */
export interface GatewayOptions {
  /** `vpce-` and 17 hex digits. */
  endpointId: string;
  /** 64 bits; 0 in practice. */
  attachmentId: bigint;
  /** 32 bits. */
  cookie: number;
}

/** A GENEVE header, as it was read (RFC 8926, section 3.4). */
export interface GeneveHeader {
  /** 0 in every header this package accepts. */
  version: number;
  /** O bit: a control packet. */
  oam: boolean;
  /** C bit: critical options are present. */
  critical: boolean;
  /** EtherType of the payload: 0x0800, 0x86dd, 0x6558 (Ethernet). */
  protocolType: number;
  /** 24 bits. */
  vni: number;
  /** Bytes of base header and options. */
  headerLength: number;
  /** In the order they have in the header. */
  options: GeneveOption[];
}

/** What `decodeGeneve` answers. */
export interface DecodedGeneve {
  /** What was readable; null where not even 8 bytes were there. */
  header: GeneveHeader | null;
  /** null where one of the three options is missing or has another length. */
  gateway: GatewayOptions | null;
  /** null for a faultless header; one without gateway options can be that too. */
  error: DecodeError | null;
}
