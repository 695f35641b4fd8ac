/** An appliance dies under real connections: what becomes of them, by each policy. */
import type { Test } from 'tap';
import { Fleet, SERVER } from '../support/fleet.js';
import { runPrivately } from '../support/privately.js';
import { Talker } from '../support/processes.js';
import { until } from '../support/until.js';
import { cannotRun, whyNotWide } from '../support/wide.js';

const reason = whyNotWide() ?? (await runPrivately(import.meta.url));
const { default: t } = await import('tap');

const PORT = 9000;
const EACH = 3;
/** What is taken for "goes on": more than could have been under way. */
const MORE = 200_000;
let nextPort = 20_000;

class Story {
  readonly fleet: Fleet;
  readonly client = new Talker('client');
  readonly server = new Talker('server');
  readonly targets: string[];

  constructor(fleet: Fleet) {
    this.fleet = fleet;
    this.targets = fleet.targetGroup.targets().map(({ id }) => id);
  }

  close(): void {
    this.client.close();
    this.server.close();
  }

  state(i: number): string | undefined {
    return this.fleet.targetGroup.target(this.targets[i])?.state;
  }

  turns(i: number, state: string): Promise<unknown> {
    const ask = () => this.state(i);
    return until(ask, (now) => now === state, `${this.targets[i]} turns ${state}`);
  }

  /** Both are there and take new flows. */
  async begin(): Promise<void> {
    const { targetGroup } = this.fleet;
    for (const [i, id] of this.targets.entries()) {
      const process = this.fleet.processes[i];
      if (process.exitCode !== null || process.signalCode !== null) await this.fleet.revive(i);
      if (!targetGroup.target(id)) targetGroup.register({ address: id.split(':')[0] });
      targetGroup.setWeight(id, 1);
    }
    await this.turns(0, 'healthy');
    await this.turns(1, 'healthy');
  }

  async connect(): Promise<number> {
    const port = nextPort++;
    await this.client.dial(port % 2 ? SERVER.v4 : SERVER.v6, PORT, port);
    await this.client.until(port, ({ open }) => open, 'connects');
    await this.server.until(port, ({ open }) => open, 'is accepted');
    return port;
  }

  /** Streams over IPv4 and IPv6 through the target, under way. */
  async streams(i: number): Promise<number[]> {
    const { targetGroup } = this.fleet;
    targetGroup.setWeight(this.targets[1 - i], 0);
    const ports: number[] = [];
    for (let n = 0; n < 2 * EACH; n++) {
      const port = await this.connect();
      await this.client.stream(port);
      ports.push(port);
    }
    targetGroup.setWeight(this.targets[1 - i], 1);
    await this.goOn(ports);
    return ports;
  }

  async received(port: number): Promise<number> {
    return (await this.server.line(port))?.received ?? 0;
  }

  async goOn(ports: readonly number[]): Promise<void> {
    await Promise.all(
      ports.map(async (port) => {
        const before = await this.received(port);
        await this.server.until(port, ({ received }) => received > before + MORE, 'goes on');
      }),
    );
  }

  /** Ends the streams; what arrived is what was sent. Returns the longest pause. */
  async complete(t: Test, ports: readonly number[]): Promise<number> {
    let gapMs = 0;
    for (const port of ports) {
      gapMs = Math.max(gapMs, (await this.server.line(port))?.gapMs ?? 0);
      const sent = await this.client.finish(port);
      const line = await this.server.until(port, ({ closed }) => closed, 'is complete');
      t.equal(line?.error, null);
      t.strictSame({ bytes: line?.received, sha256: line?.sha256 }, sent, 'arrives as it was sent');
    }
    return gapMs;
  }
}

