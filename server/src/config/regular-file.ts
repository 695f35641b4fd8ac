/** Opening files that a configuration names: nothing there may hold the process, or lead it elsewhere. */
import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs';

const KINDS: readonly (readonly [keyof Stats & `is${string}`, string])[] = [
  ['isFIFO', 'a FIFO'],
  ['isDirectory', 'a directory'],
  ['isSocket', 'a socket'],
  ['isCharacterDevice', 'a device'],
  ['isBlockDevice', 'a device'],
];

/**
 * Opens a regular file: no symbolic link as its last part, no FIFO, device or directory, and without
 * waiting. The caller owns the descriptor. Throws system errors; `EINVAL` where it is another kind of file.
 */
export function openRegular(path: string, flags: number, mode?: number): number {
  const how = flags | constants.O_NONBLOCK | constants.O_NOFOLLOW | constants.O_NOCTTY;
  const file = open(path, how, mode);
  try {
    const stat = fstatSync(file);
    if (!stat.isFile()) throw otherKind(path, kindOf(stat));
  } catch (error) {
    closeSync(file);
    throw error;
  }
  return file;
}

function open(path: string, flags: number, mode?: number): number {
  try {
    return openSync(path, flags, mode);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ELOOP') throw otherKind(path, 'a symbolic link');
    // A FIFO or socket that nobody reads.
    if (code === 'ENXIO') throw otherKind(path, 'a FIFO or socket');
    throw error;
  }
}

function kindOf(stat: Stats): string {
  return KINDS.find(([is]) => (stat[is] as () => boolean).call(stat))?.[1] ?? 'another kind';
}

function otherKind(path: string, kind: string): NodeJS.ErrnoException {
  const message = `EINVAL: expected a regular file, received ${kind}, open '${path}'`;
  return Object.assign(new Error(message), { code: 'EINVAL', syscall: 'open', path });
}

/** The text of a regular file of at most `bytesMax` bytes; a longer one is cut there. */
export function readRegular(path: string, bytesMax: number): { text: string; mode: number } {
  const file = openRegular(path, constants.O_RDONLY);
  try {
    const bytes = Buffer.alloc(bytesMax);
    let end = 0;
    for (let got = -1; got !== 0 && end < bytesMax; end += got) {
      got = readSync(file, bytes, end, bytesMax - end, null);
    }
    return { text: bytes.toString('utf8', 0, end), mode: fstatSync(file).mode & 0o777 };
  } finally {
    closeSync(file);
  }
}
