/** Which ports and addresses an appliance returns packets from, and which addresses are none. */
import t from 'tap';
import {
  Appliance,
  encodeGeneve,
  Gateway,
  GatewayLoadBalancer,
  TargetGroup,
  tuplePacket,
} from '../../src/index.js';
import { bound } from '../support/bound.js';
import type { Teardown } from '../support/teardown.js';
import { until } from '../support/until.js';
import { settled } from './rig.js';

const ONE = '127.77.6.10';
const OTHER = '127.77.6.11';
const GATEWAY = '127.77.6.5';

interface Answer {
  from: string;
  port: number;
  bytes: Buffer;
}

/** Where answers come to: port 6081 of the gateway. */
async function answersAt(t: Teardown, address: string): Promise<Answer[]> {
  const answers: Answer[] = [];
  const receiver = await bound(t, address, 6081);
  receiver.on('message', (bytes, { address: from, port }) => answers.push({ from, port, bytes }));
  return answers;
}

const listen = async (t: Teardown, address: string, options = {}): Promise<Appliance> => {
  const appliance = await Appliance.listen({ address, healthCheck: false, ...options });
  t.teardown(() => appliance.close());
  return appliance;
};

const inner = tuplePacket({ protocol: 'udp', source: '10.0.0.1:1000', destination: '10.0.0.2:53' });
const header = encodeGeneve({
  gateway: { endpointId: 'vpce-0123456789abcdef0', attachmentId: 0n, cookie: 7 },
  protocolType: 0x0800,
});
const datagram = Buffer.concat([header, inner]);

t.test('64 flows from any 64 ports come back from them', async (t) => {
  const appliance = await listen(t, ONE);
  const answers = await answersAt(t, GATEWAY);
  const ports = Array.from({ length: 64 }, (_, i) => 1030 + ((i * 7919) % 64_000));
  for (const port of ports) (await bound(t, GATEWAY, port)).send(datagram, 6081, ONE);
  await until(() => answers.length === 64, '64 answers');
  t.strictSame(answers.map(({ port }) => port).sort(), ports.sort());
  t.equal(appliance.counters().packetsOtherPort, 0);
});

t.test('a port that somebody has here is not returned from, and counted', async (t) => {
  const appliance = await listen(t, ONE, { limits: { returnPorts: 1 } });
  const answers = await answersAt(t, GATEWAY);
  await bound(t, ONE, 40_001);
  (await bound(t, GATEWAY, 40_001)).send(datagram, 6081, ONE);
  await until(() => answers.length === 1, 'an answer');
  t.match(answers, [{ from: ONE, port: 6081 }]);
  await until(() => appliance.counters().packetsOtherPort === 1, 'the counter');
});

t.test('bytes behind the inner packet come back, with and without an inspector', async (t) => {
  const appliance = await listen(t, ONE);
  const answers = await answersAt(t, GATEWAY);
  const padded = Buffer.concat([datagram, Buffer.from('padding')]);
  const sender = await bound(t, GATEWAY, 40_002);
  sender.send(padded, 6081, ONE);
  await until(() => answers.length === 1, 'an answer');
  const shown: number[] = [];
  appliance.inspect((packets) => {
    for (const packet of packets) shown.push(packet.length);
  });
  sender.send(padded, 6081, ONE);
  await until(() => answers.length === 2, 'another');
  t.strictSame(shown, [inner.length]);
  for (const { bytes } of answers) t.equal(bytes.toString('hex'), padded.toString('hex'));
  const counters = await settled(
    () => appliance.counters(),
    ({ packetsReturned }) => packetsReturned === 2,
  );
  t.equal(counters.bytesReturned, 2 * inner.length);
});