const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`;

async function tests(): Promise<void> {
  const fleet = await Fleet.build({
    apart: true,
    group: { healthCheck: { profile: 'fast' }, deregistrationDelaySeconds: 1 },
  });
  t.teardown(() => fleet.close());
  const story = new Story(fleet);
  t.teardown(() => story.close());
  await story.server.listen(PORT);
  const { client, server } = story;
  const { targetGroup } = fleet;

  t.test('rebalance: transfers of a dead appliance go on through the other', async (t) => {
    targetGroup.update({ failover: 'rebalance' });
    await story.begin();
    const dying = await story.streams(0);
    const others = await story.streams(1);
    await server.mark();
    const { flowsMoved } = fleet.gateway.counters();
    const killed = performance.now();
    await fleet.kill(0);
    await story.turns(0, 'unhealthy');
    const detected = performance.now() - killed;
    await story.goOn(dying);
    await story.goOn(others);
    t.equal(fleet.gateway.counters().flowsMoved - flowsMoved, dying.length, 'they have moved');
    const gap = await story.complete(t, dying);
    const calm = await story.complete(t, others);
    t.comment(`noticed after ${seconds(detected)}; longest pause ${seconds(gap)}`);
    t.comment(`longest pause of the others ${seconds(calm)}`);
  });

  t.test('rebalance: transfers of an appliance that leaves go on', async (t) => {
    targetGroup.update({ failover: 'rebalance' });
    await story.begin();
    const leaving = await story.streams(0);
    const { flowsMoved } = fleet.gateway.counters();
    await server.mark();
    targetGroup.deregister(story.targets[0]);
    t.equal(story.state(0), 'draining');
    t.equal(fleet.gateway.counters().flowsMoved, flowsMoved, 'none has moved yet');
    const moved = () => fleet.gateway.counters().flowsMoved - flowsMoved;
    await until(moved, (count) => count === leaving.length, 'they move when the delay is over');
    // Nothing is under way there any more.
    await story.goOn(leaving);
    await fleet.kill(0);
    await story.goOn(leaving);
    const gap = await story.complete(t, leaving);
    t.comment(`longest pause ${seconds(gap)}`);
  });

  t.test('reset: connections of a dead appliance end, and clients connect again', async (t) => {
    targetGroup.update({ failover: 'no_rebalance', sendTcpReset: { onUnhealthy: true } });
    await story.begin();
    const dying = await story.streams(0);
    const others = await story.streams(1);
    const killed = performance.now();
    await fleet.kill(0);
    for (const port of dying) {
      const line = await client.until(port, ({ closed }) => closed, 'is told');
      t.equal(line?.error, 'ECONNRESET');
    }
    t.comment(`all of them were told after ${seconds(performance.now() - killed)}`);
    t.equal(story.state(0), 'unhealthy');
    const again: number[] = [];
    for (let n = 0; n < dying.length; n++) {
      const port = await story.connect();
      await client.stream(port);
      again.push(port);
    }
    await story.goOn(again);
    await story.goOn(others);
    await story.complete(t, again);
    await story.complete(t, others);
  });

  t.test('no_rebalance: connections of a dead appliance hang', async (t) => {
    targetGroup.update({ failover: 'no_rebalance', sendTcpReset: {} });
    await story.begin();
    const dying = await story.streams(0);
    const others = await story.streams(1);
    const { flowsMoved, resetsSent } = fleet.gateway.counters();
    await fleet.kill(0);
    await story.turns(0, 'unhealthy');
    const stuck = await Promise.all(dying.map((port) => story.received(port)));
    await story.goOn(others);
    await story.goOn(others);
    for (const [i, port] of dying.entries()) {
      t.equal(await story.received(port), stuck[i], 'nothing arrives');
      t.match(
        await client.line(port),
        { open: true, closed: false, error: null },
        'nobody says so',
      );
      t.match(await server.line(port), { open: true, closed: false, error: null });
    }
    const after = fleet.gateway.counters();
    t.equal(after.flowsMoved, flowsMoved, 'none has moved');
    t.equal(after.resetsSent, resetsSent);
    await story.complete(t, others);
    await story.begin();
    await story.complete(t, dying);
  });
}

if (reason === null) await tests();
else cannotRun(t, reason);
