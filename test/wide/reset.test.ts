/** Real TCP stacks believe the gateway's resets: connections end at once, at both ends. */
import type { Test } from 'tap';
import { runIn } from '../../server/src/lab/processes.js';
import { Fleet, SERVER } from '../support/fleet.js';
import { runPrivately } from '../support/privately.js';
import { nft, Talker } from '../support/processes.js';
import { until } from '../support/until.js';
import { cannotRun, whyNotWide } from '../support/wide.js';

const reason = whyNotWide('nft', 'ss') ?? (await runPrivately(import.meta.url));
const { default: t } = await import('tap');

const PORT = 9000;
const RST = 4;
let nextPort = 20_000;

interface Ends {
  client: Talker;
  server: Talker;
}

/** What the kernel of a namespace knows of the connection with this client's port. */
async function sockets(namespace: string, port: number, state = 'all'): Promise<string> {
  const filter = `( sport = :${port} or dport = :${port} )`;
  const { status, out, err } = await runIn(namespace, 'ss', ['-Htn', 'state', state, filter]);
  if (status !== 0) throw new Error(`ss: ${err}`);
  return out.trim();
}

async function connect({ client, server }: Ends, host: string, port = nextPort++): Promise<number> {
  await client.dial(host, PORT, port);
  await client.until(port, ({ open }) => open, 'connects');
  await client.send(port, 100);
  // Its line may still be that of a connection of the same port before.
  await server.until(port, ({ received, closed }) => received === 100 && !closed, 'is heard');
  await server.send(port, 1000);
  await client.until(port, ({ received }) => received === 1000, 'is answered');
  return port;
}

/** What both ends have said is acknowledged: no acknowledgment that was put off comes later. */
async function areQuiet({ client, server }: Ends, port: number): Promise<void> {
  for (const { namespace } of [client, server]) {
    const sendQueue = async () => (await sockets(namespace, port)).split(/\s+/)[2];
    await until(sendQueue, (bytes) => bytes === '0', `${namespace} is quiet, port ${port}`);
  }
}

/** The end says something and is told at once; the other one does not know yet. */
async function isTold(t: Test, end: Talker, port: number): Promise<void> {
  await end.send(port, 10);
  const line = await end.until(port, ({ closed }) => closed, 'is told');
  t.equal(line?.error, 'ECONNRESET', `${end.namespace}: reset by peer`);
  t.equal(await sockets(end.namespace, port), '', `${end.namespace}: the connection is gone`);
}

async function stillThere(t: Test, end: Talker, port: number): Promise<void> {
  t.match(await end.line(port), { open: true, closed: false, error: null });
  t.match(await sockets(end.namespace, port, 'established'), /./, `${end.namespace}: still there`);
}

/** Ends connections by `lose`, and looks at both ends of them. Returns the port of the busy one. */
async function losesConnections(
  t: Test,
  ends: Ends,
  host: string,
  lose: () => Promise<void>,
): Promise<number> {
  const { client, server } = ends;
  const asked = await connect(ends, host);
  const pushed = await connect(ends, host);
  for (const port of [asked, pushed]) await areQuiet(ends, port);
  const sending = await connect(ends, host);
  await client.pump(sending);
  await server.until(sending, ({ received }) => received > 1_000_000, 'sends');
  await lose();

  await isTold(t, client, asked);
  await stillThere(t, server, asked);
  await isTold(t, server, asked);

  await isTold(t, server, pushed);
  await stillThere(t, client, pushed);
  await isTold(t, client, pushed);

  const line = await client.until(sending, ({ closed }) => closed, 'is told while it sends');
  t.equal(line?.error, 'ECONNRESET', 'a sender with data under way');
  t.equal(await sockets(client.namespace, sending), '');
  // By now it may know: what was under way still reached it, and its acknowledgments were answered.
  // (Node calls a reset that comes right behind data an ordinary end.)
  await server.send(sending, 10);
  await server.until(sending, ({ closed }) => closed, 'is told while it receives');
  t.equal(await sockets(server.namespace, sending), '', 'and who receives it');

  t.equal(await connect(ends, host, asked), asked, 'the same port connects again at once');
  await connect(ends, host);
  return sending;
}

