/**
 * One end of TCP connections that a test leads by the hand: a process of its own in a namespace,
 * called over IPC. A connection is called by the client's port, at both ends.
 */
import { createHash, type Hash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Socket, Socket as TcpSocket } from 'node:net';
import { serve } from '../../server/src/lab/remote.js';

export interface Line {
  port: number;
  /** It is, or was, established. */
  open: boolean;
  received: number;
  /** Of what was received. */
  sha256: string;
  /** Longest pause between two pieces, or since the last one. */
  gapMs: number;
  /** Code of what ended it, such as `ECONNRESET`. */
  error: string | null;
  closed: boolean;
}

/** What `stream` sent in all. */
export interface Sent {
  bytes: number;
  sha256: string;
}

interface Talk extends Omit<Line, 'sha256'> {
  socket: Socket;
  hash: Hash;
  lastMs: number;
  sent: { bytes: number; hash: Hash; timer: NodeJS.Timeout } | null;
}

const PIECE = 8192;
const PACE_MS = 20;

const talks = new Map<number, Talk>();

function watch(port: number, socket: Socket, open: boolean): void {
  const talk: Talk = {
    ...{ port, socket, open, received: 0, error: null, closed: false },
    ...{ hash: createHash('sha256'), gapMs: 0, lastMs: performance.now(), sent: null },
  };
  talks.set(port, talk);
  socket.on('connect', () => {
    talk.open = true;
  });
  socket.on('data', (bytes) => {
    talk.received += bytes.length;
    talk.hash.update(bytes);
    const now = performance.now();
    talk.gapMs = Math.max(talk.gapMs, now - talk.lastMs);
    talk.lastMs = now;
  });
  socket.on('error', (error: NodeJS.ErrnoException) => {
    talk.error = error.code ?? error.message;
  });
  socket.on('close', () => {
    talk.closed = true;
    if (talk.sent) clearInterval(talk.sent.timer);
  });
}

function find(port: number): Talk {
  const talk = talks.get(port);
  if (!talk) throw new Error(`no connection with port ${port}`);
  return talk;
}

serve({
  /** Waits for connections on all addresses. */
  listen: async (port: number) => {
    const server = createServer((socket) => watch(socket.remotePort ?? 0, socket, true));
    server.listen(port, '::');
    await once(server, 'listening');
  },
  /** Begins to connect; `lines` tells what came of it. */
  dial: ({ host, port, localPort }: { host: string; port: number; localPort: number }) => {
    const socket = new TcpSocket();
    watch(localPort, socket, false);
    socket.connect({ host, port, localPort });
  },
  send: ({ port, bytes }: { port: number; bytes: number }) => {
    find(port).socket.write(Buffer.alloc(bytes, 0x5a));
  },
  /** Sends as fast as it goes, until the connection ends. */
  pump: async (port: number) => {
    const { socket } = find(port);
    const chunk = Buffer.alloc(1 << 18, 0x5a);
    const go = () => {
      while (!socket.destroyed && socket.write(chunk));
    };
    socket.on('drain', go);
    go();
  },
  stream: (port: number) => {
    const talk = find(port);
    const send = () => {
      // A connection that is stuck gets no more than it already has.
      if (!talk.sent || talk.socket.writableNeedDrain) return;
      const piece = randomBytes(PIECE);
      talk.sent.bytes += PIECE;
      talk.sent.hash.update(piece);
      talk.socket.write(piece);
    };
    talk.sent = { bytes: 0, hash: createHash('sha256'), timer: setInterval(send, PACE_MS) };
  },
  finish: (port: number): Sent => {
    const { socket, sent } = find(port);
    if (!sent) throw new Error(`port ${port} sends no stream`);
    clearInterval(sent.timer);
    socket.end();
    return { bytes: sent.bytes, sha256: sent.hash.digest('hex') };
  },
  mark: () => {
    for (const talk of talks.values()) {
      talk.gapMs = 0;
      talk.lastMs = performance.now();
    }
  },
  line: (port: number): Line | null => {
    const talk = talks.get(port);
    if (!talk) return null;
    const { received, open, error, closed, hash, gapMs, lastMs } = talk;
    return {
      ...{ port, open, received, error, closed },
      sha256: hash.copy().digest('hex'),
      gapMs: Math.max(gapMs, performance.now() - lastMs),
    };
  },
});
