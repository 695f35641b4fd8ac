/**
 * docs/appliances/suricata.md without Suricata, which not every release of Debian has: a small program on
 * libnetfilter_queue judges the packets in its place.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ROOT } from '../../../test/support/places.js';
import { runPrivately } from '../../../test/support/privately.js';
import { until } from '../../../test/support/until.js';
import { cannotRun, whyNotWide } from '../../../test/support/wide.js';
import { kill } from '../../src/lab/processes.js';
import { Page } from './page.js';
import { type Host, Stage } from './stage.js';
import { Streams } from './streams.js';
import { askWeb, NOTHING_CAME, serveWeb, webWorks } from './web.js';

const reason =
  whyNotWide('g++', 'iptables', 'nsenter', 'curl', 'python3') ??
  (await runPrivately(import.meta.url));
const { default: t } = await import('tap');

const PORT = 9000;

/** What it has said. */
const said: string[] = [];

function judge(program: string, { namespace }: Host): ChildProcess {
  const inside = [`--net=/run/netns/${namespace}`, program, '0'];
  const child = spawn('nsenter', inside, { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  createInterface({ input: child.stdout }).on('line', (line) => said.push(line));
  return child;
}

async function tests(): Promise<void> {
  const stage = await Stage.build(t, { page: new Page('docs/appliances/suricata.md') });
  const program = join(stage.folder, 'queue');
  const source = join(ROOT, 'server/test/recipes/queue.cc');
  await stage.lab.run(null, 'g++', '-std=c++20', '-o', program, source, '-lnetfilter_queue');
  serveWeb(stage);
  const streams = new Streams(t);
  await streams.server.listen(PORT);
  const [first] = stage.hosts;
  for (const host of stage.hosts) {
    await host.paste('The queue');
    await host.start('Start it');
  }
  await stage.turns(first, 'unhealthy');
  const [judging] = stage.hosts.map((host) => judge(program, host));
  for (const host of stage.hosts) await stage.turns(host, 'healthy');

  t.test('packets wait for a judgement, and return or do not', async (t) => {
    await stage.prefer(first);
    await webWorks();
    t.strictSame(await askWeb('admin', '-m', '5'), [NOTHING_CAME, '']);
    t.strictSame(await askWeb('page', '-A', 'unusual'), [0, 'the page']);
    await until(() => said.includes('drop') && said.includes('alert'), 'both were told');
  });

  t.test('when nobody judges, connections go on through the other one', async (t) => {
    const numbers = await streams.begin(PORT);
    await stage.prefer(null);
    await kill(judging);
    await stage.turns(first, 'unhealthy');
    await streams.goOn(numbers);
    await streams.complete(t, numbers);
  });
}

if (reason === null) await tests();
else cannotRun(t, reason);
