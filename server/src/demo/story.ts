/** The story: everything a gateway load balancer promises, done and measured. */
import { setTimeout as sleep } from 'node:timers/promises';
import { kill } from '../lab/processes.js';
import { type Account, settleAccount } from './account.js';
import { tellFirewall } from './firewall-chapter.js';
import type { Promises } from './promises.js';
import { count, hex, ms, type Report } from './report.js';
import { tellOneRequest } from './trace.js';
import {
  FORBIDDEN_PATH,
  FORBIDDEN_PORT,
  type GatewayView,
  type HealthNote,
  type HeldConnection,
  KERNEL_PORT,
  now,
  type RequestResult,
} from './types.js';
import type { ApplianceSite, World } from './world.js';

/** Health checks as fast as AWS allows them. */
const INTERVAL_S = 5;
export const GROUP = {
  name: 'firewalls',
  failover: 'rebalance' as const,
  deregistrationDelaySeconds: 2,
  healthCheck: {
    protocol: 'HTTP' as const,
    path: '/',
    intervalSeconds: INTERVAL_S,
    timeoutSeconds: 2,
    healthyThreshold: 2,
    unhealthyThreshold: 2,
  },
};

/** Detection takes at most this many intervals, and a check's time. */
const DETECTION_MS = 2 * INTERVAL_S * 1000 + 2000;
const REQUESTS = 200;
const HELD = 24;
const HELD_EVERY_MS = 200;
/** The scaling rule: more flows than this on every target asks for one more, far fewer for one less. */
const FLOWS_PER_TARGET_MAX = 30;
const EXTRA_HELD = 90;
/** For ten seconds at most the books are looked at again. */
const LOOKS_MAX = 100;

export class Story {
  readonly #world: World;
  readonly #report: Report;
  readonly #promises: Promises;
  readonly #stopped: AbortSignal;
  readonly #failed: RequestResult[] = [];
  #served = 0;

  constructor(world: World, report: Report, promises: Promises, stopped: AbortSignal) {
    this.#world = world;
    this.#report = report;
    this.#promises = promises;
    this.#stopped = stopped;
  }

