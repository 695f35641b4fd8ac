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

/** A file that lines are appended to. What fails is tried again, and told to `failed`. */
export class FileSink implements FlowSink {
  readonly #file: ReturnType<typeof pino.destination>;
  #waiting = 0;

  /** Throws where the file cannot be opened. */
  constructor(path: string, failed: (error: Error) => void) {
    checkWritable(path);
    this.#file = pino.destination({
      dest: path,
      mode: MODE,
      append: true,
      sync: false,
      minLength: LEAST_BYTES,
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

/** Standard output, which the service's own log goes to as well. */
export class OutputSink implements FlowSink {
  readonly #output: NodeJS.WriteStream;

  constructor(output: NodeJS.WriteStream = process.stdout) {
    this.#output = output;
  }

  get waiting(): number {
    return this.#output.writableLength;
  }

  write(line: string): void {
    this.#output.write(line);
  }

  reopen(): void {}

  async close(): Promise<number> {
    return 0;
  }
}
