/** What the codec is given: headers and options, each described once. */
import { checkArray, checkBytes } from '../base/checks.js';
import { outOfRange } from '../base/errors.js';
import { object, schemaOf } from '../base/option-description.js';
import { flag, integer, type Kind, special } from '../base/option-kinds.js';
import { readOptions, type SettingsOf, type TableOf } from '../base/option-table.js';
import type { GeneveOption } from './geneve-types.js';
import { attachmentId, endpointId, optionClass, portNumber } from './option-kinds.js';

/** Option class of AWS; others use the same layout under another class (Tencent: 0x0167). */
export const OPTION_CLASS_AWS = 0x0108;

/** UDP port of GENEVE. */
export const GENEVE_PORT = 6081;

/** Bytes of all options of a header. */
export const OPTIONS_BYTES_MAX = 252;
const OPTION_BYTES_MAX = 124;

/** Largest number of 32 bits. */
export const UINT32_MAX = 0xffffffff;

/** Options of `decodeGeneve`. */
export interface DecodeGeneveOptions {
  /** Class of the gateway options. Default 0x0108. */
  optionClass?: number;
}

/** The options of `decodeGeneve`. */
export const DECODE_GENEVE = {
  optionClass: {
    says: 'class of the gateway options',
    kind: optionClass,
    preset: OPTION_CLASS_AWS,
  },
} as const satisfies TableOf<DecodeGeneveOptions>;

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

/** What `decodeGeneve` says and `encodeGeneve` makes out for itself. */
function ignored<In>(says: string) {
  const kind: Kind<undefined, In> = special('anything', {}, () => undefined);
  return { says, kind, preset: undefined, presetText: 'none' } as const;
}

const optionData: Kind<Uint8Array> = special(
  `a multiple of 4 bytes, at most ${OPTION_BYTES_MAX}`,
  {},
  (field, value) => {
    const data = new Uint8Array(checkBytes(field, value));
    if (data.length % 4 === 0 && data.length <= OPTION_BYTES_MAX) return data;
    throw outOfRange(field, `a multiple of 4 bytes, at most ${OPTION_BYTES_MAX}`, data.length);
  },
);

const GENEVE_OPTION = {
  class: { says: 'option class', kind: integer(0, 0xffff) },
  type: { says: 'type, with the critical bit', kind: integer(0, 0xff) },
  data: { says: 'its bytes', kind: optionData },
  critical: ignored<boolean>('is in the type'),
} as const satisfies TableOf<GeneveOption & { critical?: boolean }>;

const geneveOptions: Kind<GeneveOption[], readonly GeneveOption[]> = special(
  'GENEVE options',
  { type: 'array', items: schemaOf(GENEVE_OPTION) },
  (field, value) =>
    checkArray(field, value, 'an array', OPTIONS_BYTES_MAX / 4).map((option, i) => {
      const { class: of, type, data } = readOptions(GENEVE_OPTION, `${field}[${i}]`, option);
      return { class: of, type, data };
    }),
);

type GatewayPart = NonNullable<EncodeGeneveHeader['gateway']>;

const GENEVE_GATEWAY = {
  endpointId: { says: 'id of the endpoint, option type 1', kind: endpointId },
  attachmentId: {
    says: 'attachment id, option type 2',
    kind: attachmentId,
    preset: 0n,
    presetText: '0',
  },
  cookie: { says: 'flow cookie, option type 3', kind: integer(0, UINT32_MAX) },
} as const satisfies TableOf<GatewayPart>;

/** A gateway's options, checked. */
export type CheckedGatewayPart = SettingsOf<typeof GENEVE_GATEWAY>;

/** What `encodeGeneve` writes. */
export const GENEVE_HEADER = {
  protocolType: {
    says: 'EtherType of the payload: 0x0800, 0x86dd or 0x6558',
    kind: integer(0, 0xffff),
    preset: 0x0800,
  },
  vni: { says: 'VNI', kind: integer(0, 0xffffff), preset: 0 },
  oam: { says: 'O bit', kind: flag, preset: false },
  critical: {
    says: 'C bit',
    kind: flag as Kind<boolean | null, boolean>,
    preset: null,
    presetText: 'whether an option is critical',
  },
  gateway: {
    says: 'written first, as options 1, 2 and 3 in this order',
    kind: object<typeof GENEVE_GATEWAY, GatewayPart>(GENEVE_GATEWAY) as Kind<
      CheckedGatewayPart | null,
      GatewayPart
    >,
    preset: null,
    presetText: 'none',
  },
  optionClass: {
    says: 'class of the options of `gateway`',
    kind: optionClass,
    preset: OPTION_CLASS_AWS,
  },
  options: {
    says: `written behind those of \`gateway\`; together at most ${OPTIONS_BYTES_MAX} bytes`,
    kind: geneveOptions,
    preset: () => [],
    presetText: 'none',
  },
  version: ignored<number>('is always 0'),
  headerLength: ignored<number>('follows from the options'),
} as const satisfies TableOf<EncodeGeneveHeader>;

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

/** The options of `decodeFrame`. */
export const DECODE_FRAME = {
  link: {
    says: 'link type of the capture (LINKTYPE_), by default Ethernet',
    kind: integer(0, UINT32_MAX),
    preset: 1,
  },
  wireLength: {
    says: 'bytes the frame had on the wire',
    kind: integer(0, UINT32_MAX) as Kind<number | null, number>,
    preset: null,
    presetText: 'as many as are given',
  },
  ...DECODE_GENEVE,
  port: { says: 'UDP port that means GENEVE', kind: portNumber, preset: GENEVE_PORT },
} as const satisfies TableOf<DecodeFrameOptions>;
