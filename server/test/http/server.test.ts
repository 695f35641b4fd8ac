/** What strangers can do to a listener: everything, within its bounds. */
import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { type HttpLimits, HttpServer, type HttpService } from '../../src/http/server.js';
import { shared } from '../../src/http/shared.js';

const LIMITS = { connections: 8, bodyBytes: 100 };
const plain = (status: number, body: string | Uint8Array) => ({ status, type: 'text/plain', body });

async function served(
  t: Test,
  answer: HttpService['answer'],
  limits: Partial<HttpLimits> = {},
): Promise<number> {
  const http = new HttpServer(
    { answer, refuse: (status, { message }) => plain(status, message) },
    { ...LIMITS, ...limits },
  );
  http.server.listen(0, '127.0.0.1');
  await once(http.server, 'listening');
  t.teardown(() => http.close());
  return (http.server.address() as AddressInfo).port;
}

function connected(t: Test, port: number): Socket {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  t.teardown(() => socket.destroy());
  return socket;
}

/** What comes back, until the other end closes. */
async function raw(t: Test, port: number, ...parts: string[]): Promise<string> {
  const socket = connected(t, port);
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk;
  });
  for (const part of parts) {
    socket.write(part);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await once(socket, 'close');
  return text;
}

const GET = 'GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n';

t.test('thousands of requests in one connection are one, and nobody reads', async (t) => {
  let asked = 0;
  const body = Buffer.alloc(4 << 20, 'x');
  const port = await served(
    t,
    async () => {
      asked += 1;
      await new Promise((resolve) => setTimeout(resolve, 5));
      return plain(200, body);
    },
    { writeMs: 200 },
  );
  const attackers = Array.from({ length: 5 }, () => connected(t, port));
  const ended = attackers.map((socket) => once(socket, 'close'));
  for (const socket of attackers) {
    socket.pause();
    socket.write(GET.repeat(2_000));
  }
  const fine = await raw(t, port, GET);
  t.equal(fine.split('\r\n\r\n')[1].length, body.length, 'another one has its answer meanwhile');
  for (const socket of attackers) socket.on('close', () => {});
  await new Promise((resolve) => setTimeout(resolve, 400));
  t.equal(asked, 6, 'one answer a connection');
  for (const socket of attackers) socket.resume();
  await Promise.all(ended);
  t.pass('who does not read is let go');
});

t.test('an answer is computed once for all who wait, and not all of the time', async (t) => {
  let computed = 0;
  const ask = shared(async () => {
    computed += 1;
    const until = performance.now() + 4;
    while (performance.now() < until);
    return computed;
  });
  t.strictSame(await Promise.all([ask(), ask(), ask()]), [1, 1, 1]);
  const begun = performance.now();
  t.equal(await ask(), 2, 'who comes later gets a new one');
  t.equal(await ask(), 3);
  t.ok(performance.now() - begun >= 4 * 5, 'and waits, so that computing leaves time for the rest');
  let fails = true;
  const wrong = shared(() => {
    if (fails) throw new Error('broken');
    return 'mended';
  });
  await t.rejects(wrong(), { message: 'broken' });
  fails = false;
  t.equal(await wrong(), 'mended', 'an error is not kept');
});

t.test('one connection more ends the oldest; silent ones end by themselves', async (t) => {
  const limits = { connections: 3, requestMs: 500 };
  const port = await served(t, () => plain(200, 'ok'), limits);
  const silent = Array.from({ length: 3 }, () => connected(t, port));
  await Promise.all(silent.map((socket) => once(socket, 'connect')));
  const ended = silent.map((socket) => once(socket.resume(), 'close'));
  for (const socket of silent) socket.write('GET / HT');
  t.match(await raw(t, port, GET), /^HTTP\/1\.1 200 OK\r\n/, 'whoever holds them');
  await ended[0];
  t.notOk(silent[1].closed || silent[2].closed, 'only as many as have to');
  await Promise.all(ended);
  t.match(await raw(t, port, GET), /^HTTP\/1\.1 200 OK\r\n/);
});

