/** The tables of a gateway's targets: when they are built, and what packets are decided by. */
import t from 'tap';
import { Gateway, PacketBatch, TargetGroup, tuplePacket } from '../../src/index.js';

t.test('made with a table that is built elsewhere', async (t) => {
  const targetGroup = new TargetGroup({ healthCheck: false });
  const addresses = Array.from({ length: 150 }, (_, i) => ({ address: `10.0.1.${i + 1}` }));
  targetGroup.register(...addresses);
  const making = Gateway.create({ targetGroup, limits: { flows: 1024 } });
  targetGroup.register({ address: '10.0.2.1' });
  const gateway = await making;
  t.teardown(() => gateway.close());
  const shares = [...gateway.shares().values()];
  t.equal(shares.length, 151, 'what was registered meanwhile is there');
  t.ok(shares.every((share) => share > 0));
  await t.rejects(Gateway.create({ targetGroup }), { code: 'ERR_GWLB_IN_USE' });
  await t.rejects(Gateway.create({ targetGroup, mtu: 5 }), { code: 'ERR_GWLB_OUT_OF_RANGE' });
  const other = new TargetGroup({ healthCheck: false });
  await new Gateway({ targetGroup: other, limits: { flows: 1024 } }).close();
});

t.test('changes of one turn are together, and there when it is used', async (t) => {
  const targetGroup = new TargetGroup({ healthCheck: false });
  const gateway = new Gateway({ targetGroup, limits: { flows: 1024 } });
  t.teardown(() => gateway.close());
  const endpoint = gateway.createEndpoint();
  const batch = new PacketBatch({ packets: 1 });
  for (let i = 1; i <= 5; i += 1) {
    const [target] = targetGroup.register({ address: `10.0.1.${i}` });
    for (const other of targetGroup.targets())
      targetGroup.setWeight(other, Number(other === target));
    batch.clear();
    batch.add(
      tuplePacket({ protocol: 'udp', source: `10.9.0.${i}:5`, destination: '10.9.1.1:53' }),
    );
    gateway.toTargets(batch, endpoint, i);
    t.equal(batch.target[0], target.slot, 'by the newest weights');
  }
});
