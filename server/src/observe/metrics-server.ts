/** `/metrics`, `/healthz` and `/readyz` over HTTP. */
import { GatewayError } from 'gwlb';
import { listening } from '../http/listening.js';
import { type HttpAnswer, type HttpRequest, HttpServer } from '../http/server.js';
import { shared } from '../http/shared.js';
import type { Readiness } from '../obstacles/readiness.js';

export interface MetricsSource {
  /** Prometheus text. */
  text(): Promise<string>;
  /** Why forwarding failed; null while it works. */
  failure(): Error | null;
  /** Whether traffic should go there, and a line for each thing that says so. */
  readiness(): Pick<Readiness, 'ready' | 'lines'>;
}

const PROMETHEUS_TEXT = 'text/plain; version=0.0.4; charset=utf-8';
const PLAIN_TEXT = 'text/plain; charset=utf-8';

/** Scrapers, probes and a person or two; descriptors are for forwarding and health checks. */
export const METRICS_CONNECTIONS_MAX = 32;

const plain = (status: number, text: string): HttpAnswer => ({
  status,
  type: PLAIN_TEXT,
  body: `${text}\n`,
});

export class MetricsServer {
  readonly #http: HttpServer;

  /** Rejects with a GatewayError about `field`, the name of `where`. */
  static async listen(
    where: { address: string; port: number },
    source: MetricsSource,
    connections = METRICS_CONNECTIONS_MAX,
    field = 'metrics.listen',
  ): Promise<MetricsServer> {
    const text = shared(async () => Buffer.from(await source.text()));
    const http = new HttpServer(
      {
        answer: (request) => answer(request, source, text),
        refuse: (status, error) => plain(status, error.message),
      },
      { connections, bodyBytes: 0 },
    );
    const { address: host, port } = where;
    try {
      await listening(http.server, { host, port });
    } catch (error) {
      const told = GatewayError.fromSystemError(error, `listen on ${host}:${port}`);
      throw told.at(field);
    }
    return new MetricsServer(http);
  }

  private constructor(http: HttpServer) {
    this.#http = http;
  }

  async close(): Promise<void> {
    await this.#http.close();
  }
}

async function answer(
  { method, path }: HttpRequest,
  source: MetricsSource,
  text: () => Promise<Uint8Array>,
): Promise<HttpAnswer> {
  if (method !== 'GET' && method !== 'HEAD') {
    return { ...plain(405, 'only GET and HEAD'), allow: 'GET, HEAD' };
  }
  if (path === '/healthz') {
    const failure = source.failure();
    return failure ? plain(503, failure.message) : plain(200, 'ok');
  }
  if (path === '/readyz') {
    const failure = source.failure();
    const { ready, lines } = source.readiness();
    const told = failure ? [`forwarding failed: ${failure.message}`, ...lines] : lines;
    return plain(ready && !failure ? 200 : 503, told.join('\n'));
  }
  if (path !== '/metrics') return plain(404, 'there are /metrics, /healthz and /readyz');
  return { status: 200, type: PROMETHEUS_TEXT, body: await text() };
}
