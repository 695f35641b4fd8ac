/** Capture files: reading pcap and pcapng, writing pcap. */
import { closeSync, constants, ftruncateSync, openSync, writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { native as callNative, checkBytes } from '../base/checks.js';
import { checkInteger, GatewayError, invalidArgument, outOfRange, show } from '../base/errors.js';
import { integer } from '../base/option-kinds.js';
import { readOptions, type TableOf } from '../base/option-table.js';
import { binding } from '../native/binding.js';
import type { NativeCaptureReader } from '../native/binding-codec.js';
import { CaptureFile } from './capture-file.js';
import { LINK_TYPES, UnknownLinks } from './links.js';

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
  readonly #unknown = new UnknownLinks();
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

  /** The next frame; `done` after the last one, and after `return`. Then `error` tells whether it was the last. */
  next(): IteratorResult<CapturedFrame, undefined> {
    while (!this.#ended) {
      const frame = callNative(() => this.#native.next());
      if (frame) {
        if (!LINK_TYPES.has(frame.link)) this.#unknown.add(frame.link);
        return { done: false, value: frame };
      }
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

  /** Of the frames so far, a sentence that names link types that `decodeFrame` does not read; null for none. */
  get unknownLinks(): string | null {
    return this.#unknown.text;
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
  const path = typeof source === 'string' ? source : pathOf(source);
  const bytes = path === null ? checkBytes('source', source) : null;
  let file: CaptureFile | null = null;
  try {
    file = path === null ? null : new CaptureFile(path);
    const window = file?.next(new Uint8Array(0)) ?? (bytes as Uint8Array);
    const native = new binding.CaptureReader(window, file?.atEnd ?? true);
    return CaptureReader.of({ native, window, file });
  } catch (error) {
    file?.close();
    throw captureError(`cannot read ${path ?? 'these bytes'}`, error);
  }
}

/** The path that a `file:` URL names; null for anything but a URL. */
function pathOf(value: unknown): string | null {
  try {
    return value instanceof URL ? fileURLToPath(value.href) : null;
  } catch (error) {
    throw captureError('cannot open the URL', error);
  }
}

function captureError(what: string, cause: unknown): GatewayError {
  const told = cause instanceof Error ? cause.message : show(cause);
  return new GatewayError('ERR_GWLB_CAPTURE', `${what}: ${told}`, { cause });
}

/** As native code has it: the snap length of the file's header. */
const RECORD_BYTES_MAX = 262_144;

/** Options of a `PcapWriter`. */
export interface PcapWriterOptions {
  /** Link type of every frame (LINKTYPE_). Default 101, raw IP. */
  link?: number;
}

/** The options of a `PcapWriter`. */
export const PCAP_WRITER = {
  link: {
    says: 'link type of every frame (LINKTYPE_), by default raw IP',
    kind: integer(0, 0xffff),
    preset: 101,
  },
} as const satisfies TableOf<PcapWriterOptions>;

/** Writes a pcap file with nanosecond times. */
export class PcapWriter {
  /** Link type of the file. */
  readonly link: number;
  readonly #target: string;
  readonly #write: (bytes: Uint8Array) => void;
  #file: number | null = null;
  /** Bytes of whole pieces in the file. */
  #size = 0;
  #closed = false;

  /**
   * `target` is a path (written at once, synchronously) or a function that takes the bytes; what that
   * throws passes through. Throws `ERR_GWLB_CAPTURE` where the file cannot be made.
   */
  constructor(
    target: string | URL | ((bytes: Uint8Array) => void),
    options: PcapWriterOptions = {},
  ) {
    this.link = readOptions(PCAP_WRITER, 'options', options).link;
    if (typeof target === 'function') {
      this.#target = 'the capture';
      this.#write = target;
    } else {
      const path = typeof target === 'string' ? target : pathOf(target);
      if (path === null) throw invalidArgument('target', 'a path or a function', target);
      this.#target = path;
      const file = openFile(path);
      this.#file = file;
      this.#write = (bytes) => this.#append(file, bytes);
    }
    try {
      this.#write(callNative(() => binding.captureHeader(this.link)));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Appends a frame. `timeNs` is nanoseconds since 1970, by default now; `length` what it had on the
   * wire, by default all of it. Throws `ERR_GWLB_CLOSED` after `close`, and `ERR_GWLB_CAPTURE` where the
   * file cannot be written; it has no part of the frame then.
   */
  write(data: Uint8Array, timeNs: bigint = BigInt(Date.now()) * 1_000_000n, length?: number): void {
    if (this.#closed) {
      throw new GatewayError('ERR_GWLB_CLOSED', `${this.#target}: the writer was closed`);
    }
    const bytes = checkBytes('data', data).length;
    if (bytes > RECORD_BYTES_MAX) {
      throw outOfRange('data', `at most ${RECORD_BYTES_MAX} bytes`, bytes);
    }
    if (typeof timeNs !== 'bigint' || timeNs < 0n || timeNs >= 1n << 64n) {
      throw invalidArgument('timeNs', 'a bigint of nanoseconds, below 2^64', timeNs);
    }
    const wire = checkInteger('length', length ?? bytes, bytes, 0xffffffff);
    this.#write(callNative(() => binding.captureRecord(data, wire, timeNs)));
  }

  /** Closes the file; nothing can be written any more. Idempotent. */
  close(): void {
    this.#closed = true;
    const file = this.#file;
    this.#file = null;
    if (file === null) return;
    try {
      closeSync(file);
    } catch (error) {
      throw captureError(`cannot write ${this.#target}`, error);
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Takes a part that was written away again; a pipe keeps it. */
  #cut(file: number): void {
    try {
      ftruncateSync(file, this.#size);
    } catch {
      // What stopped the write is told.
    }
  }

  #append(file: number, bytes: Uint8Array): void {
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
      this.#size += bytes.length;
    } catch (error) {
      this.#cut(file);
      throw captureError(`cannot write ${this.#target}`, error);
    }
  }
}

/** For writing from the beginning, always at the end: also after a part was taken away again. */
function openFile(path: string): number {
  const { O_WRONLY, O_CREAT, O_TRUNC, O_APPEND } = constants;
  try {
    return openSync(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND);
  } catch (error) {
    throw captureError(`cannot write ${path}`, error);
  }
}
