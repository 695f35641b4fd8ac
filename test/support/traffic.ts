/**
 * The ends of real traffic, each its own process in a namespace: servers, and clients that print
 * what they found out as JSON.
 */
import { createCipheriv, createHash, randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { buffer } from 'node:stream/consumers';

export const TCP_PORT = 9000;
export const UDP_PORT = 4053;

/** Of a transfer, at one end. */
export interface Side {
  bytes: number;
  sha256: string;
}

export interface Transfer {
  sent: Side;
  /** What the server says that it received. */
  received: Side;
}

export interface Questions {
  asked: number;
  answered: number;
}

const HEADER_BYTES = 12;
const CHUNK = 1 << 20;

/** A query with recursion desired for an address; `size` pads the name's place in the packet. */
function question(id: number, size: number): Buffer {
  const name = Buffer.from(
    `\x07service\x05h${String(id).padStart(4, '0')}\x07example\x00`,
    'latin1',
  );
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt16BE(id, 0);
  header.writeUInt16BE(0x0100, 2);
  header.writeUInt16BE(1, 4);
  const packet = Buffer.concat([header, name, Buffer.from([0, 1, 0, 1])]);
  return Buffer.concat([packet, Buffer.alloc(Math.max(0, size - packet.length), id & 0xff)]);
}

/** The question, marked as answered, and one address made from its id. */
function answer(query: Buffer): Buffer {
  const header = Buffer.from(query);
  header.writeUInt16BE(0x8180, 2);
  header.writeUInt16BE(1, 6);
  const record = Buffer.from([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 0]);
  record[15] = query.readUInt16BE(0) & 0xff;
  return Buffer.concat([header, record]);
}

async function serve(): Promise<void> {
  const server = createServer({ allowHalfOpen: true }, async (socket) => {
    socket.on('error', () => {});
    const hash = createHash('sha256');
    let bytes = 0;
    for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
      hash.update(chunk);
      bytes += chunk.length;
    }
    socket.end(JSON.stringify({ bytes, sha256: hash.digest('hex') } satisfies Side));
  });
  server.listen(TCP_PORT, '::');
  await once(server, 'listening');
  for (const kind of ['udp4', 'udp6'] as const) {
    const socket = createSocket({ type: kind, ipv6Only: kind === 'udp6' });
    socket.on('message', (query, from) => socket.send(answer(query), from.port, from.address));
    socket.bind(UDP_PORT);
    await once(socket, 'listening');
  }
  console.log('ready');
}

async function send(host: string, total: number): Promise<Transfer> {
  const socket = connect({ host, port: TCP_PORT, allowHalfOpen: true });
  const received = buffer(socket);
  // A key stream, so that no two pieces are equal and none can take another's place.
  const cipher = createCipheriv('aes-128-ctr', randomBytes(16), randomBytes(16));
  const hash = createHash('sha256');
  const zeros = Buffer.alloc(CHUNK);
  for (let bytes = 0; bytes < total; ) {
    const chunk = cipher.update(zeros.subarray(0, Math.min(CHUNK, total - bytes)));
    hash.update(chunk);
    bytes += chunk.length;
    if (!socket.write(chunk)) await once(socket, 'drain');
  }
  socket.end();
  return {
    sent: { bytes: total, sha256: hash.digest('hex') },
    received: JSON.parse((await received).toString()),
  };
}

const ASK_SECONDS = 60;

/** One question and its answer; false where that does not come or is another one. */
async function exchange(socket: Socket, host: string, id: number, size: number): Promise<boolean> {
  const query = question(id, size);
  const answered = once(socket, 'message', { signal: AbortSignal.timeout(ASK_SECONDS * 1000) });
  socket.send(query, UDP_PORT, host);
  try {
    const [message] = (await answered) as [Buffer];
    return message.equals(answer(query));
  } catch {
    return false;
  }
}

/** `flows` sockets at once, each with `each` questions one after the other. */
async function ask(host: string, flows: number, each: number, size: number): Promise<Questions> {
  const client = async (first: number): Promise<number> => {
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
    let good = 0;
    for (let i = 0; i < each; i++) {
      if (await exchange(socket, host, first + i, size)) good++;
    }
    socket.close();
    return good;
  };
  const good = await Promise.all(Array.from({ length: flows }, (_, i) => client(i * each)));
  return { asked: flows * each, answered: good.reduce((sum, count) => sum + count, 0) };
}

const [role, host, ...numbers] = process.argv.slice(2);
const [first, second, third] = numbers.map(Number);
if (role === 'serve') await serve();
else if (role === 'send') console.log(JSON.stringify(await send(host, first)));
else if (role === 'ask') console.log(JSON.stringify(await ask(host, first, second, third)));
else throw new Error(`no such role: ${role}`);
