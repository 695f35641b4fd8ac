/** What a store needs of a file system; the tests have one that fails. */
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, rename, unlink } from 'node:fs/promises';

export type File = Pick<
  FileHandle,
  'write' | 'read' | 'datasync' | 'sync' | 'truncate' | 'stat' | 'close'
>;

export interface Disk {
  /** Opens a regular file for reading and writing; makes it with mode 0600. Follows no symbolic link. */
  open(path: string): Promise<File>;
  /** Makes a folder with mode 0700, where there is none. */
  makeFolder(path: string): Promise<void>;
  /** Opens a folder, itself and no symbolic link to it. */
  openFolder(path: string): Promise<File>;
  rename(from: string, to: string): Promise<void>;
  /** Where it is there. */
  remove(path: string): Promise<void>;
}

const { O_RDWR, O_RDONLY, O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_DIRECTORY } = constants;

export const DISK: Disk = {
  open: (path) => open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600),
  makeFolder: async (path) => {
    await mkdir(path, { mode: 0o700 }).catch((error) => {
      if (error.code !== 'EEXIST') throw error;
    });
  },
  openFolder: (path) => open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW),
  rename,
  remove: async (path) => {
    await unlink(path).catch((error) => {
      if (error.code !== 'ENOENT') throw error;
    });
  },
};

/** All of it: the system may write less at a time. */
export async function writeAll(file: File, text: string, position: number): Promise<number> {
  const bytes = Buffer.from(text);
  for (let done = 0; done < bytes.length; ) {
    const left = bytes.length - done;
    const { bytesWritten } = await file.write(bytes, done, left, position + done);
    done += bytesWritten;
  }
  return bytes.length;
}

const PIECE_BYTES = 65_536;

/** One line of a file. */
export interface Placed {
  readonly text: string;
  /** Counted from 1. */
  readonly number: number;
  /** Where it begins. */
  readonly offset: number;
  /** It ends with a newline. */
  readonly whole: boolean;
}

/** The lines of a file, read in pieces. */
export async function* linesOf(file: File): AsyncGenerator<Placed> {
  const piece = Buffer.alloc(PIECE_BYTES);
  let rest: Buffer = Buffer.alloc(0);
  let offset = 0;
  let number = 1;
  for (let at = 0; ; ) {
    const { bytesRead } = await file.read(piece, 0, piece.length, at);
    if (bytesRead === 0) break;
    at += bytesRead;
    rest = Buffer.concat([rest, piece.subarray(0, bytesRead)]);
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      yield { text: rest.toString('utf8', 0, end), number, offset, whole: true };
      number += 1;
      offset += end + 1;
      rest = rest.subarray(end + 1);
    }
  }
  if (rest.length > 0) yield { text: rest.toString('utf8'), number, offset, whole: false };
}
