/** `gwlb run` as its operator uses it: signals, logs, reloads, metrics; over 127.0.0.0/8. */

import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeGeneve, tuplePacket } from 'gwlb';
import t from 'tap';
import { bound } from '../../../test/support/bound.js';
import { CLI, ROOT } from '../../../test/support/places.js';
import { parseConfig, pathText } from '../../src/config/config.js';
import { start } from '../support/running.js';

const folder = mkdtempSync(join(tmpdir(), 'gwlb-run-'));
const file = join(folder, 'gateway.yaml');
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

const net = `127.${64 + (process.pid % 100)}.${(process.pid >> 8) % 250}`;
const port = 20_000 + (process.pid % 10_000);

function yaml(targets: string[], more = ''): string {
  return `gateway: { address: ${net}.1, port: ${port}, limits: { flows: 4096 } }
targetGroup:
  healthCheck: false
  port: ${port}
${more}  targets: [${targets.map((address) => `{ address: ${address} }`).join(', ')}]
endpoints:
  - { id: vpce-00000000000000001, geneve: { peer: ${net}.9, port: ${port}, vni: 7 } }
metrics: { listen: "127.0.0.1:${port}" }
`;
}

const metrics = async (path = '/metrics') =>
  (await fetch(`http://127.0.0.1:${port}${path}`)).text();

t.test('starts, forwards, reloads all or nothing, stops', async (t) => {
  const consumer = await bound(t, `${net}.9`, port);
  const target = await bound(t, `${net}.2`, port);
  writeFileSync(file, yaml([`${net}.2`]));
  const running = start(t, 'run', file);
  t.match(await running.event('started'), { address: `${net}.1`, port, targets: 1, endpoints: 1 });

  const packet = tuplePacket({
    protocol: 'udp',
    source: '10.0.0.1:5000',
    destination: '10.0.0.2:53',
  });
  const datagram = Buffer.concat([encodeGeneve({ vni: 7 }), packet]);
  consumer.send(datagram, port, `${net}.1`);
  const [received, from] = await once(target, 'message');
  target.send(received, port, from.address);
  const [back] = await once(consumer, 'message');
  t.strictSame(Buffer.from(back).subarray(-packet.length), Buffer.from(packet), 'came back whole');
  // A worker counts what it sends when that is under way.
  let text = await metrics();
  while (text.includes('\ngwlb_packets_out_total 0\n')) text = await metrics();
  t.match(text, /^gwlb_packets_in_total 1$/m);
  t.match(text, /^gwlb_packets_out_total 1$/m);
  t.match(text, `gwlb_target_packets_sent_total{target="${net}.2:${port}",zone="default"} 1`);
  t.match(text, 'gwlb_drops_total{reason="wrong_cookie"} 0');
  t.match(text, 'gwlb_targets{zone="default",state="healthy"} 1');
  t.equal(await metrics('/healthz'), 'ok\n');
  const documented = readFileSync(join(ROOT, 'docs/metrics.md'), 'utf8');
  t.strictSame(
    [
      ...new Set(
        [...documented.matchAll(/^\| `(gwlb_(?!appliance_)\w+)`/gm)].map(([, name]) => name),
      ),
    ].sort(),
    [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name).sort(),
    'docs/metrics.md has every metric and no other',
  );

  writeFileSync(file, yaml([`${net}.2`, `${net}.3`], '  failover: rebalance\n'));
  t.match((await running.reload()).at(-1), { event: 'reloaded', targets: 2 });
  t.match(await metrics(), `gwlb_target_packets_sent_total{target="${net}.3:${port}"`);
  t.match(await metrics(), /^gwlb_flows_active\{family="ipv4"\} 1$/m, 'no flow was lost');

  writeFileSync(file, yaml([`${net}.300`], '  failover: never\n'));
  const wrong = (await running.reload()).at(-1)?.problems as string[];
  t.match(wrong.join('\n'), /targetGroup\.failover: .*\n?.*targetGroup\.targets\[0\]\.address: /s);
  writeFileSync(file, yaml([`${net}.2`]).replace('flows: 4096', 'flows: 8192'));
  t.strictSame((await running.reload()).at(-1)?.problems, [
    'gateway.limits.flows: a change needs a restart (4096 → 8192)',
    'gateway.limits.flowsIpv6: a change needs a restart (1024 → 2048)',
  ]);
  t.match(await metrics(), 'gwlb_targets{zone="default",state="healthy"} 2', 'nothing changed');
  t.match(await metrics(), 'gwlb_reloads_total{result="refused"} 2');

  const second = spawnSync(process.execPath, [CLI, 'run', file], { encoding: 'utf8' });
  t.equal(second.status, 1, 'the address is in use');
  t.match(second.stderr, /gwlb: gateway\.address: cannot listen on .*another socket has this/);

  t.equal(await running.end(), 0);
  const stopped = { cause: 'SIGTERM', packetsIn: 1, packetsOut: 1, dropped: 0 };
  t.match(await running.event('stopped'), stopped);
});

