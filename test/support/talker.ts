/**
 * One end of TCP connections that a test leads by the hand: a process of its own in a namespace,
 * called over IPC. A connection is called by the client's port, at both ends.
 */
import { once } from 'node:events';
import { createServer, type Socket, Socket as TcpSocket } from 'node:net';
import { serve } from '../../src/demo/rpc.js';

export interface Line {
  port: number;
  /** It is, or was, established. */
  open: boolean;
  received: number;
  /** Code of what ended it, such as `ECONNRESET`. */
  error: string | null;
  closed: boolean;
}

interface Talk extends Line {
  socket: Socket;
}

const talks = new Map<number, Talk>();

function watch(port: number, socket: Socket, open: boolean): void {
  const talk = { port, socket, open, received: 0, error: null, closed: false } as Talk;
  talks.set(port, talk);
  socket.on('connect', () => {
    talk.open = true;
  });
  socket.on('data', (bytes) => {
    talk.received += bytes.length;
  });
  socket.on('error', (error: NodeJS.ErrnoException) => {
    talk.error = error.code ?? error.message;
  });
  socket.on('close', () => {
    talk.closed = true;
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
  line: (port: number): Line | null => {
    const talk = talks.get(port);
    if (!talk) return null;
    const { socket, ...line } = talk;
    return line;
  },
});
