/**
 * HTTP for the listeners of operators and health checks: one request a connection, which is closed
 * after its answer. Whatever a peer does, it costs no more than `HttpLimits` say: what it sends behind
 * its request is never parsed, and what it does not read is let go.
 */
import { createServer as createHttpServer, type IncomingMessage, STATUS_CODES } from 'node:http';
import { createServer, type Server } from 'node:net';
import { Exchange } from './exchange.js';

export interface HttpRequest {
  method: string;
  /** With its query. */
  target: string;
  /** Without it. */
  path: string;
  body: Buffer;
}

export interface HttpAnswer {
  status: number;
  /** Content type. */
  type: string;
  /** Bytes that many connections may share; text is encoded for each. */
  body: string | Uint8Array;
  /** Methods that are answered, with status 405. */
  allow?: string;
}

export interface HttpService {
  answer(request: HttpRequest): HttpAnswer | Promise<HttpAnswer>;
  /** The answer to what is no request, too long, or ended by an error of `answer`. */
  refuse(status: 400 | 413 | 431 | 500, error: Error): HttpAnswer;
}

export interface HttpLimits {
  /** Open connections; another one ends the oldest. */
  connections: number;
  /** Bytes of a body; 0 where no request has one. */
  bodyBytes: number;
  /** From the connection to the end of the request. Default 5 s. */
  requestMs?: number;
  /** From the answer until it is read. Default 10 s. */
  writeMs?: number;
}

/** Bytes of a request line and its headers. */
const HEAD_BYTES_MAX = 8_192;

/** Is yet to listen: on an address, or on a path. */
export class HttpServer {
  readonly server: Server;
  readonly #open = new Set<Exchange>();

  constructor(service: HttpService, limits: HttpLimits) {
    // It never listens itself: what it would take from a socket at once is more than one request.
    const parser = createHttpServer({
      maxHeaderSize: HEAD_BYTES_MAX,
      // Health checkers of all makes ask; nothing here depends on the name.
      requireHostHeader: false,
      keepAliveTimeout: 0,
    });
    parser.maxRequestsPerSocket = 1;
    parser.on('request', async (request, response) => {
      const exchange = request.socket as unknown as Exchange;
      exchange.takes(request);
      const { status, type, body, allow } = await answerTo(request, service, limits.bodyBytes);
      exchange.answers();
      response.writeHead(status, {
        'content-type': type,
        'content-length': Buffer.byteLength(body),
        ...(allow === undefined ? {} : { allow }),
        connection: 'close',
      });
      response.end(body);
    });
    parser.on('clientError', (error: NodeJS.ErrnoException, exchange) => {
      if (!(exchange instanceof Exchange) || exchange.answered) return void exchange.destroy();
      exchange.answers();
      exchange.end(refusal(service, error));
    });
    // A client may end its side first; it still wants its answer.
    this.server = createServer({ allowHalfOpen: true }, (socket) => {
      // Who waits longest goes: connections that are held for their own sake keep nobody else out.
      const [oldest] = this.#open;
      if (this.#open.size >= limits.connections) oldest?.destroy();
      const exchange = new Exchange(socket, limits.requestMs ?? 5_000, limits.writeMs ?? 10_000);
      this.#open.add(exchange);
      exchange.onDestroy = () => this.#open.delete(exchange);
      parser.emit('connection', exchange);
    });
    // A connection that could not be accepted ends no process; who listens is told of its own errors.
    this.server.on('error', () => {});
  }

  /** Stops listening and ends every connection. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.server.close(() => resolve());
      for (const exchange of this.#open) exchange.destroy();
    });
  }
}

async function answerTo(
  request: IncomingMessage,
  service: HttpService,
  bodyBytesMax: number,
): Promise<HttpAnswer> {
  const { method = '', url: target = '' } = request;
  const chunks: Buffer[] = [];
  let bytes = Number(request.headers['content-length'] ?? 0);
  const tooLong = () =>
    service.refuse(413, new Error(`expected at most ${bodyBytesMax} bytes, received ${bytes}`));
  if (bytes > bodyBytesMax) return tooLong();
  try {
    bytes = 0;
    // Left early, the connection still has to carry the answer.
    for await (const chunk of request.iterator({ destroyOnReturn: false })) {
      bytes += chunk.length;
      if (bytes > bodyBytesMax) return tooLong();
      chunks.push(chunk);
    }
    const path = target.split('?', 1)[0] ?? '';
    return await service.answer({ method, target, path, body: Buffer.concat(chunks) });
  } catch (error) {
    return service.refuse(500, error as Error);
  }
}

/** What is said to bytes that are no request: there is no response object for them. */
function refusal(service: HttpService, error: NodeJS.ErrnoException): Buffer {
  const tooLong = error.code === 'HPE_HEADER_OVERFLOW';
  const message = tooLong
    ? `expected at most ${HEAD_BYTES_MAX} bytes of headers`
    : 'expected HTTP/1.1, received something else';
  const { status, type, body } = service.refuse(tooLong ? 431 : 400, new Error(message));
  const head =
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\ncontent-type: ${type}\r\n` +
    `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), Buffer.from(body)]);
}
