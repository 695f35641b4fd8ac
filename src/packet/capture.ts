/** Capture files: reading pcap and pcapng, writing pcap. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { binding } from '../binding.js';
import type { NativeCaptureReader } from '../binding-codec.js';
import {
  checkInteger,
  checkOptions,
  GatewayError,
  invalidArgument,
  outOfRange,
} from '../errors.js';
import { CaptureFile } from './capture-file.js';

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

/** A capture as native code reads it. */
interface Source {
  readonly native: NativeCaptureReader;
  /** What native code has of it: all where there is no `file`. */
  readonly window: Uint8Array;
  readonly file: CaptureFile | null;
}

/**
 * The frames of a capture, in the order of the file; made by `readCapture`. Of a file one window at a time
 * is in memory, and what its frames' `data` views. It is closed at its end and where a loop is left.
 */
export class CaptureReader implements IterableIterator<CapturedFrame> {
  readonly #native: NativeCaptureReader;
  readonly #file: CaptureFile | null;
  #window: Uint8Array;
  #failure: string | null = null;
  #ended = false;

  private constructor(key: symbol, { native, window, file }: Source) {
    if (key !== PRIVATE) throw invalidArgument('CaptureReader', 'a call of readCapture', key);
    this.#native = native;
    this.#window = window;
    this.#file = file;
  }

  /** @internal For `readCapture`. */
  static of(source: Source): CaptureReader {
    return new CaptureReader(PRIVATE, source);
  }

  next(): IteratorResult<CapturedFrame, undefined> {
    while (!this.#ended) {
      const frame = this.#native.next();
      if (frame) return { done: false, value: frame };
      if (frame === null || !this.#readOn()) break;
    }
    return this.return();
  }

  /** Ends the reading; there are no more frames then. Idempotent. */
  return(): IteratorResult<CapturedFrame, undefined> {
    this.#ended = true;
    this.#file?.close();
    return { done: true, value: undefined };
  }

  /** After the last frame: null, or a sentence that says where the file is cut or wrong. */
  get error(): string | null {
    return this.#failure ?? (this.#native.error() || null);
  }

  [Symbol.iterator](): this {
    return this;
  }

  /** Takes the next window; false where there is none to be had. */
  #readOn(): boolean {
    const file = this.#file;
    if (file === null || file.atEnd) return false;
    try {
      const unread = this.#native.unread();
      this.#window = file.next(this.#window.subarray(this.#window.length - unread));
      this.#native.feed(this.#window, file.atEnd);
      return true;
    } catch (error) {
      this.#failure = `cannot read on: ${(error as Error).message}`;
      return false;
    }
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
  let file: CaptureFile | null = null;
  try {
    file = named ? new CaptureFile(source) : null;
    const window = named ? (file as CaptureFile).next(new Uint8Array(0)) : source;
    const native = new binding.CaptureReader(window, file?.atEnd ?? true);
    return CaptureReader.of({ native, window, file });
  } catch (error) {
    file?.close();
    throw captureError(`cannot read ${named ? String(source) : 'these bytes'}`, error);
  }
}

function captureError(what: string, cause: unknown): GatewayError {
  const told = cause instanceof Error ? cause.message : String(cause);
  return new GatewayError('ERR_GWLB_CAPTURE', `${what}: ${told}`, { cause });
}

/** As native code has it: the snap length of the file's header. */
const RECORD_BYTES_MAX = 262_144;

export interface PcapWriterOptions {
  /** Link type of every frame (LINKTYPE_). Default 101, raw IP. */
  link?: number;
}

/** Writes a pcap file with nanosecond times. */
export class PcapWriter {
  /** Link type of the file. */
  readonly link: number;
  readonly #target: string;
  readonly #write: (bytes: Uint8Array) => void;
  #file: number | null = null;
  #closed = false;

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
    this.#target = typeof target === 'function' ? 'the capture' : String(target);
    if (typeof target === 'function') {
      this.#write = target;
    } else if (typeof target === 'string' || target instanceof URL) {
      const file = openFile(target);
      this.#file = file;
      this.#write = (bytes) => this.#append(file, bytes);
    } else {
      throw invalidArgument('target', 'a path or a function', target);
    }
    try {
      this.#write(binding.captureHeader(this.link));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Appends a frame. `timeNs` is nanoseconds since 1970, by default now; `length` what it had on the
   * wire, by default all of it. Throws `ERR_GWLB_CLOSED` after `close`, and `ERR_GWLB_CAPTURE` where the
   * file cannot be written.
   */
  write(
    data: Uint8Array,
    timeNs: bigint = BigInt(Date.now()) * 1_000_000n,
    length = data.length,
  ): void {
    if (this.#closed) {
      throw new GatewayError('ERR_GWLB_CLOSED', `${this.#target}: the writer was closed`);
    }
    if (!(data instanceof Uint8Array)) throw invalidArgument('data', 'a Uint8Array', data);
    if (data.length > RECORD_BYTES_MAX) {
      throw outOfRange('data', `at most ${RECORD_BYTES_MAX} bytes`, data.length);
    }
    if (typeof timeNs !== 'bigint' || timeNs < 0n || timeNs >= 1n << 64n) {
      throw invalidArgument('timeNs', 'a bigint of nanoseconds, below 2^64', timeNs);
    }
    checkInteger('length', length, data.length, 0xffffffff);
    this.#write(binding.captureRecord(data, length, timeNs));
  }

  /** Closes the file; nothing can be written any more. Idempotent. */
  close(): void {
    this.#closed = true;
    const file = this.#file;
    this.#file = null;
    if (file !== null) closeSync(file);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #append(file: number, bytes: Uint8Array): void {
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
    } catch (error) {
      throw captureError(`cannot write ${this.#target}`, error);
    }
  }
}

function openFile(path: string | URL): number {
  try {
    return openSync(path, 'w');
  } catch (error) {
    throw captureError(`cannot write ${path}`, error);
  }
}
