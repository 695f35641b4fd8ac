/** docs/appliances/tcpdump.md, as it stands there. */
import { SERVER } from '../../../test/support/fleet.js';
import { runPrivately } from '../../../test/support/privately.js';
import { until } from '../../../test/support/until.js';
import { cannotRun, whyNotWide } from '../../../test/support/wide.js';
import { Page } from './page.js';
import { Stage } from './stage.js';
import { Streams } from './streams.js';

const reason = whyNotWide('tcpdump', 'nsenter') ?? (await runPrivately(import.meta.url));
const { default: t } = await import('tap');

async function tests(): Promise<void> {
  const stage = await Stage.build(t, { page: new Page('docs/appliances/tcpdump.md') });
  const streams = new Streams(t);
  await streams.server.listen(443);
  const [host] = stage.hosts;
  await host.start('Start it');
  await stage.turns(host, 'healthy');

  t.test('tcpdump sees the inner packets, each as it enters and as it comes back', async (t) => {
    const captured = host.paste('With tcpdump');
    let isOver = false;
    void captured.finally(() => {
      isOver = true;
    });
    // Whenever it has begun to listen: connections come until it has its packets.
    await until(
      async () => {
        await streams.complete(t, await streams.begin(443, [SERVER.v4]));
        return isOver;
      },
      (over) => over,
      'has seen packets',
    );
    await captured;
    const lines = (await host.paste('Read a capture')).trim().split('\n');
    t.equal(lines.length, 4);
    for (const line of lines)
      t.match(line, / IP 10\.50\.[12]\.\d+\.\d+ > 10\.50\.[12]\.\d+\.\d+: /);
  });

  t.test('the appliance writes a capture of its own', async (t) => {
    const isFlow = / IP 10\.50\.1\.9\.\d+ > 10\.50\.2\.10\.443: Flags \[S\]/;
    await until(
      () => host.paste('Read what it wrote'),
      (text) => isFlow.test(text),
      'is written',
    );
    t.match(await host.paste('Read what it wrote'), isFlow);
  });

  t.test('and between the gateway and it there is GENEVE', async (t) => {
    const decoded = host.paste('Between gateway and appliance');
    const [number] = await streams.begin(443, [SERVER.v4]);
    const text = await decoded;
    await streams.complete(t, [number]);
    t.match(text, /10\.0\.1\.5/);
    t.match(text, /10\.50\.1\.9/);
    t.match(text, /vpce-0123456789abcdef0/);
  });
}

if (reason === null) await tests();
else cannotRun(t, reason);