async function setTimestamps(fleet: Fleet, on: boolean): Promise<void> {
  for (const end of ['client', 'server']) {
    await fleet.lab.sysctl(end, [`net.ipv4.tcp_timestamps=${on ? 1 : 0}`]);
  }
}

async function startEnds(t: Test): Promise<Ends> {
  const [client, server] = ['client', 'server'].map((namespace) => {
    const talker = new Talker(namespace);
    t.teardown(() => talker.close());
    return talker;
  });
  await server.listen(PORT);
  return { client, server };
}

/** The server has heard a SYN, nobody its answer; then `lose`, and the server's next try. */
async function losesHalfOpen(
  t: Test,
  fleet: Fleet,
  { client, server }: Ends,
  host: string,
  lose: () => Promise<void>,
): Promise<void> {
  const port = nextPort++;
  const halfOpen = () => sockets('server', port, 'syn-recv');
  fleet.watch = (packet) => {
    if (packet.source === host) packet.drop();
  };
  await client.dial(host, PORT, port);
  await until(halfOpen, (lines) => lines !== '', 'the server has heard the SYN');
  // From now on only the server says something.
  await nft('client', 'add table inet gate');
  await nft('client', 'add chain inet gate out { type filter hook output priority 0; }');
  await nft('client', 'add rule inet gate out tcp flags syn / syn,ack drop');
  const { gateway } = fleet;
  const { resetsSent } = gateway.counters();
  await lose();
  const before = fleet.gateway === gateway ? resetsSent : 0;
  fleet.watch = null;
  await until(halfOpen, (lines) => lines === '', 'the server is told');
  t.ok(fleet.gateway.counters().resetsSent > before, 'as the answer to its SYN and ACK');
  t.match(await client.line(port), { open: false, closed: false }, 'the client goes on');
  await nft('client', 'delete table inet gate');
  await client.until(port, ({ open }) => open, 'connects with its next SYN');
  await client.send(port, 100);
  await server.until(port, ({ received }) => received === 100, 'is heard');
}

const VARIANTS = [SERVER.v4, SERVER.v6].flatMap((host) =>
  [true, false].map((timestamps) => ({
    host,
    timestamps,
    name: `${host.includes(':') ? 'IPv6' : 'IPv4'}, ${timestamps ? 'with' : 'without'} timestamps`,
  })),
);

