/** A capture file on disk, read in windows so that its size does not matter. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/** Bytes read at once; more where one record is longer. */
const WINDOW = 1 << 20;

/** Files of readers that nobody went over to the end. */
const forgotten = new FinalizationRegistry((file: number) => closeSync(file));

export class CaptureFile {
  #file: number | null;
  /** Bytes of the next window. */
  #room = WINDOW;

  /** Throws system errors. */
  constructor(path: string | URL) {
    this.#file = openSync(path, 'r');
    forgotten.register(this, this.#file, this);
    const stat = fstatSync(this.#file);
    // One byte more than there is shows the end.
    if (stat.isFile()) this.#room = Math.min(WINDOW, stat.size + 1);
  }

  /** Whether all of it was read. */
  get atEnd(): boolean {
    return this.#file === null;
  }

  /**
   * A new window: these bytes, and what follows them in the file. Memory of windows before it is not
   * touched, since frames are views of it.
   */
  next(unread: Uint8Array): Uint8Array {
    const window = Buffer.allocUnsafeSlow(Math.max(this.#room, 2 * unread.length));
    this.#room = WINDOW;
    window.set(unread);
    let end = unread.length;
    while (this.#file !== null && end < window.length) {
      const got = readSync(this.#file, window, end, window.length - end, null);
      if (got === 0) this.close();
      end += got;
    }
    return window.subarray(0, end);
  }

  close(): void {
    const file = this.#file;
    if (file === null) return;
    this.#file = null;
    forgotten.unregister(this);
    closeSync(file);
  }
}
