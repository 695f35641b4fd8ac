/** docs/appliances/nftables.md, as it stands there. */
import { SERVER } from '../../../test/support/fleet.js';
import { runPrivately } from '../../../test/support/privately.js';
import { until } from '../../../test/support/until.js';
import { cannotRun, whyNotWide } from '../../../test/support/wide.js';
import { Page } from './page.js';
import { Stage } from './stage.js';
import { failOver, Streams } from './streams.js';

const reason = whyNotWide('nft', 'conntrack', 'nsenter') ?? (await runPrivately(import.meta.url));
const { default: t } = await import('tap');

async function tests(): Promise<void> {
  const stage = await Stage.build(t, { page: new Page('docs/appliances/nftables.md') });
  const streams = new Streams(t);
  for (const port of [443, 23, 8080]) await streams.server.listen(port);
  for (const host of stage.hosts) {
    await host.paste('The rules');
    await host.start('Start it');
  }
  for (const host of stage.hosts) await stage.turns(host, 'healthy');

  t.test('what the rules allow passes, both ways, and is tracked', async (t) => {
    const [host] = stage.hosts;
    await stage.prefer(host);
    const numbers = await streams.begin(443);
    t.match(await host.paste('Look at it'), /ESTABLISHED src=10\.50\.1\.9 dst=10\.50\.2\.10/);
    await streams.complete(t, numbers);
    await stage.prefer(null);
  });

  t.test('what they reject is answered, what they drop is not', async (t) => {
    for (const address of [SERVER.v4, SERVER.v6]) {
      t.equal(await streams.refused(address, 23), 'ECONNREFUSED');
    }
    const refused = async () => {
      let packets = 0;
      for (const host of stage.hosts) {
        const [, count] = /packets (\d+)/.exec(await host.paste('Look at it')) ?? [];
        packets += Number(count);
      }
      return packets;
    };
    t.equal(await refused(), 0);
    await streams.client.dial(SERVER.v4, 8080, 30_000);
    await until(refused, (packets) => packets > 1, 'SYNs are dropped');
    t.match(await streams.client.line(30_000), { open: false, closed: false });
    t.equal(await streams.server.line(30_000), null);
  });

  t.test('connections go on through the other one', async (t) => {
    await failOver(t, stage, { streams, port: 443 });
  });

  t.test('it tells the gateway before it stops', async (t) => {
    const [host] = stage.hosts;
    const ended = host.service.end('SIGTERM');
    await stage.turns(host, 'unhealthy');
    t.equal(host.service.child.exitCode, null, 'it still works');
    t.equal(await Promise.race([ended, host.service.end('SIGTERM')]), 0);
  });
}

if (reason === null) await tests();
else cannotRun(t, reason);
