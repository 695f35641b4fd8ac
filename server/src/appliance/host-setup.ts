/**
 * Sets a host up for devices, and undoes exactly that: what it found is kept, what somebody else has changed
 * meanwhile is left alone and told.
 */
import { GatewayError, readRoutes } from 'gwlb';
import type { Host } from './host.js';
import {
  type Command,
  type HostFacts,
  type Place,
  type Setting,
  type Step,
  setupSteps,
  stepText,
} from './host-steps.js';

/** What was done, as commands. */
export interface SetUp {
  readonly place: Place;
  readonly done: readonly string[];
  /** What was as it should be. */
  readonly unchanged: number;
  /** What does not work, as a sentence; null where all does. */
  readonly lacking: string | null;
}

/** What was undone, and what was not, and why. */
export interface Undone {
  readonly undone: readonly string[];
  readonly left: readonly string[];
}

interface Held {
  readonly before: string;
  readonly value: string;
  holders: number;
}

/** RTN_UNICAST: a route to somewhere. */
const UNICAST = 1;

const WITHOUT_NFT =
  'the command nft is not installed: what the kernel itself says about packets (ICMP errors, RSTs) leaves by ' +
  'the routes of this host instead of returning through the gateway';

const keyOf = ({ netns, key }: Setting): string => `${netns ?? ''} ${key}`;

export class HostSetup {
  readonly #host: Host;
  /** Settings that were changed, with who needs them: devices share some. */
  readonly #held = new Map<string, Held>();
  readonly #places = new Map<Place, readonly Step[]>();
  /** One after the other. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(host: Host) {
    this.#host = host;
  }

  /** Sets it up for a device; nothing of it is left where it rejects. */
  apply(place: Place): Promise<SetUp> {
    return this.#inTurn(() => this.#apply(place));
  }

  /** Takes back what was done for a device. Never rejects. */
  undo(place: Place): Promise<Undone> {
    return this.#inTurn(async () => {
      const steps = this.#places.get(place) ?? [];
      this.#places.delete(place);
      return this.#undo(steps);
    });
  }

  #inTurn<T>(action: () => Promise<T>): Promise<T> {
    const done = this.#last.then(action);
    this.#last = done.catch(() => {});
    return done;
  }

  async #apply(place: Place): Promise<SetUp> {
    refuseStrangers(place);
    const facts = await factsOf(this.#host, place);
    const steps: Step[] = [];
    const told: string[] = [];
    let unchanged = 0;
    try {
      for (const step of setupSteps(place, facts)) {
        const is = step.kind === 'setting' ? await this.#hold(step) : await this.#command(step);
        if (is === 'unchanged') unchanged += 1;
        else steps.push(step);
        if (is === 'done') told.push(stepText(step));
      }
    } catch (error) {
      await this.#undo(steps);
      throw error;
    }
    this.#places.set(place, steps);
    return { place, done: told, unchanged, lacking: facts.nft ? null : WITHOUT_NFT };
  }

  /** What an appliance that was killed has left is replaced. */
  async #command({ argv, undo }: Command): Promise<'done'> {
    if (undo !== null) await this.#host.attempt(undo);
    await this.#host.run(argv);
    return 'done';
  }

  /** `held`: it was changed for another device. `unchanged`: nobody had to change it. */
  async #hold(setting: Setting): Promise<'done' | 'held' | 'unchanged'> {
    const { netns, key, value } = setting;
    const held = this.#held.get(keyOf(setting));
    if (held) {
      held.holders += 1;
      return 'held';
    }
    const before = await this.#host.setting(netns, key);
    if (before === null) throw new GatewayError('ERR_GWLB_SYSTEM', `this kernel has no ${key}`);
    if (before === value) return 'unchanged';
    await this.#host.set(netns, key, value);
    this.#held.set(keyOf(setting), { before, value, holders: 1 });
    return 'done';
  }

  async #undo(steps: readonly Step[]): Promise<Undone> {
    const undone: string[] = [];
    const left: string[] = [];
    for (const step of [...steps].reverse()) {
      try {
        const text = step.kind === 'setting' ? await this.#release(step) : await this.#take(step);
        if (text !== null) undone.push(text);
      } catch (error) {
        left.push((error as Error).message);
      }
    }
    return { undone, left };
  }

  async #take({ undo }: Command): Promise<string | null> {
    if (undo === null) return null;
    await this.#host.run(undo);
    return undo.join(' ');
  }

  /** Sets it to what it was, as soon as nobody needs it any more. */
  async #release(setting: Setting): Promise<string | null> {
    const { netns, key } = setting;
    const held = this.#held.get(keyOf(setting));
    if (!held) return null;
    held.holders -= 1;
    if (held.holders > 0) return null;
    this.#held.delete(keyOf(setting));
    const now = await this.#host.setting(netns, key);
    // With its device.
    if (now === null) return null;
    if (now !== held.value) {
      const told = `${key} is ${now}, no longer ${held.value}: somebody has changed it`;
      throw new GatewayError('ERR_GWLB_SYSTEM', told);
    }
    await this.#host.set(netns, key, held.before);
    return stepText({ ...setting, value: held.before });
  }
}

