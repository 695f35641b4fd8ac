/** The three commands of the project's README that make an appliance of a Linux box, as they stand there. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildFabric, buildRoad, leadThrough, SERVER } from '../../../test/support/fleet.js';
import { runPrivately } from '../../../test/support/privately.js';
import { cannotRun, whyMissing } from '../../../test/support/wide.js';
import { Lab } from '../../src/lab/lab.js';
import { Running } from '../support/running.js';
import { Page } from './page.js';
import { APPLIANCES, GATEWAY, gwlbIn, insideOf } from './stage.js';
import { Streams } from './streams.js';

const reason = (await runPrivately(import.meta.url)) ?? whyMissing('nft', 'nsenter');
const { default: t } = await import('tap');

/** The commands below a comment. */
function commandsOn(place: string): string[] {
  const lines = new Page('README.md').block('A Linux box as an appliance').trim().split('\n');
  const first = lines.findIndex((line) => line.startsWith(`# on the ${place}`)) + 1;
  const next = lines.findIndex((line, i) => i >= first && line.startsWith('#'));
  return lines.slice(first, next < 0 ? undefined : next);
}

/** The router that has the routes is the gateway, as on one host. */
async function build(lab: Lab): Promise<void> {
  await buildRoad(lab);
  await buildFabric(lab, [{ name: 'appliance', address: APPLIANCES[0] }]);
  await lab.cable('router', 'fabric0', 'fabric', 'router');
  await lab.ip('router', ['link set fabric0 mtu 9000', `addr add ${GATEWAY}/24 dev fabric0`]);
  await lab.ip('fabric', ['link set router mtu 9000 master br0']);
}

async function tests(): Promise<void> {
  const lab = new Lab();
  t.teardown(() => lab.close());
  const folder = mkdtempSync(join(tmpdir(), 'gwlb-readme-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  chmodSync(folder, 0o755);
  gwlbIn(folder);
  const page = new Page('docs/appliances/README.md');
  writeFileSync(join(folder, 'gateway.yaml'), page.block('The gateway', 'yaml'));
  await build(lab);
  const start = (namespace: string, command: string) => {
    const inside = insideOf(namespace, folder, folder, ['sh', '-c', `exec ${command}`]);
    return new Running(t, ...inside);
  };

  const [rule, appliance] = commandsOn('appliance');
  const [program, args] = insideOf('appliance', folder, folder, ['sh', '-ec', rule]);
  await lab.run(null, program, ...args);
  await start('appliance', appliance).event('started');
  const [run] = commandsOn('gateway');
  const gateway = start('router', run);
  await gateway.event('started');
  await leadThrough(lab, 'gwlbe0');
  await gateway.line(
    ({ event, state }) => event === 'target_health' && state === 'healthy',
    'the appliance is healthy',
  );

  t.test('what no rule refuses passes, what one refuses is refused', async (t) => {
    const streams = new Streams(t);
    for (const port of [443, 23]) await streams.server.listen(port);
    await streams.complete(t, await streams.begin(443));
    for (const host of [SERVER.v4, SERVER.v6]) {
      t.equal(await streams.refused(host, 23), 'ECONNREFUSED');
    }
  });
}

if (reason === null) await tests();
else cannotRun(t, reason);
