/** What a health checker is answered, and what strangers cost who answers. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { HealthResponder } from '../../src/appliance/health-responder.js';

const HOST = '127.0.0.1';

async function freePort(): Promise<number> {
  const server = createServer().listen(0, HOST);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function responding(t: Test, protocol: 'HTTP' | 'TCP' = 'HTTP') {
  const port = await freePort();
  const responder = await HealthResponder.listen(HOST, { protocol, port, path: '/health' });
  t.teardown(() => responder.close());
  return { port, responder };
}

async function listen(t: Test): Promise<number> {
  return (await responding(t)).port;
}

async function connected(t: Test, port: number): Promise<Socket> {
  const socket = connect({ port, host: HOST, allowHalfOpen: true });
  t.teardown(() => socket.destroy());
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

/** All that comes back until the other end closes. */
async function answered(socket: Socket): Promise<string> {
  let text = '';
  socket.on('data', (bytes) => {
    text += bytes;
  });
  await ended(socket);
  return text;
}

/** When the other end has closed. */
async function ended(socket: Socket): Promise<void> {
  socket.resume();
  await Promise.race([once(socket, 'end'), once(socket, 'close')]);
}

async function ask(t: Test, port: number, ...pieces: string[]): Promise<string> {
  const socket = await connected(t, port);
  const answer = answered(socket);
  for (const piece of pieces) {
    socket.write(piece);
    if (pieces.length > 1) await delay(5);
  }
  return answer;
}

t.test('a request has its answer, however it comes', async (t) => {
  const port = await listen(t);
  const ok =
    'HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\nconnection: close\r\n\r\n';
  t.equal(await ask(t, port, 'GET /health HTTP/1.1\r\nhost: a\r\n\r\n'), `${ok}ok\n`);
  t.equal(await ask(t, port, 'GET /health HTTP/1.0\n\n'), `${ok}ok\n`, 'without CR and headers');
  t.equal(await ask(t, port, ...'GET /health HTTP/1.1\r\n\r\n'), `${ok}ok\n`, 'a byte at a time');
  t.equal(await ask(t, port, 'HEAD /health HTTP/1.1\r\n\r\n'), ok, 'only the head');
  t.match(await ask(t, port, 'GET /health?a HTTP/1.1\r\n\r\n'), /^HTTP\/1\.1 404 Not Found\r\n/);
  const twice = 'GET /health HTTP/1.1\r\n\r\n'.repeat(2000);
  t.equal(await ask(t, port, twice), `${ok}ok\n`, 'one request a connection');
  t.equal(
    (await fetch(`http://${HOST}:${port}/health`)).status,
    200,
    'as a client of Node sees it',
  );
});

t.test('who is unhealthy says so, and why', async (t) => {
  const { port, responder } = await responding(t);
  await responder.tell('the firewall is reloading');
  const status = 'HTTP/1.1 503 Service Unavailable\r\n';
  const head = `${status}content-type: text/plain\r\ncontent-length: 26\r\nconnection: close\r\n\r\n`;
  t.equal(await ask(t, port, 'GET /health HTTP/1.0\n\n'), `${head}the firewall is reloading\n`);
  t.equal(await ask(t, port, 'HEAD /health HTTP/1.0\n\n'), head);
  t.match(await ask(t, port, 'GET /a HTTP/1.0\n\n'), /^HTTP\/1\.1 404 /, 'other paths as ever');
  await responder.tell('größer');
  t.match(await ask(t, port, 'GET /health HTTP/1.0\n\n'), /\r\ncontent-length: 9\r\n/, 'in bytes');
  await responder.tell(null);
  t.match(await ask(t, port, 'GET /health HTTP/1.0\n\n'), /^HTTP\/1\.1 200 /);
});

t.test('over TCP connections are taken while it is healthy, and refused while not', async (t) => {
  const { port, responder } = await responding(t, 'TCP');
  t.equal(await answered(await connected(t, port)), '');
  const held = await connected(t, port);
  await responder.tell('draining');
  await ended(held);
  await t.rejects(connected(t, port), { code: 'ECONNREFUSED' });
  await responder.tell('still draining');
  await Promise.all([responder.tell(null), responder.tell('again'), responder.tell(null)]);
  t.equal(await answered(await connected(t, port)), '', 'the last call counts');
  await responder.tell('elsewhere');
  const other = createServer().listen(port, HOST);
  await once(other, 'listening');
  await t.rejects(responder.tell(null), { code: 'ERR_GWLB_ADDRESS_IN_USE' });
  other.close();
  await once(other, 'close');
  await responder.tell(null);
  await connected(t, port);
  const late = responder.tell(null);
  await responder.close();
  await late;
  await responder.tell(null);
  await t.rejects(connected(t, port), { code: 'ECONNREFUSED' }, 'closed for good');
});

t.test('what is no request is told so', async (t) => {
  const port = await listen(t);
  for (const text of ['x\r\n\r\n', '\r\n\r\n', 'GET /health\r\n\r\n', '\0\n\n']) {
    t.match(await ask(t, port, text), /^HTTP\/1\.1 400 /, JSON.stringify(text));
  }
  const long = `GET /health HTTP/1.1\r\na: ${'b'.repeat(9000)}`;
  t.match(await ask(t, port, long), /^HTTP\/1\.1 431 /);
  t.match(await ask(t, port, `${long}\r\n\r\n`), /^HTTP\/1\.1 431 /);
});

t.test('who ends first is answered, unless there was no request', async (t) => {
  const port = await listen(t);
  const whole = await connected(t, port);
  const answer = answered(whole);
  whole.end('GET /health HTTP/1.1\r\n\r\n');
  t.match(await answer, /^HTTP\/1\.1 200 /);
  const half = await connected(t, port);
  const nothing = answered(half);
  half.end('GET /health HTTP/1.1\r\n');
  t.equal(await nothing, '');
});

t.test('connections that are held for their own sake keep nobody out', async (t) => {
  const port = await listen(t);
  const gone = ended(await connected(t, port));
  for (let i = 0; i < 128; i += 1) await connected(t, port);
  await gone;
  t.match(await ask(t, port, 'GET /health HTTP/1.1\r\n\r\n'), /^HTTP\/1\.1 200 /);
});

t.test('close ends every connection', async (t) => {
  const port = await freePort();
  const answers = { protocol: 'HTTP', port, path: '/' } as const;
  const responder = await HealthResponder.listen(HOST, answers);
  const gone = ended(await connected(t, port));
  await responder.close();
  await gone;
  await t.rejects(fetch(`http://${HOST}:${port}/`));
  const other = createServer().listen(port, HOST);
  await once(other, 'listening');
  t.teardown(() => other.close());
  await t.rejects(HealthResponder.listen(HOST, answers), { code: 'ERR_GWLB_ADDRESS_IN_USE' });
});
