/**
 * A capture of what passes, in files that are bounded in size and number. Packets never wait for a disk: what
 * it cannot take in time is counted as lost.
 */
import { rename, rm } from 'node:fs/promises';
import { PcapWriter } from 'gwlb';
import type { Logger } from '../observe/log.js';
import { NewFile } from '../observe/recordings.js';

export interface PacketFilesOptions {
  /** The newest file; older ones have `.1`, `.2` … behind their name. */
  readonly path: string;
  /** Bytes of one file. */
  readonly bytes: number;
  /** Files, the newest among them. */
  readonly keep: number;
}

/** Bytes that wait to be written; what comes beyond them is lost. */
const WAITING_MAX = 16 << 20;

export class PacketFiles {
  /** Packets that were written, or wait for it. */
  written = 0;
  /** Packets that were lost: the disk was slow, or could not be written to. */
  lost = 0;
  readonly #options: PacketFilesOptions;
  readonly #log: Logger;
  readonly #header: Uint8Array;
  readonly #writer: PcapWriter;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #file: NewFile;
  #fileBytes: number;
  #writing: Promise<void> | null = null;
  #failed = false;

  /** Opens the newest file; rejects with what the system says. */
  static async open(options: PacketFilesOptions, log: Logger): Promise<PacketFiles> {
    await makeRoom(options);
    const file = await NewFile.make(options.path);
    const pieces: Uint8Array[] = [];
    let files: PacketFiles | null = null;
    const writer = new PcapWriter((piece) => {
      if (files) files.#take(piece);
      else pieces.push(piece);
    });
    const header = Buffer.concat(pieces);
    await file.write(header);
    files = new PacketFiles(options, log, { file, header, writer });
    return files;
  }

  private constructor(
    options: PacketFilesOptions,
    log: Logger,
    { file, header, writer }: { file: NewFile; header: Uint8Array; writer: PcapWriter },
  ) {
    this.#options = options;
    this.#log = log;
    this.#file = file;
    this.#header = header;
    this.#fileBytes = header.length;
    this.#writer = writer;
  }

  /** Keeps a copy of packets, from their IP header on. */
  keep(packets: Iterable<{ readonly bytes: Uint8Array }>): void {
    const now = BigInt(Date.now()) * 1_000_000n;
    for (const { bytes } of packets) {
      if (this.#failed || this.#waitingBytes > WAITING_MAX) this.lost += 1;
      else this.#writer.write(bytes, now);
    }
    if (this.#waiting.length > 0) this.#writing ??= this.#write();
  }

  /** Resolves when everything that waits is in the file. */
  async close(): Promise<void> {
    await this.#writing;
    await this.#file.close().catch(() => {});
  }

  #take(piece: Uint8Array): void {
    this.#waiting.push(piece);
    this.#waitingBytes += piece.length;
    this.written += 1;
  }

  async #write(): Promise<void> {
    try {
      while (this.#waiting.length > 0) {
        const pieces = this.#next();
        if (pieces.length === 0) await this.#turn();
        else await this.#file.write(Buffer.concat(pieces));
      }
    } catch (error) {
      this.#failed = true;
      this.lost += this.#waiting.length;
      this.#waiting = [];
      const told = { event: 'capture_failed', error: (error as Error).message };
      this.#log.error(told, `the capture ends: ${told.error}`);
    } finally {
      this.#writing = null;
    }
  }

  /** What still fits into the file; into a new one at least one packet. */
  #next(): Uint8Array[] {
    let count = 0;
    for (const { length } of this.#waiting) {
      const isNew = this.#fileBytes === this.#header.length;
      if (!isNew && this.#fileBytes + length > this.#options.bytes) break;
      this.#fileBytes += length;
      this.#waitingBytes -= length;
      count += 1;
    }
    return this.#waiting.splice(0, count);
  }

  /** Begins another file. */
  async #turn(): Promise<void> {
    await this.#file.close();
    await makeRoom(this.#options);
    this.#file = await NewFile.make(this.#options.path);
    await this.#file.write(this.#header);
    this.#fileBytes = this.#header.length;
  }
}

/** Moves the files on, by one; the oldest goes. Who follows a link there finds that the link has moved. */
async function makeRoom({ path, keep }: PacketFilesOptions): Promise<void> {
  const nameOf = (number: number) => (number === 0 ? path : `${path}.${number}`);
  await rm(nameOf(keep - 1), { force: true });
  for (let number = keep - 2; number >= 0; number -= 1) {
    await rename(nameOf(number), nameOf(number + 1)).catch((error) => {
      if (error.code !== 'ENOENT') throw error;
    });
  }
}
