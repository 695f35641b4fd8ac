/** Real traffic, from a client through endpoint, gateway and appliances to a server and back. */
import type { Test } from 'tap';
import { runIn } from '../../server/src/lab/processes.js';
import type { Appliance, GatewayCounters } from '../../src/index.js';
import { CLIENT, Fleet, INNER_MTU, SERVER, setMtu } from '../support/fleet.js';
import { runPrivately } from '../support/privately.js';
import { startServers, traffic } from '../support/processes.js';
import type { Questions, Transfer } from '../support/traffic.js';
import { until } from '../support/until.js';
import { cannotRun, WIDE, whyMissing } from '../support/wide.js';

const reason = await runPrivately(import.meta.url);
const { default: t } = await import('tap');

const MEGABYTE = 1_000_000;
const ICMP = 1;
const TCP = 6;
const UDP = 17;
const ICMPV6 = 58;

/** What the kernel loses where it has no room; TCP sends it again, and the books say so. */
const NO_ROOM = ['receive_overflow', 'send_would_block', 'worker_ring_full'];

/** The whole story; what a gateway does must not depend on its offloads. */
async function story(t: Test, listen: { workers: number; offloads: boolean }): Promise<void> {
  const fleet = await Fleet.build({ listen });
  t.teardown(() => fleet.close());
  const { gateway, lab } = fleet;
  const server = await startServers('server');
  t.teardown(() => server.kill('SIGKILL'));

  const flowsOf = (between: { v4: string; v6: string }[], version: 4 | 6, protocol: number) => {
    const ends = between.map((end) => (version === 4 ? end.v4 : end.v6)).sort();
    return [...fleet.seen.values()].filter(
      (seen) => seen.between === ends.join(' ') && seen.protocol === protocol,
    );
  };
  const flows = (version: 4 | 6, protocol: number) => flowsOf([CLIENT, SERVER], version, protocol);

  t.test('a TCP transfer arrives as it was sent', async (t) => {
    const total = (WIDE ? 200 : 30) * MEGABYTE;
    const { sent, received } = await traffic<Transfer>('client', [
      'send',
      SERVER.v4,
      String(total),
    ]);
    t.strictSame(received, sent);
    t.equal(received.bytes, total);
    const [flow, ...others] = flows(4, TCP);
    t.equal(others.length, 0, 'one connection, one flow');
    t.ok(flow.fromClient > total / 1500, 'the appliance saw every segment');
    t.ok(flow.fromServer > 0, 'and the answers');
  });

  t.test('TCP over IPv6 too', async (t) => {
    const { sent, received } = await traffic<Transfer>('client', [
      'send',
      SERVER.v6,
      String(10 * MEGABYTE),
    ]);
    t.strictSame(received, sent);
    t.equal(flows(6, TCP).length, 1);
  });

  for (const version of [4, 6] as const) {
    const host = version === 4 ? SERVER.v4 : SERVER.v6;
    t.test(`500 questions over UDP have 500 answers, IPv${version}`, async (t) => {
      const args = ['ask', host, '50', '10', '0'];
      const told = await traffic<Questions>('client', args);
      t.strictSame(told, { asked: 500, answered: 500 });
      const seen = flows(version, UDP);
      t.equal(seen.length, 50, 'a flow for every socket');
      for (const flow of seen) {
        t.match(flow, { fromClient: 10, fromServer: 10, fragments: 0 });
      }
      const used = new Set(seen.flatMap(({ appliances }) => [...appliances]));
      t.equal(used.size, 2, 'both appliances have a share');
    });

    t.test(`questions larger than a link can carry go in fragments, IPv${version}`, async (t) => {
      const fragments = () => flows(version, UDP).reduce((sum, flow) => sum + flow.fragments, 0);
      const before = fragments();
      const args = ['ask', host, '5', '4', '3000'];
      const told = await traffic<Questions>('client', args);
      t.strictSame(told, { asked: 20, answered: 20 });
      t.equal(fragments() - before, 20 * 2 * 3, 'of 3,000 bytes over 1,500, there and back');
    });
  }

  t.test('ping', { skip: pingMissing() }, async (t) => {
    const ping = async (host: string, ...more: string[]): Promise<void> => {
      const args = ['-q', '-c', '10', '-i', '0.05', '-W', '15', ...more, host];
      const { status, out } = await runIn('client', 'ping', args);
      t.equal(status, 0, `ping ${args.join(' ')}`);
      t.match(out, /10 packets transmitted, 10 received/);
    };
    await ping(SERVER.v4);
    await ping(SERVER.v6);
    t.ok(flows(4, ICMP).every(({ fragments }) => fragments === 0));

    await ping(SERVER.v4, '-s', '3000');
    await ping(SERVER.v6, '-s', '3000');
    for (const [version, protocol] of [
      [4, ICMP],
      [6, ICMPV6],
    ] as const) {
      const seen = flows(version, protocol);
      const pieces = seen.reduce((sum, flow) => sum + flow.fragments, 0);
      t.equal(pieces, 10 * 2 * 3, `IPv${version} echoes in fragments, all seen`);
    }

    await setMtu(lab, INNER_MTU);
    await ping(SERVER.v4, '-M', 'do', '-s', String(INNER_MTU - 28));
    await ping(SERVER.v6, '-M', 'do', '-s', String(INNER_MTU - 48));
    for (const [version, protocol] of [
      [4, ICMP],
      [6, ICMPV6],
    ] as const) {
      const whole = flows(version, protocol).reduce((sum, flow) => sum + flow.whole, 0);
      t.equal(whole, 10 * 2, `IPv${version} packets of 8,500 bytes, in one piece there and back`);
    }
  });

  t.test('a TCP transfer in packets of 8,500 bytes', async (t) => {
    await setMtu(lab, INNER_MTU);
    const { sent, received } = await traffic<Transfer>('client', [
      'send',
      SERVER.v4,
      String(10 * MEGABYTE),
    ]);
    t.strictSame(received, sent);
    // Of about 1,240; a sender that waits for its turn also sends shorter ones.
    t.ok(flows(4, TCP).some(({ whole }) => whole > 600));
  });

  t.test('every flow had both directions at one appliance', async (t) => {
    t.ok(fleet.seen.size > 100);
    const ours = [
      [CLIENT.v4, SERVER.v4],
      [CLIENT.v6, SERVER.v6],
    ].map((ends) => ends.sort().join(' '));
    for (const flow of fleet.seen.values()) {
      t.equal(flow.appliances.size, 1);
      if (!ours.includes(flow.between)) continue;
      t.ok(flow.fromClient > 0 && flow.fromServer > 0, 'both directions');
    }
  });

  t.test('the books agree: in is out, and what is missing has a reason', async (t) => {
    const read = () => booksOf(gateway.counters(), fleet.appliances);
    // The last packets may still be on their way.
    const books = await until(read, (now) => agree(now), 'the books agree');
    t.comment(JSON.stringify(books));
    const { drops, flowsMoved, packetsUntracked, ...counters } = gateway.counters();
    const dropped = Object.entries(drops).filter(
      ([name, count]) => count > 0 && !NO_ROOM.includes(name),
    );
    t.strictSame(dropped, [], 'nothing was dropped but for lack of room');
    t.equal(counters.packetsBypassed + counters.packetsReplied, 0);
    t.equal(flowsMoved + packetsUntracked, 0);
    for (const target of Object.values(counters.targets)) {
      t.ok(target.packetsTo > 0, 'both appliances worked');
    }
  });
}

