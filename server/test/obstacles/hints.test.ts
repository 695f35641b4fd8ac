/** What `status` thinks is wrong, by the counters. */

import type { Socket } from 'node:dgram';
import { DROP_REASONS, GatewayLoadBalancer, TargetGroup, tuplePacket } from 'gwlb';
import t from 'tap';
import { Peer, settled } from '../../../test/api/rig.js';
import { bound } from '../../../test/support/bound.js';
import type { Teardown } from '../../../test/support/teardown.js';
import { hintsOf } from '../../src/obstacles/hints.js';

const NET = '127.0.83';
const GATEWAY = `${NET}.1`;
const TARGET = `${NET}.2`;

const NONE = Object.fromEntries(Object.keys(DROP_REASONS).map((reason) => [reason, 0]));
const drops = (some: object) => ({ ...NONE, ...some }) as never;
const target = (packetsTo: number, packetsFrom: number) =>
  ({ packetsTo, packetsFrom, bytesTo: 0, bytesFrom: 0, flowsNew: 0, flowsActive: 0 }) as const;

t.test('nothing looks wrong', async (t) => {
  const targets = { a: target(1000, 1), b: target(99, 0) };
  t.strictSame(hintsOf({ drops: drops({ appliance_verdict: 5 }), targets }), []);
});

t.test('each mistake has its sentence, most telling first', async (t) => {
  const counted = { send_failed: 1, unknown_source: 2, gateway_options_missing: 3 };
  const hints = hintsOf({ drops: drops(counted), targets: { a: target(100, 0) } });
  t.strictSame(
    hints.map(({ reason }) => reason),
    ['gateway_options_missing', 'unknown_source', 'send_failed', 'nothing_returned'],
  );
  t.match(hints[0].text, /^gateway_options_missing 3: an appliance returns packets without/);
  t.match(hints[3].text, /^target a was sent 100 packets and has returned none/);
  for (const { text } of hints) t.notMatch(text, /\.$/);
});

/** An appliance that returns what it gets to the port it came from. */
async function swapsPorts(t: Teardown): Promise<Socket> {
  const socket = await bound(t, TARGET);
  socket.on('message', (bytes, from) => socket.send(bytes, from.port, from.address));
  return socket;
}

t.test('an appliance that swaps the UDP ports is told of', async (t) => {
  await swapsPorts(t);
  const targetGroup = new TargetGroup({ healthCheck: false });
  targetGroup.register({ address: TARGET });
  const gateway = await GatewayLoadBalancer.listen({ address: GATEWAY, targetGroup });
  t.teardown(() => gateway.close());
  const peer = await Peer.open(t, `${NET}.9`, GATEWAY);
  await gateway.createEndpoint({ geneve: { peer: `${NET}.9`, vni: 7 } });
  for (let port = 1; port <= 200; port += 1) {
    peer.send(
      tuplePacket({ protocol: 'udp', source: `10.0.0.1:${port}`, destination: '10.0.0.2:53' }),
    );
  }
  const counters = await settled(
    () => gateway.counters(),
    (now) => now.drops.returned_to_source_port === 200,
  );
  t.match(counters, { packetsToTargets: 200, packetsFromTargets: 0 });
  const hints = hintsOf(counters);
  t.equal(hints.length, 1);
  t.match(hints[0].text, 'returned_to_source_port 200: an appliance swaps the UDP ports');
  t.equal(peer.received.length, 0, 'none of it is delivered');
});
