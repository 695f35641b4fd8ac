/** `gwlb appliance` as its operator uses it, over 127.0.0.0/8; the test plays the gateway. */

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { encodeGeneve, tuplePacket } from 'gwlb';
import t from 'tap';
import { CLI } from '../../../test/support/places.js';

const GATEWAY = '127.83.0.1';
const APPLIANCE = '127.83.0.10';
const OWN = ['--listen', APPLIANCE, '--health-port', '8080'];

type Teardown = Pick<typeof t, 'teardown'>;

interface Running {
  child: ChildProcess;
  /** The next line it prints. */
  line(): Promise<string>;
}

function start(t: Teardown, ...args: string[]): Running {
  const child = spawn(process.execPath, [CLI, 'appliance', ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    child,
    line: async () => {
      const { value, done } = await lines.next();
      if (done) throw new Error('it said nothing more');
      return value;
    },
  };
}

/** To its end; for calls that are refused. */
async function refused(...args: string[]) {
  const child = execFile(process.execPath, [CLI, 'appliance', ...args], { timeout: 60_000 });
  const closed = once(child, 'close');
  const [stdout, stderr] = await Promise.all([child.stdout, child.stderr].map(textOf));
  const [status] = await closed;
  return { status, stdout, stderr };
}

async function textOf(stream: Readable | null): Promise<string> {
  let text = '';
  for await (const chunk of stream ?? []) text += chunk;
  return text;
}

async function gatewayFor(t: Teardown) {
  const socket = createSocket('udp4');
  t.teardown(() => socket.close());
  socket.bind(6081, GATEWAY);
  await once(socket, 'listening');
  let cookie = 0;
  const send = (inner: Uint8Array): Buffer => {
    cookie += 1;
    const gateway = { endpointId: 'vpce-0123456789abcdef0', attachmentId: 9n, cookie };
    const protocolType = inner[0] >>> 4 === 6 ? 0x86dd : 0x0800;
    const datagram = Buffer.concat([encodeGeneve({ gateway, protocolType }), inner]);
    socket.send(datagram, 6081, APPLIANCE);
    return datagram;
  };
  return { socket, send };
}

const udp = (destination: string) =>
  tuplePacket({ protocol: 'udp', source: '10.0.0.1:5000', destination });

async function status(path: string): Promise<number> {
  const response = await fetch(`http://${APPLIANCE}:8080${path}`);
  await response.text();
  return response.status;
}

t.test('it passes, drops what the rules say, answers checks, counts and ends', async (t) => {
  const { socket, send } = await gatewayFor(t);
  const rules = ['--drop', 'udp port 9999', '--drop', 'host 2001:db8::66'];
  const { child, line } = start(t, ...OWN, ...rules);
  t.equal(await line(), `gwlb appliance ready on ${APPLIANCE}:6081, health checks on port 8080`);

  const first = send(udp('10.0.0.2:53'));
  const [back, from] = await once(socket, 'message');
  t.equal(back.toString('hex'), first.toString('hex'), 'byte for byte');
  t.equal(from.address, APPLIANCE);

  // Of these only the last is for the gateway to see: what went before it was dropped.
  send(udp('10.0.0.2:9999'));
  send(
    tuplePacket({ protocol: 'tcp', source: '[2001:db8::66]:1', destination: '[2001:db8::2]:443' }),
  );
  const last = send(
    tuplePacket({ protocol: 'tcp', source: '10.0.0.1:5000', destination: '10.0.0.2:9999' }),
  );
  const [next] = await once(socket, 'message');
  t.equal(next.toString('hex'), last.toString('hex'), 'the rule is about UDP');

  t.equal(await status('/'), 200);
  t.equal(await status('/healthz'), 404);

  const bytes = 28 + 28 + 60 + 40;
  const expected =
    `packetsReceived 4, bytesReceived ${bytes}, packetsReturned 2, bytesReturned 68, ` +
    'packetsRewritten 0; dropped: appliance_verdict 2';
  child.kill('SIGUSR1');
  t.equal(await line(), expected);
  child.kill('SIGTERM');
  t.equal(await line(), expected, 'they are told at the end');
  const [code] = child.exitCode === null ? await once(child, 'exit') : [child.exitCode];
  t.equal(code, 0);
});

t.test('SIGINT ends it too, and without a health check no port is taken', async (t) => {
  const { child, line } = start(t, '--listen', APPLIANCE, '--health-port', 'off');
  t.equal(await line(), `gwlb appliance ready on ${APPLIANCE}:6081, no health checks`);
  await t.rejects(status('/'));
  const ended = once(child, 'exit');
  child.kill('SIGINT');
  t.strictSame(await ended, [0, null]);
});

t.test('an address in use is told in a sentence', async (t) => {
  const { child, line } = start(t, ...OWN);
  await line();
  const inUse =
    'another socket has this address and port: stop that program, or choose another address or port';
  const [tunnel, health] = await Promise.all([
    refused('--listen', APPLIANCE, '--health-port', '8081'),
    refused(...OWN, '--port', '6082'),
  ]);
  t.match(tunnel, { status: 1, stdout: '' });
  t.match(tunnel.stderr, `gwlb: --listen: cannot listen on ${APPLIANCE}:6081: ${inUse}`);
  t.equal(tunnel.stderr.split('\n').length, 2, 'one line, no stack trace');
  t.match(health, { status: 1, stdout: '' });
  t.match(health.stderr, `cannot answer health checks on ${APPLIANCE}:8080: ${inUse}`);
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  t.strictSame(await ended, [0, null]);
});

const WRONG: [string[], string][] = [
  [['--tun', 'a b'], 'gwlb: --tun: expected NAME or in=NAME,out=NAME'],
  [['--nat'], 'gwlb: --nat: expected nothing without --tun or --tun-per-endpoint, received true'],
  [
    ['status', '--socket', '/gwlb/absent.sock'],
    'gwlb: no appliance answers on /gwlb/absent.sock: start one with --socket',
  ],
  [['--listen', 'nope'], 'gwlb: --listen: expected a unicast address of this host ('],
  [['--port', '0'], 'gwlb: --port: expected 1–65535, received 0'],
  [['--port', 'x'], 'gwlb: --port: expected a number 1–65535, received "x"'],
  [['--health-port', '70000'], 'gwlb: --health-port: expected 1–65535, received 70000'],
  [['--option-class', '0x10000'], 'gwlb: --option-class: expected 0–65535, received 65536'],
  [['--netns', 'blue'], 'gwlb: --health-port: expected off together with --netns'],
  [
    ['--drop', 'udp port 53', '--drop', 'tcp prt 23'],
    'gwlb: --drop: drop rule "tcp prt 23", position 5: expected a protocol, "port" or "host", received "prt"',
  ],
  [['--dorp', 'udp'], "error: unknown option '--dorp'\n(Did you mean --drop?)"],
];

t.test('a wrong argument is named', async (t) => {
  const results = await Promise.all(WRONG.map(([args]) => refused(...args)));
  for (const [i, { status, stdout, stderr }] of results.entries()) {
    const [args, message] = WRONG[i];
    const name = args.join(' ');
    t.strictSame([status, stdout], [2, ''], name);
    t.equal(stderr.slice(0, message.length), message, name);
    t.notMatch(stderr, /\n +at /, `${name}: no stack trace`);
  }
});
