// How an inspector is tested without sockets: node --test.
import assert from 'node:assert/strict';
import test from 'node:test';
import { InspectorTest, tuplePacket } from 'gwlb';
import { createInspector } from './inspector.mjs';

const query = (protocol) =>
  tuplePacket({ protocol, source: '10.0.0.1:4000', destination: '10.0.0.2:53' });

test('DNS goes over UDP only, and what flows carried is told', async () => {
  const ended = [];
  const { inspector, flows } = createInspector((flow) => ended.push(flow));
  const run = new InspectorTest(inspector);
  const [udp, tcp, again] = await run.send([query('udp'), query('tcp'), query('tcp')]);
  assert.equal(udp.verdict, 'returned');
  assert.equal(tcp.verdict, 'rejected');
  assert.equal(again.verdict, 'dropped');
  assert.equal(again.shown, false, "its flow's verdict decided");
  flows.close();
  run.close();
  assert.deepEqual(
    ended.map(({ packets, why }) => [packets, why]),
    [
      [1, 'ended'],
      [1, 'ended'],
    ],
  );
});