t.test('the example is correct, and check says what is wrong where', async (t) => {
  const example = spawnSync(process.execPath, [CLI, 'check', join(ROOT, 'examples/gateway.yaml')]);
  t.equal(example.status, 0, String(example.stderr));
  writeFileSync(
    file,
    'gateway: { address: 10.0.0.1 }\ntargetGroup: { healthCheck: { intervalSeconds: 2 } }\n',
  );
  const { status, stderr } = spawnSync(process.execPath, [CLI, 'check', file], {
    encoding: 'utf8',
  });
  t.equal(status, 2);
  const place = ':2:31: targetGroup.healthCheck.intervalSeconds: expected 5–300, received 2';
  t.match(stderr, place);
});

const GATEWAY = 'gateway: { address: 10.0.0.1 }\n';
const CONFIGURATION = readFileSync(join(ROOT, 'docs/configuration.md'), 'utf8');
const WRONG: [string, string, string | RegExp][] = [
  ['{}', 'gateway', 'expected a mapping of keys, received nothing'],
  ['gateway: { adress: 10.0.0.1, address: 10.0.0.1 }', 'gateway.adress', /did you mean address\?/],
  [
    'gateway: {}',
    'gateway.address',
    'expected a unicast IPv4 address of this host, received nothing',
  ],
  [`${GATEWAY}${GATEWAY}`, 'gateway', 'expected the key once, received it again'],
  [
    `${GATEWAY}targetGroup: { healthCheck: { intervalSeconds: 5, timeoutSeconds: 9 } }`,
    'targetGroup.healthCheck.timeoutSeconds',
    'expected at most intervalSeconds (5), received 9',
  ],
  [
    `${GATEWAY}targetGroup: { healthCheck: { profile: aws, intervalSeconds: 0.5 } }`,
    'targetGroup.healthCheck.intervalSeconds',
    'expected an integer 5–300, received 0.5',
  ],
  [
    `${GATEWAY}targetGroup: { healthCheck: { protocol: GENEVE, source: "fd00::1" } }`,
    'targetGroup.healthCheck.destination',
    'expected an IPv6 address like source, received "198.18.0.2"',
  ],
  [
    `${GATEWAY}targetGroup: { healthCheck: { protocol: GENEVE, source: fd00 } }`,
    'targetGroup.healthCheck.source',
    'expected an IP address, received "fd00"',
  ],
  [
    `${GATEWAY}endpoints: [{ id: vpce-0ffffffffffffffff, tun: a }]`,
    'endpoints[0].id',
    /^expected an id other than that of health checks/,
  ],
  [
    `${GATEWAY}targetGroup: { healthCheck: { profile: fast, timeoutSeconds: 0.01 } }`,
    'targetGroup.healthCheck.timeoutSeconds',
    'expected 0.05–120, received 0.01',
  ],
  [
    'gateway: { address: 10.0.0.1, idleTimeout: { tcpSeconds: 60 } }\ntargetGroup: { stickiness: 2-tuple }',
    'gateway.idleTimeout.tcpSeconds',
    /^expected 350 with 2-tuple/,
  ],
  [
    `${GATEWAY}targetGroup: { failover: rebalance, sendTcpReset: { onUnhealthy: true } }`,
    'targetGroup.sendTcpReset.onUnhealthy',
    /^expected false unless failover is "no_rebalance", received true with "rebalance"/,
  ],
  [
    `${GATEWAY}targetGroup: { sendTcpReset: { onDeregistrations: true } }`,
    'targetGroup.sendTcpReset.onDeregistrations',
    /did you mean onDeregistration\?/,
  ],
  [
    `${GATEWAY}targetGroup: { inner: ethernet, destinationMac: "02:00:00:00:00:01" }`,
    'targetGroup.sourceMac',
    /^expected a MAC address/,
  ],
  [
    `${GATEWAY}targetGroup: { targets: [{ address: 10.0.0.2 }, { address: 10.0.0.2 }] }`,
    'targetGroup.targets[1]',
    /^expected each target once/,
  ],
  [
    `${GATEWAY}targetGroup: { targets: [{ address: 10.0.0.1 }] }`,
    'targetGroup.targets[0].address',
    /gateway's own/,
  ],
  [
    `${GATEWAY}endpoints: [{ id: vpce-00000000000000001 }]`,
    'endpoints[0]',
    'expected either tun or geneve, received none of them',
  ],
  [
    `${GATEWAY}endpoints: [{ id: vpce-00000000000000001, tun: a }, { id: vpce-00000000000000001, tun: b }]`,
    'endpoints[1].id',
    /^expected an id of its own/,
  ],
  [
    `${GATEWAY}endpoints: [{ id: vpce-00000000000000001, tun: a }, { id: vpce-00000000000000002, tun: a }]`,
    'endpoints[1].tun',
    /^expected a device of its own/,
  ],
  [
    `${GATEWAY}targetGroup: { targets: [{ address: 10.0.0.2 }] }\nendpoints: [{ id: vpce-00000000000000001, geneve: { peer: 10.0.0.2 } }]`,
    'endpoints[0].geneve.peer',
    /not a target's/,
  ],
  [
    `${GATEWAY}endpoints: [{ id: vpce-00000000000000001, tun: { name: a, persistent: maybe } }]`,
    'endpoints[0].tun.persistent',
    'expected true or false, received "maybe"',
  ],
  [
    `${GATEWAY}endpoints: [{ id: vpce-00000000000000001, tun: { name: a/b } }]`,
    'endpoints[0].tun.name',
    /^expected a device name/,
  ],
  [
    `${GATEWAY}endpoints: [{ id: vpce-00000000000000001, tun: { name: a } }, { id: vpce-00000000000000002, tun: a }]`,
    'endpoints[1].tun',
    /^expected a device of its own/,
  ],
  [
    'gateway: { address: 10.0.0.1, sourcePorts: { base: 65000, count: 1000 } }',
    'gateway.sourcePorts.count',
    'expected at most 536 with base 65000, received 1000',
  ],
  [
    'gateway: { address: 10.0.0.1, sourcePorts: { bas: 65000 } }',
    'gateway.sourcePorts.bas',
    /did you mean base\?/,
  ],
  [
    `${GATEWAY}targetGroup: { scope: endpoints }`,
    'targetGroup.scope',
    /^expected "endpoint" or "gateway"|^expected one of/,
  ],
  [
    `${GATEWAY}targetGroup: { healthCheck: { constructor: 5 } }`,
    'targetGroup.healthCheck.constructor',
    /^expected one of the keys profile, .*, received an unknown key/,
  ],
  [
    'gateway: { address: 10.0.0.1, __proto__: { port: 5 } }',
    'gateway.__proto__',
    /received an unknown key/,
  ],
  ['gateway: { address: 10.0.0.1, signal: 5 }', 'gateway.signal', /received an unknown key/],
  [
    'gateway: { address: 10.0.0.1, mtu: .nan }',
    'gateway.mtu',
    'expected an integer 576–8500, received NaN',
  ],
  [
    `${GATEWAY}targetGroup: { targets: { address: 10.0.0.2 } }`,
    'targetGroup.targets',
    'expected a list, received an object',
  ],
  [
    `${GATEWAY}targetGroup: { targets: [10.0.0.2] }`,
    'targetGroup.targets[0]',
    'expected a mapping of keys, received "10.0.0.2"',
  ],
  [
    `${GATEWAY}endpoints: [{ tun: a }]`,
    'endpoints[0].id',
    /^expected an id such as .*, received nothing$/,
  ],
  [
    `${GATEWAY}endpoints: [{ id: vpce-00000000000000001, geneve: { peer: 10.0.0.9 }, netns: a }]`,
    'endpoints[0].netns',
    /^expected nothing with geneve, which uses the sockets of the gateway, received "a"/,
  ],
  [
    `${GATEWAY}flowLog: { path: a, intervalSecond: 5 }`,
    'flowLog.intervalSecond',
    /did you mean intervalSeconds/,
  ],
  [
    `${GATEWAY}flowLog: { path: a, intervalSeconds: 86401 }`,
    'flowLog.intervalSeconds',
    'expected 0–86400, received 86401',
  ],
  [`${GATEWAY}metrics: { listen: 9464 }`, 'metrics.listen', /^expected an address and port/],
];

