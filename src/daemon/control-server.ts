/** HTTP over the control socket: JSON in, JSON out. docs/command.md has its resources. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { GatewayError, type GatewayErrorCode, invalidArgument, outOfRange } from '../errors.js';
import { listenPrivately } from './control-socket.js';

/** What answers for one path; may throw a GatewayError about the request. */
export interface ControlResource {
  method: 'GET' | 'POST';
  /** `body` is what a POST sent, of any form; undefined for GET. May be a promise. */
  answer(body: unknown): unknown;
}

/** By path. */
export type ControlResources = Readonly<Record<string, ControlResource>>;

/** Bytes of the longest request body: a packet of 8,500 bytes in hexadecimal has a quarter of it. */
const BODY_BYTES_MAX = 65_536;

const CONNECTIONS_MAX = 64;

export class ControlServer {
  /** Where it listens. */
  readonly path: string;
  readonly #server: Server;

  /** Rejects with a GatewayError, field `control.socket`. */
  static async listen(path: string, resources: ControlResources): Promise<ControlServer> {
    const server = createServer((request, response) => {
      void handle(request, response, resources);
    });
    server.headersTimeout = 5_000;
    server.requestTimeout = 10_000;
    server.keepAliveTimeout = 5_000;
    server.maxConnections = CONNECTIONS_MAX;
    server.on('clientError', refuseGarbage);
    await listenPrivately(server, path, 'control.socket');
    return new ControlServer(server, path);
  }

  private constructor(server: Server, path: string) {
    this.#server = server;
    this.path = path;
  }

  /** Ends all connections and removes the socket. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }
}

function refuseGarbage(_error: Error, socket: Socket): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const body = jsonText(errorBody(invalidArgument('request', 'HTTP/1.1', 'something else')));
  socket.end(
    'HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: application/json\r\n' +
      `content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

async function handle(
  request: IncomingMessage,
  response: ServerResponse,
  resources: ControlResources,
): Promise<void> {
  const { method = '', url = '' } = request;
  const path = url.split('?', 1)[0] ?? '';
  const resource = Object.hasOwn(resources, path) ? resources[path] : undefined;
  try {
    if (!resource) {
      const paths = Object.keys(resources).join(', ');
      return send(response, 404, errorBody(invalidArgument('path', `one of ${paths}`, path)));
    }
    if (method !== resource.method) {
      response.setHeader('allow', resource.method);
      return send(response, 405, errorBody(invalidArgument('method', resource.method, method)));
    }
    const body = method === 'POST' ? await bodyOf(request) : undefined;
    send(response, 200, await resource.answer(body));
  } catch (error) {
    // What is left of the request is not read.
    if (!request.complete) response.setHeader('connection', 'close');
    send(response, statusOf(error), errorBody(error));
  }
}

function send(response: ServerResponse, status: number, body: unknown): void {
  const text = jsonText(body);
  response
    .writeHead(status, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text),
    })
    .end(text);
}

function jsonText(value: unknown): string {
  return `${JSON.stringify(value)}\n`;
}

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) throw outOfRange('body', `at most ${BODY_BYTES_MAX} bytes`, bytes);
    chunks.push(chunk);
  }
  const text = Buffer.concat(chunks).toString('utf8');
  try {
    return JSON.parse(text);
  } catch {
    throw invalidArgument('body', 'JSON', text);
  }
}

/** Errors that are not about the request. */
const STATUS: Partial<Record<GatewayErrorCode, number>> = {
  ERR_GWLB_CLOSED: 503,
  ERR_GWLB_SYSTEM: 500,
};

function statusOf(error: unknown): number {
  if (!(error instanceof GatewayError)) return 500;
  if (error.code === 'ERR_GWLB_OUT_OF_RANGE' && error.field === 'body') return 413;
  return STATUS[error.code] ?? 400;
}

/** Errors as clients get them. */
function errorBody(error: unknown): { code: string; message: string; field: string | null } {
  const { message } = error as Error;
  if (!(error instanceof GatewayError)) return { code: 'ERR_GWLB_SYSTEM', message, field: null };
  return { code: error.code, message, field: error.field ?? null };
}
