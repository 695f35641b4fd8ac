/** The client on the internet: HTTP requests, one connection each or kept open. */
import { Agent, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { serve } from './rpc.js';
import { type HeldConnection, now, type RequestResult } from './types.js';

export interface RequestOptions {
  address: string;
  port: number;
  path: string;
  timeoutMs: number;
  /** The client's own port, for a connection that is to be followed. */
  localPort?: number;
}

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

/** Many requests, a few at a time, over all addresses in turn. */
async function askMany(options: {
  addresses: string[];
  port: number;
  count: number;
  atOnce: number;
}): Promise<RequestResult[]> {
  const results: RequestResult[] = [];
  let next = 0;
  const lane = async () => {
    while (next < options.count) {
      const address = options.addresses[next++ % options.addresses.length];
      results.push(await ask({ address, port: options.port, path: '/', timeoutMs: 5000 }));
    }
  };
  await Promise.all(Array.from({ length: options.atOnce }, lane));
  return results;
}

/** A connection that stays: one request every so often over the same socket. */
class Held {
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

  /** Milliseconds since the last answer. */
  get silentMs(): number {
    return now() - this.#last;
  }

  /** Forgets the longest pause so far. */
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

const held: Held[] = [];

/** True where a TCP connection comes about. */
function tryPort(options: { address: string; port: number; timeoutMs: number }): Promise<boolean> {
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
  serve({
    ask,
    askMany,
    tryPort,
    hold: (options: { addresses: string[]; port: number; count: number; everyMs: number }) => {
      for (let i = 0; i < options.count; i++) {
        const connection = new Held(options.addresses[i % options.addresses.length], options.port);
        held.push(connection);
        connection.run(options.everyMs);
      }
    },
    mark: () => {
      for (const connection of held) connection.mark();
    },
    held: () => held.map((connection) => connection.state),
    /** Those without an answer for that long. */
    pending: (silentMs: number) =>
      held.filter((connection) => connection.silentMs > silentMs).map(({ state }) => state),
    /** Ends the newest `count` connections. */
    release: (count: number) => {
      for (const connection of held.splice(-count)) connection.stop();
    },
  });
}
