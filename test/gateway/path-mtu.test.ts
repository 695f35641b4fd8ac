/** How long inner packets may be: what the kernel says of the ways, less what is in front of them. */
import t from 'tap';
import { innerPathMtu, PathWatch, type Way } from '../../src/gateway/path-mtu.js';

const source = 0x7f000001;
const LOOPBACK_MTU = 65_535;
const NOBODY: Way = { addresses: [], ethernet: false };
const NEAR: Way = { addresses: ['127.0.0.2', '127.0.0.3'], ethernet: false };
const FAR: Way = { addresses: ['192.0.2.1'], ethernet: false };

t.test('each kind of host has its overhead, and the narrowest way counts', async (t) => {
  const mtu = (targets = NOBODY, peers = NOBODY) =>
    innerPathMtu({ source, netns: '', targets, peers });
  t.equal(await mtu(), 0, 'no hosts, no ways');
  t.equal(await mtu(NEAR), LOOPBACK_MTU - 68);
  t.equal(await mtu({ ...NEAR, ethernet: true }), LOOPBACK_MTU - 82);
  t.equal(await mtu(NOBODY, NEAR), LOOPBACK_MTU - 36);
  t.equal(await mtu(NOBODY, { ...NEAR, ethernet: true }), LOOPBACK_MTU - 50);
  t.equal(await mtu(NEAR, NEAR), LOOPBACK_MTU - 68);
  t.equal(await mtu(FAR, NEAR), LOOPBACK_MTU - 36, 'hosts without a way do not count');
  t.equal(await mtu(FAR), 0);
});

t.test('changes are told, when it is time to look', async (t) => {
  const told: number[] = [];
  let addresses = ['127.0.0.2'];
  const targets = () => addresses.map((address) => ({ address }));
  const gateway = {
    targetGroup: { inner: 'ip' },
    targets,
    endpoints: () => [],
  } as unknown as Parameters<PathWatch['look']>[0];
  const watch = new PathWatch(source, '', (bytes) => told.push(bytes));
  await watch.look(gateway, 0);
  t.strictSame(told, [LOOPBACK_MTU - 68]);
  addresses = [];
  await watch.look(gateway, 1_999);
  t.equal(told.length, 1, 'not yet');
  const looking = watch.look(gateway, 2_000);
  await watch.look(gateway, 9_000);
  t.equal(told.length, 1, 'one at a time');
  await looking;
  await watch.look(gateway, 11_000);
  t.strictSame(told, [LOOPBACK_MTU - 68, 0], 'each once');
  const nowhere = new PathWatch(source, 'no-such-namespace', (bytes) => told.push(bytes));
  await nowhere.look(gateway, 0);
  t.equal(told.length, 2, 'what cannot be asked is not told');
});
