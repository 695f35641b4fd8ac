/** Real senders heed "too big": Linux shrinks its packets to what the endpoint carries. */

import { runIn } from '../../server/src/lab/processes.js';
import { CLIENT, Fleet, type FleetOptions, SERVER } from '../support/fleet.js';
import { runPrivately } from '../support/privately.js';
import { nft, probe, startCounter, startServers, Talker, traffic } from '../support/processes.js';
import type { Transfer } from '../support/traffic.js';
import { until } from '../support/until.js';
import { cannotRun, whyNotWide } from '../support/wide.js';

const reason = whyNotWide('python3', 'nft') ?? (await runPrivately(import.meta.url));
const { default: t } = await import('tap');

const MTU = 1400;
const LINK_MTU = 1500;
/** Between the gateway and the appliances, less than the ends' packets and GENEVE need. */
const OUTER_MTU = 1400;
const BYTES = 5_000_000;
const COUNTER_PORT = 4054;
/** Of a connection: the server's, and the client's. */
const SERVER_PORT = 9001;
const PORT = 40_001;

/** What one end knows of the path to an address. */
async function knownMtu(namespace: string, address: string): Promise<number | null> {
  const { status, out, err } = await runIn(namespace, 'ip', ['route', 'get', address]);
  if (status !== 0) throw new Error(`ip route get ${address}: ${err}`);
  const mtu = /\bmtu (\d+)/.exec(out);
  return mtu && Number(mtu[1]);
}

/** An end forgets what it knows of paths. */
async function forget(namespace: string): Promise<void> {
  for (const family of ['-4', '-6']) {
    const { status, err } = await runIn(namespace, 'ip', [family, 'route', 'flush', 'cache']);
    if (status !== 0) throw new Error(`ip route flush cache: ${err}`);
  }
}

/** The devices promise more than the gateway lets through, as where a router is set up wrongly. */
async function build(options: FleetOptions = {}): Promise<Fleet> {
  const fleet = await Fleet.build({ endpoint: { mtu: MTU }, ...options });
  await fleet.lab.ip('router', [`link set endpoint0 mtu ${LINK_MTU}`]);
  return fleet;
}

/** Fragments that arrive in a namespace are lost. */
function losePieces(namespace: string): Promise<void> {
  return nft(
    namespace,
    'add table ip narrow',
    'add chain ip narrow arrive { type filter hook prerouting priority -450; }',
    'add rule ip narrow arrive ip frag-off & 0x3fff != 0 drop',
  );
}

/** Fragments that the kernel of a namespace has made. */
async function piecesMade(namespace: string): Promise<number> {
  const { out } = await runIn(namespace, 'cat', ['/proc/net/snmp']);
  const [names, values] = out.split('\n').map((line) => line.split(' '));
  return Number(values[names.indexOf('FragCreates')]);
}

interface Discovered {
  before: number;
  first: number | string;
  after: number;
  again: number | string;
  fits: number | string;
}

const ENDS = [
  { from: 'client', to: SERVER },
  { from: 'server', to: CLIENT },
] as const;

