/** Capture files: reading pcap and pcapng, writing pcap. */
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { binding } from '../binding.js';
import type { NativeCaptureReader } from '../binding-codec.js';
import { checkInteger, checkOptions, GatewayError, invalidArgument } from '../errors.js';

/** One frame of a capture. */
export interface CapturedFrame {
  /** The bytes that were captured. */
  data: Uint8Array;
  /** Bytes the frame had on the wire; above `data.length` where the capture was cut. */
  length: number;
  /** Since 1970, in nanoseconds. */
  timeNs: bigint;
  /** Link type (LINKTYPE_): 1 Ethernet, 101 raw IP, 113 Linux cooked, … */
  link: number;
}

/** What only `readCapture` can give to the constructor. */
const PRIVATE = Symbol('readCapture');

/** The frames of a capture, in the order of the file; made by `readCapture`. */
export class CaptureReader implements IterableIterator<CapturedFrame> {
  readonly #native: NativeCaptureReader;

  private constructor(key: symbol, native: NativeCaptureReader) {
    if (key !== PRIVATE) throw invalidArgument('CaptureReader', 'a call of readCapture', key);
    this.#native = native;
  }

  /** @internal For `readCapture`. */
  static of(native: NativeCaptureReader): CaptureReader {
    return new CaptureReader(PRIVATE, native);
  }

  next(): IteratorResult<CapturedFrame, undefined> {
    const frame = this.#native.next();
    return frame === null ? { done: true, value: undefined } : { done: false, value: frame };
  }

  /** After the last frame: null, or a sentence that says where the file is cut or wrong. */
  get error(): string | null {
    return this.#native.error() || null;
  }

  [Symbol.iterator](): this {
    return this;
  }
}

/**
 * Opens a capture: pcap (micro- and nanoseconds, both byte orders) or pcapng, as bytes or as a path.
 * Throws `ERR_GWLB_CAPTURE` where it cannot be read or is no capture.
 *
 * ```ts
 * const capture = readCapture('gateway.pcap');
 * for (const frame of capture) console.log(decodeFrame(frame.data, { link: frame.link }));
 * if (capture.error) console.error(capture.error);
 * ```
 */
export function readCapture(source: Uint8Array | string | URL): CaptureReader {
  const named = typeof source === 'string' || source instanceof URL;
  if (!named && !(source instanceof Uint8Array)) {
    throw invalidArgument('source', 'a Uint8Array or a path', source);
  }
  const name = named ? String(source) : 'these bytes';
  try {
    return CaptureReader.of(new binding.CaptureReader(named ? readFileSync(source) : source));
  } catch (error) {
    throw captureError(`cannot read ${name}`, error);
  }
}

function captureError(what: string, cause: unknown): GatewayError {
  const told = cause instanceof Error ? cause.message : String(cause);
  return new GatewayError('ERR_GWLB_CAPTURE', `${what}: ${told}`, { cause });
}

export interface PcapWriterOptions {
  /** Link type of every frame (LINKTYPE_). Default 101, raw IP. */
  link?: number;
}

/** Writes a pcap file with nanosecond times. */
export class PcapWriter {
  /** Link type of the file. */
  readonly link: number;
  readonly #write: (bytes: Uint8Array) => void;
  #file: number | null = null;

  /**
   * `target` is a path (written at once, synchronously) or a function that takes the bytes. Throws
   * `ERR_GWLB_CAPTURE` where the file cannot be made.
   */
  constructor(
    target: string | URL | ((bytes: Uint8Array) => void),
    options: PcapWriterOptions = {},
  ) {
    const { link = 101 } = checkOptions('options', options, ['link']);
    this.link = checkInteger('options.link', link, 0, 0xffff);
    if (typeof target === 'function') {
      this.#write = target;
    } else if (typeof target === 'string' || target instanceof URL) {
      const file = openFile(target);
      this.#file = file;
      this.#write = (bytes) => writeAll(file, bytes);
    } else {
      throw invalidArgument('target', 'a path or a function', target);
    }
    this.#write(binding.captureHeader(this.link));
  }

  /**
   * Appends a frame. `timeNs` is nanoseconds since 1970, by default now; `length` what it had on the
   * wire, by default all of it.
   */
  write(
    data: Uint8Array,
    timeNs: bigint = BigInt(Date.now()) * 1_000_000n,
    length = data.length,
  ): void {
    if (!(data instanceof Uint8Array)) throw invalidArgument('data', 'a Uint8Array', data);
    if (typeof timeNs !== 'bigint' || timeNs < 0n) {
      throw invalidArgument('timeNs', 'a bigint of nanoseconds', timeNs);
    }
    checkInteger('length', length, data.length, 0xffffffff);
    this.#write(binding.captureRecord(data, length, timeNs));
  }

  /** Closes the file; idempotent. */
  close(): void {
    if (this.#file === null) return;
    closeSync(this.#file);
    this.#file = null;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function openFile(path: string | URL): number {
  try {
    return openSync(path, 'w');
  } catch (error) {
    throw captureError(`cannot write ${path}`, error);
  }
}

function writeAll(file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
}
