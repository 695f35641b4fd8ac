/** The control socket: who may have it, and what it answers to what. */

import { once } from 'node:events';
import { lstatSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GatewayLoadBalancer, TargetGroup, tuplePacket } from 'gwlb';
import t from 'tap';
import type { Teardown } from '../../../test/support/teardown.js';
import { askGateway } from '../../src/api/client.js';
import { apiResources } from '../../src/api/resources.js';
import { type ApiResources, ApiServer } from '../../src/api/server.js';
import { listenPrivately } from '../../src/api/socket.js';
import { checkSocketPath } from '../../src/config/socket-path.js';
import { readinessOf } from '../../src/obstacles/readiness.js';

const folder = mkdtempSync(join(tmpdir(), 'gwlb-control-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
let sockets = 0;
const newPath = () => join(folder, `${sockets++}.sock`);

async function served(t: Teardown, resources: ApiResources = {}): Promise<string> {
  const path = newPath();
  const server = await ApiServer.listen(path, resources);
  t.teardown(() => server.close());
  return path;
}

/** What comes back for some bytes, until the other end closes. */
async function raw(path: string, bytes: string): Promise<string> {
  const socket = connect(path);
  socket.write(bytes);
  let text = '';
  for await (const chunk of socket) text += chunk;
  return text;
}

const get = (resource: string, method = 'GET') =>
  `${method} ${resource} HTTP/1.1\r\nhost: gwlb\r\nconnection: close\r\n\r\n`;

const post = (resource: string, body: string, length = Buffer.byteLength(body)) =>
  `POST ${resource} HTTP/1.1\r\nhost: gwlb\r\nconnection: close\r\ncontent-length: ${length}\r\n\r\n${body}`;

t.test('the socket is its owner’s alone from its first moment', async (t) => {
  const path = newPath();
  const server = createServer();
  t.teardown(() => server.close());
  const mask = process.umask();
  const listening = listenPrivately(server, path, 'control.socket');
  t.equal(lstatSync(path).mode & 0o777, 0o600, 'in the same turn that makes it');
  t.equal(process.umask(), mask, 'nothing else is private by it');
  await listening;
  t.equal(lstatSync(path).mode & 0o777, 0o600);
});

t.test('what is there already', async (t) => {
  await t.test('a socket that nobody listens on is replaced', async (t) => {
    const path = newPath();
    // A process that is killed leaves its socket behind; so does renaming before closing.
    const first = createServer().listen(path);
    await once(first, 'listening');
    const left = `${path}.left`;
    const { renameSync } = await import('node:fs');
    renameSync(path, left);
    first.close();
    await once(first, 'close');
    t.ok(statSync(left).isSocket());
    const server = await ApiServer.listen(left, {});
    await t.rejects(raw(path, ''), { code: 'ENOENT' });
    t.match(await raw(left, get('/')), /^HTTP\/1\.1 404 /);
    await server.close();
    t.notOk(lstatSync(left, { throwIfNoEntry: false }), 'removed with the server');
  });

  await t.test('one that is answered on is not', async (t) => {
    const path = await served(t);
    await t.rejects(ApiServer.listen(path, {}), {
      code: 'ERR_GWLB_ADDRESS_IN_USE',
      field: 'control.socket',
      message: /^control\.socket: cannot listen on .*another process answers on it/,
    });
    t.match(await raw(path, get('/')), /^HTTP\/1\.1 404 /, 'and goes on');
  });

  await t.test('anything else is not', async (t) => {
    const path = newPath();
    writeFileSync(path, 'precious');
    await t.rejects(ApiServer.listen(path, {}), { message: /something is there that is no/ });
    t.ok(statSync(path).isFile());
  });

  await t.test('no folder', async (t) => {
    await t.rejects(ApiServer.listen(join(folder, 'none', 'a.sock'), {}), {
      code: 'ERR_GWLB_SYSTEM',
      message: /control\.socket: .*the folder .*none does not exist: make it \(ENOENT\)/,
    });
  });
});

t.test('paths', async (t) => {
  t.equal(checkSocketPath('socket', `/${'a'.repeat(106)}`).length, 107);
  t.throws(() => checkSocketPath('socket', `/${'a'.repeat(107)}`), {
    code: 'ERR_GWLB_OUT_OF_RANGE',
    message: /^socket: expected a path of 1–107 bytes, .*received one of 108 bytes/,
  });
  t.throws(() => checkSocketPath('socket', `/${'é'.repeat(54)}`), /of 109 bytes/);
  for (const wrong of ['', 'a\0b', 5, null]) {
    t.throws(() => checkSocketPath('socket', wrong), { code: 'ERR_GWLB_INVALID_ARGUMENT' });
  }
});

t.test('requests that are wrong', async (t) => {
  const path = await served(t, {
    '/v1/ask': { method: 'POST', answer: (body) => ({ body }) },
    '/v1/tell': { method: 'GET', answer: () => ({ told: true }) },
    '/v1/fail': {
      method: 'GET',
      answer: () => {
        throw new Error('broken');
      },
    },
  });
  const answers = async (bytes: string, status: number, code: string, field: string | null) => {
    const [head, body] = (await raw(path, bytes)).split('\r\n\r\n');
    t.equal(Number(head.split(' ')[1]), status, bytes.slice(0, 40));
    t.match(head, /content-type: application\/json/);
    const { message, path: at, expected, received, ...rest } = JSON.parse(body);
    t.strictSame(rest, { code, field });
    t.equal(at.join('.'), field ?? '');
    if (expected !== null) {
      t.equal(message, `${field}: expected ${expected}, received ${received}`);
    }
    t.type(message, 'string');
    return head;
  };
  const invalid = 'ERR_GWLB_INVALID_ARGUMENT';
  await answers(get('/v2'), 404, invalid, 'path');
  await answers(get('/constructor'), 404, invalid, 'path');
  const refused = await answers(get('/v1/ask'), 405, invalid, 'method');
  t.match(refused, /\r\nallow: POST/i);
  await answers(post('/v1/tell', '{}'), 405, invalid, 'method');
  await answers(post('/v1/ask', '{'), 400, invalid, 'body');
  await answers(post('/v1/ask', ''), 400, invalid, 'body');
  await answers(get('/v1/fail'), 500, 'ERR_GWLB_SYSTEM', null);
  await answers('nonsense\r\n\r\n', 400, invalid, 'request');
  await answers(post('/v1/ask', '"'.repeat(70_000)), 413, 'ERR_GWLB_OUT_OF_RANGE', 'body');
  t.match(await raw(path, post('/v1/ask', '{"a":[1]}')), '{"body":{"a":[1]}}');
  t.match(await raw(path, get('/v1/tell?x=1')), '{"told":true}');
});

t.test('asking', async (t) => {
  const path = await served(t, {
    '/v1/ask': { method: 'POST', answer: (body) => ({ body }) },
    '/v1/tell': { method: 'GET', answer: () => ({ told: true }) },
  });
  t.strictSame(await askGateway(path, '/v1/ask', { a: 1 }), { body: { a: 1 } });
  t.strictSame(await askGateway(path, '/v1/tell'), { told: true });
  await t.rejects(askGateway(path, '/v1/none'), {
    name: 'GatewayError',
    code: 'ERR_GWLB_INVALID_ARGUMENT',
    field: 'path',
    message: /path: expected one of \/v1\/ask, \/v1\/tell, received "\/v1\/none"/,
  });
  await t.rejects(askGateway(join(folder, 'nobody.sock'), '/v1/tell'), {
    code: 'ERR_GWLB_SYSTEM',
    message: /^no gateway answers on .*: start one .*control\.socket/,
  });
  const other: Server = createServer((socket) => socket.end('SSH-2.0\r\n'));
  const strange = newPath();
  t.teardown(() => other.close());
  other.listen(strange);
  await once(other, 'listening');
  await t.rejects(askGateway(strange, '/v1/tell'), { message: /cannot ask the gateway on / });
});

t.test('what a gateway answers', async (t) => {
  const group = new TargetGroup({ name: 'firewalls', healthCheck: false });
  const [one] = group.register({ address: '127.85.0.2' }, { address: '127.85.0.3' });
  const gateway = await GatewayLoadBalancer.listen({
    address: '127.85.0.1',
    targetGroup: group,
    limits: { flows: 1024, flowsIpv6: 1024 },
  });
  t.teardown(() => gateway.close());
  const { id } = await gateway.createEndpoint({ geneve: { peer: '127.85.0.9' } });
  let failure: Error | null = null;
  const resources = apiResources({
    gateway,
    version: '1.2.3',
    startedAt: 0,
    failure: () => failure,
    readiness: () =>
      readinessOf(
        gateway.endpoints(),
        group.targets(),
        { crossZone: false, failOpen: false },
        () => [],
      ),
  });
  const path = await served(t, resources);
  t.match(await askGateway(path, '/v1/status'), {
    version: '1.2.3',
    startedAt: '1970-01-01T00:00:00.000Z',
    failure: null,
    gateway: { address: '127.85.0.1', port: 6081, workers: 1 },
    targetGroup: { name: 'firewalls', failover: 'no_rebalance', healthCheck: false },
    targets: [{ id: one.id, share: gateway.shares().get(one.id) }, {}],
    endpoints: [
      { id, kind: 'geneve', peer: { address: '127.85.0.9' }, ready: true, obstacles: [] },
    ],
  });
  const { zones } = await group.preview();
  t.strictSame(
    [...gateway.shares()],
    zones[0].targets.map(({ target, before }) => [target, before / zones[0].rows]),
    'shares are those of the table in force',
  );
  failure = new Error('cannot go on');
  t.match(await askGateway(path, '/v1/status'), { failure: 'cannot go on' });
  t.match(await askGateway(path, '/v1/targets'), [
    { id: one.id, state: 'healthy', counters: { packetsTo: 0, flowsActive: 0 } },
    { address: '127.85.0.3' },
  ]);
  t.match(await askGateway(path, '/v1/counters'), { packetsIn: 0, drops: { no_flow: 0 } });

  const tuple = { protocol: 'udp', source: '10.0.0.1:5000', destination: '10.0.0.2:53' };
  const told = (await askGateway(path, '/v1/explain', tuple)) as Record<string, unknown>;
  t.strictSame(told, JSON.parse(JSON.stringify(gateway.explain(tuple))));
  t.match(told, { decision: 'new', rule: 'K3', endpoint: id });
  const packet = Buffer.from(tuplePacket(tuple)).toString('hex');
  t.strictSame(await askGateway(path, '/v1/explain', { packet, endpoint: id }), told);
  const wrong: [Record<string, unknown>, string][] = [
    [{ ...tuple, source: '10.0.0.1' }, 'source'],
    [{ ...tuple, protocol: 'tpc' }, 'protocol'],
    [{ ...tuple, endpoint: 5 }, 'endpoint'],
    [{ ...tuple, port: 5 }, 'port'],
    [{ ...tuple, packet }, 'protocol'],
    [{ packet: 'xyz' }, 'packet'],
  ];
  for (const [body, field] of wrong) {
    await t.rejects(askGateway(path, '/v1/explain', body), {
      code: 'ERR_GWLB_INVALID_ARGUMENT',
      field,
      message: new RegExp(`^${field}: expected `),
    });
  }
  await t.rejects(
    askGateway(path, '/v1/explain', { ...tuple, endpoint: 'vpce-0ffffffffffffffff' }),
    {
      code: 'ERR_GWLB_UNKNOWN_ENDPOINT',
      field: 'endpoint',
    },
  );
  await gateway.close();
  await t.rejects(askGateway(path, '/v1/explain', tuple), { code: 'ERR_GWLB_CLOSED' });
});
