/** The host, set up for a device and as it was afterwards; in namespaces, where nothing else changes it. */
import { runPrivately } from '../../../test/support/privately.js';
import { cannotRun, whyMissing } from '../../../test/support/wide.js';
import { Host } from '../../src/appliance/host.js';
import { HostSetup, interfaceOfDefault, setupText } from '../../src/appliance/host-setup.js';
import type { Place } from '../../src/appliance/host-steps.js';
import { Lab } from '../../src/lab/lab.js';
import { run, runIn } from '../../src/lab/processes.js';

const reason = (await runPrivately(import.meta.url)) ?? whyMissing('nft');
const { default: t } = await import('tap');

/** All settings of IP that are not about time, all rules, routes and rules of nftables. */
const LOOK = `cd /proc/sys/net && grep -rH '' ipv4/conf ipv6/conf ipv4/fwmark_reflect \
  ipv6/fwmark_reflect ipv4/ip_forward 2>/dev/null | grep -v -e stable_secret | sort
  for v in -4 -6; do ip $v rule; ip $v route show table all | grep -v fe80: | sort; done
  nft list ruleset`;

const place = (more: Partial<Place> = {}): Place => {
  return { name: 'gwlb0', out: 'gwlb0', netns: null, table: 6081, nat: null, ...more };
};

interface Rig {
  lab: Lab;
  look(netns: string): Promise<string>;
}

/** A namespace with a cable to the outside, and devices. */
async function hostIn(lab: Lab, netns: string, ...devices: string[]): Promise<void> {
  await lab.namespace(netns);
  await lab.namespace(`${netns}-out`);
  await lab.cable(netns, 'eth0', `${netns}-out`, 'far');
  await lab.ip(netns, [
    'addr add 192.0.2.5/24 dev eth0',
    'addr add 2001:db8:2::5/64 dev eth0 nodad',
    'route add default via 192.0.2.1 metric 100',
    'route add default via 2001:db8:2::1 metric 100',
    ...devices.map((device) => `tuntap add dev ${device} mode tun`),
    ...devices.map((device) => `link set dev ${device} up`),
  ]);
}

