/** Captured frames as the packets that enter an endpoint. */
import { binding } from '../native/binding.js';
import type { CapturedFrame } from '../packet/capture.js';
import { type DropReason, REASON_NAMES } from '../packet/names.js';

/** How GENEVE packets are told from others, and their options read. */
export interface FrameFormat {
  port: number;
  optionClass: number;
}

/** What a frame has for the gateway. */
export interface EnteringPacket {
  /**
   * From its IP header on, as long as that says, where the frame had so much; all that the frame had
   * where it says 0.
   */
  bytes: Uint8Array;
  /** Whether its IP header says that it has 0 bytes. */
  lengthZero: boolean;
  /** Bytes up to the payload of a whole TCP or UDP packet; 0 of another. */
  headers: number;
  /** With `headers`: where the TCP or UDP header begins, which of them it is, and its flags. */
  transport: number;
  protocol: number;
  tcpFlags: number;
  /** The endpoint that the GENEVE options name, or null. */
  endpointId: bigint | null;
}

export type FrameContent = EnteringPacket | { refused: DropReason | 'not_ip' | 'unknown_link' };

const NOT_IP: FrameContent = Object.freeze({ refused: 'not_ip' });
const UNKNOWN_LINK: FrameContent = Object.freeze({ refused: 'unknown_link' });

const WORDS = binding.locatedWords;

// native/node/captured_packet.cc, enum LocatedWord and enum Located.
const OFFSET = 0;
const REASON = 1;
const LENGTH = 2;
const LENGTH_ZERO = 3;
const HEADERS = 4;
const TRANSPORT = 5;
const PROTOCOL = 6;
const TCP_FLAGS = 7;
const HAS_ENDPOINT = 8;
const ENDPOINT_ID = 9;
const NO_IP = 1;
const LINK = 2;

/**
 * The packet inside of a frame. What the capture cut off is zeros: headers count as far as they were
 * captured. What the sender cut off stays cut off.
 */
export function packetOf(frame: CapturedFrame, format: FrameFormat): FrameContent {
  const { data, link } = frame;
  const found = binding.locatePacket(data, frame.length, link, format.optionClass, format.port);
  if (found === LINK) return UNKNOWN_LINK;
  if (found === NO_IP) return NOT_IP;
  if (WORDS[REASON] !== 0) return { refused: REASON_NAMES[WORDS[REASON]] as DropReason };
  const offset = WORDS[OFFSET];
  const length = WORDS[LENGTH];
  let bytes = data.subarray(offset, offset + length);
  if (bytes.length < length) {
    const whole = new Uint8Array(length);
    whole.set(bytes);
    bytes = whole;
  }
  return {
    bytes,
    lengthZero: WORDS[LENGTH_ZERO] !== 0,
    headers: WORDS[HEADERS],
    transport: WORDS[TRANSPORT],
    protocol: WORDS[PROTOCOL],
    tcpFlags: WORDS[TCP_FLAGS],
    endpointId: WORDS[HAS_ENDPOINT] === 0 ? null : endpointId(),
  };
}

function endpointId(): bigint {
  return (BigInt(WORDS[ENDPOINT_ID + 1]) << 32n) | BigInt(WORDS[ENDPOINT_ID]);
}
