/** One process at a time: a socket that is gone with it, however it ends. */
import { createServer, type Server } from 'node:net';
import { GatewayError } from 'gwlb';
import type { File } from './disk.js';

/** Holds a folder until it is closed. Rejects where another process of this network namespace holds it. */
export async function holdFolder(folder: File, path: string): Promise<Server> {
  const { dev, ino } = await folder.stat();
  // An abstract address: there is no file that could stay behind.
  const address = `\0gwlb-state-${dev}-${ino}`;
  const server = createServer((socket) => socket.destroy());
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE') return reject(error);
      const told = 'one that another process has open';
      const expected = 'a folder for this process alone';
      reject(GatewayError.mismatch('ERR_GWLB_IN_USE', path, expected, told));
    });
    server.listen(address, () => resolve(server.unref()));
  });
}
