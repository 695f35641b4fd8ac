/**
 * One health check of one target: a TCP connection, or one HTTP(S) request over it (or a packet through
 * it, see geneve-probe.ts). Every connection
 * is made for its check and closed after it. Certificates are not verified: a check asks whether the
 * appliance answers, not who it is. Of an HTTP answer only the status counts.
 */
import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import { binding } from '../native/binding.js';
import { Deadline, lostText } from './deadline.js';
import { type DataPath, startGeneveProbe } from './geneve-probe.js';
import { StatusReader } from './http-status.js';
import type { HealthCheckProtocol } from './options.js';
import type { CancelProbe, ProbeCallback } from './probe-callback.js';
import type { ProbeFailure, ProbeResult } from './thresholds.js';

/** What may follow the status; the rest is not read. */
const REST_BYTES_MAX = 16_384;

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
  readonly #deadline: Deadline;
  #callback: ProbeCallback | null;
  #socket: Socket | null = null;

  constructor(request: ProbeRequest, callback: ProbeCallback) {
    this.#request = request;
    this.#callback = callback;
    this.#deadline = new Deadline(request.timeoutMs, (lostMs) => this.#timedOut(lostMs));
  }

  start(): void {
    try {
      this.#socket = this.#connect();
      if (this.#request.protocol === 'TCP') this.#watchConnection(this.#socket);
      else this.#ask(this.#socket);
    } catch (error) {
      setImmediate(() => this.#fail('internal', internalDetail(error)));
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
    const reader = new StatusReader();
    let rest: number | null = null;
    stream.on('error', (error) => this.#failed(error));
    // An orderly end for the target where the answer is short; a longer one is cut.
    stream.on('data', (chunk: Buffer) => {
      if (rest !== null) {
        rest += chunk.length;
        if (rest > REST_BYTES_MAX) this.#close();
        return;
      }
      const status = reader.take(chunk);
      if (!status) return;
      rest = 0;
      if ('code' in status) this.#answered(status.code);
      else this.#fail('malformed', `the answer on port ${port} ${status.wrong}`);
    });
    stream.on('end', () => {
      if (rest === null) this.#failed(Object.assign(new Error(), { code: 'ECONNRESET' }));
      this.#close();
    });
    const host = port === (secure ? 443 : 80) ? address : `${address}:${port}`;
    stream.write(
      `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nUser-Agent: gwlb-health-check\r\n` +
        'Accept: */*\r\nConnection: close\r\n\r\n',
    );
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
    else if (code === 'EPROTO' || /^ERR_(?:SSL|TLS)_/.test(code)) {
      this.#fail('malformed', `TLS on port ${port} failed (${code})`);
    } else {
      const detail = `${CONNECTION[code] ?? 'connection failed'} on port ${port} (${code})`;
      // Who had to wait for us may have lost patience.
      const lostMs = code === 'ECONNRESET' || code === 'EPIPE' ? this.#deadline.lostMs() : 0;
      if (lostMs > 0) this.#fail('internal', `${detail}, but ${lostText(lostMs)}`);
      else this.#fail('connection', detail);
    }
  }

  #timedOut(lostMs: number): void {
    const detail = `${this.#asked()} had no answer within ${this.#request.timeoutMs} ms`;
    if (lostMs > 0) this.#fail('internal', `${detail}, but ${lostText(lostMs)}`);
    else this.#fail('timeout', detail);
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
    this.#deadline.clear();
    this.#socket?.destroy();
  }
}

/** Errors of this host that say nothing about the target. */
const INTERNAL = new Set([
  'EMFILE',
  'ENFILE',
  'ENOBUFS',
  'ENOMEM',
  'EADDRNOTAVAIL',
  // A packet filter of this host forbids it.
  'EPERM',
]);

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
