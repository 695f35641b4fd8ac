/**
 * HTTP for the listeners of operators and health checks: one request a connection, which is closed
 * after its answer. Whatever a peer does, it costs no more than `HttpLimits` say: what it sends behind
 * its request is never parsed, and what it does not read is let go.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { HeadReader, type HttpRequest, MalformedRequest } from './request.js';

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
  refuse(status: 400 | 413 | 431 | 500 | 501, error: Error): HttpAnswer;
}

export interface HttpLimits {
  /** Open connections; more are closed at once. */
  connections: number;
  /** Bytes of a body; 0 where no request has one. */
  bodyBytes: number;
  /** From the connection to the end of the request. Default 5 s. */
  requestMs?: number;
  /** From the answer until it is read. Default 10 s. */
  writeMs?: number;
}

/** What a client still sends is read for so long and so far, so that its answer is not cut by a RST. */
const LINGER_MS = 1_000;
const LINGER_BYTES = 1 << 20;

const PHRASES: Readonly<Record<number, string>> = {
  200: 'OK',
  400: 'Bad Request',
  404: 'Not Found',
  405: 'Method Not Allowed',
  413: 'Content Too Large',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  503: 'Service Unavailable',
};

/** Is yet to listen: on an address, or on a path. */
export class HttpServer {
  readonly server: Server;
  readonly #open = new Set<Exchange>();

  constructor(service: HttpService, limits: HttpLimits) {
    // A client may end its side first; it still wants its answer.
    this.server = createServer({ allowHalfOpen: true }, (socket) => {
      const exchange = new Exchange(socket, service, limits);
      this.#open.add(exchange);
      socket.once('close', () => this.#open.delete(exchange));
    });
    this.server.maxConnections = limits.connections;
  }

  /** Stops listening and ends every connection. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.server.close(() => resolve());
      for (const exchange of this.#open) exchange.end();
    });
  }
}

/** One connection: a request, its answer, the end. */
class Exchange {
  readonly #socket: Socket;
  readonly #service: HttpService;
  readonly #limits: HttpLimits;
  readonly #reader: HeadReader;
  #timer: NodeJS.Timeout;
  #answered = false;
  #lingered = 0;

  constructor(socket: Socket, service: HttpService, limits: HttpLimits) {
    this.#socket = socket;
    this.#service = service;
    this.#limits = limits;
    this.#reader = new HeadReader(limits.bodyBytes);
    this.#timer = this.#endAfter(limits.requestMs ?? 5_000);
    socket.on('error', () => this.end());
    socket.on('close', () => clearTimeout(this.#timer));
    socket.on('data', (chunk) => this.#take(chunk));
    socket.on('end', () => {
      // Without a whole request there is nobody to answer.
      if (!this.#answered) this.end();
    });
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#socket.destroy();
  }

  #endAfter(ms: number): NodeJS.Timeout {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.end(), ms).unref();
    return this.#timer;
  }

  #take(chunk: Buffer): void {
    if (this.#answered) {
      this.#lingered += chunk.length;
      if (this.#lingered > LINGER_BYTES) this.end();
      return;
    }
    let request: HttpRequest | null;
    try {
      request = this.#reader.take(chunk);
    } catch (error) {
      if (!(error instanceof MalformedRequest)) throw error;
      this.#answered = true;
      this.#write(this.#service.refuse(error.status, error), 'GET');
      return;
    }
    if (request) void this.#ask(request);
    else if (this.#reader.expectsContinue()) this.#socket.write('HTTP/1.1 100 Continue\r\n\r\n');
  }

  async #ask(request: HttpRequest): Promise<void> {
    this.#answered = true;
    // Our own time is not the client's to lose; nothing else it sends is looked at meanwhile.
    clearTimeout(this.#timer);
    this.#socket.pause();
    let answer: HttpAnswer;
    try {
      answer = await this.#service.answer(request);
    } catch (error) {
      answer = this.#service.refuse(500, error as Error);
    }
    this.#write(answer, request.method);
  }

  #write({ status, type, body, allow }: HttpAnswer, method: string): void {
    const socket = this.#socket;
    if (socket.destroyed) return;
    this.#endAfter(this.#limits.writeMs ?? 10_000);
    const bytes = typeof body === 'string' ? Buffer.from(body) : body;
    socket.write(
      `HTTP/1.1 ${status} ${PHRASES[status] ?? ''}\r\n` +
        `date: ${new Date().toUTCString()}\r\n` +
        `content-type: ${type}\r\ncontent-length: ${bytes.length}\r\n` +
        `${allow === undefined ? '' : `allow: ${allow}\r\n`}connection: close\r\n\r\n`,
    );
    if (method !== 'HEAD') socket.write(bytes);
    socket.end(() => this.#linger());
  }

  /** The whole answer is the kernel's. */
  #linger(): void {
    if (this.#socket.destroyed) return;
    if (this.#socket.readableEnded) {
      this.end();
      return;
    }
    this.#endAfter(LINGER_MS);
    this.#socket.once('end', () => this.end());
    this.#socket.resume();
  }
}
