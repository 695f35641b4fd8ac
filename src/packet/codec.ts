/** GENEVE headers (RFC 8926) and captured frames, one at a time: for tests, tools and people. */

import { checkArray, checkBytes, native } from '../base/checks.js';
import { checkBoolean, checkInteger, checkOptions, outOfRange } from '../base/errors.js';
import { binding } from '../native/binding.js';
import type { NativeDecodedFrame } from '../native/binding-codec.js';
import { formatEndpointId, formatIp, formatMac } from './address.js';
import type { DecodedGeneve, DecodeError, GeneveOption } from './geneve-types.js';
import { readGeneve } from './geneve-words.js';
import type { DropReason } from './names.js';
import { attachmentId, endpointId } from './option-kinds.js';

/** Option class of AWS; others use the same layout under another class (Tencent: 0x0167). */
export const OPTION_CLASS_AWS = 0x0108;

/** UDP port of GENEVE. */
export const GENEVE_PORT = 6081;

const OPTIONS_BYTES_MAX = 252;
const OPTION_BYTES_MAX = 124;

/** Options of `decodeGeneve`. */
export interface DecodeGeneveOptions {
  /** Class of the gateway options. Default 0x0108. */
  optionClass?: number;
}

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
  const { optionClass = OPTION_CLASS_AWS } = checkOptions('options', options, ['optionClass']);
  checkBytes('payload', payload);
  const checked = checkInteger('options.optionClass', optionClass, 0, 0xffff);
  return native(() => readGeneve(payload, checked));
}

/** What `encodeGeneve` writes. */
export interface EncodeGeneveHeader {
  /** EtherType of the payload: 0x0800, 0x86dd or 0x6558. Default 0x0800. */
  protocolType?: number;
  /** 0–0xffffff. Default 0. */
  vni?: number;
  /** O bit. Default false. */
  oam?: boolean;
  /** C bit. Default: whether an option is critical. */
  critical?: boolean;
  /** Written first, as options 1, 2 and 3 in this order. Default none. */
  gateway?: {
    /** `vpce-`, 0 and 16 hex digits. */
    endpointId: string;
    /** 64 bits. Default 0. */
    attachmentId?: bigint;
    /** Flow cookie, 32 bits. */
    cookie: number;
  };
  /** Class of the options of `gateway`. Default 0x0108. */
  optionClass?: number;
  /** Written behind those of `gateway`. Default none. Together at most 252 bytes. */
  options?: readonly GeneveOption[];
  /** Ignored, so that what `decodeGeneve` returned can be given back. */
  version?: number;
  /** Ignored likewise. */
  headerLength?: number;
}

/**
 * The bytes of a GENEVE header with its options. Throws `ERR_GWLB_INVALID_ARGUMENT` or
 * `ERR_GWLB_OUT_OF_RANGE`, naming the field.
 */
export function encodeGeneve(header: EncodeGeneveHeader): Uint8Array {
  const given = checkOptions('header', header, [
    'protocolType',
    'vni',
    'oam',
    'critical',
    'gateway',
    'optionClass',
    'options',
    'version',
    'headerLength',
  ]);
  const options: GeneveOption[] = [
    ...gatewayOptions(given.gateway, given.optionClass ?? OPTION_CLASS_AWS),
    ...checkGeneveOptions(given.options ?? []),
  ];
  const bytes = options.reduce((total, option) => total + 4 + option.data.length, 0);
  if (bytes > OPTIONS_BYTES_MAX) {
    throw outOfRange('header.options', `at most ${OPTIONS_BYTES_MAX} bytes in all`, bytes);
  }
  const critical = given.critical ?? options.some((option) => (option.type & 0x80) !== 0);
  const checked = {
    protocolType: checkInteger('header.protocolType', given.protocolType ?? 0x0800, 0, 0xffff),
    vni: checkInteger('header.vni', given.vni ?? 0, 0, 0xffffff),
    oam: checkBoolean('header.oam', given.oam ?? false),
    critical: checkBoolean('header.critical', critical),
    options,
  };
  return native(() => binding.encodeGeneve(checked));
}

function checkGeneveOptions(options: unknown): GeneveOption[] {
  const given = checkArray('header.options', options, 'an array', OPTIONS_BYTES_MAX / 4);
  return given.map((option, i) => {
    const field = `header.options[${i}]`;
    const given = checkOptions(field, option, ['class', 'type', 'data', 'critical']);
    const data = new Uint8Array(checkBytes(`${field}.data`, given.data));
    if (data.length % 4 !== 0 || data.length > OPTION_BYTES_MAX) {
      throw outOfRange(
        `${field}.data`,
        `a multiple of 4 bytes, at most ${OPTION_BYTES_MAX}`,
        data.length,
      );
    }
    return {
      class: checkInteger(`${field}.class`, given.class, 0, 0xffff),
      type: checkInteger(`${field}.type`, given.type, 0, 0xff),
      data,
    };
  });
}

function gatewayOptions(gateway: unknown, optionClass: unknown): GeneveOption[] {
  const type = checkInteger('header.optionClass', optionClass, 0, 0xffff);
  if (gateway === undefined) return [];
  const keys = ['endpointId', 'attachmentId', 'cookie'] as const;
  const given = checkOptions('header.gateway', gateway, keys);
  const id = endpointId.check('header.gateway.endpointId', given.endpointId);
  const attachment = attachmentId.check('header.gateway.attachmentId', given.attachmentId ?? 0n);
  const cookie = checkInteger('header.gateway.cookie', given.cookie, 0, 0xffffffff);
  const word = new Uint8Array(4);
  new DataView(word.buffer).setUint32(0, cookie);
  return [
    { class: type, type: 1, data: bigEndian64(id) },
    { class: type, type: 2, data: bigEndian64(attachment) },
    { class: type, type: 3, data: word },
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

/** Options of `decodeFrame`. */
export interface DecodeFrameOptions {
  /** Link type of the capture (LINKTYPE_), one of `LINK_TYPES` if it is to be read. Default 1, Ethernet. */
  link?: number;
  /** Bytes the frame had on the wire. Default: as many as are given. */
  wireLength?: number;
  /** Class of the gateway options. Default 0x0108. */
  optionClass?: number;
  /** UDP port that means GENEVE. Default 6081. */
  port?: number;
}

/**
 * Reads a captured frame: link, outer IP and UDP, GENEVE, inner packet. Returns null where it is no
 * GENEVE packet, or its link type is none of `LINK_TYPES`. Never throws for what the bytes are: `error` says what is wrong with them.
 */
export function decodeFrame(
  frame: Uint8Array,
  options: DecodeFrameOptions = {},
): DecodedFrame | null {
  const keys = ['link', 'wireLength', 'optionClass', 'port'] as const;
  const given = checkOptions('options', options, keys);
  const { length } = checkBytes('frame', frame);
  const numbers = [
    checkInteger('options.wireLength', given.wireLength ?? length, length, 0xffffffff),
    checkInteger('options.link', given.link ?? 1, 0, 0xffffffff),
    checkInteger('options.optionClass', given.optionClass ?? OPTION_CLASS_AWS, 0, 0xffff),
    checkInteger('options.port', given.port ?? GENEVE_PORT, 1, 0xffff),
  ] as const;
  const decoded = native(() => binding.decodeFrame(frame, ...numbers));
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
