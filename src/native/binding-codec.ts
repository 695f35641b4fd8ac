/**
 * Types of the native parts that stand by themselves: batches, codec, captures and the flow table. See binding.ts.
 */

export interface NativeBatch {
  /** Descriptors and slots; one ArrayBuffer for the life of the batch. */
  readonly block: ArrayBuffer;
  readonly capacity: number;
  readonly stride: number;
  readonly headroom: number;
  /** Byte offset of each descriptor array in `block`. */
  readonly layout: Record<BatchField, number>;
}

/** One that JavaScript fills: it alone says how many packets are in it, with every call. */
export interface NativePacketBatch extends NativeBatch {
  /** What calls take for it. */
  readonly id: number;
  /** Byte offset of slot 0 in `block`; slot i is i strides behind it. */
  readonly slots: number;
}

export type BatchField =
  | 'hash'
  | 'offset'
  | 'length'
  | 'address'
  | 'cookie'
  | 'port'
  | 'source_port'
  | 'target'
  | 'endpoint'
  | 'verdict'
  | 'reason'
  | 'tos'
  | 'flags';

/** One frame of a capture, as `gwlb decode` prints it. */
export interface NativeDecodedFrame {
  isGeneve: boolean;
  outer: {
    version: number;
    source: Uint8Array;
    destination: Uint8Array;
    sourcePort: number;
    destinationPort: number;
    ttl: number;
    checksum: 'ok' | 'zero' | 'bad' | 'unknown';
  } | null;
  geneve: {
    offset: number;
    version: number;
    oam: boolean;
    critical: boolean;
    protocolType: number;
    vni: number;
    headerLength: number;
    options: { class: number; type: number; data: Uint8Array }[];
  } | null;
  gateway: { endpointId: bigint; attachmentId: bigint; cookie: number } | null;
  ethernet: {
    destination: Uint8Array;
    source: Uint8Array;
    etherType: number;
    vlan: number[];
  } | null;
  inner: {
    offset: number;
    version: number;
    source: Uint8Array;
    destination: Uint8Array;
    protocol: number;
    sourcePort: number | null;
    destinationPort: number | null;
    length: number;
    flags: number;
    tcpFlags: number;
  } | null;
  error: { reason: string; layer: string; offset: number; needed: number; had: number } | null;
}

/** Capture files. `file` is all of it, or a window: its first bytes, later those from `unread` on. */
export interface NativeCaptureReader {
  /**
   * null at the end or where the file is cut: see `error()` then; undefined where the window ends in
   * front of the next frame's end. `data` is a view of the window's bytes. Throws only where their buffer
   * was transferred or resized meanwhile.
   */
  next(): { data: Uint8Array; length: number; timeNs: bigint; link: number } | null | undefined;
  /** Bytes of the window that were not read: the next one begins with them. */
  unread(): number;
  /** The next window; `last` where it reaches the end of the file. */
  feed(file: Uint8Array, last: boolean): void;
  /** "" or a sentence saying where the file is cut. */
  error(): string;
}

/** What the addon has for capture files and their frames. */
export interface NativeCaptureFunctions {
  /** Throws an Error whose message is a sentence where the bytes are no capture file. */
  CaptureReader: new (
    file: Uint8Array,
    whole: boolean,
  ) => NativeCaptureReader;
  /** A pcap file's 24 bytes (nanoseconds) for a link type. */
  captureHeader(link: number): Uint8Array;
  captureRecord(data: Uint8Array, length: number, timeNs: bigint): Uint8Array;
  decodeFrame(
    frame: Uint8Array,
    wireLength: number,
    link: number,
    optionClass: number,
    port: number,
  ): NativeDecodedFrame;
  /**
   * Finds the IP packet that a frame carries: the inner one of a GENEVE packet (UDP to `port`), else its
   * own. 0: it is in `locatedWords`; 1: there is none; 2: the link type is not known.
   */
  locatePacket(
    frame: Uint8Array,
    wireLength: number,
    link: number,
    optionClass: number,
    port: number,
  ): number;
  /** What the last `locatePacket` found; see native/node/captured_packet.cc and src/replay/frames.ts. */
  locatedWords: Uint32Array;
  /**
   * Writes segment `k` of a TCP or UDP packet, cut into `segment` bytes of payload each, with lengths and
   * checksums of its own; returns its bytes, 0 where there is none. `out` has room for 65,535 bytes or
   * for the packet.
   */
  cutPacket(packet: Uint8Array, segment: number, k: number, out: Uint8Array): number;
}

export interface NativeFlowTable {
  readonly capacity: number;
  size(): number;
  memoryBytes(): number;
  /** `keys` holds n canonical keys of 16 (IPv4) or 40 (IPv6) bytes; writes n indices (0xffffffff: none). */
  lookup(keys: Uint8Array, count: number, indices: Uint32Array, nowMs: number): void;
  /** Index of the entry, or 0xffffffff where the table is full. A key that is there is changed. */
  insert(key: Uint8Array, value: number, nowMs: number): number;
  /** This and the next two: RangeError where no entry has the index. */
  value(index: number): number;
  setValue(index: number, value: number): void;
  erase(index: number): void;
  /** How many entries were idle for longer than the timeout, and are now erased. */
  sweep(nowMs: number, positions: number): number;
  clear(): void;
}
