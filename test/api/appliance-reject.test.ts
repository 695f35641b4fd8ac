/** An appliance's refusals reach the sender through the gateway. */
import t from 'tap';
import {
  Appliance,
  GatewayLoadBalancer,
  TargetGroup,
  tuplePacket,
  updateChecksums,
} from '../../src/index.js';
import { until } from '../support/until.js';
import { Peer } from './rig.js';

const GATEWAY = '127.77.7.5';
const APPLIANCE = '127.77.7.10';
const PEER = '127.77.7.9';

t.test('RST and ICMP come back by the endpoint, and the rest of the flow is dropped', async (t) => {
  const targetGroup = new TargetGroup({ name: 'firewalls', healthCheck: false });
  targetGroup.register({ address: APPLIANCE });
  const gateway = await GatewayLoadBalancer.listen({ address: GATEWAY, targetGroup });
  t.teardown(() => gateway.close());
  const appliance = await Appliance.listen({ address: APPLIANCE, healthCheck: false });
  t.teardown(() => appliance.close());
  const peer = await Peer.open(t, PEER, GATEWAY);
  await gateway.createEndpoint({ id: 'vpce-0123456789abcdef0', geneve: { peer: PEER, vni: 7 } });
  appliance.inspect((packets) => {
    for (const packet of packets) {
      t.equal(packet.reject(), true);
      packet.dropFlow();
    }
  });
  const sent = [
    tuplePacket({ protocol: 'tcp', source: '203.0.113.9:1000', destination: '10.0.2.10:443' }),
    tuplePacket({ protocol: 'udp', source: '203.0.113.9:1000', destination: '10.0.2.10:53' }),
    tuplePacket({ protocol: 'udp', source: '[2001:db8::9]:1', destination: '[fd00::1]:53' }),
  ];
  for (const [i, packet] of sent.entries()) {
    peer.send(packet);
    await peer.until(i + 1);
  }
  const [reset, prohibited, prohibited6] = (await peer.until(3)).map(({ inner }) => inner);
  t.strictSame([...reset.subarray(12, 20)], [10, 0, 2, 10, 203, 0, 113, 9], 'from the other end');
  t.strictSame([reset[9], reset[33]], [6, 0x14], 'RST, ACK');
  t.strictSame([...prohibited.subarray(20, 22)], [3, 13]);
  t.strictSame(Buffer.from(prohibited.subarray(28)), Buffer.from(sent[1]), 'quotes the packet');
  t.strictSame([prohibited6[6], ...prohibited6.subarray(40, 42)], [58, 1, 1]);
  for (const answer of [reset, prohibited, prohibited6]) {
    const before = Buffer.from(answer).toString('hex');
    const after = Buffer.from(updateChecksums(Uint8Array.from(answer))).toString('hex');
    t.equal(before, after, 'checksums are right');
  }
  for (const packet of sent) peer.send(packet);
  await until(() => appliance.counters().drops.appliance_verdict === 3, 'the rest is dropped');
  t.match(appliance.counters(), { packetsRejected: 3, flowsDropped: 3 });
  const { drops } = gateway.counters();
  t.strictSame(
    Object.entries(drops).filter(([, count]) => count > 0),
    [],
  );
});
