/** An application server: answers with what it knows of the request. */
import { createServer } from 'node:http';
import { serve } from '../lab/remote.js';

export function start(): void {
  const server = createServer((request, response) => {
    const client = request.headers['x-forwarded-for'] ?? '';
    const balancer = `${request.socket.remoteAddress}:${request.socket.remotePort}`;
    const application = `${request.socket.localAddress}:${request.socket.localPort}`;
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ client, balancer, application }));
  });
  serve({
    begin: ({ address, port }: { address: string; port: number }) =>
      new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(port, address, resolve);
      }),
  });
}
