/** Where packets would go around a gateway's devices: judged by the kernel, which loses them. */

import { runPrivately } from '../../../test/support/privately.js';
import { cannotRun } from '../../../test/support/wide.js';
import { Lab } from '../../src/lab/lab.js';
import { runIn } from '../../src/lab/processes.js';
import { bypasses, bypassText, deviceObstacles, RouteReader } from '../../src/obstacles/devices.js';

const reason = await runPrivately(import.meta.url);
const { default: t } = await import('tap');

interface Case {
  name: string;
  routes: string[];
  /** A destination behind the device, and the device that its packets come from. */
  to: string;
  /** Prefixes that are told. */
  gaps: string[];
  /** Another command is needed where the remedy that is told would not be enough. */
  rest?: boolean;
}

const WAN = 'route add default via 192.0.2.2 dev wan';
const WAN6 = '-6 route add default via fd02::2 dev wan';

const CASES: Case[] = [
  { name: 'no other route', routes: ['route add 10.9.0.0/16 dev gw0'], to: '10.9.1.1', gaps: [] },
  {
    name: 'a default route',
    routes: [WAN, 'route add 10.9.0.0/16 dev gw0'],
    to: '10.9.1.1',
    gaps: ['10.9.0.0/16'],
  },
  {
    name: 'a wider route that ends packets',
    routes: [WAN, 'route add prohibit 10.0.0.0/8', 'route add 10.9.0.0/16 dev gw0'],
    to: '10.9.1.1',
    gaps: [],
  },
  {
    name: 'the same prefix by another way, of worse metric',
    routes: [
      'route add 10.9.0.0/16 via 192.0.2.2 metric 50',
      'route add blackhole 10.9.0.0/16 metric 60',
      'route add 10.9.0.0/16 dev gw0 metric 10',
    ],
    to: '10.9.1.1',
    gaps: ['10.9.0.0/16'],
    rest: true,
  },
  {
    name: 'a table of its own, and the main table behind it',
    routes: [WAN, 'route add default dev gw0 table 100', 'rule add iif lan lookup 100 pref 100'],
    to: '203.0.113.1',
    gaps: ['default'],
  },
  {
    name: 'a table of its own, and only a narrower route behind it',
    routes: ['route add default dev gw0 table 100', 'rule add iif lan lookup 100 pref 100'],
    to: '192.0.2.77',
    gaps: ['default'],
  },
  {
    name: 'a table with its own blackhole',
    routes: [
      WAN,
      'route add default dev gw0 table 100',
      'route add blackhole default metric 4000 table 100',
      'rule add iif lan lookup 100 pref 100',
    ],
    to: '203.0.113.1',
    gaps: [],
  },
  {
    name: 'a throw route leads on',
    routes: [
      WAN,
      'route add 10.9.0.0/16 dev gw0 table 100',
      'route add throw 10.0.0.0/8 table 100',
      'rule add iif lan lookup 100 pref 100',
    ],
    to: '10.9.1.1',
    gaps: ['10.9.0.0/16'],
  },
  {
    name: 'a rule for packets of another device leads nowhere',
    routes: [
      'route add 10.9.0.0/16 dev gw0 table 100',
      'route add 10.0.0.0/8 via 192.0.2.2 table 101',
      'rule add iif lan lookup 100 pref 100',
      'rule add iif wan lookup 101 pref 101',
    ],
    to: '10.9.1.1',
    gaps: [],
  },
  {
    name: 'a rule that ends packets',
    routes: [
      WAN,
      'route add 10.9.0.0/16 dev gw0 table 100',
      'rule add iif lan lookup 100 pref 100',
      'rule add iif lan prohibit pref 101',
    ],
    to: '10.9.1.1',
    gaps: [],
  },
  {
    name: 'an address of the device is no traffic to inspect',
    routes: [WAN, 'addr add 10.9.0.1/16 dev gw0'],
    to: '10.9.1.1',
    gaps: [],
    rest: true,
  },
  {
    name: 'IPv6',
    routes: [WAN6, '-6 route add fd09::/32 dev gw0'],
    to: 'fd09::1',
    gaps: ['fd09::/32'],
  },
  {
    name: 'IPv6 with a blackhole behind it',
    routes: [
      WAN6,
      '-6 route add fd09::/32 dev gw0',
      '-6 route add blackhole fd09::/32 metric 4000000',
    ],
    to: 'fd09::1',
    gaps: [],
  },
];

let count = 0;

