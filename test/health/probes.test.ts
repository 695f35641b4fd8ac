import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer as createHttp, type RequestListener } from 'node:http';
import { createServer as createHttps } from 'node:https';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { createServer as createTls, type TLSSocket } from 'node:tls';
import { MessageChannel } from 'node:worker_threads';
import selfsigned from 'selfsigned';
import t, { type Test } from 'tap';
import { StatusReader } from '../../src/health/http-status.js';
import { parseMatcher } from '../../src/health/matcher.js';
import { type ProbeRequest, startProbe } from '../../src/health/probes.js';
import type { ProbeResult } from '../../src/health/thresholds.js';

async function listen(t: Test, server: Server, address = '127.0.0.1'): Promise<number> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
  });
  server.listen(0, address);
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

function probe(port: number, options: Partial<ProbeRequest> = {}): Promise<ProbeResult> {
  const request: ProbeRequest = {
    protocol: 'HTTP',
    address: '127.0.0.1',
    port,
    path: '/',
    matcher: parseMatcher('matcher', '200-399'),
    timeoutMs: 5_000,
    netns: '',
    ...options,
  };
  return new Promise((resolve, reject) => {
    let called = 0;
    startProbe(request, (result, durationMs) => {
      if (++called > 1) reject(new Error('called twice'));
      if (!(durationMs >= 0 && durationMs < 60_000)) reject(new Error(`took ${durationMs}`));
      resolve(result);
    });
    if (called > 0) reject(new Error('called before startProbe returned'));
  });
}

const answer = (code: number, headers = {}): RequestListener => {
  return (_request, response) => void response.writeHead(code, headers).end('told');
};
const http = (t: Test, listener: RequestListener) => listen(t, createHttp(listener));
const tcp = (t: Test, serve: (socket: Socket) => void) => listen(t, createServer(serve));

/** A port that nothing listens on. */
async function closedPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

t.test('HTTP: the code decides', async (t) => {
  const port = await http(t, (request, response) => {
    answer(Number(request.url?.slice(1)))(request, response);
  });
  t.same(await probe(port, { path: '/200' }), {
    ok: true,
    detail: `GET /200 on port ${port} answered 200`,
  });
  t.match(await probe(port, { path: '/399' }), { ok: true });
  t.match(await probe(port, { path: '/301' }), { ok: true }, 'redirections are not followed');
  t.same(await probe(port, { path: '/404' }), {
    ok: false,
    failure: 'response-code',
    detail: `GET /404 on port ${port} answered 404, expected 200-399`,
  });
  const matcher = parseMatcher('matcher', '404');
  t.match(await probe(port, { path: '/404', matcher }), { ok: true });
  t.match(await probe(port, { path: '/200', matcher }), { failure: 'response-code' });
});

t.test('HTTP: what the target sees', async (t) => {
  const seen: object[] = [];
  const port = await http(t, (request, response) => {
    const { method, url, httpVersion, headers } = request;
    seen.push({ method, url, httpVersion, headers });
    response.end();
  });
  await probe(port, { path: '/health?deep=1' });
  t.same(seen, [
    {
      method: 'GET',
      url: '/health?deep=1',
      httpVersion: '1.1',
      headers: {
        'user-agent': 'gwlb-health-check',
        accept: '*/*',
        connection: 'close',
        host: `127.0.0.1:${port}`,
      },
    },
  ]);
});

t.test(
  'HTTP: the connection ends after the check, in order where the answer is short',
  async (t) => {
    const ends: string[] = [];
    const server = createHttp(answer(200));
    server.on('connection', (socket: Socket) => {
      socket.on('error', (error) => ends.push(error.message));
      socket.on('close', () => ends.push('closed'));
    });
    const port = await listen(t, server);
    const closed = once(server, 'connection').then(([socket]) => once(socket as Socket, 'close'));
    await probe(port);
    await closed;
    t.same(ends, ['closed']);
  },
);

t.test('HTTP: an endless body is cut, and the check succeeds', async (t) => {
  let sent = 0;
  let close = () => {};
  const closed = new Promise<void>((resolve) => {
    close = resolve;
  });
  const port = await http(t, (_request, response) => {
    response.writeHead(200);
    const more = () => {
      sent += 65_536;
      response.write(Buffer.alloc(65_536), (error) => error || setImmediate(more));
    };
    more();
    response.on('close', () => close());
  });
  t.match(await probe(port), { ok: true });
  await closed;
  t.ok(sent < 32 * 2 ** 20, `sent ${sent} bytes`);
});

