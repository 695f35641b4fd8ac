/**
 * The status code of an HTTP answer, taken from the bytes as they come. It is all that is looked at:
 * lines may end without CR, and what stands behind the status line may be anything, or missing.
 */

/** Bytes up to the end of the status line that counts, with the informational answers before it. */
export const STATUS_BYTES_MAX = 16_384;

export type Status = { readonly code: number } | { readonly wrong: string };

const STATUS_LINE = /^HTTP\/\d(?:\.\d)? {1,8}(\d{3})(?:[ \t].*)?$/;
const PREFIX = 'HTTP/';
const SHOWN_MAX = 24;

export class StatusReader {
  #bytes = 0;
  /** The line that has no end yet. */
  #line = '';
  /** In the headers of an answer that is not the last one (RFC 9110, section 15.2). */
  #informational = false;

  /** The answer's status, or what is wrong with it; null while it is not known. Not called after that. */
  take(chunk: Buffer): Status | null {
    const room = STATUS_BYTES_MAX - this.#bytes;
    this.#bytes += chunk.length;
    const lines = (this.#line + chunk.toString('latin1', 0, room)).split('\n');
    this.#line = lines.pop() ?? '';
    for (const line of lines) {
      const status = this.#takeLine(line.replace(/\r$/, ''));
      if (status) return status;
    }
    if (!this.#informational && !looksRight(this.#line)) return notHttp(this.#line);
    if (chunk.length < room) return null;
    return { wrong: `has no status within ${STATUS_BYTES_MAX} bytes` };
  }

  #takeLine(line: string): Status | null {
    if (this.#informational) {
      if (line === '') this.#informational = false;
      return null;
    }
    // Some send an empty line before the first one.
    if (line === '') return null;
    const code = Number(STATUS_LINE.exec(line)?.[1] ?? 0);
    if (code < 100) return notHttp(line);
    // 101 is the last one: what follows is another protocol.
    this.#informational = code < 200 && code !== 101;
    return this.#informational ? null : { code };
  }
}

/** Whether a status line may begin like this. */
function looksRight(line: string): boolean {
  return line === '\r' || PREFIX.startsWith(line) || line.startsWith(PREFIX);
}

function notHttp(line: string): Status {
  return { wrong: `is not HTTP: it begins with ${JSON.stringify(line.slice(0, SHOWN_MAX))}` };
}
