/** What SIGHUP does to the endpoints of `gwlb run`, and what stands in the way of its start. */

import { spawnSync } from 'node:child_process';
import type { Socket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeGeneve, encodeGeneve, tuplePacket } from 'gwlb';
import t from 'tap';
import { bound } from '../../../test/support/bound.js';
import { CLI } from '../../../test/support/places.js';
import { start } from '../support/running.js';

const folder = mkdtempSync(join(tmpdir(), 'gwlb-reload-'));
const file = join(folder, 'gateway.yaml');
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

const GATEWAY = '127.84.0.1';
const TARGET = '127.84.0.2';
const METRICS = `${GATEWAY}:9464`;
const FIRST = 'vpce-00000000000000001';
const SECOND = 'vpce-00000000000000002';
const THIRD = 'vpce-00000000000000003';

interface Endpoint {
  id: string;
  peer: string;
  vni: number;
}

const first: Endpoint = { id: FIRST, peer: '127.84.0.8', vni: 7 };
const second: Endpoint = { id: SECOND, peer: '127.84.0.9', vni: 8 };

function write(...endpoints: Endpoint[]): void {
  writeFileSync(
    file,
    `gateway: { address: ${GATEWAY}, limits: { flows: 4096 } }
targetGroup: { healthCheck: false, targets: [{ address: ${TARGET} }] }
endpoints:
${endpoints.map(({ id, peer, vni }) => `  - { id: ${id}, geneve: { peer: ${peer}, vni: ${vni} } }\n`).join('')}
metrics: { listen: "${METRICS}" }
`,
  );
}

const packet = tuplePacket({
  protocol: 'udp',
  source: '10.0.0.1:5000',
  destination: '10.0.0.2:53',
});

function send(from: Socket, { vni }: Endpoint): void {
  from.send(Buffer.concat([encodeGeneve({ vni }), packet]), 6081, GATEWAY);
}

const get = (path: string) => fetch(`http://${METRICS}${path}`);
const metrics = async () => (await get('/metrics')).text();

/** Value of a metric, by its name and labels as they are printed; null where there is none. */
async function metric(name: string): Promise<number | null> {
  const line = (await metrics()).split('\n').find((line) => line.startsWith(`${name} `));
  return line === undefined ? null : Number(line.slice(name.length + 1));
}

const packetsIn = (id: string) =>
  metric(`gwlb_endpoint_packets_in_total{endpoint="${id}",zone="default"}`);
const drops = (reason: string) => metric(`gwlb_drops_total{reason="${reason}"}`);
const activeFlows = () => metric('gwlb_flows_active{family="ipv4"}');

interface Passed {
  /** Of the endpoint, as the target was told. */
  id: string;
  /** Sends the target's datagram to the gateway once more. */
  again(): void;
}

/** One packet by the endpoint to the target and back. */
async function through(peer: Socket, endpoint: Endpoint, target: Socket): Promise<Passed> {
  const arrived = once(target, 'message');
  send(peer, endpoint);
  const [datagram, from] = await arrived;
  const back = once(peer, 'message');
  target.send(datagram, 6081, from.address);
  const [returned] = await back;
  const { header } = decodeGeneve(returned);
  const whole = Buffer.from(returned).subarray(-packet.length).equals(packet);
  if (header?.vni !== endpoint.vni || !whole) throw new Error(`wrong answer: ${returned}`);
  const id = String(decodeGeneve(datagram).gateway?.endpointId);
  return { id, again: () => target.send(datagram, 6081, from.address) };
}

