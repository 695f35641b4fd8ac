/** The folder of recordings: how many are kept, and how one is written, a piece at a time. */
import { constants, unlinkSync } from 'node:fs';
import { type FileHandle, lstat, open, readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';

/** What a folder may hold: the newest so many recordings, of so many bytes in all. */
export interface RecordingLimits {
  /** Recordings kept, the one being written among them. */
  keep: number;
  /** Bytes of all of them; only the one being written may be above it, by itself. */
  bytes: number;
}

/** `gwlb-20260102T030405Z.pcap`, of the second one in a second `gwlb-20260102T030405Z-2.pcap`. */
const NAME = /^(gwlb-\d{8}T\d{6}Z)(?:-(\d+))?\.(?:pcap|jsonl)$/;

interface Kept {
  /** Where it stands among them: by time, then by number. */
  time: string;
  number: number;
  files: string[];
  bytes: number;
}

/** The recordings of a folder, oldest first. Files of other names are nobody's here. */
async function recordingsIn(folder: string): Promise<Kept[]> {
  const found = new Map<string, Kept>();
  for (const name of await readdir(folder)) {
    const [, time, number = '1'] = NAME.exec(name) ?? [];
    if (time === undefined) continue;
    const path = join(folder, name);
    const stat = await lstat(path).catch(() => null);
    if (!stat?.isFile()) continue;
    const key = `${time}-${number}`;
    const kept = found.get(key) ?? { time, number: Number(number), files: [], bytes: 0 };
    kept.files.push(path);
    kept.bytes += stat.size;
    found.set(key, kept);
  }
  return [...found.values()].sort((a, b) => a.time.localeCompare(b.time) || a.number - b.number);
}

/** Removes the oldest ones, so that those left and `more` fit; how many it removed. */
export async function pruneRecordings(
  folder: string,
  { keep, bytes }: RecordingLimits,
  more: { count: number; bytes: number },
): Promise<number> {
  const all = await recordingsIn(folder);
  let count = all.length + more.count;
  let total = all.reduce((sum, kept) => sum + kept.bytes, more.bytes);
  let removed = 0;
  for (const kept of all) {
    if (count <= keep && total <= bytes) break;
    // The newest one stays where it has just been written.
    if (removed === all.length - 1 && more.count === 0) break;
    for (const path of kept.files) await unlink(path);
    count -= 1;
    total -= kept.bytes;
    removed += 1;
  }
  return removed;
}

/** A file that did not exist, written to piece by piece: the event loop goes on in between. */
export class NewFile {
  readonly path: string;
  readonly #handle: FileHandle;

  private constructor(path: string, handle: FileHandle) {
    this.path = path;
    this.#handle = handle;
  }

  static async make(path: string): Promise<NewFile> {
    const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;
    return new NewFile(path, await open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600));
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      at += (await this.#handle.write(bytes, at)).bytesWritten;
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  /** Closes it and takes it away: nobody shall find half of it. */
  async discard(): Promise<void> {
    await this.#handle.close().catch(() => {});
    try {
      unlinkSync(this.path);
    } catch {
      // It is gone already.
    }
  }
}
