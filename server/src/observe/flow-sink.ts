/** Where the lines of a flow log go: a file that may be rotated, or standard output. */
import { closeSync, constants, write } from 'node:fs';
import { openRegular } from '../config/regular-file.js';

/** What was not written. */
export interface Unwritten {
  bytes: number;
  records: number;
}

/** Takes lines, and tells how many bytes of them wait. */
export interface FlowSink {
  /** Bytes that are not written yet. */
  readonly waiting: number;
  /** `records`: how many of the lines are told to be written, by `onWritten`. */
  write(line: string, records: number): void;
  /** Goes on in a new file of this name; throws where it cannot be opened. */
  reopen(path: string): void;
  /** Resolves with what could not be written. */
  close(): Promise<Unwritten>;
}

export interface FlowSinkEvents {
  /** Records that are in the file now. */
  written(records: number): void;
  /** It cannot be written; it is tried again. */
  failed(error: Error): void;
}

/** For its owner and group to read: flows tell who talked to whom. */
const MODE = 0o640;

/** Bytes that are worth a write of their own; fewer wait for up to a second. */
const LEAST_BYTES = 8192;
const FLUSH_MS = 1000;
/** What one write takes at most. */
const PIECE_BYTES = 64 * 1024;
/** A pipe that is full is tried again after so long. */
const FULL_MS = 100;
const CLOSE_MS = 5000;

/** Pipes take so much at once without anybody else's lines in between (PIPE_BUF of Linux). */
const PIPE_BYTES = 4096;

const STANDARD_OUTPUT = 1;

function openLog(path: string): number {
  return openRegular(path, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT, MODE);
}

/** Throws where the file cannot be opened for writing. Makes it where it does not exist. */
export function checkWritable(path: string): void {
  closeSync(openLog(path));
}

/** Lines that go in one write. */
interface Piece {
  text: string[];
  /** Of them, when they are on their way: what is not written yet. */
  left: Buffer | null;
  bytes: number;
  records: number;
}

/**
 * A file that lines are appended to, or standard output (path null), which the service's own log goes
 * to as well. What fails is tried again.
 */
export class FileSink implements FlowSink {
  readonly #events: FlowSinkEvents;
  readonly #rotates: boolean;
  readonly #pieceBytes: number;
  readonly #leastBytes: number;
  readonly #timer: NodeJS.Timeout;
  readonly #pieces: Piece[] = [];
  #file: number;
  /** Opened, and written to as soon as nothing is on its way to the one before. */
  #next: number | null = null;
  #waiting = 0;
  #writing = false;
  #again: NodeJS.Timeout | null = null;
  /** Of `close`: to be called when all is written, or nothing more can be. */
  #over: (() => void) | null = null;
  #closed = false;

  /** Throws where the file cannot be opened. */
  constructor(path: string | null, events: FlowSinkEvents) {
    this.#file = path === null ? STANDARD_OUTPUT : openLog(path);
    this.#rotates = path !== null;
    this.#pieceBytes = path === null ? PIPE_BYTES : PIECE_BYTES;
    this.#leastBytes = path === null ? PIPE_BYTES / 2 : LEAST_BYTES;
    this.#events = events;
    this.#timer = setInterval(() => this.#flush(), FLUSH_MS).unref();
  }

  get waiting(): number {
    return this.#waiting;
  }

  write(line: string, records: number): void {
    const bytes = Buffer.byteLength(line);
    let piece = this.#pieces.at(-1);
    if (!piece || piece.left !== null || piece.bytes + bytes > this.#pieceBytes) {
      piece = { text: [], left: null, bytes: 0, records: 0 };
      this.#pieces.push(piece);
    }
    piece.text.push(line);
    piece.bytes += bytes;
    piece.records += records;
    this.#waiting += bytes;
    if (this.#waiting >= this.#leastBytes) this.#flush();
  }

  reopen(path: string): void {
    if (!this.#rotates) return;
    const file = openLog(path);
    if (this.#next !== null) closeSync(this.#next);
    this.#next = file;
    if (!this.#writing) this.#goOnInNext();
  }

  async close(): Promise<Unwritten> {
    clearInterval(this.#timer);
    if (this.#again) clearTimeout(this.#again);
    this.#again = null;
    if (this.#waiting > 0) await this.#writeRest();
    this.#closed = true;
    // What is on its way keeps its file: its number may be another's a moment later.
    if (!this.#writing) this.#closeFiles();
    const records = this.#pieces.reduce((sum, piece) => sum + piece.records, 0);
    return { bytes: this.#waiting, records };
  }

  #writeRest(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, CLOSE_MS);
      this.#over = () => {
        clearTimeout(timer);
        resolve();
      };
      this.#flush();
    });
  }

  #closeFiles(): void {
    if (!this.#rotates) return;
    this.#goOnInNext();
    closeSync(this.#file);
  }

  #goOnInNext(): void {
    if (this.#next === null) return;
    closeSync(this.#file);
    this.#file = this.#next;
    this.#next = null;
  }

  #flush(): void {
    const [piece] = this.#pieces;
    if (!piece || this.#writing || this.#again !== null) return;
    piece.left ??= Buffer.from(piece.text.join(''));
    piece.text = [];
    this.#writing = true;
    write(this.#file, piece.left, 0, piece.left.length, null, (error, bytes) => {
      this.#writing = false;
      if (error === null) this.#took(piece, bytes);
      if (this.#closed) return this.#closeFiles();
      this.#goOnInNext();
      if (error !== null) return this.#failed(error);
      if (this.#pieces.length === 0) this.#over?.();
      else if (this.#over || this.#waiting >= this.#leastBytes) this.#flush();
    });
  }

  #took(piece: Piece, bytes: number): void {
    const left = piece.left?.subarray(bytes);
    this.#waiting -= bytes;
    piece.left = left ?? null;
    if (left !== undefined && left.length > 0) return;
    this.#pieces.shift();
    if (piece.records > 0) this.#events.written(piece.records);
  }

  /** Lines wait for better times, unless it is the end. */
  #failed(error: NodeJS.ErrnoException): void {
    const full = error.code === 'EAGAIN';
    if (!full) this.#events.failed(error);
    if (this.#over && !full) {
      this.#over();
      return;
    }
    const again = () => {
      this.#again = null;
      this.#flush();
    };
    this.#again = setTimeout(again, full ? FULL_MS : FLUSH_MS);
    if (!this.#over) this.#again.unref();
  }
}
