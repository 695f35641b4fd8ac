/** GENEVE headers (RFC 8926) and captured frames, one at a time: for tests, tools and people. */

import { checkBytes, native } from '../base/checks.js';
import { outOfRange } from '../base/errors.js';
import { readOptions } from '../base/option-table.js';
import { binding } from '../native/binding.js';
import type { NativeDecodedFrame } from '../native/binding-codec.js';
import { formatEndpointId, formatIp, formatMac } from './address.js';
import {
  type CheckedGatewayPart,
  DECODE_FRAME,
  DECODE_GENEVE,
  type DecodeFrameOptions,
  type DecodeGeneveOptions,
  type EncodeGeneveHeader,
  GENEVE_HEADER,
  OPTIONS_BYTES_MAX,
  UINT32_MAX,
} from './codec-options.js';
import type { DecodedGeneve, DecodeError, GeneveOption } from './geneve-types.js';
import { readGeneve } from './geneve-words.js';
import type { DropReason } from './names.js';

function decodeError(error: NativeDecodedFrame['error']): DecodeError | null {
  return error === null ? null : { ...error, reason: error.reason as DropReason };
}

/**
 * Reads the GENEVE header at the start of a UDP payload. Never throws for what the bytes are: `error`
 * says what is wrong with them.
 */
export function decodeGeneve(
  payload: Uint8Array,
  options: DecodeGeneveOptions = {},
): DecodedGeneve {
  const checked = readOptions(DECODE_GENEVE, 'options', options);
  checkBytes('payload', payload);
  return native(() => readGeneve(payload, checked.optionClass));
}

/**
 * The bytes of a GENEVE header with its options. Throws `ERR_GWLB_INVALID_ARGUMENT` or
 * `ERR_GWLB_OUT_OF_RANGE`, naming the field.
 */
export function encodeGeneve(header: EncodeGeneveHeader): Uint8Array {
  const given = readOptions(GENEVE_HEADER, 'header', header);
  const options = [...gatewayOptions(given.gateway, given.optionClass), ...given.options];
  const bytes = options.reduce((total, option) => total + 4 + option.data.length, 0);
  if (bytes > OPTIONS_BYTES_MAX) {
    throw outOfRange('header.options', `at most ${OPTIONS_BYTES_MAX} bytes in all`, bytes);
  }
  const { protocolType, vni, oam } = given;
  const critical = given.critical ?? options.some((option) => (option.type & 0x80) !== 0);
  return native(() => binding.encodeGeneve({ protocolType, vni, oam, critical, options }));
}

function gatewayOptions(gateway: CheckedGatewayPart | null, optionClass: number): GeneveOption[] {
  if (gateway === null) return [];
  const word = new Uint8Array(4);
  new DataView(word.buffer).setUint32(0, gateway.cookie);
  return [
    { class: optionClass, type: 1, data: bigEndian64(gateway.endpointId) },
    { class: optionClass, type: 2, data: bigEndian64(gateway.attachmentId) },
    { class: optionClass, type: 3, data: word },
  ];
}

function bigEndian64(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value);
  return bytes;
}

/** One GENEVE packet of a capture; every field is plain JSON. */
export interface DecodedFrame {
  /** Outer IP and UDP. */
  outer: {
    /** Source address, canonical text. */
    source: string;
    /** Destination address. */
    destination: string;
    /** UDP source port. */
    sourcePort: number;
    /** UDP destination port. */
    destinationPort: number;
    /** Time to live, of IPv6 the hop limit. */
    ttl: number;
    /** Of UDP; `unknown` where the capture was cut. */
    checksum: 'ok' | 'zero' | 'bad' | 'unknown';
  } | null;
  /** GENEVE header; null where it could not be read. */
  geneve: {
    /** 0 in every header this package accepts. */
    version: number;
    /** O bit: a control packet. */
    oam: boolean;
    /** C bit: critical options are present. */
    critical: boolean;
    /** EtherType of the payload: `0x` and 4 digits. */
    protocolType: string;
    /** 24 bits. */
    vni: number;
    /** In the order they have in the header. */
    options: {
      /** `0x` and 4 digits. */
      class: string;
      /** All eight bits. */
      type: number;
      /** Bit 0x80 of the type. */
      critical: boolean;
      /** Hex digits. */
      data: string;
    }[];
  } | null;
  /** Its gateway options; null where one of the three is missing or has another length. */
  gateway: {
    /** `vpce-` and 17 hex digits. */
    endpointId: string;
    /** `0x` and 16 digits. */
    attachmentId: string;
    /** `0x` and 8 digits. */
    cookie: string;
  } | null;
  /** Only where the payload is Ethernet. */
  ethernet?: {
    /** Source address, `02:00:00:00:00:01`. */
    source: string;
    /** Destination address. */
    destination: string;
    /** `0x` and 4 digits; of what is behind the VLAN tags. */
    etherType: string;
    /** VLAN ids, outermost first. */
    vlan: number[];
  };
  /** Inner packet; null where it could not be read. */
  inner: {
    /** 4 or 6. */
    version: number;
    /** Source address, canonical text. */
    source: string;
    /** Destination address. */
    destination: string;
    /** IP protocol number; for IPv6 that of the last header of the chain. */
    protocol: number;
    /** null for protocols without ports and for later fragments. */
    sourcePort: number | null;
    /** null likewise. */
    destinationPort: number | null;
    /** By the IP header. */
    length: number;
  } | null;
  /** What is wrong with the packet; everything readable before it is kept. */
  error: DecodeError | null;
}

