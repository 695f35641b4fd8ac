/** Health checks against real appliances, over 127.0.0.0/8: what is noticed, and by which means. */
import { once } from 'node:events';
import { get } from 'node:http';
import t from 'tap';
import {
  Appliance,
  decodeGeneve,
  GatewayLoadBalancer,
  type HealthCheckOptions,
  type HealthEvent,
  TargetGroup,
  type TargetGroupOptions,
  tuplePacket,
} from '../../src/index.js';
import { Peer } from '../api/rig.js';
import { bound } from '../support/bound.js';
import type { Teardown } from '../support/teardown.js';
import { until } from '../support/until.js';

const GATEWAY = '127.78.0.5';
const APPLIANCE = '127.78.0.10';
const OTHER = '127.78.0.11';
const PEER = '127.78.0.9';
const HTTP_PORT = 18_099;
const FAST = { profile: 'fast', flapDamping: false } as const;

async function listen(t: Teardown, options: TargetGroupOptions, workers = 1) {
  const targetGroup = new TargetGroup(options);
  const gateway = await GatewayLoadBalancer.listen({
    address: GATEWAY,
    targetGroup,
    workers,
    limits: { flows: 4096, flowsIpv6: 4096 },
  });
  t.teardown(() => gateway.close());
  const events: HealthEvent[] = [];
  targetGroup.on('health', (event) => events.push(event));
  return { gateway, targetGroup, events };
}

async function applianceFor(t: Teardown, address = APPLIANCE): Promise<Appliance> {
  const healthCheck = { port: HTTP_PORT };
  const appliance = await Appliance.listen({ address, healthCheck });
  t.teardown(() => appliance.close());
  return appliance;
}

const state = (group: TargetGroup, address = APPLIANCE) => group.target(address)?.state;

/** What the appliance's own health check says. */
async function httpStatus(): Promise<number> {
  const request = get({ host: APPLIANCE, port: HTTP_PORT, path: '/', agent: false });
  const [response] = await once(request, 'response');
  response.resume();
  return response.statusCode;
}

for (const workers of [1, 3]) {
  t.test(`GENEVE checks see the data path, ${workers} workers`, async (t) => {
    const appliance = await applianceFor(t);
    let dropping = false;
    let probes = 0;
    appliance.inspect((packets) => {
      for (const packet of packets) {
        probes++;
        t.match(packet, { source: '198.18.0.1', destination: '198.18.0.2', destinationPort: 9 });
        t.equal(packet.endpointId, 'vpce-0ffffffffffffffff');
        if (dropping) packet.drop();
      }
    });
    const healthCheck: HealthCheckOptions = { ...FAST, protocol: 'GENEVE' };
    const { gateway, targetGroup, events } = await listen(t, { healthCheck }, workers);
    targetGroup.register({ address: APPLIANCE }, { address: OTHER });
    await until(() => state(targetGroup) === 'healthy', 'the appliance is healthy');
    t.equal(targetGroup.target(APPLIANCE)?.description, 'Healthy: the probe came back.');
    await until(() => state(targetGroup, OTHER) === 'unhealthy', 'the other one is not there');
    t.equal(targetGroup.target(OTHER)?.reason, 'Target.Timeout');

    dropping = true;
    await until(() => state(targetGroup) === 'unhealthy', 'the data path is seen to be dead');
    t.equal(await httpStatus(), 200, 'although its health check answers');
    dropping = false;
    await until(() => state(targetGroup) === 'healthy', 'and to live again');
    t.same(
      events
        .filter(({ target }) => target.address === APPLIANCE)
        .map(({ previous, state, cause }) => `${previous}>${state} ${cause}`),
      [
        'unused>initial register',
        'initial>healthy health-check',
        'healthy>unhealthy health-check',
        'unhealthy>healthy health-check',
      ],
    );
    const { probesReturned, packetsFromTargets, packetsOut, flowsNew, drops } = gateway.counters();
    t.ok(probesReturned >= 4 && probesReturned <= probes, `${probesReturned} of ${probes}`);
    t.equal(packetsFromTargets, probesReturned);
    t.match({ packetsOut, flowsNew }, { packetsOut: 0, flowsNew: 0 });
    t.same(
      Object.entries(drops).filter(([, count]) => count > 0),
      [],
      'a probe is no loss',
    );
  });
}

