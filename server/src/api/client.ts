/** The other end of the control socket: asks the gateway that runs. */

import { request } from 'node:http';
import { GatewayError } from 'gwlb';
import type { ErrorBody } from './server.js';

const TIMEOUT_MS = 10_000;

/** The argument that is wrong where no gateway answers; `gwlb` ends with 2 for it, as for every other. */
const SOCKET_ARGUMENT = '--socket';

/**
 * The answer to a GET, or with a body to a POST. Rejects with the GatewayError that the gateway
 * answered, or with one that says why there is no answer.
 */
export async function askGateway(
  socketPath: string,
  path: string,
  body?: Readonly<Record<string, unknown>>,
  timeoutMs = TIMEOUT_MS,
): Promise<unknown> {
  const { status, text } = await exchange(socketPath, path, body, timeoutMs);
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch (error) {
    const message = `${socketPath}: expected a gateway's answer, received no JSON (status ${status})`;
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
      response.on('error', (error) => reject(noAnswer(socketPath, error)));
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8');
        resolve({ status: response.statusCode ?? 0, text });
      });
    });
    asked.on('timeout', () => asked.destroy(new Error(`no answer within ${timeoutMs / 1000} s`)));
    asked.on('error', (error) => reject(noAnswer(socketPath, error)));
    asked.end(payload);
  });
}

function noAnswer(socketPath: string, error: NodeJS.ErrnoException): GatewayError {
  if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') {
    const message =
      `no gateway answers on ${socketPath}: start one whose configuration has control.socket ` +
      'set to it (gwlb run), or name the socket of one that runs (--socket, --config)';
    return new GatewayError('ERR_GWLB_SYSTEM', message, { field: SOCKET_ARGUMENT, cause: error });
  }
  if (error.code === 'EACCES') {
    const message =
      `cannot ask the gateway on ${socketPath}: the socket is for the user that the gateway runs ` +
      'as: be that user, or root (EACCES)';
    return new GatewayError('ERR_GWLB_PERMISSION', message, { cause: error });
  }
  return GatewayError.fromSystemError(error, `ask the gateway on ${socketPath}`);
}