/**
 * Reads a captured frame: link, outer IP and UDP, GENEVE, inner packet. Returns null where it is no
 * GENEVE packet, or its link type is none of `LINK_TYPES`. Never throws for what the bytes are: `error` says what is wrong with them.
 */
export function decodeFrame(
  frame: Uint8Array,
  options: DecodeFrameOptions = {},
): DecodedFrame | null {
  const { link, optionClass, port, ...given } = readOptions(DECODE_FRAME, 'options', options);
  const { length } = checkBytes('frame', frame);
  const wireLength = given.wireLength ?? length;
  if (wireLength < length) {
    throw outOfRange('options.wireLength', `${length}–${UINT32_MAX}`, wireLength);
  }
  const decoded = native(() => binding.decodeFrame(frame, wireLength, link, optionClass, port));
  if (!decoded.isGeneve) return null;
  return {
    outer: outerText(decoded.outer),
    geneve: geneveText(decoded.geneve),
    gateway: gatewayText(decoded.gateway),
    ...(decoded.ethernet ? { ethernet: ethernetText(decoded.ethernet) } : {}),
    inner: innerText(decoded.inner),
    error: decodeError(decoded.error),
  };
}

function hex(value: number | bigint, digits: number): string {
  return `0x${value.toString(16).padStart(digits, '0')}`;
}

function hexBytes(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex');
}

function outerText(outer: NativeDecodedFrame['outer']): DecodedFrame['outer'] {
  return (
    outer && {
      source: formatIp(outer.source),
      destination: formatIp(outer.destination),
      sourcePort: outer.sourcePort,
      destinationPort: outer.destinationPort,
      ttl: outer.ttl,
      checksum: outer.checksum,
    }
  );
}

function geneveText(geneve: NativeDecodedFrame['geneve']): DecodedFrame['geneve'] {
  return (
    geneve && {
      version: geneve.version,
      oam: geneve.oam,
      critical: geneve.critical,
      protocolType: hex(geneve.protocolType, 4),
      vni: geneve.vni,
      options: geneve.options.map((option) => ({
        class: hex(option.class, 4),
        type: option.type,
        critical: (option.type & 0x80) !== 0,
        data: hexBytes(option.data),
      })),
    }
  );
}

function gatewayText(gateway: NativeDecodedFrame['gateway']): DecodedFrame['gateway'] {
  return (
    gateway && {
      endpointId: formatEndpointId(gateway.endpointId),
      attachmentId: hex(gateway.attachmentId, 16),
      cookie: hex(gateway.cookie, 8),
    }
  );
}

function ethernetText(ethernet: NonNullable<NativeDecodedFrame['ethernet']>) {
  return {
    source: formatMac(ethernet.source),
    destination: formatMac(ethernet.destination),
    etherType: hex(ethernet.etherType, 4),
    vlan: ethernet.vlan.map((tag) => tag & 0x0fff),
  };
}

function innerText(inner: NativeDecodedFrame['inner']): DecodedFrame['inner'] {
  return (
    inner && {
      version: inner.version,
      source: formatIp(inner.source),
      destination: formatIp(inner.destination),
      protocol: inner.protocol,
      sourcePort: inner.sourcePort,
      destinationPort: inner.destinationPort,
      length: inner.length,
    }
  );
}