  async tell(): Promise<void> {
    const world = this.#world;
    world.onHealth((note) => this.#sayHealth(note));
    await this.#begin();
    await this.#serveRequests();
    await tellOneRequest(world, this.#report, this.#promises);
    await this.#block();
    await tellFirewall(world, this.#report, this.#promises);
    const victim = await this.#killOne();
    const back = this.#bringBack(victim);
    await this.#scaleOut();
    await back;
    await this.#scaleIn();
  }

  #sayHealth(note: HealthNote): void {
    const { green, red, yellow } = this.#report.style;
    const paint = note.state === 'healthy' ? green : note.state === 'unhealthy' ? red : yellow;
    const reason = note.reason ? ` (${note.reason})` : '';
    const name = this.#world.nameOf(note.target);
    this.#report.event(
      'health',
      { ...note, name },
      `${name}: ${note.previous} → ${paint(note.state)}${reason}`,
    );
  }

  async #begin(): Promise<void> {
    const { place } = this.#world;
    const healthCheck = { ...GROUP.healthCheck, port: place.healthPort };
    const sourcePorts = await this.#world.startGateway({ ...GROUP, healthCheck });
    const began = now();
    const first = place.sites.slice(0, 3);
    await Promise.all(first.map((site) => this.#world.startAppliance(site)));
    for (const site of first) await this.#world.register(site);
    this.#report.event(
      'started',
      { endpoints: this.#world.endpoints, sourcePorts, appliances: first.map((s) => s.name) },
      `gateway up: endpoints ${this.#world.endpoints.join(', ')}; ${sourcePorts} outer source ports`,
      `${first.map((site) => `${site.name} (pid ${this.#world.appliances.get(site.name)?.pid})`).join(', ')} registered`,
    );
    const all = first.map((site) => this.#reach(site, 'healthy', 3 * INTERVAL_S * 1000));
    const healthy = (await Promise.all(all)).every(Boolean);
    this.#promises.check('targets get healthy', healthy, `after ${ms(now() - began)}`);
  }

  /** Waits until a target is in a state; false after `timeoutMs`. */
  async #reach(site: ApplianceSite, state: string, timeoutMs: number): Promise<boolean> {
    return this.#until(timeoutMs, async () => {
      const view = await this.#view();
      const target = view.targets.find(({ address }) => address === site.address);
      return target?.state === state;
    });
  }

  async #until(timeoutMs: number, holds: () => Promise<boolean>): Promise<boolean> {
    const deadline = now() + timeoutMs;
    while (!(await holds())) {
      if (now() > deadline) return false;
      await sleep(50, null, { signal: this.#stopped });
    }
    return true;
  }

  #view(): Promise<GatewayView> {
    return this.#world.gateway.call<GatewayView>('view');
  }

  async #serveRequests(): Promise<void> {
    this.#report.chapter('Requests cross the gateway');
    const { client, addresses, servicePort } = this.#world.place;
    const began = now();
    const results = await client.call<RequestResult[]>('askMany', {
      addresses,
      port: servicePort,
      count: REQUESTS,
      atOnce: 8,
    });
    const took = now() - began;
    const good = results.filter(({ ok }) => ok);
    this.#served += good.length;
    this.#failed.push(...results.filter(({ ok }) => !ok));
    const times = good.map((result) => result.ms).sort((a, b) => a - b);
    const median = times[Math.floor(times.length / 2)] ?? Number.NaN;
    const view = await this.#view();
    const shares = view.targets.map((t) => `${this.#world.nameOf(t.id)} ${t.flowsNew}`).join(', ');
    this.#report.event(
      'requests',
      { asked: REQUESTS, served: good.length, ms: took, medianMs: median },
      `${good.length} of ${REQUESTS} requests served in ${ms(took)}, median ${ms(median)}; flows by target: ${shares}`,
    );
    const detail = `${good.length} of ${REQUESTS}`;
    this.#promises.check('every request is served', good.length === REQUESTS, detail);
    const transparent = good.every((result) => result.seen?.client === result.client);
    this.#promises.check('the application sees the client itself', transparent, 'x-forwarded-for');
    const used = view.targets.filter((target) => target.flowsNew > 0).length;
    this.#promises.check('flows spread over the appliances', used === 3, `${used} of 3`);
  }