t.test('a GENEVE check in Ethernet frames, with an attachment and an option class', async (t) => {
  const MACS = { sourceMac: '02:00:00:00:00:0a', destinationMac: '02:00:00:00:00:0b' };
  const target = await bound(t, APPLIANCE);
  const seen: Buffer[] = [];
  target.on('message', (message) => {
    seen.push(message);
    target.send(message, 6081, GATEWAY);
  });
  const targetGroup = new TargetGroup({
    inner: 'ethernet',
    ...MACS,
    optionClass: 0x0167,
    healthCheck: {
      ...FAST,
      protocol: 'GENEVE',
      source: 'fd00::1',
      destination: 'fd00::2',
      port: 7,
    },
  });
  const gateway = await GatewayLoadBalancer.listen({
    address: GATEWAY,
    targetGroup,
    attachmentId: 0x1122334455667788n,
  });
  t.teardown(() => gateway.close());
  const [{ slot }] = targetGroup.register({ address: APPLIANCE });
  await until(() => state(targetGroup) === 'healthy', 'the target is healthy');
  const { header, gateway: options, error } = decodeGeneve(seen[0], { optionClass: 0x0167 });
  t.equal(error, null);
  t.match(header, { protocolType: 0x6558, vni: 0 });
  t.match(options, {
    endpointId: 'vpce-0ffffffffffffffff',
    attachmentId: 0x1122334455667788n,
  });
  t.equal((options?.cookie ?? 0) >>> 20, slot);
  const frame = seen[0].subarray(header?.headerLength);
  t.equal(frame.subarray(0, 14).toString('hex'), '02000000000b02000000000a86dd');
  const inner = {
    protocol: 'udp',
    source: `[fd00::1]:${49_152 + ((options?.cookie ?? 0) % 16_384)}`,
    destination: '[fd00::2]:7',
  };
  const expected = tuplePacket(inner, undefined, Buffer.from('gwlb health check'));
  t.equal(frame.subarray(14).toString('hex'), Buffer.from(expected).toString('hex'));
});

t.test('the endpoint id of probes is nobody else’s', async (t) => {
  const { gateway } = await listen(t, { healthCheck: false });
  const id = 'vpce-0ffffffffffffffff';
  await t.rejects(gateway.createEndpoint({ id, geneve: { peer: PEER } }), {
    code: 'ERR_GWLB_INVALID_ARGUMENT',
    message: `endpoint.id: expected an id other than that of health checks, ${id}, received "${id}"`,
  });
});

t.test('a killed appliance is noticed by the fast profile', async (t) => {
  const appliance = await applianceFor(t);
  const healthCheck: HealthCheckOptions = { ...FAST, protocol: 'HTTP', port: HTTP_PORT };
  const { targetGroup } = await listen(t, { healthCheck });
  targetGroup.register({ address: APPLIANCE });
  await until(() => state(targetGroup) === 'healthy', 'the appliance is healthy');
  const start = Date.now();
  const failed = once(targetGroup, 'health');
  await appliance.close();
  const [event] = (await failed) as [HealthEvent];
  t.match(event, { state: 'unhealthy', reason: 'Target.FailedHealthChecks' });
  t.comment(`noticed after ${event.at - start} ms`);
});

t.test(
  'with the times of AWS an appliance that is gone is noticed by what its host says',
  async (t) => {
    const appliance = await applianceFor(t);
    const healthCheck: HealthCheckOptions = {
      protocol: 'HTTP',
      port: HTTP_PORT,
      healthyThreshold: 2,
    };
    const { gateway, targetGroup } = await listen(t, { healthCheck, failover: 'rebalance' });
    const peer = await Peer.open(t, PEER, GATEWAY);
    await gateway.createEndpoint({ geneve: { peer: PEER, vni: 7 } });
    targetGroup.register({ address: APPLIANCE });
    await until(() => state(targetGroup) === 'healthy', 'the appliance is healthy');
    const packet = tuplePacket({
      protocol: 'udp',
      source: '10.1.0.1:5',
      destination: '10.2.0.1:53',
    });
    peer.send(packet);
    await peer.until(1);
    const start = Date.now();
    const failed = once(targetGroup, 'health');
    await appliance.close();
    const sending = setInterval(() => peer.send(packet), 20);
    t.teardown(() => clearInterval(sending));
    const [event] = (await failed) as [HealthEvent];
    t.match(event, { state: 'unhealthy', cause: 'suspicion' });
    t.match(
      event.target.description,
      /^Suspected, since its host says that no program receives .*; then health checks failed: connection refused/,
    );
    t.comment(`noticed after ${event.at - start} ms`);
    const { drops } = gateway.counters();
    t.match(
      drops,
      { send_failed: 0, send_would_block: 0 },
      'an error of one packet costs no other',
    );
  },
);

t.test('an appliance that drops everything is asked, and stays while it answers', async (t) => {
  const appliance = await applianceFor(t);
  const often: HealthCheckOptions = { ...FAST, protocol: 'HTTP', port: HTTP_PORT };
  const { gateway, targetGroup, events } = await listen(t, { healthCheck: often });
  const peer = await Peer.open(t, PEER, GATEWAY);
  await gateway.createEndpoint({ geneve: { peer: PEER, vni: 7 } });
  targetGroup.register({ address: APPLIANCE });
  await until(() => state(targetGroup) === 'healthy', 'the appliance is healthy');
  // From now on its own checks are too far apart to be what is seen below.
  targetGroup.update({ healthCheck: { ...often, intervalSeconds: 300, timeoutSeconds: 5 } });
  const packet = tuplePacket({ protocol: 'udp', source: '10.1.0.1:5', destination: '10.2.0.1:53' });
  const sending = setInterval(() => peer.send(packet), 2);
  t.teardown(() => clearInterval(sending));
  await peer.until(100);
  appliance.inspect((packets) => {
    for (const packet of packets) packet.drop();
  });
  let asked = 0;
  targetGroup.on('probe', ({ ok }) => {
    t.ok(ok);
    asked++;
  });
  await until(() => asked >= 3, 'three rounds of checks');
  t.equal(state(targetGroup), 'healthy');
  t.match(events.at(-1), { state: 'healthy' }, 'nothing has happened since');
});