t.test(
  'a file has the keys that docs/configuration.md has, and no other option of the library',
  async (t) => {
    const documented = (section: string) => {
      const keys = CONFIGURATION.matchAll(new RegExp(`^\\| \`${section}\\.(\\w+)`, 'gm'));
      return [...new Set([...keys].map(([, key]) => key))].sort();
    };
    const known = (text: string) => {
      const loaded = parseConfig(text);
      const [, keys = ''] =
        (!loaded.ok && /one of the keys (.*), received/.exec(loaded.problems[0].message)) || [];
      return keys.split(', ').sort();
    };
    t.strictSame(known('gateway: { address: 10.0.0.1, x: 5 }'), documented('gateway'));
    t.strictSame(known(`${GATEWAY}targetGroup: { x: 5 }`), documented('targetGroup'));
    t.strictSame(known(`${GATEWAY}flowLog: { path: a, x: 5 }`), documented('flowLog'));
  },
);

t.test('the scope of flows and the ports to send from, as a file has them', async (t) => {
  const of = (text: string) => {
    const loaded = parseConfig(text);
    if (!loaded.ok) throw new Error(JSON.stringify(loaded.problems));
    return [loaded.config.targetGroup.scope, loaded.config.gateway.sourcePorts];
  };
  t.strictSame(of(GATEWAY), ['endpoint', { base: 32_768, count: 256 }]);
  const given =
    'gateway: { address: 10.0.0.1, sourcePorts: { base: 40000 } }\ntargetGroup: { scope: gateway }';
  t.strictSame(of(given), ['gateway', { base: 40_000, count: 256 }]);
});

t.test('health checks as a file may have them', async (t) => {
  const checks = [
    '{ profile: fast, intervalSeconds: 0.1, timeoutSeconds: 0.05, flapDamping: false }',
    '{ protocol: GENEVE, source: "fd00::1", destination: "fd00::2", port: 4789, suspicion: false }',
    '{ protocol: GENEVE, profile: fast }',
  ];
  for (const check of checks) {
    const loaded = parseConfig(`${GATEWAY}targetGroup: { healthCheck: ${check} }`);
    t.equal(loaded.ok, true, loaded.ok ? check : loaded.problems[0].message);
  }
});

for (const [text, path, message] of WRONG) {
  t.test(`wrong: ${path} ${message}`, async (t) => {
    const loaded = parseConfig(text);
    if (loaded.ok) throw new Error('it was taken');
    t.strictSame(
      loaded.problems.map((problem) => pathText(problem.path)),
      [path],
    );
    t.match(loaded.problems[0].message, message);
    t.ok(loaded.problems[0].line);
  });
}
