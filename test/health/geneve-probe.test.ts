/** Data-path checks, with a load balancer that is played here. */
import t from 'tap';
import type { FleetHost } from '../../src/gateway/fleet-host.js';
import { type DataPath, NONCE_MAX, startGeneveProbe } from '../../src/health/geneve-probe.js';
import type { ProbeResult } from '../../src/health/thresholds.js';
import { TargetGroup, tuplePacket } from '../../src/index.js';
import { attach, HOST, setup, thrown } from '../gateway/group-rig.js';

const NOWHERE: DataPath = {
  source: '198.18.0.1',
  destination: '198.18.0.2',
  nonce: 5,
  send: () => true,
  returned: () => false,
};

function probe(path: Partial<DataPath>, timeoutMs = 5_000): Promise<ProbeResult> {
  return new Promise((resolve, reject) => {
    let called = 0;
    // The timers of a check keep no process alive.
    const alive = setTimeout(() => reject(new Error('no result')), 10_000);
    startGeneveProbe({ ...NOWHERE, ...path }, 9, timeoutMs, (result, durationMs) => {
      if (++called > 1 || !(durationMs >= 0)) reject(new Error(`${called}, ${durationMs} ms`));
      clearTimeout(alive);
      resolve(result);
    });
    if (called > 0) reject(new Error('called before startGeneveProbe returned'));
  });
}

t.test('what comes back is a success, nothing else is', async (t) => {
  let looks = 0;
  const late = (nonce: number) => nonce === 5 && ++looks > 4;
  t.same(await probe({ returned: late }), { ok: true, detail: 'the probe came back' });
  t.equal(looks, 5);
  t.same(await probe({ returned: (nonce) => nonce === 4 }, 30), {
    ok: false,
    failure: 'timeout',
    detail: 'the probe did not come back within 30 ms',
  });
  t.same(await probe({ send: () => false, returned: () => true }), {
    ok: false,
    failure: 'connection',
    detail: 'the probe could not be sent',
  });
});

t.test('the packet: a UDP datagram from end to end, of another flow each time', async (t) => {
  const sent: Uint8Array[] = [];
  const send = (_nonce: number, inner: Uint8Array) => sent.push(inner.slice()) > 0;
  const returned = () => true;
  await probe({ send, returned });
  await probe({ send, returned, nonce: 6 });
  await probe({ send, returned, source: 'fd00::1', destination: 'fd00::2' });
  const packet = (source: string, destination: string) =>
    tuplePacket(
      { protocol: 'udp', source, destination },
      undefined,
      new TextEncoder().encode('gwlb health check'),
    );
  t.same(sent, [
    packet('198.18.0.1:49157', '198.18.0.2:9'),
    packet('198.18.0.1:49158', '198.18.0.2:9'),
    packet('[fd00::1]:49157', '[fd00::2]:9'),
  ]);
});

t.test('a cancelled check says nothing, and looks no more', async (t) => {
  let looks = 0;
  const returned = () => ++looks > 0;
  startGeneveProbe({ ...NOWHERE, returned }, 9, 1_000, () => t.fail('called'))();
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.equal(looks, 0);
});

t.test('a group asks by its load balancer, each target with its own nonces', async (t) => {
  const { world, group } = setup({
    healthCheck: { protocol: 'GENEVE', source: '10.1.0.1', destination: '10.1.0.2', port: 4789 },
  });
  group.register({ address: '10.0.0.1' }, { address: '10.0.0.2', port: 7000 });
  const sent: [number, number, number, number][] = [];
  const asked: [number, number][] = [];
  const host: FleetHost = {
    ...HOST,
    sendProbe: ({ slot, number, port }, nonce) => sent.push([slot, number, port, nonce]) > 0,
    probeReturned: (slot, nonce) => asked.push([slot, nonce]) > 0,
  };
  attach(group, host);
  world.advance(5);
  const paths = world.asked.map(({ dataPath }) => dataPath);
  t.match(world.asked, [{ protocol: 'GENEVE', port: 4789, timeoutMs: 5000 }, {}]);
  t.match(paths[0], { source: '10.1.0.1', destination: '10.1.0.2' });
  const [first, second] = paths.map((path) => path?.nonce ?? 0);
  t.ok(first >= 1 && first <= NONCE_MAX && second === (first % NONCE_MAX) + 1, `${first}`);
  for (const path of paths) {
    t.equal(path?.send(path.nonce, new Uint8Array()), true);
    t.equal(path?.returned(path.nonce), true);
  }
  t.same(sent, [
    [0, 0x0a000001, 6081, first],
    [1, 0x0a000002, 7000, second],
  ]);
  t.same(asked, [
    [0, first],
    [1, second],
  ]);
});

t.test('without sockets there are no such checks', async (t) => {
  const message =
    'targetGroup.healthCheck.protocol: expected TCP, HTTP or HTTPS with a load balancer that has no ' +
    'sockets (Gateway), received "GENEVE"';
  const refused = new TargetGroup({ healthCheck: { protocol: 'GENEVE' } });
  t.match(
    thrown(() => attach(refused)),
    { code: 'ERR_GWLB_INVALID_ARGUMENT', message },
  );
  t.equal(refused.inUse, false);
  const { group } = setup();
  attach(group);
  t.match(
    thrown(() => group.update({ failOpen: true, healthCheck: { protocol: 'GENEVE' } })),
    { message },
  );
  t.match(group, { failOpen: false, healthCheck: { protocol: 'TCP' } }, 'nothing has changed');
});