async function tests(): Promise<void> {
  t.test('a sender shrinks its packets to the endpoint', async (t) => {
    const fleet = await build();
    t.teardown(() => fleet.close());
    for (const namespace of ['client', 'server']) {
      const servers = await startServers(namespace);
      t.teardown(() => servers.kill('SIGKILL'));
      const counter = await startCounter(namespace, COUNTER_PORT);
      t.teardown(() => counter.kill('SIGKILL'));
    }

    for (const { from, to } of ENDS) {
      for (const [address, headers] of [
        [to.v4, 28],
        [to.v6, 48],
      ] as const) {
        t.test(`UDP with "do not fragment", ${from} to ${address}`, async (t) => {
          const size = LINK_MTU - headers;
          const told = await probe<Discovered>(from, 'pmtu', address, COUNTER_PORT, size);
          t.strictSame(told, {
            before: LINK_MTU,
            first: 'Message too long',
            after: MTU,
            again: 'Message too long',
            fits: MTU - headers,
          });
          t.equal(await knownMtu(from, address), MTU, 'the kernel keeps it');
        });
      }
    }

    t.test('UDP that may be fragmented', async (t) => {
      await forget('client');
      const send = (address: string) =>
        probe<(number | string)[]>('client', 'again', address, COUNTER_PORT, 3000);
      t.strictSame(await send(SERVER.v4), [3000], 'the gateway cuts it, and all of it arrives');
      t.equal(await knownMtu('client', SERVER.v4), null, 'nobody was told');
      t.equal(fleet.gateway.counters().packetsFragmented, 2, 'there and back the first fragment');
      t.equal(await knownMtu('client', SERVER.v6), null, 'forgotten');
      const told = await send(SERVER.v6);
      t.strictSame(told.at(-1), 3000, 'comes to fragments that fit');
      t.ok(told.length > 1, 'after the first ones did not');
      t.equal(await knownMtu('client', SERVER.v6), MTU);
    });

    for (const { from, to } of ENDS) {
      for (const address of [to.v4, to.v6]) {
        t.test(`TCP, ${from} to ${address}`, async (t) => {
          // The receiver would tell what it knows in its SYN.
          for (const end of ['client', 'server']) await forget(end);
          t.equal(await knownMtu(from, address), null, 'the sender knows nothing yet');
          const before = fleet.gateway.counters();
          const args = ['send', address, String(BYTES)];
          const { sent, received } = await traffic<Transfer>(from, args);
          t.strictSame(received, sent, 'arrives as it was sent');
          t.equal(received.bytes, BYTES);
          const after = fleet.gateway.counters();
          const dropped = after.drops.inner_too_big - before.drops.inner_too_big;
          t.ok(dropped > 0, 'after segments that were too long');
          const replied = after.packetsReplied - before.packetsReplied;
          t.ok(replied > 0 && replied <= dropped, 'answered, those of a super-packet once');
          t.comment(`${dropped} segments were too long`);
          t.equal(await knownMtu(from, address), MTU, 'the sender has learnt');
        });
      }
    }
  });

  t.test('without path MTU discovery nobody learns', async (t) => {
    const fleet = await build({ listen: { pathMtuDiscovery: false } });
    t.teardown(() => fleet.close());
    const counter = await startCounter('server', COUNTER_PORT);
    t.teardown(() => counter.kill('SIGKILL'));
    const args = [SERVER.v4, COUNTER_PORT, LINK_MTU - 28, 1] as const;
    const told = await probe<Discovered>('client', 'pmtu', ...args);
    t.match(told, { first: 'timeout', after: LINK_MTU, fits: 'timeout' });
    const { packetsReplied, drops } = fleet.gateway.counters();
    t.equal(packetsReplied, 0);
    t.ok(drops.inner_too_big > 0);
  });

  t.test('with clampMss auto TCP fits a narrower path to the appliances', async (t) => {
    // As some networks do, the path loses the pieces of what it has no room for, and says nothing.
    const narrow = async (clampMss: 'auto' | 'off') => {
      const fleet = await Fleet.build({
        outerMtu: OUTER_MTU,
        listen: { pathMtuDiscovery: false, clampMss },
      });
      t.teardown(() => fleet.close());
      for (const end of ['gateway', 'appliance0', 'appliance1']) await losePieces(end);
      return fleet;
    };

    const without = await narrow('off');
    const [client, server] = ['client', 'server'].map((end) => new Talker(end));
    await server.listen(SERVER_PORT);
    await client.dial(SERVER.v4, SERVER_PORT, PORT);
    await client.until(PORT, ({ open }) => open, 'connected');
    await client.send(PORT, BYTES);
    // Its whole first flight, two pieces a segment.
    await until(
      () => piecesMade('gateway'),
      (pieces) => pieces >= 20,
      'segments in pieces',
    );
    t.equal((await server.line(PORT))?.received, 0, 'a black hole without it');
    for (const end of [client, server]) end.close();
    await without.close();

    const fleet = await narrow('auto');
    const servers = await startServers('server');
    t.teardown(() => servers.kill('SIGKILL'));
    for (const address of [SERVER.v4, SERVER.v6]) {
      const { sent, received } = await traffic<Transfer>('client', [
        'send',
        address,
        String(BYTES),
      ]);
      t.strictSame(received, sent, `${address}: arrives as it was sent`);
      t.equal(await knownMtu('client', address), null, 'and no ICMP error told its sender');
    }
    t.equal(await piecesMade('gateway'), 0, 'all of it fitted');
    t.ok(fleet.gateway.counters().mssClamped >= 4, 'SYN and SYN-ACK');
  });

  t.test('with clampMss TCP needs no ICMP error', async (t) => {
    for (const clampMss of ['auto', MTU - 60] as const) {
      const fleet = await build({ listen: { pathMtuDiscovery: false, clampMss } });
      try {
        const servers = await startServers('server');
        t.teardown(() => servers.kill('SIGKILL'));
        for (const address of [SERVER.v4, SERVER.v6]) {
          const args = ['send', address, String(BYTES)];
          const { sent, received } = await traffic<Transfer>('client', args);
          t.strictSame(received, sent, 'arrives as it was sent');
        }
        const { drops, mssClamped } = fleet.gateway.counters();
        t.equal(drops.inner_too_big, 0, 'nothing was too long');
        t.ok(mssClamped >= 4, 'SYN and SYN-ACK');
      } finally {
        await fleet.close();
      }
    }
  });
}

if (reason === null) await tests();
else cannotRun(t, reason);
