/** The live table on a terminal, until Ctrl-C. */
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import type Table from 'cli-table3';
import { count, type Report } from './report.js';
import type { GatewayView } from './types.js';
import type { World } from './world.js';

const require = createRequire(import.meta.url);
const EVERY_MS = 1000;

export async function live(world: World, report: Report, stopped: AbortSignal): Promise<void> {
  const { place } = world;
  report.chapter('Running; Ctrl-C ends it');
  let before = await world.gateway.call<GatewayView>('view');
  let lines = 0;
  let traffic = 0;
  while (!stopped.aborted) {
    // A little traffic, so that there is something to see.
    place.client
      .call<{ ok: boolean }[]>('askMany', {
        addresses: place.addresses,
        port: place.servicePort,
        count: 10,
        atOnce: 2,
      })
      .then((results) => (traffic += results.filter(({ ok }) => ok).length))
      .catch(() => {});
    await sleep(EVERY_MS, null, { signal: stopped }).catch(() => {});
    const view = await world.gateway.call<GatewayView>('view');
    if (lines > 0) process.stdout.write(`\u001b[${lines}A\u001b[J`);
    const text = render(world, view, before, traffic, report);
    process.stdout.write(`${text}\n`);
    lines = text.split('\n').length;
    before = view;
  }
}

function render(
  world: World,
  view: GatewayView,
  before: GatewayView,
  traffic: number,
  report: Report,
): string {
  const CliTable = require('cli-table3') as typeof Table;
  const { green, red, yellow } = report.style;
  const paint = (state: string) =>
    state === 'healthy' ? green(state) : state === 'unhealthy' ? red(state) : yellow(state);
  const table = new CliTable({
    head: ['target', 'zone', 'state', 'flows', 'packets/s to', 'packets/s from'],
    style: { head: [], border: [] },
    colAligns: ['left', 'left', 'left', 'right', 'right', 'right'],
  });
  for (const target of view.targets) {
    const last = before.targets.find(({ id }) => id === target.id);
    const rate = (now: number, then = now) => count(Math.round(((now - then) * 1000) / EVERY_MS));
    table.push([
      `${world.nameOf(target.id)} ${target.address}`,
      target.zone,
      paint(target.state),
      count(target.flowsActive),
      rate(target.packetsTo, last?.packetsTo),
      rate(target.packetsFrom, last?.packetsFrom),
    ]);
  }
  const summary = `flows ${count(view.flowsActive)}, packets in ${count(view.packetsIn)}, out ${count(view.packetsOut)}, requests since the story ${count(traffic)}`;
  return `${table.toString()}\n${summary}`;
}
