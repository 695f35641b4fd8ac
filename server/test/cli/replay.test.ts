/** `gwlb replay` as a command: its output and files, configurations, mistakes, and the corpus. */

import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeFrame, readCapture } from 'gwlb';
import t from 'tap';
import { ACK, captureOf, SYN, tcp, udp } from '../../../test/replay/rig.js';
import { CLI, CORPUS, ROOT } from '../../../test/support/places.js';

const folder = mkdtempSync(join(tmpdir(), 'gwlb-replay-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

function replay(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, 'replay', ...args], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  return { status, stdout, stderr };
}

function fileOf(name: string, content: Uint8Array | string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const capture = fileOf(
  'in.pcap',
  captureOf([
    { at: 0, bytes: tcp(SYN) },
    { at: 1, bytes: udp() },
    { at: 2, bytes: tcp(ACK) },
    { at: 3, bytes: new Uint8Array(20) },
  ]),
);

t.test('lines, summary and GENEVE packets; twice the same bytes', async (t) => {
  const run = (out: string) => replay(capture, '--json', '--out', join(folder, out));
  const first = run('a.pcap');
  t.equal(first.status, 0, first.stderr);
  const lines = first.stdout.trim().split('\n');
  t.equal(lines.length, 7);
  t.strictSame(
    lines.map((line) => Object.keys(JSON.parse(line)).join()),
    lines.map(() => 'frame,time,direction,flow,target,cookie,verdict,reason'),
  );
  t.match(JSON.parse(first.stderr), { frames: 4, packets: 4, flows: 2, verdicts: { forward: 3 } });
  const frames = [...readCapture(join(folder, 'a.pcap'))];
  t.equal(frames.length, 3);
  t.strictSame(
    frames.map(({ data, link }) => decodeFrame(data, { link })?.outer?.destination),
    lines
      .map((line) => JSON.parse(line))
      .filter((line) => line.direction === 'ingress' && line.target)
      .map((line) => line.target),
  );
  const again = run('b.pcap');
  t.strictSame(again, first);
  t.ok(readFileSync(join(folder, 'a.pcap')).equals(readFileSync(join(folder, 'b.pcap'))));

  const text = replay(capture);
  t.equal(text.stdout.trim().split('\n').length, 7);
  t.match(text.stderr, /^4 frames in 3\.000000 s, 4 packets, 128 bytes, 2 flows\nverdicts: /);
});

const CONFIG = `gateway: { address: 10.9.0.1, limits: { flows: 4096 } }
targetGroup:
  failover: rebalance
  healthCheck: { port: 9 }
  targets: [{ address: 10.9.0.2 }, { address: 10.9.0.3 }]
endpoints: [{ id: vpce-0000000000000000a, tun: none0 }]
`;

t.test('with a configuration and events', async (t) => {
  const config = fileOf('gateway.yaml', CONFIG);
  const targets = (...args: string[]) =>
    replay(capture, '--json', '--config', config, ...args)
      .stdout.trim()
      .split('\n')
      .map((line) => JSON.parse(line))
      .filter((line) => line.direction === 'ingress')
      .map((line) => line.target);
  const [home] = targets();
  t.match(home, /^10\.9\.0\.[23]$/);
  const events = fileOf('e.jsonl', `{"at":2,"target":"${home}","health":"unhealthy"}\n`);
  const other = home === '10.9.0.2' ? '10.9.0.3' : '10.9.0.2';
  t.equal(targets('--events', events)[2], other, 'moved');
});

t.test('mistakes', async (t) => {
  const cut = fileOf('cut.pcap', readFileSync(capture).subarray(0, -3));
  const part = replay(cut, '--json');
  t.equal(part.status, 1);
  t.equal(part.stdout.trim().split('\n').length, 6, 'what is there is replayed');
  const [summary, error] = part.stderr.trim().split('\n');
  t.match(JSON.parse(summary ?? ''), { frames: 3 });
  t.match(error, /^gwlb: .*cut\.pcap: frame 4 .* \(after frame 3\)$/);

  t.match(replay(join(folder, 'none.pcap')), { status: 1, stdout: '', stderr: /cannot read/ });
  t.match(replay(fileOf('x.pcap', 'no capture')), { status: 1, stderr: /expected pcap or pcapng/ });
  t.match(replay(), { status: 2 });
  t.match(replay(capture, '--evnts', 'x'), { status: 2, stderr: /--events/ });
  t.match(replay(capture, '--events', join(folder, 'none')), { status: 2, stderr: /--events/ });
  t.match(replay(capture, '--config', join(folder, 'none')), { status: 2 });
  t.match(replay(capture, '--out', join(folder, 'no', 'where')), { status: 1 });

  const events = fileOf(
    'bad.jsonl',
    '{"at":1,"target":"10.0.9.9","health":"unhealthy"}\n' +
      '{"at":0.5,"target":"10.0.1.10","health":"unhealthy"}\n' +
      '{"at":2,"target":"10.0.9.9","helth":"healthy"}\n',
  );
  const wrong = replay(capture, '--events', events);
  t.equal(wrong.status, 2);
  t.equal(wrong.stdout, '', 'nothing is replayed');
  t.match(wrong.stderr.trim().split('\n'), [
    /bad\.jsonl:1: target: expected a registered target, received "10\.0\.9\.9"/,
    /bad\.jsonl:2: at: expected at least 1, as line 1 has it, received 0\.5/,
    /bad\.jsonl:3: helth: expected one of the keys/,
  ]);
  const unknown = fileOf('bad.yaml', CONFIG.replace('failover', 'failovr'));
  t.match(replay(capture, '--config', unknown), {
    status: 2,
    stderr: /bad\.yaml:3:3: targetGroup\.failovr: .*did you mean failover/,
  });
  const bare = fileOf('bare.yaml', CONFIG.replace(/endpoints.*\n/, ''));
  t.match(replay(capture, '--config', bare), {
    status: 2,
    stderr: /endpoints: expected an endpoint/,
  });
});

t.test('the README shows what the command prints', async (t) => {
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
  const [, shown = ''] = /^```console\n\$ cat outage\.jsonl\n([\s\S]*?)^```$/m.exec(readme) ?? [];
  const example = (name: string) => join(ROOT, 'examples/replay', name);
  const { stdout, stderr } = replay(example('web.pcap'), '--events', example('outage.jsonl'));
  const ingress = stdout.split('\n').filter((line) => line.includes('ingress'));
  t.equal(
    shown,
    `${readFileSync(example('outage.jsonl'), 'utf8')}` +
      '$ gwlb replay web.pcap --events outage.jsonl | grep ingress\n' +
      `${ingress.join('\n')}\n${stderr}`,
  );
});

t.test('a reader that has seen enough ends it quietly', async (t) => {
  const many = Array.from({ length: 5000 }, (_, i) => ({ at: i, bytes: udp() }));
  const child = spawn(process.execPath, [CLI, 'replay', fileOf('many.pcap', captureOf(many))], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (data) => {
    said += data;
  });
  child.stdout.once('data', () => child.stdout.destroy());
  const [code] = await once(child, 'exit');
  t.equal(code, 0);
  t.equal(said, '');
});

/**
 * SHA-256 of the lines (`--json`) of captures. A digest that changes means that users' recorded results
 * change: say so in the changelog. The figures beside it are those of the capture by hand.
 */
const GOLDEN: Record<string, { frames: number; flows: number; digest: string }> = {
  // One HTTP connection.
  'flow-tcp/zeek--tcp.pcap': {
    frames: 12,
    flows: 1,
    digest: '11fe67daf1acf126e81fa24597213d488dc7d1e00def544daf5c89ae62a35f47',
  },
  // Inside of GENEVE: an ICMP echo between two hosts, and eight SYN packets with ports of their own.
  'geneve-gwlb/tx-gwlb-for-demo--tencent-gwlb-geneve.pcap': {
    frames: 18,
    flows: 9,
    digest: '9e3e6a84a9b07c1feddc770fa9769f173d76266246f819ceda2d8613b670ce08',
  },
  // One connection over IPv6.
  'flow-mixed/zeek--ipv6.pcap': {
    frames: 17,
    flows: 1,
    digest: 'f571ecab6472eaf2bd6a8c5db046cc4933c07c472d237fd400e900fe62e16c28',
  },
};

t.test('captures of the corpus, byte for byte', async (t) => {
  for (const [name, { frames, flows, digest }] of Object.entries(GOLDEN)) {
    const path = join(CORPUS, name);
    if (!existsSync(path)) {
      t.comment(`${name} is not there (GWLB_CORPUS)`);
      continue;
    }
    const { status, stdout, stderr } = replay(path, '--json');
    t.equal(status, 0);
    t.match(JSON.parse(stderr), { frames, flows }, name);
    t.equal(createHash('sha256').update(stdout).digest('hex'), digest, name);
  }
});
