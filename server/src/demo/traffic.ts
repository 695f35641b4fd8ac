/** What any source of requests offers to the story, however it makes them. */
import { type Handlers, serve } from '../lab/remote.js';
import type { HeldConnection, RequestResult } from './types.js';

export interface RequestOptions {
  address: string;
  port: number;
  path: string;
  timeoutMs: number;
  /** The client's own port, for a connection that is to be followed. */
  localPort?: number;
}

export interface PortOptions {
  address: string;
  port: number;
  timeoutMs: number;
}

/** A connection that stays, with one request every so often. */
export interface Held {
  readonly state: HeldConnection;
  /** Milliseconds since the last answer. */
  readonly silentMs: number;
  /** Forgets the longest pause so far. */
  mark(): void;
  run(everyMs: number): void;
  stop(): void;
}

export interface Source {
  ask(options: RequestOptions): Promise<RequestResult>;
  /** True where a TCP connection comes about. */
  tryPort(options: PortOptions): Promise<boolean>;
  hold(address: string, port: number): Held;
}

interface Many {
  addresses: string[];
  port: number;
  count: number;
}

/** Answers the story's calls, and `more` of its own. */
export function serveTraffic(source: Source, more: Handlers = {}): void {
  const held: Held[] = [];
  const { ask, tryPort } = source;
  serve({
    ...more,
    ask,
    tryPort,
    /** Many requests, a few at a time, over all addresses in turn. */
    askMany: async ({ addresses, port, count, atOnce }: Many & { atOnce: number }) => {
      const results: RequestResult[] = [];
      let next = 0;
      const lane = async () => {
        while (next < count) {
          const address = addresses[next++ % addresses.length];
          results.push(await ask({ address, port, path: '/', timeoutMs: 5000 }));
        }
      };
      await Promise.all(Array.from({ length: atOnce }, lane));
      return results;
    },
    hold: ({ addresses, port, count, everyMs }: Many & { everyMs: number }) => {
      for (let i = 0; i < count; i++) {
        const connection = source.hold(addresses[i % addresses.length], port);
        held.push(connection);
        connection.run(everyMs);
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
