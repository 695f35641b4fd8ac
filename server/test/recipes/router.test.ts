/** docs/appliances/router.md, as it stands there. */
import { SERVER } from '../../../test/support/fleet.js';
import { runPrivately } from '../../../test/support/privately.js';
import { until } from '../../../test/support/until.js';
import { cannotRun, whyNotWide } from '../../../test/support/wide.js';
import { Page } from './page.js';
import { Stage, TENANTS } from './stage.js';
import { failOver, Streams } from './streams.js';

const reason = whyNotWide('nft', 'nsenter') ?? (await runPrivately(import.meta.url));
const { default: t } = await import('tap');

async function tests(): Promise<void> {
  const page = new Page('docs/appliances/router.md');
  const stage = await Stage.build(t, { page, tenants: 2 });
  for (const host of stage.hosts) {
    for (const heading of ['The namespaces', 'A rule set for each tenant']) {
      await host.paste(heading);
    }
    await host.paste('A program that loads it');
    await host.start('Start it');
  }
  for (const host of stage.hosts) await stage.turns(host, 'healthy');
  const roads = TENANTS.map((tenant) => new Streams(t, tenant));
  for (const { server } of roads) for (const port of [80, 443, 22]) await server.listen(port);
  const [web, secure] = roads;

  t.test(
    'tenants with equal addresses reach their own servers, by rules of their own',
    async (t) => {
      for (const host of stage.hosts) {
        await stage.prefer(host);
        const numbers = [await web.begin(22), await secure.begin(22)];
        await host.service.event('device_program');
        await host.service.event('device_program');
        await web.complete(t, numbers[0]);
        await secure.complete(t, numbers[1]);
        for (const address of [SERVER.v4, SERVER.v6]) {
          t.equal(await web.refused(address, 443), 'ECONNREFUSED');
          t.equal(await secure.refused(address, 80), 'ECONNREFUSED');
        }
        await web.complete(t, await web.begin(80));
        await secure.complete(t, await secure.begin(443));
        const seen = await host.paste('Look at it');
        t.match(
          seen,
          /^gwlb0 [\s\S]*tcp dport 443 reject[\s\S]*^gwlb1 [\s\S]*tcp dport 80 reject/m,
        );
      }
      await stage.prefer(null);
    },
  );

  t.test('connections go on through the other one', async (t) => {
    const tenant = TENANTS[1];
    await failOver(t, stage, { streams: secure, port: 443, tenant, before: 'The namespaces' });
  });

  t.test('at its end nothing is let through any more, and the namespaces stay', async (t) => {
    const [host] = stage.hosts;
    const look = async () => {
      const seen = await host.run(
        'ip -n tenant0 link; ip rule; ip netns exec tenant0 nft list ruleset',
      );
      t.equal(seen.status, 0, seen.err);
      return seen.out;
    };
    await stage.prefer(host);
    await secure.complete(t, await secure.begin(443));
    await host.service.event('device_program');
    t.match(await look(), /gwlb0/);
    t.notMatch(await look(), /policy drop/);
    void host.service.end('SIGTERM');
    await stage.turns(host, 'unhealthy');
    await until(() => host.service.child.exitCode !== null, 'it ends when it has drained');
    t.equal(host.service.child.exitCode, 0);
    t.notMatch(await look(), /gwlb0/);
    t.match(await look(), /policy drop/);
  });
}

if (reason === null) await tests();
else cannotRun(t, reason);