  async #block(): Promise<void> {
    this.#report.chapter('An appliance blocks what its rules forbid');
    const { client, addresses, servicePort } = this.#world.place;
    const before = await this.#blockedSoFar();
    const [address] = addresses;
    const [answer, open] = await Promise.all([
      client.call<RequestResult>('ask', {
        address,
        port: servicePort,
        path: FORBIDDEN_PATH,
        timeoutMs: 1200,
      }),
      client.call<boolean>('tryPort', { address, port: FORBIDDEN_PORT, timeoutMs: 1200 }),
    ]);
    const after = await this.#blockedSoFar();
    if (!answer.ok) this.#failed.push(answer);
    this.#report.event(
      'blocked',
      { path: FORBIDDEN_PATH, answer, port: FORBIDDEN_PORT, open, packets: after - before },
      `GET ${FORBIDDEN_PATH}: ${answer.ok ? 'served' : `no answer (${answer.error})`}; TCP port ${FORBIDDEN_PORT}: ${open ? 'open' : 'no connection'}`,
      `the appliances dropped ${after - before} packets for it`,
    );
    const blocked = !answer.ok && !open && after > before;
    this.#promises.check('a forbidden request is blocked', blocked, `${after - before} packets`);
  }

  async #blockedSoFar(): Promise<number> {
    const counters = await Promise.all(
      [...this.#world.appliances.values()].map(({ remote }) =>
        remote.call<{ drops: Record<string, number> }>('counters'),
      ),
    );
    return counters.reduce((sum, { drops }) => sum + drops.appliance_verdict, 0);
  }

  /** SIGKILL to an appliance with living connections, and what becomes of them. */
  async #killOne(): Promise<ApplianceSite> {
    this.#report.chapter('An appliance dies');
    const world = this.#world;
    const { client, addresses, servicePort } = world.place;
    await client.call('hold', {
      addresses,
      port: servicePort,
      count: HELD,
      everyMs: HELD_EVERY_MS,
    });
    await sleep(1000, null, { signal: this.#stopped });
    const victim = await this.#busiest();
    const before = await this.#flowsOf(victim.site);
    // What it saw is told every 100 ms; let it tell the last of it.
    await victim.remote.call('counters');
    await client.call('mark');
    const killedAt = now();
    await kill(victim.remote.child);
    world.appliances.delete(victim.site.name);
    this.#report.event(
      'killed',
      { appliance: victim.site.name, pid: victim.pid, connections: before },
      `SIGKILL to ${victim.site.name} (pid ${victim.pid}), which carries ${before} of ${HELD} connections that clients keep using`,
    );
    const down = await this.#reach(victim.site, 'unhealthy', DETECTION_MS + 3000);
    const detected = now() - killedAt;
    this.#promises.check('a dead appliance is detected', down, `after ${ms(detected)}`);

    await this.#resume(victim.site, killedAt, detected);
    return victim.site;
  }

  async #busiest() {
    const view = await this.#view();
    const [top] = [...view.targets].sort((a, b) => b.flowsActive - a.flowsActive);
    const name = this.#world.nameOf(top.id);
    const running = this.#world.appliances.get(name);
    const site = this.#world.place.sites.find((candidate) => candidate.name === name);
    if (!running || !site) throw new Error(`no appliance runs for target ${top.id}`);
    return { site, remote: running.remote, pid: running.pid };
  }

  /** How many held connections are pinned to an appliance now. */
  async #flowsOf(site: ApplianceSite): Promise<number> {
    const held = await this.#world.place.client.call<HeldConnection[]>('held');
    const keys = new Set(held.map(({ client, server }) => `${client} ${server}`));
    const pinned = new Map<string, string>();
    for (const note of this.#world.flowNotes) {
      if (note.type !== 'ended') pinned.set(`${note.client} ${note.server}`, note.target);
    }
    return [...keys].filter((key) => this.#world.nameOf(pinned.get(key) ?? '') === site.name)
      .length;
  }

  /** Every connection has to get an answer again, through another appliance. */
  async #resume(dead: ApplianceSite, killedAt: number, detectedMs: number): Promise<void> {
    const { client } = this.#world.place;
    const answered = async () => {
      const held = await client.call<HeldConnection[]>('held');
      return held.every((connection) => connection.alive);
    };
    const moved = () =>
      this.#world.flowNotes.filter((note) => note.type === 'moved' && note.at >= killedAt);
    const stalled = async () => {
      const held = await client.call<HeldConnection[]>('pending', HELD_EVERY_MS * 5);
      return held.length;
    };
    const resumed = await this.#until(20_000, async () => (await stalled()) === 0);
    // The gateway tells of flows ten times a second.
    await sleep(300, null, { signal: this.#stopped });
    const held = await client.call<HeldConnection[]>('held');
    const gap = Math.max(...held.map((connection) => connection.gapMs));
    const list = moved().map((note) => ({
      flow: `${note.client} → ${note.server}`,
      from: this.#world.nameOf(note.previous ?? ''),
      to: this.#world.nameOf(note.target),
      cookie: hex(note.cookie),
    }));
    const { yellow } = this.#report.style;
    this.#report.event(
      'failover',
      { appliance: dead.name, detectedMs, longestPauseMs: gap, moved: list },
      `${yellow('unhealthy')} ${ms(detectedMs)} after the kill; policy ${GROUP.failover}: ${list.length} flows moved with their next packet`,
      ...list.slice(0, 4).map((m) => `  ${m.flow}: ${m.from} → ${m.to}, cookie ${m.cookie}`),
      ...(list.length > 4 ? [`  … and ${list.length - 4} more`] : []),
      `longest pause of a connection ${ms(gap)} (TCP retransmits into the dead appliance until then)`,
    );
    const fromDead = list.every(({ from }) => from === dead.name);
    this.#promises.check(
      'only the dead appliance loses flows',
      fromDead && list.length > 0,
      `${list.length} moved`,
    );
    this.#promises.check(
      'its connections go on through others',
      resumed && (await answered()),
      `longest pause ${ms(gap)}`,
    );
  }

  async #bringBack(site: ApplianceSite): Promise<void> {
    const began = now();
    await this.#world.startAppliance(site);
    this.#report.event('restarted', { appliance: site.name }, `${site.name} started again`);
    const back = await this.#reach(site, 'healthy', 3 * INTERVAL_S * 1000);
    const took = now() - began;
    const movedBack = this.#world.flowNotes.filter(
      ({ type, at, target }) =>
        type === 'moved' && at >= began && this.#world.nameOf(target) === site.name,
    );
    this.#report.event(
      'recovered',
      { appliance: site.name, ms: took, movedBack: movedBack.length },
      `${site.name} healthy again ${ms(took)} after its start; flows that moved back: ${movedBack.length} (healthy targets keep theirs)`,
    );
    this.#promises.check('it comes back', back && movedBack.length === 0, `after ${ms(took)}`);
  }

  /** The scaling rule: too many flows per target starts one more … */
  async #scaleOut(): Promise<void> {
    this.#report.chapter('The fleet follows the load');
    const { client, addresses, servicePort, sites } = this.#world.place;
    const hold = (count: number) =>
      client.call('hold', { addresses, port: servicePort, count, everyMs: 1000 });
    const site = sites[3];
    await hold(EXTRA_HELD);
    const tooMany = await this.#until(
      10_000,
      async () => (await this.#load()) > FLOWS_PER_TARGET_MAX,
    );
    const load = await this.#load();
    await this.#world.startAppliance(site);
    await this.#world.register(site);
    this.#report.event(
      'scale-out',
      { flowsPerTarget: load, limit: FLOWS_PER_TARGET_MAX, appliance: site.name },
      `${load.toFixed(0)} flows per target, above ${FLOWS_PER_TARGET_MAX}: ${site.name} started and registered`,
    );
    const healthy = await this.#reach(site, 'healthy', 3 * INTERVAL_S * 1000);
    await hold(EXTRA_HELD / 3);
    const takes = await this.#until(5000, async () => (await this.#flowsAt(site)) > 0);
    const taken = await this.#flowsAt(site);
    this.#report.event(
      'joined',
      { appliance: site.name, flows: taken },
      `${site.name} has ${taken} of the new flows; nobody else's moved`,
    );
    this.#promises.check(
      'one more appliance joins under load',
      tooMany && healthy && takes,
      `${taken} flows`,
    );
    // Each of them gets its answer before it may go.
    await this.#until(5000, async () => {
      const held = await client.call<HeldConnection[]>('held');
      return held.every(({ answers }) => answers > 0);
    });
    await client.call('release', EXTRA_HELD + EXTRA_HELD / 3);
  }

  /** … too few drains one. */
  async #scaleIn(): Promise<void> {
    const { client, sites } = this.#world.place;
    const site = sites[3];
    const id = await this.#targetOf(site);
    const fewer = await this.#until(
      20_000,
      async () => (await this.#load()) < FLOWS_PER_TARGET_MAX / 2,
    );
    const low = await this.#load();
    await this.#world.gateway.call('deregister', id);
    this.#report.event(
      'scale-in',
      { flowsPerTarget: low, appliance: site.name },
      `${low.toFixed(0)} flows per target, below ${FLOWS_PER_TARGET_MAX / 2}: ${site.name} drains`,
    );
    const gone = await this.#until(GROUP.deregistrationDelaySeconds * 1000 + 3000, async () =>
      (await this.#view()).targets.every((target) => target.id !== id),
    );
    const running = this.#world.appliances.get(site.name);
    if (running) {
      await running.remote.call('counters');
      await kill(running.remote.child, 'SIGTERM');
      this.#world.appliances.delete(site.name);
    }
    this.#report.event(
      'drained',
      { appliance: site.name },
      `${site.name} drained, its process ended`,
    );
    const held = await client.call<HeldConnection[]>('held');
    const alive = held.filter((connection) => connection.alive).length;
    this.#promises.check(
      'and leaves without harm',
      fewer && gone && alive === held.length,
      `${alive} of ${held.length} connections alive`,
    );
  }

  async #targetOf(site: ApplianceSite): Promise<string> {
    const { targets } = await this.#view();
    return targets.find(({ address }) => address === site.address)?.id ?? '';
  }

  /** Flows per target that takes new ones. */
  async #load(): Promise<number> {
    const { targets } = await this.#view();
    const healthy = targets.filter(({ state }) => state === 'healthy');
    const flows = healthy.reduce((sum, { flowsActive }) => sum + flowsActive, 0);
    return flows / Math.max(1, healthy.length);
  }

  async #flowsAt(site: ApplianceSite): Promise<number> {
    const { targets } = await this.#view();
    return targets.find(({ address }) => address === site.address)?.flowsActive ?? 0;
  }

  /** Compares everybody's books; a story that was cut short has open ones, and promises nothing. */
  async settle(told: boolean): Promise<void> {
    this.#report.chapter('The account');
    for (const { remote } of this.#world.appliances.values()) await remote.call('counters');
    await sleep(300);
    const view = await this.#viewAtRest();
    const blocked = new Set(this.#failed.map(({ client, server }) => `${client} ${server}`));
    const account = settleAccount(this.#world, {
      isBlocked: (key) => blocked.has(key) || key.endsWith(`:${KERNEL_PORT}`),
      isUnseen: (key) => key.endsWith(`:${FORBIDDEN_PORT}`),
    });
    this.#sayAccount(account, view);
    if (!told) return;
    this.#promises.check(
      'both directions of every flow cross one appliance',
      account.wrong.length === 0 && account.flows > 0,
      account.wrong[0] ?? `${account.symmetric} of ${account.flows}, ${account.moved.length} moved`,
    );
    const unexpected = this.#failed.filter(({ error }) => error !== 'timed out');
    this.#promises.check(
      'no request failed but the forbidden one',
      this.#failed.length === 1 && unexpected.length === 0,
      this.#failed.map(({ server, error }) => `${server}: ${error}`).join(', '),
    );
  }

  /** A worker counts what it sends when that is under way; what it never sends is told as it is. */
  async #viewAtRest(): Promise<GatewayView> {
    for (let looks = 0; ; looks += 1) {
      const view = await this.#view();
      const dropped = Object.values(view.drops).reduce((sum, packets) => sum + packets, 0);
      const open =
        view.packetsIn + view.packetsFromTargets - view.packetsToTargets - view.packetsOut;
      if (open <= dropped || looks === LOOKS_MAX) return view;
      await sleep(100);
    }
  }

  #sayAccount(account: Account, view: GatewayView): void {
    const drops = Object.entries(view.drops).map(([reason, packets]) => `${reason} ${packets}`);
    const movedOk = account.moved.filter(({ symmetricAfter }) => symmetricAfter).length;
    this.#report.event(
      'account',
      { account, view, served: this.#served, failed: this.#failed },
      `requests: ${count(this.#served)} served one by one; failed: ${this.#failed.map((f) => `${f.server} (${f.error}; forbidden path)`).join(', ') || 'none'}`,
      `packets: ${count(view.packetsIn)} in, ${count(view.packetsToTargets)} to appliances, ${count(view.packetsFromTargets)} back, ${count(view.packetsOut)} out`,
      `gateway drops: ${drops.join(', ') || 'none'}`,
      `flows: ${count(account.flows)}; both directions through one and the same appliance: ${count(account.symmetric)}; kept out by a drop rule: ${account.unseen}`,
      `moved by failover: ${account.moved.length}, of these symmetric after the move: ${movedOk}`,
      ...account.wrong.slice(0, 5),
    );
  }
}
