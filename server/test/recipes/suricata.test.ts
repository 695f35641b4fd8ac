/** docs/appliances/suricata.md, as it stands there, with Suricata itself. */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { runPrivately } from '../../../test/support/privately.js';
import { until } from '../../../test/support/until.js';
import { cannotRun, whyMissing, whyNotWide } from '../../../test/support/wide.js';
import { Page } from './page.js';
import { type Host, Stage } from './stage.js';
import { failOver, Streams } from './streams.js';
import { askWeb, NOTHING_CAME, serveWeb, webWorks } from './web.js';

const reason =
  whyNotWide('iptables', 'nsenter', 'curl', 'python3') ?? (await runPrivately(import.meta.url));
const { default: t } = await import('tap');

const PORT = 9000;

/** Lines of its log about a rule. */
function logged(host: Host, rule: number): string[] {
  const lines = readFileSync(join(host.folder, 'fast.log'), 'utf8').split('\n');
  return lines.filter((line) => line.includes(`[1:${rule}:1]`));
}

async function build(): Promise<Stage> {
  const stage = await Stage.build(t, { page: new Page('docs/appliances/suricata.md') });
  serveWeb(stage);
  for (const host of stage.hosts) {
    await host.paste('The queue');
    await host.start('Start it');
  }
  return stage;
}

async function tests(): Promise<void> {
  const stage = await build();
  const streams = new Streams(t);
  await streams.server.listen(PORT);
  const [first] = stage.hosts;

  t.test('it is healthy when Suricata judges, and not before', async (t) => {
    await stage.turns(first, 'unhealthy');
    for (const host of stage.hosts) {
      await host.paste('The rules');
      await host.paste('Run Suricata');
    }
    for (const host of stage.hosts) await stage.turns(host, 'healthy');
    t.pass();
  });

  t.test('a rule drops, another one only tells', async (t) => {
    await stage.prefer(first);
    await webWorks();
    t.strictSame(await askWeb('page'), [0, 'the page']);
    t.strictSame(await askWeb('admin', '-m', '5'), [NOTHING_CAME, ''], 'never arrives');
    t.strictSame(await askWeb('page', '-A', 'unusual'), [0, 'the page']);
    await until(() => logged(first, 1000002).length > 0, 'it is told');
    t.match(logged(first, 1000002)[0], /^(?!.*\[Drop\]).*10\.50\.1\.9:\d+ -> 10\.50\.2\.10:80$/);
    t.match(logged(first, 1000001)[0], /\[Drop\].*10\.50\.1\.9:\d+ -> 10\.50\.2\.10:80$/);
    t.equal(await first.paste('Look at it'), readFileSync(join(first.folder, 'fast.log'), 'utf8'));
    await stage.prefer(null);
  });

  t.test('when Suricata dies, its connections go on through the other one', async (t) => {
    await stage.prefer(first);
    const numbers = await streams.begin(PORT);
    await stage.prefer(null);
    const pidFile = join(first.folder, 'suricata.pid');
    process.kill(Number(readFileSync(pidFile, 'utf8')), 'SIGKILL');
    await stage.turns(first, 'unhealthy');
    await streams.goOn(numbers);
    rmSync(pidFile);
    await first.paste('Run Suricata');
    await stage.turns(first, 'healthy');
    await streams.complete(t, numbers);
  });

  t.test('and when the appliance dies', async (t) => {
    await failOver(t, stage, { streams, port: PORT });
  });
}

if (reason !== null) cannotRun(t, reason);
else {
  const missing = whyMissing('suricata');
  // Not every release of Debian has it; queue.test.ts reads the queue in its place.
  if (missing !== null) t.plan(0, missing);
  else await tests();
}