/** The commands that set a host up for a device, for somebody to paste. */
export async function setupText(host: Host, place: Place): Promise<string[]> {
  return setupSteps(place, await factsOf(host, place)).map(stepText);
}

/** A table with routes that are not for this device is somebody's. */
function refuseStrangers({ table, out, netns }: Place): void {
  const { routes } = readRoutes(netns);
  const strange = routes.find(
    ({ type, table: at, devices }) =>
      type === UNICAST && at === table && devices.some((device) => device !== out),
  );
  if (!strange) return;
  const received = `${table}, which has a route to ${strange.text} by ${strange.devices.join(', ')}`;
  const code = 'ERR_GWLB_INVALID_ARGUMENT';
  throw GatewayError.mismatch(code, '--table', 'a routing table without routes', received);
}

async function factsOf(host: Host, place: Place): Promise<HostFacts> {
  const { name, netns, nat } = place;
  const read = (key: string) => host.setting(netns, `net/${key}`);
  // Before the device is made it is as all new ones are.
  const isThere = (await read(`ipv4/conf/${name}/forwarding`)) !== null;
  const device = isThere ? name : 'default';
  const ipv6 = (await read(`ipv6/conf/${device}/disable_ipv6`)) === '0';
  const forceForwarding = (await read(`ipv6/conf/${device}/force_forwarding`)) !== null;
  const nft = await host.has('nft');
  if (nat !== null && !nft) {
    const expected = 'the command nft to be installed, which masquerades';
    throw GatewayError.mismatch('ERR_GWLB_INVALID_ARGUMENT', '--nat', expected, 'none');
  }
  return {
    nft,
    rpFilterOfAll: Number(await read('ipv4/conf/all/rp_filter')),
    ipv6,
    forceForwarding,
    advertised: ipv6 && !forceForwarding ? await advertised(host, place) : [],
    routes: nat === null ? [] : await routesOf(host, netns, nat, ipv6),
  };
}

/** Of the process's own namespace; in one that is made for appliances nobody advertises. */
async function advertised(host: Host, { name, out, netns }: Place): Promise<string[]> {
  if (netns !== null) return [];
  const found: string[] = [];
  for (const one of await host.interfaces()) {
    if (one === name || one === out) continue;
    if ((await host.setting(null, `net/ipv6/conf/${one}/accept_ra`)) === '1') found.push(one);
  }
  return found;
}

/** A route as `ip -j route show` has it. */
interface ShownRoute {
  dst: string;
  dev?: string;
  metric?: number;
  type?: string;
  gateway?: string;
  prefsrc?: string;
  flags?: string[];
}

/** What `ip route show` says, in a namespace. */
async function shown(host: Host, netns: string | null, version: 4 | 6, ...what: string[]) {
  const ip = ['ip', ...(netns === null ? [] : ['-n', netns]), '-j', `-${version}`];
  const text = await host.run([...ip, 'route', 'show', 'table', 'main', ...what]);
  return JSON.parse(text || '[]') as ShownRoute[];
}

/** The routes of an interface in the main table, so that they can be had in another one. */
async function routesOf(host: Host, netns: string | null, device: string, ipv6: boolean) {
  const found: { version: 4 | 6; words: string[] }[] = [];
  for (const version of ipv6 ? ([4, 6] as const) : ([4] as const)) {
    for (const route of await shown(host, netns, version, 'dev', device)) {
      const { dst, type, gateway, prefsrc, flags } = route;
      if (type !== undefined || dst.startsWith('fe80:')) continue;
      const via = gateway === undefined ? [] : ['via', gateway];
      const source = prefsrc === undefined ? [] : ['src', prefsrc];
      const onlink = flags?.includes('onlink') ? ['onlink'] : [];
      found.push({ version, words: [dst, ...via, 'dev', device, ...source, ...onlink] });
    }
  }
  return found;
}

/** The interface that the default route leads to; IPv4's, or else that of IPv6. */
export async function interfaceOfDefault(host: Host, netns: string | null): Promise<string> {
  for (const version of [4, 6] as const) {
    const routes = await shown(host, netns, version, 'default');
    const best = routes.sort((a, b) => (a.metric ?? 0) - (b.metric ?? 0))[0];
    if (best?.dev !== undefined) return best.dev;
  }
  const expected = 'the name of an interface, since there is no default route';
  throw GatewayError.mismatch('ERR_GWLB_INVALID_ARGUMENT', '--nat', expected, 'none');
}
