/**
 * One connection between a socket and Node's HTTP parser: one request in, its answer out, within time.
 * The parser takes all the bytes it is given, so it is given few at a time, and none behind the request.
 */
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';

/** At most so many bytes behind the request are parsed (and refused) with its last ones. */
const SLICE_BYTES = 512;

/** What a client still sends is read for so long and so far, so that its answer is not cut by a RST. */
const LINGER_MS = 1_000;
const LINGER_BYTES = 1 << 20;

export class Exchange extends Duplex {
  /** Whether its answer has begun. */
  answered = false;
  /** Called when its socket is closed. */
  onDestroy: () => void = () => {};
  readonly #socket: Socket;
  readonly #writeMs: number;
  /** Read, and not yet the parser's. */
  #rest: Buffer = Buffer.alloc(0);
  #ended = false;
  #request: { readonly complete: boolean } | null = null;
  #timer: NodeJS.Timeout | undefined;
  #lingered = 0;

  constructor(socket: Socket, requestMs: number, writeMs: number) {
    super({ readableHighWaterMark: SLICE_BYTES });
    this.#socket = socket;
    this.#writeMs = writeMs;
    this.#endAfter(requestMs);
    socket.pause();
    socket.on('data', (chunk) => this.#take(chunk));
    socket.on('end', () => {
      this.#ended = true;
      if (this.answered) return;
      // Without a whole request there is nobody to answer.
      if (this.#rest.length === 0 && !this.#request?.complete) this.destroy();
    });
    socket.on('error', () => this.destroy());
    socket.on('close', () => this.destroy());
  }

  /** The parser has found this request's head: nothing behind its body is given to it. */
  takes(request: { readonly complete: boolean }): void {
    this.#request = request;
  }

  /** Our own time is over: from here on it is the client's, to read. */
  answers(): void {
    this.answered = true;
    this.#rest = Buffer.alloc(0);
    this.#endAfter(this.#writeMs);
  }

  override _read(): void {
    if (this.answered) return;
    if (this.#request?.complete) {
      // Its answer may take long, which is not the client's time.
      clearTimeout(this.#timer);
      return;
    }
    if (this.#rest.length === 0) {
      if (this.#ended) this.destroy();
      else this.#socket.resume();
      return;
    }
    const slice = this.#rest.subarray(0, SLICE_BYTES);
    this.#rest = this.#rest.subarray(slice.length);
    this.push(slice);
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    if (this.#socket.destroyed) done();
    else this.#socket.write(chunk, () => done());
  }

  override _final(done: (error?: Error | null) => void): void {
    done();
    this.#socket.end(() => this.#linger());
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    clearTimeout(this.#timer);
    this.#socket.destroy();
    this.onDestroy();
    done(error);
  }

  #take(chunk: Buffer): void {
    if (this.answered || this.#request?.complete) {
      this.#lingered += chunk.length;
      if (this.#lingered > LINGER_BYTES) this.destroy();
      return;
    }
    this.#socket.pause();
    this.#rest = chunk;
    this._read();
  }

  /** The whole answer is the kernel's. */
  #linger(): void {
    if (this.destroyed) return;
    if (this.#ended || this.#socket.readableEnded) {
      this.destroy();
      return;
    }
    this.#endAfter(LINGER_MS);
    this.#socket.once('end', () => this.destroy());
    this.#socket.resume();
  }

  #endAfter(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.destroy(), ms).unref();
  }
}
