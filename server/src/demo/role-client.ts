/** The client on the internet: HTTP requests, one connection each or kept open. */
import { Agent, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { type Held, type PortOptions, type RequestOptions, serveTraffic } from './traffic.js';
import { type HeldConnection, now, type RequestResult } from './types.js';

function ask(options: RequestOptions): Promise<RequestResult> {
  const began = now();
  const { address, port, path, timeoutMs, localPort } = options;
  return new Promise((resolve) => {
    let client = '';
    const done = (rest: Pick<RequestResult, 'ok' | 'status' | 'error' | 'seen'>) =>
      resolve({ ms: now() - began, client, server: `${address}:${port}`, ...rest });
    const outgoing = request(
      { host: address, port, path, localPort, agent: false, headers: { connection: 'close' } },
      (response) => {
        let text = '';
        response.on('data', (chunk) => (text += chunk));
        response.on('end', () => {
          const status = response.statusCode ?? 0;
          done({ ok: status === 200, status, seen: status === 200 ? JSON.parse(text) : undefined });
        });
      },
    );
    const timer = setTimeout(() => outgoing.destroy(new Error('timed out')), timeoutMs);
    outgoing.on('socket', (socket) => {
      socket.once('connect', () => {
        client = `${socket.localAddress}:${socket.localPort}`;
      });
    });
    outgoing.on('error', (error) => done({ ok: false, status: 0, error: error.message }));
    outgoing.on('close', () => clearTimeout(timer));
    outgoing.end();
  });
}

/** A connection that stays: one request every so often over the same socket. */
class KeptOpen implements Held {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });
  readonly #state: HeldConnection;
  #socket: Socket | null = null;
  #last = now();
  #stopped = false;

  readonly address: string;
  readonly port: number;

  constructor(address: string, port: number) {
    this.address = address;
    this.port = port;
    const server = `${address}:${port}`;
    this.#state = { client: '', server, alive: true, answers: 0, gapMs: 0 };
  }

  get state(): HeldConnection {
    const { alive, gapMs } = this.#state;
    return { ...this.#state, gapMs: alive ? Math.max(gapMs, now() - this.#last) : gapMs };
  }

  get silentMs(): number {
    return now() - this.#last;
  }

  mark(): void {
    this.#state.gapMs = 0;
    this.#last = now();
  }

  run(everyMs: number): void {
    const outgoing = request({
      host: this.address,
      port: this.port,
      path: '/',
      agent: this.#agent,
    });
    outgoing.on('socket', (socket) => this.#adopt(socket));
    outgoing.on('response', (response) => {
      response.resume();
      response.on('end', () => {
        this.#state.answers++;
        this.#state.gapMs = Math.max(this.#state.gapMs, now() - this.#last);
        this.#last = now();
        if (!this.#stopped) setTimeout(() => !this.#stopped && this.run(everyMs), everyMs);
      });
    });
    outgoing.on('error', (error) => this.#lost(error.message));
    outgoing.end();
  }

  #adopt(socket: Socket): void {
    if (socket === this.#socket) return;
    // A second socket means that the first one was lost.
    if (this.#socket) this.#lost('the server closed the connection');
    this.#socket = socket;
    const name = () => {
      this.#state.client = `${socket.localAddress}:${socket.localPort}`;
    };
    if (socket.connecting) socket.once('connect', name);
    else name();
  }

  #lost(error: string): void {
    if (this.#stopped) return;
    this.#state.alive = false;
    this.#state.error ??= error;
  }

  stop(): void {
    this.#stopped = true;
    this.#socket?.resetAndDestroy();
    this.#agent.destroy();
  }
}

/** True where a TCP connection comes about. */
function tryPort(options: PortOptions): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: options.address, port: options.port });
    const end = (open: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(open);
    };
    const timer = setTimeout(() => end(false), options.timeoutMs);
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}

export function start(): void {
  serveTraffic({ ask, tryPort, hold: (address, port) => new KeptOpen(address, port) });
}