for (const address of ['0.0.0.0', '::']) {
  t.test(`${address}: the address that was asked answers, also from an inspector`, async (t) => {
    const appliance = await listen(t, address, { port: 6082 });
    t.equal(appliance.address, address);
    const answers = await answersAt(t, GATEWAY);
    const sender = await bound(t, GATEWAY, 40_003);
    for (const to of [ONE, OTHER]) sender.send(datagram, 6082, to);
    await until(() => answers.length === 2, 'two answers');
    appliance.inspect((packets) => {
      for (const packet of packets) t.equal(packet.length, inner.length);
    });
    for (const to of [OTHER, ONE]) sender.send(datagram, 6082, to);
    await until(() => answers.length === 4, 'two more');
    // Where no own socket can be had for the port: this one has it.
    const taken = await bound(t, OTHER, 40_004);
    (await bound(t, GATEWAY, 40_004)).send(datagram, 6082, taken.address().address);
    await until(() => answers.length === 5, 'one more');
    t.strictSame(
      answers.map(({ from, port }) => `${from}:${port}`).sort(),
      [`${ONE}:40003`, `${ONE}:40003`, `${OTHER}:40003`, `${OTHER}:40003`, `${OTHER}:6082`].sort(),
    );
    for (const { bytes } of answers) t.equal(bytes.toString('hex'), datagram.toString('hex'));
  });
}

t.test('IPv6 gateways, by :: and by an address of its own', async (t) => {
  const answers = await answersAt(t, '::1');
  const sender = await bound(t, '::1', 40_005);
  for (const address of ['::', '::1']) {
    const appliance = await listen(t, address, { port: 6082 });
    t.equal(appliance.address, address);
    sender.send(datagram, 6082, '::1');
    await until(() => answers.length === 1, `an answer from ${address}`);
    // The gateway is on the same address, so its port is taken there.
    t.match(answers, [{ from: '::1', port: 6082 }]);
    t.equal(answers[0].bytes.toString('hex'), datagram.toString('hex'));
    answers.length = 0;
    await appliance.close();
  }
});

t.test('health checks are answered on all addresses too', async (t) => {
  const healthCheck = { port: 8099 };
  const appliance = await Appliance.listen({ address: '::', port: 6083, healthCheck });
  t.teardown(() => appliance.close());
  for (const host of [ONE, OTHER, '[::1]']) {
    const { status } = await fetch(`http://${host}:8099/`);
    t.equal(status, 200, host);
  }
});

t.test('addresses that cannot be used are refused with the reason', async (t) => {
  const unusable = ['255.255.255.255', '224.0.0.1', '239.1.2.3', '240.0.0.1', '0.1.2.3', 'x', ''];
  const targetGroup = new TargetGroup({ name: 'inspection' });
  for (const address of [...unusable, 'ff02::1', 'fe80::1', '::ffff:10.0.0.1', '10.0.0.1/8']) {
    await t.rejects(
      Appliance.listen({ address, healthCheck: false }),
      {
        code: 'ERR_GWLB_INVALID_ARGUMENT',
        field: 'options.address',
        message: `options.address: expected a unicast address of this host (IPv6 neither link-local nor an IPv4 address mapped into it), "0.0.0.0" or "::", received ${JSON.stringify(address)}`,
      },
      address,
    );
  }
  await t.rejects(Appliance.listen({ address: '2001:db8::1', healthCheck: false }), {
    code: 'ERR_GWLB_ADDRESS_NOT_AVAILABLE',
    field: 'options.address',
    message: /\[2001:db8::1\]:6081/,
  });
  for (const address of [...unusable, '::', '::1']) {
    await t.rejects(
      GatewayLoadBalancer.listen({ address, targetGroup }),
      {
        field: 'options.address',
        message: /^options.address: expected a unicast IPv4 address of this host, received /,
      },
      address,
    );
  }
  const all = {
    field: 'options.address',
    message:
      'options.address: expected one IPv4 address of this host, not all of them (appliances answer to the address that packets come from), received "0.0.0.0"',
  };
  await t.rejects(GatewayLoadBalancer.listen({ address: '0.0.0.0', targetGroup }), all);
  t.throws(() => new Gateway({ address: '0.0.0.0', outerHeaders: true, targetGroup }), all);
});

t.test('limits of ports are checked, and the old option is gone', async (t) => {
  for (const returnPorts of [0, 32_769, 1.5, '4']) {
    const limits = { returnPorts } as never;
    const name = 'GatewayError';
    await t.rejects(Appliance.listen({ address: ONE, healthCheck: false, limits }), {
      name,
      field: 'options.limits.returnPorts',
    });
  }
  const sourcePorts = { base: 32_768, count: 256 };
  await t.rejects(Appliance.listen({ address: ONE, healthCheck: false, sourcePorts } as never), {
    name: 'GatewayError',
    field: 'options.sourcePorts',
  });
});