t.test('many that never read keep nobody from an answer', async (t) => {
  const body = Buffer.alloc(4 << 20, 'x');
  const big = ({ path }: { path: string }) => plain(200, path === '/big' ? body : 'ok');
  const port = await served(t, big, { connections: 4 });
  for (let i = 0; i < 20; i++) {
    const socket = connected(t, port);
    socket.pause();
    socket.write('GET /big HTTP/1.1\r\n\r\n'.repeat(100));
  }
  for (let i = 0; i < 5; i++) t.match(await raw(t, port, GET), /\r\n\r\nok$/);
});

t.test('requests of all shapes', async (t) => {
  const port = await served(t, ({ method, target, path, body }) =>
    plain(200, [method, target, path, body.toString()].join(' ')),
  );
  const told = async (...parts: string[]) => (await raw(t, port, ...parts)).split('\r\n\r\n');
  t.equal((await told('GET /a?b=1 HTTP/1.1\r\n\r\n'))[1], 'GET /a?b=1 /a ');
  t.equal((await told('GET /a HTTP/1.0\r\n\r\n'))[1], 'GET /a /a ');
  const chunked = 'POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n';
  t.equal((await told(chunked))[1], 'POST / / abc');
  const drops = [...'POST /p HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc'];
  t.equal((await told(...drops))[1], 'POST /p /p abc', 'a byte at a time');
  const expecting = 'POST /p HTTP/1.1\r\ncontent-length: 3\r\nExpect: 100-continue\r\n\r\n';
  const waiting = connected(t, port);
  waiting.write(expecting);
  t.match(String((await once(waiting, 'data'))[0]), /^HTTP\/1\.1 100 Continue\r\n\r\n$/);
  waiting.write('abc');
  t.match(String((await once(waiting, 'data'))[0]), /^HTTP\/1\.1 200 /);
  const head = await told('HEAD /a HTTP/1.1\r\n\r\n');
  t.match(head[0], /content-length: 11.*connection: close/is);
  t.equal(head[1], '', 'no body');
  t.equal(
    (await told(GET + GET)).length,
    2,
    'the one behind it has no answer: the connection is closed',
  );
  const refused = async (text: string) => Number((await raw(t, port, text)).split(' ')[1]);
  t.equal(await refused('nonsense\r\n\r\n'), 400);
  t.equal(await refused('\x16\x03\x01\r\n\r\n'), 400, 'TLS');
  t.equal(await refused('POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n'), 400);
  const endless = `POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n${'10\r\n0123456789abcdef\r\n'.repeat(9)}`;
  t.equal(await refused(endless), 413, 'in chunks');
  t.equal(await refused('POST / HTTP/1.1\r\ncontent-length: 101\r\n\r\n'), 413);
  t.equal(await refused(`GET / HTTP/1.1\r\na: ${'b'.repeat(9_000)}\r\n\r\n`), 431);
  t.equal(await refused(`GET /${'x'.repeat(9_000)}`), 431, 'a line without an end');
});

t.test('what the answer itself cannot', async (t) => {
  const port = await served(t, () => {
    throw new Error('broken');
  });
  t.match(await raw(t, port, GET), /^HTTP\/1\.1 500 .*\r\n\r\nbroken$/s);
});

t.test('who half-closes has its answer; who goes away costs nothing', async (t) => {
  const port = await served(t, async () => {
    await new Promise((resolve) => setTimeout(resolve, 5));
    return plain(200, 'ok');
  });
  const half = connected(t, port);
  half.end(GET);
  let text = '';
  for await (const chunk of half) text += chunk;
  t.match(text, /\r\n\r\nok$/);
  const gone = connected(t, port);
  gone.write(GET, () => gone.resetAndDestroy());
  await once(gone, 'close');
  t.match(await raw(t, port, GET), /\r\n\r\nok$/);
});