/** What the gateway and the appliances say of the same packets; each number is of what has no other place. */
interface Books {
  /** Entered, or came back, and was not sent; each is a drop alone. */
  unsentTo: number;
  unsentOut: number;
  unsent: number;
  /** Sent to the appliances, and not received by them. */
  onTheWay: number;
  /** Received by the appliances, and not returned. */
  kept: number;
  /** Returned, and not received by the gateway. */
  missing: number;
  /** Of those, at most so many had no room in another worker's ring; some came from the endpoint. */
  noRoom: number;
}

function booksOf(counters: GatewayCounters, appliances: readonly Appliance[]): Books {
  const { packetsIn, packetsToTargets, packetsFromTargets, packetsOut, drops } = counters;
  const theirs = appliances.map((appliance) => appliance.counters());
  const sum = (read: (counters: (typeof theirs)[number]) => number) =>
    theirs.reduce((total, one) => total + read(one), 0);
  const received = sum((one) => one.packetsReceived);
  return {
    unsentTo: packetsIn - packetsToTargets,
    unsentOut: packetsFromTargets - packetsOut,
    unsent: drops.send_would_block,
    onTheWay: packetsToTargets - received - sum((one) => one.drops.receive_overflow),
    kept: received - sum((one) => one.packetsReturned),
    missing:
      sum((one) => one.packetsReturned - one.drops.send_would_block) -
      (packetsFromTargets + drops.receive_overflow),
    noRoom: drops.worker_ring_full,
  };
}

function agree({ unsentTo, unsentOut, unsent, onTheWay, kept, missing, noRoom }: Books): boolean {
  const sent = unsentTo >= 0 && unsentOut >= 0 && unsentTo + unsentOut === unsent;
  return sent && onTheWay === 0 && kept === 0 && missing >= 0 && missing <= noRoom;
}

function pingMissing(): string | false {
  const missing = whyMissing('ping');
  if (missing !== null && WIDE) throw new Error(missing);
  return missing ?? false;
}

async function tests(): Promise<void> {
  const workers = WIDE ? 2 : 1;
  await t.test('with offloads', async (t) => story(t, { workers, offloads: true }));
  if (!WIDE) return;
  await t.test('without offloads', async (t) => story(t, { workers, offloads: false }));
  await t.test('with offloads, one worker', async (t) => story(t, { workers: 1, offloads: true }));
}

if (reason === null) await tests();
else cannotRun(t, reason);
