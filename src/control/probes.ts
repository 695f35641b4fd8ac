/**
 * One health check of one target: a TCP connection, or one HTTP(S) request over it (or a packet through
 * it, see geneve-probe.ts). Every connection
 * is made for its check and closed after it. Certificates are not verified: a check asks whether the
 * appliance answers, not who it is.
 */
import { closeSync } from 'node:fs';
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import { binding } from '../binding.js';
import { type DataPath, startGeneveProbe } from './geneve-probe.js';
import type { ProbeFailure, ProbeResult } from './health.js';
import type { HealthCheckProtocol } from './health-options.js';

/** What a body may have; the rest is not read. */
const BODY_BYTES_MAX = 16_384;

export interface ProbeRequest {
  readonly protocol: HealthCheckProtocol;
  readonly address: string;
  readonly port: number;
  /** HTTP and HTTPS. */
  readonly path: string;
  readonly matcher: { readonly text: string; matches(code: number): boolean };
  readonly timeoutMs: number;
  /** With the protocol GENEVE: how, and there nothing else but `port` and `timeoutMs` counts. */
  readonly dataPath?: DataPath | undefined;
  /** Name or path of the network namespace to ask from; '' for the process's own. */
  readonly netns: string;
}

/** Gets the result, once. */
export type ProbeCallback = (result: ProbeResult, durationMs: number) => void;

/** Stops a check; its callback will not be called any more. */
export type CancelProbe = () => void;

/** Begins a check. The callback is never called before this returns. */
export function startProbe(request: ProbeRequest, callback: ProbeCallback): CancelProbe {
  const { dataPath, port, timeoutMs } = request;
  if (dataPath) return startGeneveProbe(dataPath, port, timeoutMs, callback);
  const probe = new Probe(request, callback);
  probe.start();
  return () => probe.cancel();
}

class Probe {
  readonly #request: ProbeRequest;
  readonly #startedAt = performance.now();
  readonly #timer: NodeJS.Timeout;
  #callback: ProbeCallback | null;
  #socket: Socket | null = null;
  #http: ClientRequest | null = null;

  constructor(request: ProbeRequest, callback: ProbeCallback) {
    this.#request = request;
    this.#callback = callback;
    this.#timer = setTimeout(() => this.#timedOut(), request.timeoutMs);
    this.#timer.unref();
  }

  start(): void {
    try {
      this.#socket = this.#connect();
      if (this.#request.protocol === 'TCP') this.#watchConnection(this.#socket);
      else this.#ask(this.#socket);
    } catch (error) {
      const failure = { ok: false, failure: 'internal', detail: internalDetail(error) } as const;
      setImmediate(() => this.#finish(failure));
    }
  }

  cancel(): void {
    this.#callback = null;
    this.#close();
  }

  #connect(): Socket {
    const { address, port, netns } = this.#request;
    const socket = netns === '' ? new Socket() : socketInNamespace(netns);
    socket.unref();
    // Also errors after the result are none of anyone's business.
    socket.on('error', (error) => this.#failed(error));
    return socket.connect({ host: address, port });
  }

  #watchConnection(socket: Socket): void {
    socket.once('connect', () => {
      this.#finish({ ok: true, detail: `port ${this.#request.port} accepts connections` });
      this.#close();
    });
  }

  #ask(socket: Socket): void {
    const { protocol, address, port, path } = this.#request;
    const secure = protocol === 'HTTPS';
    const stream = secure
      ? tlsConnect({ socket, rejectUnauthorized: false, minVersion: 'TLSv1.2' })
      : socket;
    stream.on('error', (error) => this.#failed(error));
    this.#http = httpRequest({
      createConnection: () => stream,
      host: address,
      port,
      defaultPort: secure ? 443 : 80,
      path,
      headers: { 'User-Agent': 'gwlb-health-check', Accept: '*/*', Connection: 'close' },
    });
    this.#http.on('error', (error) => this.#failed(error));
    this.#http.on('response', (response) => {
      this.#answered(response.statusCode ?? 0);
      this.#drain(response);
    });
    this.#http.on('upgrade', (response) => {
      this.#answered(response.statusCode ?? 0);
      this.#close();
    });
    this.#http.end();
  }

  /** Reads a short body, so that the target sees an orderly end; a longer one is cut. */
  #drain(response: IncomingMessage): void {
    let bytes = 0;
    response.on('error', () => this.#close());
    response.on('end', () => this.#close());
    response.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > BODY_BYTES_MAX) this.#close();
    });
  }

  #answered(code: number): void {
    const { matcher } = this.#request;
    const detail = `${this.#asked()} answered ${code}`;
    if (matcher.matches(code)) this.#finish({ ok: true, detail });
    else this.#fail('response-code', `${detail}, expected ${matcher.text}`);
  }

  #failed(error: NodeJS.ErrnoException): void {
    const code = error.code ?? error.message;
    const { port } = this.#request;
    if (INTERNAL.has(code)) this.#fail('internal', internalDetail(error));
    else if (code === 'ETIMEDOUT') this.#fail('timeout', `${this.#asked()} timed out (${code})`);
    else if (code.startsWith('HPE_')) {
      this.#fail('malformed', `the answer on port ${port} is not HTTP (${code})`);
    } else if (code === 'EPROTO' || /^ERR_(?:SSL|TLS)_/.test(code)) {
      this.#fail('malformed', `TLS on port ${port} failed (${code})`);
    } else
      this.#fail(
        'connection',
        `${CONNECTION[code] ?? 'connection failed'} on port ${port} (${code})`,
      );
  }

  #timedOut(): void {
    this.#fail('timeout', `${this.#asked()} had no answer within ${this.#request.timeoutMs} ms`);
    this.#close();
  }

  #asked(): string {
    const { protocol, path, port } = this.#request;
    return protocol === 'TCP' ? `connecting to port ${port}` : `GET ${path} on port ${port}`;
  }

  #fail(failure: ProbeFailure, detail: string): void {
    this.#finish({ ok: false, failure, detail });
    this.#close();
  }

  #finish(result: ProbeResult): void {
    const callback = this.#callback;
    this.#callback = null;
    callback?.(result, performance.now() - this.#startedAt);
  }

  #close(): void {
    clearTimeout(this.#timer);
    this.#http?.destroy();
    this.#socket?.destroy();
  }
}

/** Errors of this host that say nothing about the target. */
const INTERNAL = new Set(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'EADDRNOTAVAIL']);

const CONNECTION: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection closed without an answer',
  EPIPE: 'connection closed without an answer',
  EHOSTUNREACH: 'host unreachable',
  ENETUNREACH: 'network unreachable',
};

function internalDetail(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code && !message.includes(code) ? `${message} (${code})` : message;
}

/** A socket that is not connected yet; reading must not begin before it is. */
function socketInNamespace(netns: string): Socket {
  const fd = binding.openTcpSocket(netns);
  try {
    return new Socket({ fd, readable: true, writable: true, manualStart: true } as object);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}
