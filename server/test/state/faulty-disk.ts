/** A disk that writes less than it was asked for, fails, or stops for good in the middle of something. */
import { DISK, type Disk, type File } from '../../src/state/disk.js';

export class FaultyDisk implements Disk {
  /** Bytes that can be written until it is full or stops. */
  room = Number.POSITIVE_INFINITY;
  /** Nothing works any more when it is full: the machine is gone. */
  stops = false;
  /** Of what is written at a time. */
  mostBytes = Number.POSITIVE_INFINITY;
  /** Calls that fail, with the code. */
  failing: { readonly call: 'datasync' | 'sync' | 'truncate' | 'rename'; readonly code: string }[] =
    [];
  #stopped = false;

  open = async (path: string): Promise<File> => this.#file(await this.#go(() => DISK.open(path)));
  openFolder = async (path: string): Promise<File> =>
    this.#file(await this.#go(() => DISK.openFolder(path)));
  makeFolder = (path: string): Promise<void> => this.#go(() => DISK.makeFolder(path));
  remove = (path: string): Promise<void> => this.#go(() => DISK.remove(path));
  rename = (from: string, to: string): Promise<void> =>
    this.#go(() => DISK.rename(from, to), 'rename');

  async #go<T>(call: () => Promise<T>, name?: string): Promise<T> {
    if (this.#stopped) throw failure('EIO');
    const failing = this.failing.find((one) => one.call === name);
    if (failing) throw failure(failing.code);
    return call();
  }

  async #write(file: File, bytes: Uint8Array, offset: number, length: number, position: number) {
    const most = Math.min(length, this.mostBytes, this.room);
    if (most > 0) await this.#go(() => file.write(bytes, offset, most, position));
    this.room -= most;
    if (this.room === 0 && this.stops) this.#stopped = true;
    if (most === 0) throw failure('ENOSPC');
    return { bytesWritten: most, buffer: bytes };
  }

  #file(file: File): File {
    const write = (bytes: Uint8Array, offset: number, length: number, position: number) =>
      this.#write(file, bytes, offset, length, position);
    return {
      write: write as unknown as File['write'],
      read: file.read.bind(file) as File['read'],
      stat: file.stat.bind(file) as File['stat'],
      truncate: (length) => this.#go(() => file.truncate(length), 'truncate'),
      datasync: () => this.#go(() => file.datasync(), 'datasync'),
      sync: () => this.#go(() => file.sync(), 'sync'),
      close: () => file.close(),
    };
  }
}

function failure(code: string): Error {
  return Object.assign(new Error(`${code}: of the test`), { code, errno: -1, syscall: 'write' });
}