async function tests({ lab, look }: Rig): Promise<void> {
  const host = new Host();

  t.test(
    'one device: what enters goes back into it, and all is as it was at the end',
    async (t) => {
      await hostIn(lab, 'one', 'gwlb0');
      await lab.sysctl('one', ['net.ipv4.conf.all.rp_filter=1']);
      const before = await look('one');
      const setup = new HostSetup(host);
      const mine = place({ netns: 'one' });
      const { done } = await setup.apply(mine);
      t.ok(done.includes('ip -n one route replace default dev gwlb0 table 6081'), done.join('\n'));
      const back = async (...route: string[]) =>
        (await lab.run('one', 'ip', ...route, 'iif', 'gwlb0')).split('\n')[0];
      t.match(
        await back('route', 'get', '198.51.100.9', 'from', '10.0.0.1'),
        /^198\.51\.100\.9 from 10\.0\.0\.1 dev gwlb0/,
      );
      t.match(
        await back('-6', 'route', 'get', '2001:db8:9::9', 'from', 'fd00::1'),
        /^2001:db8:9::9 from fd00::1 dev gwlb0/,
      );
      t.match(
        await lab.run('one', 'ip', 'route', 'get', '10.0.0.1', 'mark', '0x17c10000'),
        /dev gwlb0/,
        "the kernel's own answers too",
      );
      t.match(await lab.run('one', 'ip', 'route', 'get', '10.0.0.1'), /dev eth0/, 'nothing else');
      const { undone, left } = await setup.undo(mine);
      t.strictSame(left, []);
      t.ok(undone.includes('ip -n one route del default dev gwlb0 table 6081'), undone.join('\n'));
      t.equal(await look('one'), before);
      t.strictSame(await setup.undo(mine), { undone: [], left: [] }, 'once');
    },
  );

  t.test('what a kernel without forwarding of one device needs', async (t) => {
    await hostIn(lab, 'old', 'gwlb0');
    const before = await look('old');
    const setup = new HostSetup(
      Object.assign(new Host(), {
        setting: async (netns: string | null, key: string) =>
          key.endsWith('force_forwarding') ? null : host.setting(netns, key),
      }),
    );
    const mine = place({ netns: 'old' });
    const { done } = await setup.apply(mine);
    t.ok(
      done.includes('ip netns exec old sysctl -w net/ipv6/conf/all/forwarding=1'),
      done.join('\n'),
    );
    t.match(
      await lab.run(
        'old',
        'ip',
        '-6',
        'route',
        'get',
        '2001:db8:9::9',
        'from',
        'fd00::1',
        'iif',
        'gwlb0',
      ),
      /dev gwlb0/,
    );
    t.strictSame((await setup.undo(mine)).left, []);
    t.equal(await look('old'), before);
  });

  t.test(
    'two devices, and two appliances: who is the last to need a setting undoes it',
    async (t) => {
      await hostIn(lab, 'two', 'gwi0', 'gwo0', 'gwi1', 'gwo1');
      const before = await look('two');
      const setup = new HostSetup(host);
      const [a, b] = [0, 1].map((n) =>
        place({ netns: 'two', name: `gwi${n}`, out: `gwo${n}`, table: 6081 + n }),
      ) as [Place, Place];
      await Promise.all([setup.apply(a), setup.apply(b)]);
      for (const n of [0, 1]) {
        const route = ['route', 'get', '198.51.100.9', 'from', '10.0.0.1', 'iif', `gwi${n}`];
        t.match(await lab.run('two', 'ip', ...route), new RegExp(`dev gwo${n}`));
      }
      await setup.undo(a);
      const reflect = async () => (await host.setting('two', 'net/ipv4/fwmark_reflect')) ?? '';
      t.equal(await reflect(), '1', 'the other one needs it');
      await setup.undo(b);
      t.equal(await look('two'), before);
    },
  );

  t.test('out of another interface: its routes, and the way back by the mark', async (t) => {
    await hostIn(lab, 'nat', 'gwlb0');
    await lab.cable('nat', 'eth1', 'nat-out', 'far1');
    await lab.ip('nat', [
      'addr add 198.51.100.5/24 dev eth1',
      'route add default via 198.51.100.1 dev eth1 metric 200',
    ]);
    const before = await look('nat');
    t.equal(await interfaceOfDefault(host, 'nat'), 'eth0');
    const setup = new HostSetup(host);
    const mine = place({ netns: 'nat', nat: 'eth1' });
    await setup.apply(mine);
    const route = async (...words: string[]) => lab.run('nat', 'ip', 'route', 'get', ...words);
    const enters = ['from', '10.0.0.1', 'iif', 'gwlb0'];
    t.match(await route('203.0.113.9', ...enters), /via 198\.51\.100\.1 dev eth1/);
    t.match(await route('203.0.113.9'), /via 192\.0\.2\.1 dev eth0/, "the host's own as ever");
    t.match(await route('10.0.0.1', 'mark', '0x17c10000'), /dev gwlb0/);
    t.match(await lab.run('nat', 'nft', 'list', 'ruleset'), /oifname "eth1" .*masquerade/);
    const six = await runIn('nat', 'ip', [
      ...['-6', 'route', 'get', '2001:db8:9::9', 'from', 'fd00::1', 'iif', 'gwlb0'],
    ]);
    t.match(
      six.err,
      /unreachable|No route to host/,
      'eth1 leads nowhere with IPv6: nothing leaves by eth0',
    );
    t.strictSame((await setup.undo(mine)).left, []);
    t.equal(await look('nat'), before);
    await lab.ip('nat', ['route flush default']);
    await lab.run('nat', 'ip', '-6', 'route', 'flush', 'default');
    await t.rejects(interfaceOfDefault(host, 'nat'), { field: '--nat', message: /received none/ });
  });

  t.test('what somebody else has changed meanwhile is left alone, and told', async (t) => {
    await hostIn(lab, 'other', 'gwlb0');
    const setup = new HostSetup(host);
    const mine = place({ netns: 'other' });
    await setup.apply(mine);
    await lab.sysctl('other', ['net.ipv4.conf.gwlb0.rp_filter=2', 'net.ipv4.fwmark_reflect=0']);
    await lab.run('other', 'nft', 'flush', 'ruleset');
    await lab.ip('other', ['rule del iif gwlb0 lookup 6081 pref 6081']);
    const { left } = await setup.undo(mine);
    t.equal(left.length, 3, left.join('\n'));
    t.match(
      left.join('\n'),
      /rp_filter is 2, no longer 0: somebody has changed it|fwmark_reflect is 0/,
    );
    t.equal(await host.setting('other', 'net/ipv4/conf/gwlb0/rp_filter'), '2');
  });

  t.test(
    "what a killed appliance left is taken over; what is somebody else's is refused",
    async (t) => {
      await hostIn(lab, 'left', 'gwlb0', 'gwlb1');
      await new HostSetup(host).apply(place({ netns: 'left' }));
      const setup = new HostSetup(host);
      const mine = place({ netns: 'left' });
      await setup.apply(mine);
      await setup.undo(mine);
      t.notMatch(await lab.run('left', 'ip', 'rule'), /6081/);
      t.equal(await lab.run('left', 'nft', 'list', 'ruleset'), '');
      await lab.ip('left', ['route add 10.9.0.0/16 dev gwlb1 table 6081']);
      const before = await look('left');
      await t.rejects(setup.apply(mine), {
        field: '--table',
        message: /received 6081, which has a route to 10\.9\.0\.0\/16 by gwlb1/,
      });
      t.equal(await look('left'), before);
    },
  );

  t.test('a step that fails takes back those before it', async (t) => {
    await hostIn(lab, 'half', 'gwlb0');
    const before = await look('half');
    const failing = Object.assign(new Host(), {
      run: async (argv: readonly string[]) => {
        if (argv.includes('fwmark')) throw new Error('no marks here');
        return host.run(argv);
      },
    });
    await t.rejects(new HostSetup(failing).apply(place({ netns: 'half' })), {
      message: 'no marks here',
    });
    t.equal(await look('half'), before);
    await t.rejects(
      new HostSetup(host).apply(place({ netns: 'half', name: 'gone', out: 'gone' })),
      {
        message: /no net\/ipv4\/conf\/gone\/rp_filter/,
      },
    );
    t.equal(await look('half'), before);
  });

  t.test('without nft it forwards all the same, and says what lacks; NAT is refused', async (t) => {
    await hostIn(lab, 'bare', 'gwlb0');
    const bare = Object.assign(new Host(), { has: async () => false });
    const setup = new HostSetup(bare);
    const { lacking, done } = await setup.apply(place({ netns: 'bare' }));
    t.match(lacking, 'the command nft is not installed');
    t.notMatch(done.join('\n'), /nft|fwmark .* lookup/);
    const nat = setup.apply(place({ netns: 'bare', nat: 'eth0' }));
    await t.rejects(nat, { field: '--nat', message: /expected the command nft/ });
  });

  t.test('the commands can be pasted, and are what is done', async (t) => {
    await hostIn(lab, 'paste', 'gwlb0');
    await hostIn(lab, 'done', 'gwlb0');
    const script = (await setupText(host, place({ netns: 'paste', nat: 'eth0' }))).join('\n');
    const { status, err } = await run('sh', ['-ec', script]);
    t.equal(status, 0, err);
    await new HostSetup(host).apply(place({ netns: 'done', nat: 'eth0' }));
    t.equal(await look('paste'), await look('done'));
  });
}

if (reason !== null) {
  cannotRun(t, reason);
} else {
  const lab = new Lab();
  t.teardown(() => lab.close());
  await tests({ lab, look: (netns) => lab.run(netns, 'sh', '-c', LOOK) });
}