t.test('HTTP: what is not an answer', async (t) => {
  const garbage = await tcp(t, (socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n'));
  t.match(await probe(garbage), {
    failure: 'malformed',
    detail: /^the answer on port \d+ is not HTTP: it begins with "SSH-2.0-OpenSSH_9.2"$/,
  });
  const mute = await tcp(t, (socket) => socket.end());
  t.match(await probe(mute), {
    failure: 'connection',
    detail: /closed without an answer on port \d+ \(ECONNRESET\)/,
  });
  const half = await tcp(t, (socket) => socket.end('HTTP/1.1 200'));
  t.match(await probe(half), { failure: 'connection' });
  const reset = await tcp(t, (socket) => socket.once('data', () => socket.resetAndDestroy()));
  t.match(await probe(reset), { failure: 'connection', detail: /ECONNRESET/ });
  const switched = await tcp(t, (socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n');
  });
  t.match(await probe(switched), { failure: 'response-code', detail: /answered 101/ });
});

/** What appliances answer; after the status line anything goes. */
const LIBERAL = {
  'lines without CR': 'HTTP/1.1 200 OK\nConnection: close\nContent-Length: 2\n\nok',
  'a line without a colon': 'HTTP/1.1 200 OK\r\nthis is no header\r\n\r\n',
  'a long header': `HTTP/1.1 200 OK\r\nX: ${'y'.repeat(100_000)}\r\n\r\n`,
  'wrong lengths': 'HTTP/1.1 200 OK\r\nContent-Length: -1\r\nContent-Length: x\r\n\r\n',
  'no phrase': 'HTTP/1.1 200\r\n\r\n',
  'an old version': 'HTTP/1.0 200 OK\r\n\r\n',
  'no headers, and no end of them': 'HTTP/1.1 200 OK\r\n',
  'an empty line first': '\r\nHTTP/1.1 200 OK\r\n\r\n',
  'control characters': 'HTTP/1.1 200 OK\r\nX: \0\x01\xff\r\n\r\n',
  'informational answers before': `${'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'.repeat(3)}HTTP/1.1 200 OK\r\n\r\n`,
};

t.test('HTTP: only the status line matters, whole or a byte at a time', async (t) => {
  for (const [what, text] of Object.entries(LIBERAL)) {
    const whole = await tcp(t, (socket) => socket.end(text, 'latin1'));
    t.match(await probe(whole), { ok: true, detail: /answered 200$/ }, what);
    const reader = new StatusReader();
    let code = 0;
    for (const byte of Buffer.from(text, 'latin1')) {
      const status = code === 0 ? reader.take(Buffer.of(byte)) : null;
      if (status && 'code' in status) code = status.code;
    }
    t.equal(code, 200, `${what}, a byte at a time`);
  }
});

t.test('HTTP: what is no status is refused soon', async (t) => {
  const wrong = ['HTTP/1.1 20 OK\r\n', 'HTTP/1.1 2000\r\n', 'ICY 200 OK\r\n', 'HTTP/1.1 099 A\r\n'];
  for (const text of [...wrong, 'HTTP/1.1\r\n', '\x16\x03\x01', '<html>']) {
    // Nothing but a verdict ends it.
    const port = await tcp(t, (socket) => void socket.write(text, 'latin1'));
    t.match(await probe(port), { failure: 'malformed', detail: /is not HTTP: / }, text);
  }
});

t.test('HTTP: answers without an end are cut', async (t) => {
  const endless = (piece: string) =>
    tcp(t, (socket) => {
      const more = (): void => {
        socket.write(piece, (error) => error || setImmediate(more));
      };
      more();
    });
  const informational = await endless('HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n'.repeat(100));
  const bounded = { failure: 'malformed', detail: /has no status within 16384 bytes$/ };
  t.match(await probe(informational), bounded);
  const lines = await endless('\r\n'.repeat(100));
  t.match(await probe(lines), bounded);
  const start = new StatusReader();
  t.equal(start.take(Buffer.from(`HTTP/1.1 200 ${'x'.repeat(16_000)}`)), null);
  t.match(start.take(Buffer.alloc(1_000, 'x')), { wrong: /has no status within/ });
});

t.test('a check that this process had no time for says nothing about the target', async (t) => {
  const silent = await tcp(t, () => {});
  const result = probe(silent, { timeoutMs: 100 });
  const until = performance.now() + 300;
  while (performance.now() < until);
  t.match(await result, {
    failure: 'internal',
    detail: /had no answer within 100 ms, but this process was busy for \d+ ms of the check$/,
  });
  const answers = await tcp(t, (socket) => socket.end('HTTP/1.1 200 OK\r\n\r\n'));
  const late = probe(answers, { protocol: 'TCP', timeoutMs: 100 });
  await new Promise((resolve) => setImmediate(resolve));
  while (performance.now() < until + 300);
  t.match(await late, { ok: true }, 'what came meanwhile is read first');
});

t.test('HTTP: silence, before and after the connection is there', async (t) => {
  const silent = await tcp(t, () => {});
  // Long enough that a busy machine cannot take half of it, which would be no timeout but `internal`.
  const options = { timeoutMs: 1_000 };
  t.match(await probe(silent, options), {
    failure: 'timeout',
    detail: `GET / on port ${silent} had no answer within 1000 ms`,
  });
  const dripping = await tcp(t, (socket) => {
    const drip = setInterval(() => socket.write('HTTP/1.1 102 Processing\r\n\r\n'), 10);
    socket.on('close', () => clearInterval(drip));
  });
  t.match(
    await probe(dripping, options),
    { failure: 'timeout' },
    'a slow answer does not help itself',
  );
  const late = await http(
    t,
    (_request, response) => void response.writeHead(200).write('never ends'),
  );
  t.match(await probe(late, options), { ok: true }, 'the code is enough');
});

t.test('TCP', async (t) => {
  const port = await tcp(t, (socket) => socket.end('hello'));
  t.same(await probe(port, { protocol: 'TCP' }), {
    ok: true,
    detail: `port ${port} accepts connections`,
  });
  const closed = await closedPort();
  t.same(await probe(closed, { protocol: 'TCP' }), {
    ok: false,
    failure: 'connection',
    detail: `connection refused on port ${closed} (ECONNREFUSED)`,
  });
  t.match(await probe(closed), { failure: 'connection', detail: /ECONNREFUSED/ });
  t.match(await probe(80, { protocol: 'TCP', address: '255.255.255.255' }), { ok: false });
});

t.test('TCP: a full queue is silence', async (t) => {
  // The kernel drops the SYNs beyond what a server that never accepts has room for.
  const stuck = spawn('python3', [
    '-c',
    'import socket,sys,time\ns=socket.socket();s.bind(("127.0.0.1",0));s.listen(0)\nprint(s.getsockname()[1],flush=True)\nsys.stdin.read()',
  ]);
  t.teardown(() => stuck.kill());
  const [line] = await once(stuck.stdout, 'data');
  const port = Number(String(line));
  const results = await Promise.all(
    Array.from({ length: 6 }, () => probe(port, { protocol: 'TCP', timeoutMs: 900 })),
  );
  const last = results.filter((result) => !result.ok);
  t.ok(last.length > 0);
  for (const result of last) {
    t.match(result, {
      failure: 'timeout',
      detail: `connecting to port ${port} had no answer within 900 ms`,
    });
  }
});

t.test('HTTPS', async (t) => {
  const { private: key, cert } = await selfsigned.generate([
    { name: 'commonName', value: 'appliance' },
  ]);
  const spoken: (string | null)[] = [];
  const serve = (minVersion: 'TLSv1.2' | 'TLSv1.3', maxVersion: 'TLSv1.2' | 'TLSv1.3') => {
    const server = createHttps({ key, cert, minVersion, maxVersion }, answer(200));
    server.on('secureConnection', (socket: TLSSocket) => spoken.push(socket.getProtocol()));
    return listen(t, server);
  };
  const https = { protocol: 'HTTPS' } as const;
  t.match(
    await probe(await serve('TLSv1.2', 'TLSv1.2'), https),
    { ok: true },
    'self-signed, TLS 1.2',
  );
  t.match(await probe(await serve('TLSv1.3', 'TLSv1.3'), https), { ok: true }, 'TLS 1.3');
  t.same(spoken, ['TLSv1.2', 'TLSv1.3']);
  const bad = await listen(t, createHttps({ key, cert }, answer(503)));
  t.match(await probe(bad, https), { failure: 'response-code', detail: /answered 503/ });
  const plain = await http(t, answer(200));
  t.match(await probe(plain, https), {
    failure: 'malformed',
    detail: /^TLS on port \d+ failed \(/,
  });
  t.match(await probe(bad), { ok: false }, 'HTTP to a TLS port');
  const liberal = createTls({ key, cert }, (socket) => {
    socket.on('error', () => {});
    socket.end('HTTP/1.1 200 OK\nno header\n\n');
  });
  t.match(await probe(await listen(t, liberal), https), { ok: true }, 'lines without CR');
  const silent = await tcp(t, () => {});
  t.match(await probe(silent, { ...https, timeoutMs: 1_000 }), { failure: 'timeout' });
  t.match(await probe(await closedPort(), https), {
    failure: 'connection',
    detail: /ECONNREFUSED/,
  });
  const mute = await tcp(t, (socket) => socket.end());
  t.match(await probe(mute, https), { failure: 'connection' });
});

t.test('a cancelled check says nothing, whatever comes', async (t) => {
  const port = await http(t, answer(200));
  const request = {
    protocol: 'HTTP',
    address: '127.0.0.1',
    path: '/',
    timeoutMs: 20,
    netns: '',
  } as const;
  const matcher = parseMatcher('matcher', '200');
  let called = 0;
  for (const to of [port, await closedPort()]) {
    startProbe({ ...request, port: to, matcher }, () => called++)();
    const cancel = startProbe({ ...request, port: to, matcher }, () => called++);
    setImmediate(cancel);
    setImmediate(cancel);
  }
  startProbe({ ...request, port, matcher, netns: 'no-such-namespace-here' }, () => called++)();
  await new Promise((resolve) => setTimeout(resolve, 80));
  t.equal(called, 0);
});

t.test('a check that waits for its answer does not keep the process alive', async (t) => {
  const active = () => process.getActiveResourcesInfo().sort();
  // Keeps the test alive, since nothing else here does.
  const hold = new MessageChannel().port1;
  hold.on('message', () => {});
  t.teardown(() => hold.close());
  const asked = new Promise<void>((resolve) => {
    const server = createServer((socket) => {
      socket.unref();
      socket.on('error', () => {});
      socket.once('data', () => resolve());
    });
    server.listen(0, '127.0.0.1', () => {
      server.unref();
      const { port } = server.address() as AddressInfo;
      const matcher = parseMatcher('matcher', '200');
      const request = { protocol: 'HTTP', address: '127.0.0.1', port, path: '/' } as const;
      const cancel = startProbe({ ...request, matcher, timeoutMs: 60_000, netns: '' }, () => {});
      t.teardown(() => {
        cancel();
        server.close();
      });
    });
  });
  await asked;
  await new Promise((resolve) => setImmediate(resolve));
  t.notOk(
    active().some((name) => /TCP|Timeout/.test(name)),
    active().join(),
  );
});

t.test('an unknown namespace is our failure, not the target’s', async (t) => {
  const result = await probe(80, { netns: 'no-such-namespace-here' });
  t.match(result, { ok: false, failure: 'internal', detail: /no-such-namespace-here/ });
});

/** Why there can be no network namespace here, or false. */
function withoutNamespaces(): string | false {
  try {
    execFileSync('ip', ['netns', 'add', `gwlb-try-${process.pid}`], { stdio: 'pipe' });
    execFileSync('ip', ['netns', 'delete', `gwlb-try-${process.pid}`]);
    return false;
  } catch (error) {
    return `needs root and iproute2 to make a network namespace: ${(error as Error).message}`;
  }
}

t.test('checks are made in the namespace', { skip: withoutNamespaces() }, async (t) => {
  const name = `gwlb-probe-${process.pid}`;
  execFileSync('ip', ['netns', 'add', name]);
  t.teardown(() => execFileSync('ip', ['netns', 'delete', name]));
  execFileSync('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
  const { private: key, cert } = await selfsigned.generate([
    { name: 'commonName', value: 'appliance' },
  ]);
  const code = `
    const answer = (q, r) => r.end('in ' + q.socket.remoteAddress);
    require('http').createServer(answer).listen(80, '127.0.0.9');
    require('https').createServer({ key: process.argv[1], cert: process.argv[2] }, answer).listen(443, '127.0.0.9', () => console.log('ready'));
    process.stdin.on('end', () => process.exit()).resume();`;
  const server = spawn('ip', [
    'netns',
    'exec',
    name,
    process.execPath,
    '-e',
    code,
    '--',
    key,
    cert,
  ]);
  const ended = once(server, 'exit');
  t.teardown(async () => {
    server.stdin.end();
    await ended;
  });
  await once(server.stdout, 'data');
  const there = { netns: name, address: '127.0.0.9' };
  t.match(await probe(80, { ...there, protocol: 'TCP' }), { ok: true });
  t.match(await probe(80, there), { ok: true, detail: 'GET / on port 80 answered 200' });
  t.match(await probe(443, { ...there, protocol: 'HTTPS' }), { ok: true });
  t.match(await probe(81, there), { failure: 'connection', detail: /ECONNREFUSED/ });
  t.match(await probe(80, { ...there, address: '192.0.2.1' }), {
    failure: 'connection',
    detail: /ENETUNREACH/,
  });
  t.match(
    await probe(80, { address: '127.0.0.9' }),
    { ok: false },
    'nobody is there outside of it',
  );
});
