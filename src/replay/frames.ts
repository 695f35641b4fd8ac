/** Captured frames as the packets that enter an endpoint. */
import { binding } from '../binding.js';
import type { CapturedFrame } from '../packet/capture.js';
import type { DropReason } from '../packet/names.js';

/** How GENEVE packets are told from others, and their options read. */
export interface FrameFormat {
  port: number;
  optionClass: number;
}

/** What a frame has for the gateway. */
export interface EnteringPacket {
  /** From its IP header on; as many bytes as the IP header says, where the frame had them. */
  bytes: Uint8Array;
  /** The endpoint that the GENEVE options name, or null. */
  endpointId: bigint | null;
}

export type FrameContent = EnteringPacket | { refused: DropReason | 'not_ip' };

const NOT_IP: FrameContent = Object.freeze({ refused: 'not_ip' });

/** Bytes of the packet by its IP header; null where that is not there, or says nothing. */
function statedLength(bytes: Uint8Array): number | null {
  const version = bytes.length > 0 ? bytes[0] >>> 4 : 0;
  if (version === 4 && bytes.length >= 20) return (bytes[2] << 8) | bytes[3] || null;
  if (version === 6 && bytes.length >= 40) return 40 + ((bytes[4] << 8) | bytes[5]);
  return null;
}

/**
 * The packet inside of a frame. What the capture cut off is zeros: headers count as far as they were
 * captured. What the sender cut off stays cut off.
 */
export function packetOf(frame: CapturedFrame, format: FrameFormat): FrameContent {
  const { data, link } = frame;
  const { port, optionClass } = format;
  const found = binding.locatePacket(data, frame.length, link, optionClass, port);
  if (found === null) return NOT_IP;
  const { offset, end, reason, endpointId } = found;
  if (reason !== null) return { refused: reason as DropReason };
  const captured = data.subarray(offset, Math.min(end, data.length));
  const stated = statedLength(captured);
  if (stated === null) return { bytes: captured, endpointId };
  const length = Math.min(stated, end - offset);
  if (length <= captured.length) return { bytes: captured.subarray(0, length), endpointId };
  const bytes = new Uint8Array(length);
  bytes.set(captured);
  return { bytes, endpointId };
}
