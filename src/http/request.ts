/** The one request of a connection, taken from the bytes as they come (RFC 9112). */

export interface HttpRequest {
  method: string;
  /** With its query. */
  target: string;
  /** Without it. */
  path: string;
  body: Buffer;
}

/** What came is no request that could be answered. */
export class MalformedRequest extends Error {
  readonly status: 400 | 413 | 431 | 501;

  constructor(status: 400 | 413 | 431 | 501, message: string) {
    super(message);
    this.status = status;
  }
}

/** Bytes of a request line and its headers. */
const HEAD_BYTES_MAX = 8_192;

/** Reads up to the end of a request; what comes behind it is left alone. */
export class HeadReader {
  readonly #bodyBytesMax: number;
  readonly #chunks: Buffer[] = [];
  #bytes = 0;
  #head: Head | null = null;
  #continued = false;

  constructor(bodyBytesMax: number) {
    this.#bodyBytesMax = bodyBytesMax;
  }

  /** The request, where it is whole with this chunk. Throws a MalformedRequest. */
  take(chunk: Buffer): HttpRequest | null {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (!this.#head) {
      const all = this.#joined();
      const end = endOfHead(all);
      if ((end ?? all.length) > HEAD_BYTES_MAX) {
        throw new MalformedRequest(431, `expected at most ${HEAD_BYTES_MAX} bytes of headers`);
      }
      if (end === null) return null;
      this.#head = headOf(all.toString('latin1', 0, end), end);
      if (this.#head.length > this.#bodyBytesMax) {
        const message = `expected at most ${this.#bodyBytesMax} bytes, received ${this.#head.length}`;
        throw new MalformedRequest(413, message);
      }
    }
    const { method, target, end, length } = this.#head;
    if (this.#bytes < end + length) return null;
    const path = target.split('?', 1)[0] ?? '';
    return { method, target, path, body: this.#joined().subarray(end, end + length) };
  }

  /** Whether the client waits to be told to send its body; true once. */
  expectsContinue(): boolean {
    if (!this.#head?.expects || this.#continued) return false;
    this.#continued = true;
    return true;
  }

  #joined(): Buffer {
    if (this.#chunks.length > 1)
      this.#chunks.splice(0, this.#chunks.length, Buffer.concat(this.#chunks));
    return this.#chunks[0] ?? Buffer.alloc(0);
  }
}

interface Head {
  method: string;
  target: string;
  /** Bytes of it. */
  end: number;
  /** Of the body. */
  length: number;
  expects: boolean;
}

/** Behind the empty line that ends it; null where there is none yet. Lines may end without CR. */
function endOfHead(bytes: Buffer): number | null {
  for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, at + 1)) {
    const next = bytes[at + 1] === 13 ? at + 2 : at + 1;
    if (bytes[next] === 10) return next + 1;
    if (at >= HEAD_BYTES_MAX) return null;
  }
  return null;
}

function headOf(text: string, end: number): Head {
  const [first, ...lines] = text.split(/\r?\n/);
  const match = /^([A-Z]{1,16}) (\S+) HTTP\/1\.\d$/.exec(first ?? '');
  if (!match) throw new MalformedRequest(400, 'expected HTTP/1.1, received something else');
  const [, method = '', target = ''] = match;
  let length = 0;
  let expects = false;
  for (const line of lines) {
    const [, name, value = ''] = /^([^:]+):(.*)$/.exec(line) ?? [];
    const key = name?.toLowerCase();
    if (key === 'transfer-encoding') {
      throw new MalformedRequest(501, 'expected a body with content-length');
    }
    if (key === 'content-length') {
      if (!/^\d{1,15}$/.test(value.trim())) {
        throw new MalformedRequest(400, 'expected a number as content-length');
      }
      length = Number(value);
    }
    if (key === 'expect') expects = value.trim().toLowerCase() === '100-continue';
  }
  return { method, target, end, length, expects };
}
