/**
 * Answers health checks over HTTP, or takes connections over TCP. A health checker needs a status and no
 * more of HTTP: the first line of its request is read, its headers are skipped, and the connection is
 * closed behind the answer.
 */
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { systemError } from '../packet/lifecycle.js';
import { hostText } from '../packet/own-address.js';
import type { HealthCheckAnswers } from './health-check.js';

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
  503: 'Service Unavailable',
};
type Status = keyof typeof REASONS;

export class HealthResponder {
  readonly #server: Server;
  readonly #where: { readonly host: string; readonly port: number };
  readonly #answers: HealthCheckAnswers;
  readonly #open = new Set<Socket>();
  /** Why it is unhealthy; null while it is healthy. */
  #reason: string | null = null;
  /** One change after the other. */
  #changed: Promise<void> = Promise.resolve();
  #closed = false;

  private constructor(host: string, answers: HealthCheckAnswers) {
    this.#answers = answers;
    this.#where = { host, port: answers.port };
    // A client may end its side first; it still wants its answer.
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#serve(socket));
    // The appliance keeps the process alive, not its health checks.
    this.#server.unref();
  }

  /** Answers that all is well; rejects with a `GatewayError` where the port cannot be had. */
  static async listen(host: string, answers: HealthCheckAnswers): Promise<HealthResponder> {
    const responder = new HealthResponder(host, answers);
    await responder.#listen();
    return responder;
  }

  /** Answers from now on that all is well (null), or why not; rejects as `listen` does. */
  tell(reason: string | null): Promise<void> {
    const change = this.#changed.then(() => this.#tell(reason));
    this.#changed = change.catch(() => {});
    return change;
  }

  /** Stops listening and ends every connection. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#changed;
    await this.#stop();
  }

  async #tell(reason: string | null): Promise<void> {
    this.#reason = reason;
    if (this.#answers.protocol === 'HTTP' || this.#closed) return;
    if (reason !== null) await this.#stop();
    else if (!this.#server.listening) await this.#listen();
  }

  async #listen(): Promise<void> {
    const { host, port } = this.#where;
    try {
      this.#server.removeAllListeners('error').listen(port, host);
      await once(this.#server, 'listening');
    } catch (error) {
      throw systemError(error, `answer health checks on ${hostText(host)}:${port}`, 'options');
    } finally {
      // A connection that could not be accepted ends no process.
      this.#server.on('error', () => {});
    }
  }

  async #stop(): Promise<void> {
    if (!this.#server.listening) return;
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      for (const socket of this.#open) socket.destroy();
    });
  }

  #serve(socket: Socket): void {
    const { protocol, path } = this.#answers;
    const [oldest] = this.#open;
    if (this.#open.size >= CONNECTIONS_MAX) oldest?.destroy();
    this.#open.add(socket);
    let timer = setTimeout(() => socket.destroy(), REQUEST_MS).unref();
    let head = '';
    let lingered = -1;
    const answer = (status: Status, isHead = false) => {
      lingered = 0;
      clearTimeout(timer);
      timer = setTimeout(() => socket.destroy(), LINGER_MS).unref();
      socket.end(protocol === 'TCP' ? '' : answerText(status, this.#reason, isHead));
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
        answer(line ? this.#statusOf(line[2], path) : 400, line?.[1] === 'HEAD');
      }
    });
    // Without a whole request there is nobody to answer.
    socket.on('end', () => (lingered >= 0 ? socket.end() : socket.destroy()));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      clearTimeout(timer);
      this.#open.delete(socket);
    });
    // That it was taken is the answer.
    if (protocol === 'TCP') answer(200);
  }

  #statusOf(asked: string | undefined, path: string): 200 | 404 | 503 {
    if (asked !== path) return 404;
    return this.#reason === null ? 200 : 503;
  }
}

function answerText(status: Status, reason: string | null, isHead: boolean): string {
  const text = { 200: 'ok', 503: reason }[status as number] ?? REASONS[status].toLowerCase();
  const body = `${text}\n`;
  return (
    `HTTP/1.1 ${status} ${REASONS[status]}\r\ncontent-type: text/plain\r\n` +
    `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${isHead ? '' : body}`
  );
}
