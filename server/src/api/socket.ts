/** A Unix socket for its owner alone. */

import { existsSync, lstatSync, unlinkSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import { dirname } from 'node:path';
import { GatewayError } from 'gwlb';
import { listening } from '../http/listening.js';

/**
 * Listens on a path with mode 0600. What a gateway that is gone left there is replaced, nothing else.
 * Rejects with a GatewayError; `field` names the path in its message.
 */
export async function listenPrivately(server: Server, path: string, field: string): Promise<void> {
  try {
    await listen(server, path);
    return;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw about(error, path, field);
  }
  await removeStale(path, field);
  await listen(server, path).catch((error) => {
    throw about(error, path, field);
  });
}

function listen(server: Server, path: string): Promise<void> {
  // The socket is made inside of this call: it never has another mode.
  const before = process.umask(0o177);
  try {
    return listening(server, { path, exclusive: true });
  } finally {
    process.umask(before);
  }
}

async function removeStale(path: string, field: string): Promise<void> {
  const refuse = (code: 'ERR_GWLB_ADDRESS_IN_USE' | 'ERR_GWLB_SYSTEM', what: string): never => {
    throw new GatewayError(code, `cannot listen on ${path}: ${what}`).at(field);
  };
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (!found) return;
  if (!found.isSocket()) refuse('ERR_GWLB_SYSTEM', 'something is there that is no socket');
  if (found.uid !== process.geteuid?.()) {
    refuse('ERR_GWLB_SYSTEM', 'a socket of another user is there');
  }
  if (await answers(path)) {
    const what = 'another process answers on it: stop that, or choose another path';
    refuse('ERR_GWLB_ADDRESS_IN_USE', what);
  }
  // Still the one that was asked?
  const now = lstatSync(path, { throwIfNoEntry: false });
  if (now?.ino === found.ino && now.dev === found.dev) unlinkSync(path);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    // A full queue is somebody's; only a refusal says that nobody listens.
    socket.once('error', ({ code }: NodeJS.ErrnoException) => {
      resolve(code !== 'ECONNREFUSED' && code !== 'ENOENT');
    });
  });
}

function about(error: unknown, path: string, field: string): GatewayError {
  const folder = dirname(path);
  const { code } = error as NodeJS.ErrnoException;
  // libuv tells EACCES for both.
  const errno = code === 'EACCES' && !existsSync(folder) ? 'ENOENT' : code;
  const sentences: Record<string, string> = {
    ENOENT: `the folder ${folder} does not exist: make it`,
    ENOTDIR: `${folder} is no folder`,
    EACCES: `permission to make it in ${folder} is missing`,
    EADDRINUSE: 'another process has just taken it',
  };
  const sentence = errno === undefined ? undefined : sentences[errno];
  if (sentence === undefined) {
    return GatewayError.fromSystemError(error, `listen on ${path}`).at(field);
  }
  const ours = errno === 'EACCES' ? 'ERR_GWLB_PERMISSION' : 'ERR_GWLB_SYSTEM';
  const message = `cannot listen on ${path}: ${sentence} (${errno})`;
  return new GatewayError(ours, message, { cause: error }).at(field);
}
