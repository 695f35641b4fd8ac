/** An appliance's devices: what they are given, one for each endpoint, lost and made again. */
import { once } from 'node:events';
import { Lab } from '../../server/src/lab/lab.js';
import {
  Appliance,
  type ApplianceTun,
  type ApplianceTunOptions,
  tuplePacket,
} from '../../src/index.js';
import { runPrivately } from '../support/privately.js';
import { cannotRun } from '../support/wide.js';
import { ApplianceRig, innerOf } from './appliance-rig.js';

const reason = await runPrivately(import.meta.url);
const { default: t } = await import('tap');

const ENDPOINTS = ['vpce-00000000000000011', 'vpce-00000000000000022', 'vpce-00000000000000033'];
const LIMITS = { flows: 1024, flowsIpv6: 1024 };
const TUPLE = { protocol: 'udp', source: '10.1.0.1:1000', destination: '10.2.0.1:53' };
const PACKET = tuplePacket(TUPLE, 0, new Uint8Array(11));

/** Waits until something is so. */
async function until(what: () => boolean): Promise<void> {
  while (!what()) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** The kernel sends everything back by this device. */
async function lead(lab: Lab, netns: string, device: string): Promise<void> {
  await lab.ip(netns, [`route replace 10.0.0.0/8 dev ${device}`]);
}

async function tests(): Promise<void> {
  const lab = new Lab();
  t.teardown(() => lab.close());
  await lab.run(null, 'ip', 'link', 'set', 'lo', 'up');
  for (const name of ['tenant0', 'tenant1']) await lab.router(name);
  const rig = new ApplianceRig('127.77.63');
  const attach = async (
    t: { teardown: (end: () => Promise<void>) => void },
    options: ApplianceTunOptions,
  ): Promise<{ appliance: Appliance; tun: ApplianceTun }> => {
    const appliance = await rig.listen(t);
    return { appliance, tun: await appliance.attachTun({ limits: LIMITS, ...options }) };
  };

  t.test('options that cannot be are named', async (t) => {
    const appliance = await rig.listen(t);
    const wrong: [object, string][] = [
      [{ name: 'a/b' }, 'options.name'],
      [{ name: 'x'.repeat(16) }, 'options.name'],
      [{ name: '%d%d' }, 'options.name'],
      [{ name: 'gwk0', out: 'gwk0' }, 'options.out'],
      [{ perEndpoint: { endpoints: [] } }, 'options.perEndpoint.endpoints'],
      [{ perEndpoint: { endpoints: ['eni-1'] } }, 'options.perEndpoint.endpoints[0]'],
      [{ perEndpoint: { endpoints: 'any', max: 257 } }, 'options.perEndpoint.max'],
      [{ perEndpoint: { endpoints: 'any' }, name: 'gwi0' }, 'options.name'],
      [{ perEndpoint: { endpoints: 'any' }, name: 'gwi%d', out: 'gwo0' }, 'options.out'],
      [{ perEndpoint: { endpoints: 'any' }, name: 'gwi%d', out: 'gwi%d' }, 'options.out'],
      [{ mtu: 67 }, 'options.mtu'],
      [{ limits: { flows: 1 } }, 'options.limits.flows'],
      [{ idleTimeout: { tcpSeconds: 0 } }, 'options.idleTimeout.tcpSeconds'],
      [{ device: 'gwk0' }, 'options.device'],
    ];
    for (const [options, field] of wrong) {
      const expected = { name: 'GatewayError', field };
      await t.rejects(appliance.attachTun(options), expected, JSON.stringify(options));
    }
  });

  t.test('what the system refuses leaves nothing behind', async (t) => {
    const appliance = await rig.listen(t);
    const nowhere = { limits: LIMITS, netns: 'nowhere' };
    await t.rejects(appliance.attachTun(nowhere), {
      code: 'ERR_GWLB_UNKNOWN_NAMESPACE',
      field: 'options.netns',
    });
    const held = await appliance.attachTun({ limits: LIMITS, name: 'gwk0', netns: 'tenant0' });
    await t.rejects(appliance.attachTun({ limits: LIMITS }), {
      code: 'ERR_GWLB_INVALID_ARGUMENT',
      message: /while no devices are attached/,
    });
    const other = await Appliance.listen({ address: '127.77.63.11', healthCheck: false });
    t.teardown(() => other.close());
    const pair = { limits: LIMITS, name: 'gwk1', out: 'gwk0', netns: 'tenant0' };
    await t.rejects(other.attachTun(pair), { code: 'ERR_GWLB_DEVICE', field: 'options.name' });
    t.notMatch(await lab.run('tenant0', 'ip', 'link'), /gwk1/, 'not a half of a pair');
    await held.detach();
    t.notMatch(await lab.run('tenant0', 'ip', 'link'), /gwk0/);
    const now = await other.attachTun(pair);
    t.match(now.devices, [{ name: 'gwk1', out: 'gwk0', netns: 'tenant0', endpoint: null }]);
    const [{ ifindex, outIfindex }] = now.devices;
    t.match(await lab.run('tenant0', 'ip', 'link'), new RegExp(`^${ifindex}: gwk1`, 'm'));
    t.match(await lab.run('tenant0', 'ip', 'link'), new RegExp(`^${outIfindex}: gwk0`, 'm'));
    await other.close();
    t.strictSame([now.attached, now.devices], [false, []]);
    await t.rejects(other.attachTun(), { code: 'ERR_GWLB_CLOSED' });
  });

  t.test('each endpoint has a device, and tenants with equal addresses stay apart', async (t) => {
    const { appliance, tun } = await attach(t, {
      name: 'gwi%d',
      netns: 'tenant%d',
      perEndpoint: { endpoints: ENDPOINTS, max: 2 },
    });
    const gateway = await rig.gatewayFor(t);
    t.strictSame(tun.devices, []);
    for (const [i, endpoint] of ENDPOINTS.slice(0, 2).entries()) {
      const made = once(tun, 'device');
      gateway.send(PACKET, endpoint);
      const [device] = await made;
      t.match(device, { name: `gwi${i}`, netns: `tenant${i}`, endpoint, out: null, state: 'up' });
      await lead(lab, `tenant${i}`, `gwi${i}`);
    }
    t.equal(appliance.counters().drops.device_unavailable, 2, 'until there was one');
    // The second tenant's firewall, and that alone, refuses.
    await lab.ip('tenant1', ['route replace prohibit 10.2.0.0/16']);
    const sent = ENDPOINTS.map((endpoint) => gateway.send(PACKET, endpoint));
    gateway.send(PACKET, 'vpce-00000000000000044');
    await until(() => gateway.answers.length === 2);
    const byEndpoint = new Map(
      gateway.answers.map((answer) => [answer.bytes.toString('hex', 12, 20), answer]),
    );
    const answerOf = (i: number) => byEndpoint.get(sent[i].toString('hex', 12, 20));
    t.strictSame(answerOf(0)?.bytes.subarray(0, 40), sent[0].subarray(0, 40));
    t.equal(answerOf(0) && innerOf(answerOf(0) as never)[9], 17, 'forwarded');
    t.equal(answerOf(1) && innerOf(answerOf(1) as never)[9], 1, 'refused by ICMP');
    await until(() => appliance.counters().drops.device_limit === 1);
    await until(() => appliance.counters().drops.device_not_allowed === 1);
    t.equal(tun.counters().drops.device_limit, 1);
    const [first, second] = tun.devices;
    t.match(first.counters, { packetsToKernel: 1, packetsReturned: 1 });
    t.match(second.counters, { packetsToKernel: 1, packetsFromKernel: 1, packetsReturned: 1 });
    t.strictSame(tun.flows(), { ipv4: 2, ipv6: 0 });
  });

  t.test('an endpoint whose device cannot be made is told once, and has it later', async (t) => {
    const { tun } = await attach(t, {
      name: 'gwi%d',
      netns: 'later%d',
      perEndpoint: { endpoints: 'any' },
    });
    const gateway = await rig.gatewayFor(t);
    const errors: unknown[] = [];
    tun.on('error', (error) => errors.push(error));
    gateway.send(PACKET);
    await until(() => errors.length > 0);
    t.match(errors, [{ code: 'ERR_GWLB_UNKNOWN_NAMESPACE', message: /gwi0 .*later0/ }]);
    const made = once(tun, 'device');
    await lab.router('later0');
    const [device] = await made;
    t.match(device, { name: 'gwi0', endpoint: 'vpce-0123456789abcdef0' });
    t.equal(errors.length, 1);
  });

  t.test('a device that is deleted is made again; one that is set down stays so', async (t) => {
    const { tun } = await attach(t, { name: 'gwk0', netns: 'tenant0' });
    const gateway = await rig.gatewayFor(t);
    await lead(lab, 'tenant0', 'gwk0');
    gateway.send(PACKET);
    await until(() => gateway.answers.length === 1);
    const events: string[] = [];
    tun.on('gone', ({ name, state }) => events.push(`${name} ${state}`));
    tun.on('device', ({ name, state }) => events.push(`${name} ${state}`));
    await lab.ip('tenant0', ['link delete gwk0']);
    await until(() => events.length === 2);
    t.strictSame(events, ['gwk0 gone', 'gwk0 up']);
    await lead(lab, 'tenant0', 'gwk0');
    gateway.send(PACKET);
    await until(() => gateway.answers.length === 2);
    await lab.ip('tenant0', ['link set gwk0 down']);
    await until(() => events.length === 3);
    t.match(tun.devices, [{ state: 'down', error: { code: 'ERR_GWLB_DEVICE' } }]);
    gateway.send(PACKET);
    await until(() => tun.counters().drops.send_failed === 1);
    await lab.ip('tenant0', ['link set gwk0 up']);
    await until(() => events.length === 4);
    t.strictSame(events.slice(2), ['gwk0 down', 'gwk0 up']);
    t.match(tun.devices, [{ state: 'up', error: null }]);
  });

  t.test('a persistent device stays', async (t) => {
    const { tun } = await attach(t, { name: 'gwk0', netns: 'tenant0', persistent: true });
    await tun.detach();
    await tun.detach();
    t.match(await lab.run('tenant0', 'ip', 'link'), /gwk0/);
    await lab.ip('tenant0', ['link delete gwk0']);
  });

  t.test('what is not the kernel’s to see goes past it', async (t) => {
    const { appliance, tun } = await attach(t, { name: 'gwk0', netns: 'tenant0' });
    const gateway = await rig.gatewayFor(t);
    await lead(lab, 'tenant0', 'gwk0');
    appliance.inspect((packets) => {
      for (const packet of packets) packet.passFlow({ pastKernel: packet.sourcePort === 1000 });
    });
    gateway.send(PACKET);
    gateway.send(tuplePacket({ ...TUPLE, source: '10.1.0.1:1001' }));
    await until(() => gateway.answers.length === 2);
    gateway.send(PACKET);
    await until(() => gateway.answers.length === 3);
    t.equal(tun.counters().packetsToKernel, 1);
    t.equal(appliance.counters().flowPacketsPassed, 1);
  });
}

if (reason === null) await tests();
else cannotRun(t, reason);