async function tests(): Promise<void> {
  t.test('the gateway forgets connections and says so', async (t) => {
    // Without offloads: a super-packet counts as its packets, but gets one answer.
    const fleet = await Fleet.build({
      keepDevice: true,
      listen: { midStream: 'drop', sendTcpReset: { onIdleTimeout: true }, offloads: false },
    });
    t.teardown(() => fleet.close());
    const ends = await startEnds(t);

    for (const { host, timestamps, name } of VARIANTS) {
      t.test(`a stack believes the reset of an unknown flow: ${name}`, async (t) => {
        await setTimestamps(fleet, timestamps);
        await losesConnections(t, ends, host, () => fleet.restart());
        const { packetsReplied, drops } = fleet.gateway.counters();
        t.ok(packetsReplied >= 6, 'for each end of each connection');
        t.equal(drops.tcp_not_syn, packetsReplied, 'every one of them was answered');
      });
    }

    for (const host of [SERVER.v4, SERVER.v6]) {
      t.test(`a half-open connection of an unknown flow: ${host}`, async (t) => {
        await losesHalfOpen(t, fleet, ends, host, () => fleet.restart());
      });
    }
  });

  t.test('a target is lost and its connections are told so', async (t) => {
    const fleet = await Fleet.build({
      group: {
        sendTcpReset: { onUnhealthy: true, onDeregistration: true },
        deregistrationDelaySeconds: 0,
      },
    });
    t.teardown(() => fleet.close());
    const ends = await startEnds(t);
    const { targetGroup } = fleet;
    const [first, second] = targetGroup.targets().map(({ id }) => id);
    const turnsUnhealthy = async () => targetGroup.setHealth(first, 'unhealthy');
    const leaves = async () => targetGroup.deregister(first);

    /** The first target has all new flows, and once it is lost the second one. */
    const onFirst = (lose: () => Promise<void>) => async () => {
      targetGroup.setWeight(second, 1);
      await lose();
    };
    const again = () => {
      if (!targetGroup.target(first)) targetGroup.register({ address: first.split(':')[0] });
      targetGroup.setHealth(first, 'healthy');
      targetGroup.setWeight(first, 1);
      targetGroup.setWeight(second, 0);
    };

    for (const [rule, lose] of [
      ['turned unhealthy', turnsUnhealthy],
      ['left', leaves],
    ] as const) {
      for (const { host, timestamps, name } of VARIANTS) {
        t.test(`a stack believes the reset of a target that ${rule}: ${name}`, async (t) => {
          again();
          await setTimestamps(fleet, timestamps);
          targetGroup.setWeight(first, 0);
          targetGroup.setWeight(second, 1);
          const other = await connect(ends, host);
          targetGroup.setWeight(first, 1);
          targetGroup.setWeight(second, 0);
          const before = fleet.gateway.counters();
          // What is under way at an appliance may still reach an end that has been told: then that
          // end's own stack tells the other one.
          const toldByOther = new Set<string>();
          fleet.watch = ({ tcpFlags, sourcePort, destinationPort }) => {
            if ((tcpFlags & RST) !== 0) toldByOther.add(`${sourcePort} to ${destinationPort}`);
          };
          const sending = await losesConnections(t, ends, host, onFirst(lose));
          fleet.watch = null;
          const after = fleet.gateway.counters();
          t.equal(after.flowsRefused - before.flowsRefused, 3, 'three connections');
          const sent = after.resetsSent - before.resetsSent;
          const busy = [`${sending} to ${PORT}`, `${PORT} to ${sending}`];
          t.ok(
            [...toldByOther].every((way) => busy.includes(way)),
            'quiet ends tell nobody',
          );
          t.ok(sent >= 6 - toldByOther.size, 'told at both ends');
          const refused = after.drops.flow_refused - before.drops.flow_refused;
          t.ok(refused >= sent, 'each packet counted, those of a super-packet answered once');
          t.equal(after.flowsMoved, before.flowsMoved, 'none of them moved');
          const opened = (id: string) =>
            after.targets[id].flowsNew - (before.targets[id]?.flowsNew ?? 0);
          t.equal(opened(second), 2, 'those that connected again have the other target');

          await ends.client.send(other, 100);
          await ends.server.until(other, ({ received }) => received === 200, 'goes on');
          await ends.server.send(other, 1000);
          await ends.client.until(other, ({ received }) => received === 2000, 'goes on');
          await stillThere(t, ends.client, other);
        });
      }
      for (const host of [SERVER.v4, SERVER.v6]) {
        t.test(`a half-open connection of a target that ${rule}: ${host}`, async (t) => {
          again();
          await losesHalfOpen(t, fleet, ends, host, onFirst(lose));
        });
      }
    }
  });

  t.test('without the option nobody is told', async (t) => {
    const fleet = await Fleet.build({ keepDevice: true, listen: { midStream: 'drop' } });
    t.teardown(() => fleet.close());
    const ends = await startEnds(t);
    const port = await connect(ends, SERVER.v4);
    await fleet.restart();
    await ends.client.send(port, 10);
    const dropped = () => fleet.gateway.counters().drops.tcp_not_syn;
    await until(dropped, (count) => count >= 3, 'the client tries again and again');
    await stillThere(t, ends.client, port);
    await stillThere(t, ends.server, port);
    t.equal(fleet.gateway.counters().packetsReplied, 0);
  });
}

if (reason === null) await tests();
else cannotRun(t, reason);
