/** Listening as a promise. */
import type { ListenOptions, Server } from 'node:net';

/** Resolves once `server` listens; rejects with what the system says. Asks the system before it returns. */
export function listening(server: Server, where: ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, () => {
      server.off('error', reject);
      resolve();
    });
  });
}
