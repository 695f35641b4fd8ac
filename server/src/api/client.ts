/** The other end of the control socket: asks the gateway or the appliance that runs. */

import { request } from 'node:http';
import { GatewayError } from 'gwlb';
import type { ErrorBody } from './server.js';

const TIMEOUT_MS = 10_000;

/** The argument that is wrong where nobody answers; `gwlb` ends with 2 for it, as for every other. */
const SOCKET_ARGUMENT = '--socket';

/** Who answers, and how one is started that does. */
const STARTED = {
  gateway:
    'start one whose configuration has control.socket set to it (gwlb run), or name the socket of one ' +
    'that runs (--socket, --config)',
  appliance:
    'start one with --socket (gwlb appliance), or name the socket of one that runs (--socket)',
} as const;

type Asked = keyof typeof STARTED;

/** `ask` of a gateway. */
export function askGateway(
  socketPath: string,
  path: string,
  body?: Readonly<Record<string, unknown>>,
  timeoutMs?: number,
): Promise<unknown> {
  return ask('gateway', socketPath, path, body, timeoutMs);
}

/**
 * The answer to a GET, or with a body to a POST. Rejects with the GatewayError that was answered, or with
 * one that says why there is no answer.
 */
export async function ask(
  who: Asked,
  socketPath: string,
  path: string,
  body?: Readonly<Record<string, unknown>>,
  timeoutMs = TIMEOUT_MS,
): Promise<unknown> {
  const { status, text } = await exchange(socketPath, path, body, timeoutMs).catch((error) => {
    throw noAnswer(who, socketPath, error);
  });
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch (error) {
    const message = `${socketPath}: expected the answer of a gwlb ${who}, received no JSON (status ${status})`;
    throw new GatewayError('ERR_GWLB_SYSTEM', message, { cause: error });
  }
  if (status === 200) return answer;
  const { code, message, path: field, expected, received } = answer as ErrorBody;
  throw new GatewayError(code, message, {
    field: field.length > 0 ? field : undefined,
    expected: expected ?? undefined,
    received: received ?? undefined,
  });
}

function exchange(
  socketPath: string,
  path: string,
  body: Readonly<Record<string, unknown>> | undefined,
  timeoutMs: number,
): Promise<{ status: number; text: string }> {
  const payload = body && JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const asked = request({
      socketPath,
      path,
      method: payload === undefined ? 'GET' : 'POST',
      agent: false,
      timeout: timeoutMs,
      ...(payload !== undefined && {
        headers: {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(payload),
        },
      }),
    });
    asked.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8');
        resolve({ status: response.statusCode ?? 0, text });
      });
    });
    asked.on('timeout', () => asked.destroy(new Error(`no answer within ${timeoutMs / 1000} s`)));
    asked.on('error', reject);
    asked.end(payload);
  });
}

function noAnswer(who: Asked, socketPath: string, error: NodeJS.ErrnoException): GatewayError {
  if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') {
    const message = `no ${who} answers on ${socketPath}: ${STARTED[who]}`;
    return new GatewayError('ERR_GWLB_SYSTEM', message, { field: SOCKET_ARGUMENT, cause: error });
  }
  if (error.code === 'EACCES') {
    const message =
      `cannot ask the ${who} on ${socketPath}: the socket is for the user that the ${who} runs ` +
      'as: be that user, or root (EACCES)';
    return new GatewayError('ERR_GWLB_PERMISSION', message, { cause: error });
  }
  return GatewayError.fromSystemError(error, `ask the ${who} on ${socketPath}`);
}