t.test('endpoints come and go, all of a reload or nothing', async (t) => {
  const target = await bound(t, TARGET);
  const [one, two] = [await bound(t, first.peer), await bound(t, second.peer)];
  write(first);
  const running = start(t, 'run', file);
  t.match(await running.entries('started'), [
    { event: 'endpoint_created', endpoint: FIRST, kind: 'geneve', peer: { vni: 7 } },
    { event: 'started', endpoints: 1 },
  ]);
  const healthy = await get('/healthz');
  t.strictSame([healthy.status, await healthy.text()], [200, 'ok\n']);
  t.equal((await get('/other')).status, 404);
  const passed = await through(one, first, target);
  t.equal(passed.id, FIRST);
  t.equal(await packetsIn(SECOND), null);

  write(first, second);
  t.match(await running.reload(), [
    { event: 'endpoint_created', endpoint: SECOND },
    { event: 'reloaded', endpoints: 2, endpointsAdded: [SECOND], endpointsRemoved: [] },
  ]);
  t.equal((await through(two, second, target)).id, SECOND);
  t.strictSame([await packetsIn(FIRST), await packetsIn(SECOND)], [1, 1]);
  t.equal(await activeFlows(), 2, 'the same packet by another endpoint is another flow');

  await t.test('what the gateway cannot do leaves nothing behind', async (t) => {
    // The peer and VNI of the first belong to it until the reload is over.
    write({ id: THIRD, peer: '127.84.0.7', vni: 9 }, { ...first, id: 'vpce-4' }, second);
    const entries = await running.reload();
    t.match(entries.at(-1), { problems: [/endpoints\[1\]\.id: /] });
    write(
      { id: THIRD, peer: '127.84.0.7', vni: 9 },
      { ...first, id: 'vpce-00000000000000004' },
      second,
    );
    const refused = (await running.reload()).at(-1)?.problems as string[];
    t.equal(refused.length, 1);
    t.match(refused[0], /^endpoints\[1\]\.geneve/);
    t.equal(await packetsIn(THIRD), null, 'the one before it was taken back');
    t.equal(await packetsIn(FIRST), 1);
    write({ ...first, vni: 70 }, second);
    t.match((await running.reload()).at(-1), {
      problems: [`endpoints[${FIRST}].geneve.vni: a change needs a restart (7 → 70)`],
    });
    t.equal((await through(one, first, target)).id, FIRST, 'it works as before');
  });

  write(second);
  t.match(await running.reload(), [
    { event: 'endpoint_removed', endpoint: FIRST },
    { event: 'reloaded', endpoints: 1, endpointsAdded: [], endpointsRemoved: [FIRST] },
  ]);
  t.equal(await packetsIn(FIRST), null);
  send(one, first);
  passed.again();
  t.equal((await through(two, second, target)).id, SECOND, 'the other one stays');
  t.equal(await drops('unknown_endpoint'), 1, 'what comes back for it has nowhere to go');
  t.equal(await drops('unknown_source'), 1, 'its peer is a stranger now');
  t.equal(await metric('gwlb_packets_in_total'), 4, 'nothing enters by a removed one');

  write(first, second);
  await running.reload();
  t.equal((await through(one, first, target)).id, FIRST, 'it may come again');
  t.equal(await metric('gwlb_reloads_total{result="applied"}'), 3);
  t.equal(await metric('gwlb_reloads_total{result="refused"}'), 3);
  t.equal(await running.end('SIGINT'), 0);
  t.match(await running.event('stopped'), { cause: 'SIGINT', packetsIn: 5 });
});

t.test('an address of the metrics in use ends the start', async (t) => {
  const server = createServer();
  t.teardown(() => server.close());
  server.listen(9464, GATEWAY);
  await once(server, 'listening');
  write(first);
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, 'run', file], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  t.equal(status, 1);
  t.match(stderr, `gwlb: metrics.listen: cannot listen on ${METRICS}: another socket has this`);
  t.equal(stderr.split('\n').length, 2, 'one line, no stack trace');
  const events = stdout.split('\n').filter(Boolean);
  t.match(JSON.parse(events.at(-1) ?? ''), { event: 'failed', error: /^metrics\.listen: / });
  t.notMatch(stdout, '"started"');
});

t.test('a default that is written out, or left out, is no change', async (t) => {
  write(first);
  const running = start(t, 'run', file);
  await running.event('started');
  writeFileSync(
    file,
    `gateway: { name: gateway, address: ${GATEWAY}, port: 6081, netns: null, mtu: 8500, workers: 1,
  crossZone: false, idleTimeout: { tcpSeconds: 350, otherSeconds: 120 },
  limits: { flows: 4096, flowsIpv6: 1024 } }
targetGroup: { name: targets, port: 6081, inner: ip, optionClass: 0x0108, stickiness: 5-tuple,
  failover: no_rebalance, healthCheck: false, targets: [{ address: ${TARGET}, zone: default }] }
endpoints:
  - { id: ${FIRST}, zone: default, geneve: { peer: ${first.peer}, port: 6081, vni: 7, inner: ip } }
metrics: { listen: "${METRICS}" }
log: { level: info }
`,
  );
  const entries = await running.reload();
  t.notMatch(entries, [{ event: 'reload_refused' }]);
  write(first);
  await running.reload();
  t.equal(await running.end(), 0);
});
