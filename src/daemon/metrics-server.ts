/** `/metrics` and `/healthz` over HTTP. */
import { createServer, type Server, type ServerResponse } from 'node:http';
import { fromSystemError, GatewayError } from '../errors.js';

export interface MetricsSource {
  /** Prometheus text. */
  text(): Promise<string>;
  /** Why forwarding failed; null while it works. */
  failure(): Error | null;
}

const PROMETHEUS_TEXT = 'text/plain; version=0.0.4; charset=utf-8';

export class MetricsServer {
  readonly #server: Server;

  /** Rejects with a GatewayError, field `metrics.listen`. */
  static async listen(
    where: { address: string; port: number },
    source: MetricsSource,
  ): Promise<MetricsServer> {
    const server = createServer((request, response) => {
      void answer(request.method ?? '', request.url ?? '', response, source);
    });
    server.requestTimeout = 10_000;
    const { address: host, port } = where;
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen({ host, port }, resolve);
      });
    } catch (error) {
      const { code, message } = fromSystemError(error, `listen on ${host}:${port}`);
      const field = 'metrics.listen';
      throw new GatewayError(code, `${field}: ${message}`, { field, cause: error });
    }
    return new MetricsServer(server);
  }

  private constructor(server: Server) {
    this.#server = server;
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }
}

async function answer(
  method: string,
  url: string,
  response: ServerResponse,
  source: MetricsSource,
): Promise<void> {
  const end = (status: number, text: string, type = 'text/plain; charset=utf-8') => {
    response.writeHead(status, { 'content-type': type }).end(method === 'HEAD' ? '' : text);
  };
  if (method !== 'GET' && method !== 'HEAD') {
    response.setHeader('allow', 'GET, HEAD');
    return end(405, 'only GET and HEAD\n');
  }
  const path = url.split('?', 1)[0];
  if (path === '/healthz') {
    const failure = source.failure();
    return failure ? end(503, `${failure.message}\n`) : end(200, 'ok\n');
  }
  if (path !== '/metrics') return end(404, 'there are /metrics and /healthz\n');
  try {
    end(200, await source.text(), PROMETHEUS_TEXT);
  } catch (error) {
    end(500, `${(error as Error).message}\n`);
  }
}
