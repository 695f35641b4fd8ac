/** ICMP errors of real routers and hosts go back through the appliance of the flow they are about. */
import type { Test } from 'tap';
import type { Lab } from '../../server/src/lab/lab.js';
import { Fleet, SERVER } from '../support/fleet.js';
import { runPrivately } from '../support/privately.js';
import { probe, startCounter } from '../support/processes.js';
import { cannotRun, whyNotWide } from '../support/wide.js';

const reason = whyNotWide('python3') ?? (await runPrivately(import.meta.url));
const { default: t } = await import('tap');

const BEHIND = { v4: '10.50.3.10', v6: 'fd50:3::10' };
const BEHIND_MTU = 1300;
const LINK_MTU = 1500;
const CLOSED_PORT = 33_434;
const COUNTER_PORT = 4054;
const ROUNDS = 6;

const ICMP = 1;
const ICMPV6 = 58;
const UDP = 17;

/** A host behind the server, which becomes a router. */
async function buildBehind(lab: Lab): Promise<void> {
  await lab.sysctl('server', [
    'net.ipv4.ip_forward=1',
    'net.ipv6.conf.all.forwarding=1',
    // Errors as they come, not some a second.
    'net.ipv4.icmp_ratelimit=0',
    'net.ipv6.icmp.ratelimit=0',
  ]);
  await lab.namespace('behind');
  await lab.sysctl('behind', [
    'net.ipv6.conf.all.disable_ipv6=0',
    'net.ipv4.icmp_ratelimit=0',
    'net.ipv6.icmp.ratelimit=0',
  ]);
  await lab.sysctl('router', ['net.ipv4.icmp_ratelimit=0', 'net.ipv6.icmp.ratelimit=0']);
  await lab.cable('server', 'behind', 'behind', 'eth0');
  await lab.ip('server', [
    'addr add 10.50.3.1/24 dev behind',
    'addr add fd50:3::1/64 dev behind nodad',
  ]);
  await lab.ip('behind', [
    `addr add ${BEHIND.v4}/24 dev eth0`,
    `addr add ${BEHIND.v6}/64 dev eth0 nodad`,
    'route add default via 10.50.3.1',
    'route add ::/0 via fd50:3::1',
  ]);
  await lab.ip('router', [
    `route add 10.50.3.0/24 via ${SERVER.v4}`,
    `route add fd50:3::/64 via ${SERVER.v6}`,
  ]);
}

/** What the appliances saw of one flow cookie. */
interface Watched {
  flows: Set<string>;
  appliances: Set<string>;
  /** Who sent errors about it. */
  errors: string[];
}

/** The kernel announces itself by ICMPv6 too, also behind a header of options. */
function isError(protocol: number, ip: Uint8Array): boolean {
  if (protocol === ICMP) return ip[20] !== 0 && ip[20] !== 8;
  return protocol === ICMPV6 && ip[6] === ICMPV6 && ip[40] < 128;
}

function watch(fleet: Fleet): Map<number, Watched> {
  const watched = new Map<number, Watched>();
  fleet.watch = (packet, appliance) => {
    const { cookie, protocol, source, sourcePort, destinationPort } = packet;
    let seen = watched.get(cookie);
    if (!seen) {
      seen = { flows: new Set(), appliances: new Set(), errors: [] };
      watched.set(cookie, seen);
    }
    seen.appliances.add(appliance);
    if (protocol === UDP) seen.flows.add(String([sourcePort, destinationPort].sort()));
    if (isError(protocol, packet.bytes)) seen.errors.push(source);
  };
  return watched;
}

function everyErrorFollowed(t: Test, watched: Map<number, Watched>, senders: string[]): void {
  const withErrors = [...watched.values()].filter(({ errors }) => errors.length > 0);
  for (const { flows, appliances, errors } of withErrors) {
    t.equal(flows.size, 1, 'the cookie is that of one UDP flow');
    t.equal(appliances.size, 1, 'and its errors reach the appliance that has the flow');
    t.ok(errors.every((source) => senders.includes(source)));
  }
}

async function tests(): Promise<void> {
  const fleet = await Fleet.build();
  t.teardown(() => fleet.close());
  await buildBehind(fleet.lab);

  for (const version of ['v4', 'v6'] as const) {
    const [exceeded, unreachable] =
      version === 'v4'
        ? [
            { type: 11, code: 0 },
            { type: 3, code: 3 },
          ]
        : [
            { type: 3, code: 0 },
            { type: 1, code: 4 },
          ];
    const router = version === 'v4' ? '10.50.1.1' : 'fd50:1::1';

    t.test(`errors go back through the appliance of their flow, IP${version}`, async (t) => {
      const watched = watch(fleet);
      for (let round = 0; round < ROUNDS; round++) {
        const hops = await probe<unknown[]>('client', 'hops', BEHIND[version], CLOSED_PORT, 4);
        t.strictSame(hops, [
          { ...exceeded, from: router },
          // Once more, behind the endpoint.
          { ...exceeded, from: router },
          { ...exceeded, from: SERVER[version] },
          { ...unreachable, from: BEHIND[version] },
        ]);
      }
      const errors = [...watched.values()].flatMap((seen) => seen.errors);
      const from = (sender: string) => errors.filter((source) => source === sender).length;
      t.equal(from(SERVER[version]), ROUNDS, 'the appliances saw those of the second router');
      t.equal(from(BEHIND[version]), ROUNDS, 'and those of the host');
      everyErrorFollowed(t, watched, [SERVER[version], BEHIND[version]]);
      const used = [...watched.values()].filter((seen) => seen.errors.length > 0);
      const both = new Set(used.flatMap(({ appliances }) => [...appliances]));
      t.equal(both.size, 2, 'of both appliances');
    });
  }

  t.test('a smaller link behind the gateway is discovered through it', async (t) => {
    await fleet.lab.ip('server', [`link set behind mtu ${BEHIND_MTU}`]);
    await fleet.lab.ip('behind', [`link set eth0 mtu ${BEHIND_MTU}`]);
    const counter = await startCounter('behind', COUNTER_PORT);
    t.teardown(() => counter.kill('SIGKILL'));
    for (const [version, headers] of [
      ['v4', 28],
      ['v6', 48],
    ] as const) {
      const watched = watch(fleet);
      const size = LINK_MTU - headers;
      const told = await probe('client', 'pmtu', BEHIND[version], COUNTER_PORT, size);
      const tooLong = 'Message too long';
      t.strictSame(told, {
        ...{ before: LINK_MTU, first: tooLong, after: BEHIND_MTU, again: tooLong },
        fits: BEHIND_MTU - headers,
      });
      everyErrorFollowed(t, watched, [SERVER[version]]);
      t.equal([...watched.values()].flatMap(({ errors }) => errors).length, 1);
    }
  });

  t.test('no error was about a flow that the gateway does not know', async (t) => {
    const { drops } = fleet.gateway.counters();
    t.equal(drops.icmp_no_flow, 0);
    t.equal(drops.icmp_bad_quote, 0);
  });
}

if (reason === null) await tests();
else cannotRun(t, reason);
