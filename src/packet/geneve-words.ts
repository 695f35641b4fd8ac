/** What native code says of a GENEVE header: words in one block of memory, read into objects here. */
import { binding } from '../native/binding.js';
import type { DecodedGeneve, DecodeError, GeneveHeader, GeneveOption } from './geneve-types.js';
import { type DropReason, REASON_NAMES } from './names.js';

const WORDS = binding.geneveWords;

// native/node/codec.cc, enum GeneveWord.
const PRESENT = 0;
const FLAGS = 1;
const PROTOCOL_TYPE = 2;
const VNI = 3;
const HEADER_LENGTH = 4;
const OPTION_COUNT = 5;
const REASON = 6;
const LAYER = 7;
const OFFSET = 8;
const NEEDED = 9;
const HAD = 10;
const COOKIE = 11;
const ENDPOINT_ID = 12;
const ATTACHMENT_ID = 14;
const OPTIONS = 16;

/** Decodes, with copies of the options' data. */
export function readGeneve(payload: Uint8Array, optionClass: number): DecodedGeneve {
  binding.decodeGeneve(payload, optionClass);
  const present = WORDS[PRESENT];
  return {
    header: present & 1 ? header(payload) : null,
    gateway:
      present & 2
        ? {
            endpointId: `vpce-0${hex(WORDS[ENDPOINT_ID + 1])}${hex(WORDS[ENDPOINT_ID])}`,
            attachmentId: wide(WORDS[ATTACHMENT_ID + 1], WORDS[ATTACHMENT_ID]),
            cookie: WORDS[COOKIE],
          }
        : null,
    error: present & 4 ? error() : null,
  };
}

function header(payload: Uint8Array): GeneveHeader {
  const flags = WORDS[FLAGS];
  return {
    version: flags & 0xff,
    oam: (flags & 0x100) !== 0,
    critical: (flags & 0x200) !== 0,
    protocolType: WORDS[PROTOCOL_TYPE],
    vni: WORDS[VNI],
    headerLength: WORDS[HEADER_LENGTH],
    options: options(payload),
  };
}

function options(payload: Uint8Array): GeneveOption[] {
  const found: GeneveOption[] = [];
  const end = OPTIONS + 2 * WORDS[OPTION_COUNT];
  for (let at = OPTIONS; at < end; at += 2) {
    const word = WORDS[at];
    const from = WORDS[at + 1];
    const data = new Uint8Array(word >>> 24);
    // Faster than `slice` and `set` for a few bytes.
    for (let i = 0; i < data.length; i++) data[i] = payload[from + i];
    found.push({ class: word & 0xffff, type: (word >>> 16) & 0xff, data });
  }
  return found;
}

function error(): DecodeError {
  return {
    reason: REASON_NAMES[WORDS[REASON]] as DropReason,
    layer: binding.layers[WORDS[LAYER]],
    offset: WORDS[OFFSET],
    needed: WORDS[NEEDED],
    had: WORDS[HAD],
  };
}

function wide(high: number, low: number): bigint {
  return high === 0 ? BigInt(low) : (BigInt(high) << 32n) | BigInt(low);
}

/** 8 digits. */
function hex(word: number): string {
  return word.toString(16).padStart(8, '0');
}
