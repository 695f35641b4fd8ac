/** HTTP over the control socket: JSON in, JSON out. docs/command.md has its resources. */
import { type ErrorPath, GatewayError, type GatewayErrorCode } from 'gwlb';
import { type HttpAnswer, type HttpRequest, HttpServer } from '../http/server.js';
import { shared } from '../http/shared.js';
import { listenPrivately } from './socket.js';

/** What answers for one path; may throw a GatewayError about the request. */
export interface ApiResource {
  method: 'GET' | 'POST';
  /** `body` is what a POST sent, of any form; undefined for GET. May be a promise. */
  answer(body: unknown): unknown;
}

/** By path. */
export type ApiResources = Readonly<Record<string, ApiResource>>;

/** Bytes of the longest request body: a packet of 8,500 bytes in hexadecimal has a quarter of it. */
const BODY_BYTES_MAX = 65_536;

/** Operators' commands; descriptors are for forwarding and health checks. */
export const API_CONNECTIONS_MAX = 32;

export class ApiServer {
  /** Where it listens. */
  readonly path: string;
  readonly #http: HttpServer;

  /** Rejects with a GatewayError about `field`, the name of `path`. */
  static async listen(
    path: string,
    resources: ApiResources,
    connections = API_CONNECTIONS_MAX,
    field = 'control.socket',
  ): Promise<ApiServer> {
    const asked = askedOnce(resources);
    const http = new HttpServer(
      {
        answer: async (request) => {
          try {
            return await answer(request, asked);
          } catch (error) {
            return json(statusOf(error), errorBody(error));
          }
        },
        refuse: (status, { message }) => json(status, refusal(status, message)),
      },
      { connections, bodyBytes: BODY_BYTES_MAX },
    );
    await listenPrivately(http.server, path, field);
    return new ApiServer(http, path);
  }

  private constructor(http: HttpServer, path: string) {
    this.#http = http;
    this.path = path;
  }

  /** Ends all connections and removes the socket. */
  async close(): Promise<void> {
    await this.#http.close();
  }
}

/** Resources whose answers cost no more for many askers than for one. */
function askedOnce(resources: ApiResources): ApiResources {
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = (ask: () => unknown): Promise<unknown> => {
    const answered = last.then(ask);
    last = answered.catch(() => {});
    return answered;
  };
  const asked = Object.entries(resources).map(([path, { method, answer }]) => {
    const once = shared(() => answer(undefined));
    const turn = (body: unknown) => inTurn(() => answer(body));
    return [path, { method, answer: method === 'GET' ? once : turn }] as const;
  });
  return Object.fromEntries(asked);
}

async function answer(
  { method, path, body }: HttpRequest,
  resources: ApiResources,
): Promise<HttpAnswer> {
  const resource = Object.hasOwn(resources, path) ? resources[path] : undefined;
  if (!resource) {
    const paths = Object.keys(resources).join(', ');
    return json(404, errorBody(GatewayError.invalidArgument('path', `one of ${paths}`, path)));
  }
  if (method !== resource.method) {
    const refused = errorBody(GatewayError.invalidArgument('method', resource.method, method));
    return { ...json(405, refused), allow: resource.method };
  }
  return json(200, await resource.answer(method === 'POST' ? parsed(body) : undefined));
}

function json(status: number, value: unknown): HttpAnswer {
  return { status, type: 'application/json', body: `${JSON.stringify(value)}\n` };
}

function parsed(body: Buffer): unknown {
  const text = body.toString('utf8');
  try {
    return JSON.parse(text);
  } catch {
    throw GatewayError.invalidArgument('body', 'JSON', text);
  }
}

/** What is said to a request that never came to its resource. */
function refusal(status: number, message: string): ErrorBody {
  const tooLong = status === 413;
  const code = tooLong ? 'ERR_GWLB_OUT_OF_RANGE' : 'ERR_GWLB_INVALID_ARGUMENT';
  return errorBody(new GatewayError(code, message).at(tooLong ? 'body' : 'request'));
}

/** Errors that are not about the request. */
const STATUS: Partial<Record<GatewayErrorCode, number>> = {
  ERR_GWLB_CLOSED: 503,
  ERR_GWLB_SYSTEM: 500,
};

function statusOf(error: unknown): number {
  if (!(error instanceof GatewayError)) return 500;
  return STATUS[error.code] ?? 400;
}

/** Errors as clients get them. */
export interface ErrorBody {
  code: GatewayErrorCode;
  message: string;
  field: string | null;
  path: ErrorPath;
  expected: string | null;
  received: string | null;
}

function errorBody(error: unknown): ErrorBody {
  const { message } = error as Error;
  const told = error instanceof GatewayError ? error : new GatewayError('ERR_GWLB_SYSTEM', message);
  const { code, field = null, path, expected = null, received = null } = told;
  return { code, message, field, path, expected, received };
}
