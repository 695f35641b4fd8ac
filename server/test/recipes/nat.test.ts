/** docs/appliances/nat.md, as it stands there. */
import { SERVER } from '../../../test/support/fleet.js';
import { runPrivately } from '../../../test/support/privately.js';
import { cannotRun, whyNotWide } from '../../../test/support/wide.js';
import { Page } from './page.js';
import { Stage } from './stage.js';
import { Streams } from './streams.js';

const reason = whyNotWide('nft', 'conntrack', 'nsenter') ?? (await runPrivately(import.meta.url));
const { default: t } = await import('tap');

const INTERNET = '203.0.113.10';

/** The hosts' second interfaces are on one network with a server, which knows no way to the clients. */
async function build(): Promise<Stage> {
  const stage = await Stage.build(t, { page: new Page('docs/appliances/nat.md') });
  const { lab, hosts } = stage;
  await lab.namespace('internet', [
    'link add br0 type bridge',
    `addr add ${INTERNET}/24 dev br0`,
    'link set br0 up',
  ]);
  for (const [i, { namespace }] of hosts.entries()) {
    await lab.cable(namespace, 'eth1', 'internet', namespace);
    await lab.ip('internet', [`link set ${namespace} master br0`]);
    await lab.ip(namespace, [
      `addr add 203.0.113.${20 + i}/24 dev eth1`,
      `route add default via ${INTERNET} dev eth1`,
    ]);
  }
  await lab.ip('router', ['route add 203.0.113.0/24 dev endpoint0 table 100']);
  for (const host of hosts) {
    await host.paste('What nobody may reach');
    await host.start('Start it');
  }
  for (const host of hosts) await stage.turns(host, 'healthy');
  return stage;
}

async function tests(): Promise<void> {
  const stage = await build();
  const streams = new Streams(t, { client: 'client', server: 'internet' });
  await streams.server.listen(443);
  const [first, second] = stage.hosts;

  t.test('out with the address of a host, and back', async (t) => {
    await stage.prefer(first);
    const numbers = await streams.begin(443, [INTERNET]);
    const seen = await first.paste('Look at it');
    t.match(
      seen,
      /src=10\.50\.1\.9 dst=203\.0\.113\.10 .*src=203\.0\.113\.10 dst=203\.0\.113\.20 /,
    );
    await streams.complete(t, numbers);
  });

  t.test('what nobody may reach is refused', async (t) => {
    t.equal(await streams.refused(INTERNET, 25), 'ECONNREFUSED');
    t.equal(await streams.refused(SERVER.v4, 443), 'EHOSTUNREACH');
  });

  t.test('new connections go through the other one when it is killed', async (t) => {
    await first.kill();
    await stage.turns(first, 'unhealthy');
    await stage.prefer(second);
    const numbers = await streams.begin(443, [INTERNET, INTERNET]);
    t.match(await second.paste('Look at it'), /src=203\.0\.113\.10 dst=203\.0\.113\.21 /);
    await streams.complete(t, numbers);
  });
}

if (reason === null) await tests();
else cannotRun(t, reason);
