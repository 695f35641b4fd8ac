/** Where the lines of a flow log go: a file that may be rotated, or standard output. */
import { closeSync, openSync } from 'node:fs';
import { pino } from 'pino';

/** Takes lines, and tells how many bytes of them wait. */
export interface FlowSink {
  readonly waiting: number;
  write(line: string): void;
  /** Goes on in a new file of this name; throws where it cannot be opened. */
  reopen(path: string): void;
  /** Resolves with the bytes that could not be written. */
  close(): Promise<number>;
}

/** For its owner and group to read: flows tell who talked to whom. */
const MODE = 0o640;

/** Bytes that are worth a write of their own; fewer wait for up to a second. */
const LEAST_BYTES = 8192;
const FLUSH_MS = 1000;
const CLOSE_MS = 5000;

/** Throws where the file cannot be opened for writing. Makes it where it does not exist. */
export function checkWritable(path: string): void {
  closeSync(openSync(path, 'a', MODE));
}

/** Pipes take so much at once without anybody else's lines in between (PIPE_BUF of Linux). */
const PIPE_BYTES = 4096;

/**
 * A file that lines are appended to, or standard output (path null), which the service's own log goes
 * to as well. What fails is tried again, and told to `failed`.
 */
export class FileSink implements FlowSink {
  readonly #file: ReturnType<typeof pino.destination>;
  readonly #rotates: boolean;
  #waiting = 0;

  /** Throws where the file cannot be opened. */
  constructor(path: string | null, failed: (error: Error) => void) {
    if (path !== null) checkWritable(path);
    this.#rotates = path !== null;
    this.#file = pino.destination({
      ...(path === null
        ? { dest: 1, minLength: PIPE_BYTES / 2, maxWrite: PIPE_BYTES }
        : { dest: path, mode: MODE, append: true, minLength: LEAST_BYTES }),
      sync: false,
      periodicFlush: FLUSH_MS,
    });
    this.#file.on('write', (bytes: number) => {
      this.#waiting -= bytes;
    });
    this.#file.on('error', failed);
  }

  get waiting(): number {
    return this.#waiting;
  }

  write(line: string): void {
    this.#waiting += Buffer.byteLength(line);
    this.#file.write(line);
  }

  reopen(path: string): void {
    if (!this.#rotates) return;
    checkWritable(path);
    this.#file.reopen(path);
  }

  async close(): Promise<number> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, CLOSE_MS);
      const over = () => {
        clearTimeout(timer);
        resolve();
      };
      this.#file.once('close', over);
      this.#file.once('error', over);
      this.#file.end();
    });
    if (this.#waiting > 0) this.#file.destroy();
    return this.#waiting;
  }
}
