/**
 * Answers health checks over HTTP. A health checker needs a status and no more of HTTP: the first line
 * of its request is read, its headers are skipped, and the connection is closed behind the answer.
 */
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';

/** Open connections; another one ends the oldest. */
const CONNECTIONS_MAX = 128;
/** From the connection to the end of the request. */
const REQUEST_MS = 5_000;
const REQUEST_BYTES_MAX = 8_192;
/** What a client still sends is read for so long and so far, so that its answer is not cut by a RST. */
const LINGER_MS = 1_000;
const LINGER_BYTES_MAX = 1 << 20;

const REQUEST_LINE = /^([A-Z]+) (\S+) HTTP\/1\.\d$/;
const REASONS = {
  200: 'OK',
  400: 'Bad Request',
  404: 'Not Found',
  431: 'Request Header Fields Too Large',
};

export class HealthResponder {
  readonly #server: Server;
  readonly #open = new Set<Socket>();

  private constructor(path: string) {
    // A client may end its side first; it still wants its answer.
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#serve(socket, path));
    // The appliance keeps the process alive, not its health checks.
    this.#server.unref();
  }

  /** Answers 200 to requests for `path`; rejects with what the system says. */
  static async listen(host: string, port: number, path: string): Promise<HealthResponder> {
    const responder = new HealthResponder(path);
    responder.#server.listen(port, host);
    await once(responder.#server, 'listening');
    // A connection that could not be accepted ends no process.
    responder.#server.on('error', () => {});
    return responder;
  }

  /** Stops listening and ends every connection. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      for (const socket of this.#open) socket.destroy();
    });
  }

  #serve(socket: Socket, path: string): void {
    const [oldest] = this.#open;
    if (this.#open.size >= CONNECTIONS_MAX) oldest?.destroy();
    this.#open.add(socket);
    let timer = setTimeout(() => socket.destroy(), REQUEST_MS).unref();
    let head = '';
    let lingered = -1;
    const answer = (status: keyof typeof REASONS, isHead = false) => {
      lingered = 0;
      clearTimeout(timer);
      timer = setTimeout(() => socket.destroy(), LINGER_MS).unref();
      socket.end(answerText(status, isHead));
    };
    socket.on('data', (chunk) => {
      if (lingered >= 0) {
        lingered += chunk.length;
        if (lingered > LINGER_BYTES_MAX) socket.destroy();
        return;
      }
      head += chunk.toString('latin1', 0, REQUEST_BYTES_MAX + 1);
      const end = /\n\r?\n/.exec(head)?.index ?? -1;
      if (end > REQUEST_BYTES_MAX || (end < 0 && head.length > REQUEST_BYTES_MAX)) {
        answer(431);
      } else if (end >= 0) {
        const line = REQUEST_LINE.exec(head.slice(0, head.indexOf('\n')).trimEnd());
        answer(line ? (line[2] === path ? 200 : 404) : 400, line?.[1] === 'HEAD');
      }
    });
    // Without a whole request there is nobody to answer.
    socket.on('end', () => (lingered >= 0 ? socket.end() : socket.destroy()));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      clearTimeout(timer);
      this.#open.delete(socket);
    });
  }
}

function answerText(status: keyof typeof REASONS, isHead: boolean): string {
  const body = status === 200 ? 'ok\n' : `${REASONS[status].toLowerCase()}\n`;
  return (
    `HTTP/1.1 ${status} ${REASONS[status]}\r\ncontent-type: text/plain\r\n` +
    `content-length: ${body.length}\r\nconnection: close\r\n\r\n${isHead ? '' : body}`
  );
}
