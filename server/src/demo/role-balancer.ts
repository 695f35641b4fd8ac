/** A small application load balancer: an HTTP reverse proxy over the application servers, in turn. */
import { Agent, createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { serve } from '../lab/remote.js';

export interface BalancerStart {
  address: string;
  port: number;
  servers: { address: string; port: number }[];
}

let servers: BalancerStart['servers'] = [];
let turn = 0;
const agent = new Agent({ keepAlive: true });

function forward(incoming: IncomingMessage, answer: ServerResponse): void {
  const { address, port } = servers[turn++ % servers.length];
  const client = `${incoming.socket.remoteAddress}:${incoming.socket.remotePort}`;
  const headers = { ...incoming.headers, 'x-forwarded-for': client };
  const { method, url: path } = incoming;
  const outgoing = request({ host: address, port, method, path, headers, agent }, (response) => {
    answer.writeHead(response.statusCode ?? 502, response.headers);
    response.pipe(answer);
  });
  outgoing.on('error', () => {
    if (!answer.headersSent) answer.writeHead(502);
    answer.end();
  });
  incoming.pipe(outgoing);
}

export function start(): void {
  const server = createServer(forward);
  server.keepAliveTimeout = 120_000;
  serve({
    begin: (options: BalancerStart) => {
      servers = options.servers;
      return new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(options.port, options.address, resolve);
      });
    },
  });
}