/** A router with a way to the outside, a network behind it, and a device such as a crash leaves none. */
async function router(lab: Lab, routes: readonly string[]): Promise<string> {
  count += 1;
  const [name, other] = [`router${count}`, `other${count}`];
  await lab.namespace(name);
  await lab.namespace(other);
  await lab.cable(name, 'wan', other, 'wan');
  await lab.cable(name, 'lan', other, 'lan');
  await lab.ip(name, [
    'addr add 192.0.2.1/24 dev wan',
    'addr add fd02::1/64 dev wan nodad',
    'addr add 198.51.100.1/24 dev lan',
    'addr add fd51::1/64 dev lan nodad',
    'tuntap add dev gw0 mode tun',
    'link set gw0 up',
  ]);
  await lab.sysctl(name, ['net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1']);
  const six = routes.filter((line) => line.startsWith('-6 '));
  await lab.ip(name, [...routes.filter((line) => !six.includes(line))]);
  for (const line of six) {
    const { status, err } = await runIn(name, 'ip', line.split(' '));
    if (status !== 0) throw new Error(`ip ${line}: ${err}`);
  }
  return name;
}

/** The device that a packet from behind `lan` leaves by; null where it ends. */
async function wayTo(namespace: string, to: string): Promise<string | null> {
  const from = to.includes(':') ? 'fd51::9' : '198.51.100.9';
  const { out } = await runIn(namespace, 'ip', ['route', 'get', to, 'from', from, 'iif', 'lan']);
  return /\bdev (?!lo\b)(\S+)/.exec(out)?.[1] ?? null;
}

async function tests(): Promise<void> {
  for (const { name, routes, to, gaps, rest } of CASES) {
    t.test(name, async (t) => {
      const lab = new Lab();
      t.teardown(() => lab.close());
      const netns = await router(lab, routes);
      const place = { device: 'gw0', netns };
      const found = bypasses([place], new RouteReader());
      t.strictSame(
        found.map(({ prefix }) => prefix),
        gaps,
      );
      t.equal(await wayTo(netns, to), 'gw0', 'with the device');
      if (rest) return;
      // What is told is what the kernel does then, and the remedy that is told keeps it from that.
      if (gaps.length > 0) {
        for (const { remedy } of found) {
          const { status, err } = await runIn(
            netns,
            remedy.split(' ')[0],
            remedy.split(' ').slice(1),
          );
          t.equal(status, 0, `${remedy}: ${err}`);
        }
        t.strictSame(bypasses([place], new RouteReader()), [], 'closed');
        await lab.ip(netns, ['link set gw0 down']);
        t.equal(await wayTo(netns, to), null, 'without the device, with the remedy');
        await undo(netns, found[0].remedy);
      } else {
        await lab.ip(netns, ['link del gw0']);
      }
      t.equal((await wayTo(netns, to)) !== null, gaps.length > 0, 'without the device');
      if (found.length > 0) t.match(bypassText(found[0]), /would go around gw0 by .*blackhole/);
    });
  }

  t.test('a route that leads in', async (t) => {
    const lab = new Lab();
    t.teardown(() => lab.close());
    const netns = await router(lab, []);
    const place = { device: 'gw0', netns };
    const up = { state: 'up', since: 0, error: null } as const;
    const none = deviceObstacles(place, up, new RouteReader());
    t.match(none, [
      {
        reason: 'no_route',
        text: `no route leads into TUN device gw0 in network namespace ${netns}`,
      },
    ]);
    await lab.ip(netns, ['route add 10.9.0.0/16 table 7 nexthop dev lan nexthop dev gw0']);
    t.strictSame(deviceObstacles(place, up, new RouteReader()), []);
    t.strictSame(deviceObstacles({ device: null, netns: null }, null, new RouteReader()), []);
    const down = deviceObstacles(place, { ...up, state: 'down' }, new RouteReader());
    t.match(down, [{ reason: 'device_down' }]);
  });

  t.test('routes that cannot be read say nothing', async (t) => {
    const place = { device: 'gw0', netns: 'no-such-namespace' };
    t.strictSame(bypasses([place], new RouteReader()), []);
    const up = { state: 'up', since: 0, error: null } as const;
    t.strictSame(deviceObstacles(place, up, new RouteReader()), []);
  });

  t.test('routes are not read at every question', async (t) => {
    const lab = new Lab();
    t.teardown(() => lab.close());
    const netns = await router(lab, []);
    const reader = new RouteReader();
    const first = reader.read(netns);
    t.equal(reader.read(netns), first);
    reader.forget();
    t.not(reader.read(netns), first);
  });
}

async function undo(netns: string, remedy: string): Promise<void> {
  const words = remedy.replace(' add ', ' del ').split(' ');
  await runIn(netns, words[0], words.slice(1));
}

if (reason === null) await tests();
else cannotRun(t, reason);
