/**
 * What a host needs so that its kernel forwards packets that enter by a TUN device back into it: which
 * settings, rules and routes, in which order. A function of what is asked and of what the host is like.
 */

/** A kernel setting, below /proc/sys. */
export interface Setting {
  readonly kind: 'setting';
  readonly netns: string | null;
  /** `net/ipv4/conf/gwlb0/forwarding` */
  readonly key: string;
  readonly value: string;
}

/** A command, and the one that takes it back. */
export interface Command {
  readonly kind: 'command';
  readonly argv: readonly string[];
  /** Null where another step's is enough. */
  readonly undo: readonly string[] | null;
}

export type Step = Setting | Command;

/** A device (or pair) and what becomes of its packets. */
export interface Place {
  /** The device by which packets enter the kernel. */
  readonly name: string;
  /** The one by which they come back; the same where there is one. */
  readonly out: string;
  readonly netns: string | null;
  /** Number of its routing table; also of its mark. */
  readonly table: number;
  /** The interface that packets leave by, with its address; null: they go back by `out`. */
  readonly nat: string | null;
}

/** What the steps depend on. */
export interface HostFacts {
  /** `net.ipv4.conf.all.rp_filter`: the higher one of this and the device's counts. */
  readonly rpFilterOfAll: number;
  /** Whether the device has IPv6. */
  readonly ipv6: boolean;
  /** Whether IPv6 can be forwarded for one device alone (Linux 6.17). */
  readonly forceForwarding: boolean;
  /** Whether there is the command `nft`. */
  readonly nft: boolean;
  /** Interfaces that get routes from routers' advertisements, which a forwarding host must ask for. */
  readonly advertised: readonly string[];
  /** The routes of `Place.nat` in the main table, as words of `ip route`. */
  readonly routes: readonly { readonly version: 4 | 6; readonly words: readonly string[] }[];
}

/** Rules are asked in the order of these; the main table is asked at 32766. */
const PRIORITY = { enters: 6081, answers: 6082 } as const;

/** Behind every other route. */
const LAST = '4278198272';

/** Half of the mark, so that the other half is free for rules of the operator's. */
const MARK_SHIFT = 16;
const MARK_MASK = '0xffff0000';

function markOf(table: number): string {
  return `0x${(table * 2 ** MARK_SHIFT).toString(16)}`;
}

/** What has to be done, in this order; undone from the last to the first. */
export function setupSteps(place: Place, facts: HostFacts): Step[] {
  return [
    ...settings(place, facts),
    ...versions(facts).flatMap((version) => routing(place, version, facts)),
    ...answers(place, facts),
    ...masquerade(place),
  ];
}

function settings({ name, out, netns, nat }: Place, facts: HostFacts): Step[] {
  const set = (key: string, value: number): Setting => {
    return { kind: 'setting', netns, key: `net/${key}`, value: String(value) };
  };
  const devices = [...new Set([name, out])];
  // Forwarded is what enters by these.
  const entered = nat === null ? [name] : [name, nat];
  // Strict, and set for all, it cannot be switched off for one: loose is the least.
  const rpFilter = facts.rpFilterOfAll > 0 ? 2 : 0;
  return [
    ...devices.map((device) => set(`ipv4/conf/${device}/rp_filter`, rpFilter)),
    ...(nat === null ? [] : [set(`ipv4/conf/${nat}/rp_filter`, 2)]),
    // Who is forwarded back by where he came from would be told a shorter way; either one has it so.
    set('ipv4/conf/all/send_redirects', 0),
    ...devices.map((device) => set(`ipv4/conf/${device}/send_redirects`, 0)),
    ...entered.map((device) => set(`ipv4/conf/${device}/forwarding`, 1)),
    set('ipv4/fwmark_reflect', 1),
    ...(facts.ipv6
      ? [...forwardingOfIpv6(set, entered, facts), set('ipv6/fwmark_reflect', 1)]
      : []),
  ];
}

function forwardingOfIpv6(
  set: (key: string, value: number) => Setting,
  entered: readonly string[],
  { forceForwarding, advertised }: HostFacts,
): Setting[] {
  if (forceForwarding)
    return entered.map((device) => set(`ipv6/conf/${device}/force_forwarding`, 1));
  return [
    // A host that forwards forgets the routes that routers tell, unless it is told to listen.
    ...advertised.map((device) => set(`ipv6/conf/${device}/accept_ra`, 2)),
    set('ipv6/conf/all/forwarding', 1),
  ];
}

/** `ip`, or `ip -6`, in the namespace. */
function ipOf({ netns }: Place, version: 4 | 6): string[] {
  return ['ip', ...(netns === null ? [] : ['-n', netns]), ...(version === 6 ? ['-6'] : [])];
}

function versions({ ipv6 }: HostFacts): (4 | 6)[] {
  return ipv6 ? [4, 6] : [4];
}

function rule(ip: readonly string[], ...selector: readonly (string | number)[]): Command {
  const words = selector.map(String);
  return {
    kind: 'command',
    argv: [...ip, 'rule', 'add', ...words],
    undo: [...ip, 'rule', 'del', ...words],
  };
}

function route(ip: readonly string[], table: number, ...words: readonly string[]): Command {
  const at = ['table', String(table)];
  return {
    kind: 'command',
    argv: [...ip, 'route', 'replace', ...words, ...at],
    undo: [...ip, 'route', 'del', ...words, ...at],
  };
}

/**
 * What enters goes into the table of the device, or by the routes of the interface that it leaves by; what
 * is marked goes into the device.
 */
function routing(place: Place, version: 4 | 6, { routes }: HostFacts): Step[] {
  const { name, out, table, nat } = place;
  const ip = ipOf(place, version);
  const enters = (to: number) => rule(ip, 'iif', name, 'lookup', to, 'pref', PRIORITY.enters);
  const back = [
    route(ip, table, 'default', 'dev', out),
    // Without the device, its packets end instead of leaving by the main table.
    route(ip, table, 'blackhole', 'default', 'metric', LAST),
  ];
  if (nat === null) return [...back, enters(table)];
  const own = table + OWN_ROUTES;
  const leaves = routes.filter((one) => one.version === version);
  return [
    ...back,
    ...leaves.map(({ words }) => route(ip, own, ...words)),
    // Where the interface leads nowhere, packets end instead of leaving by another one.
    route(ip, own, 'unreachable', 'default', 'metric', LAST),
    enters(own),
  ];
}

/** Between the table of a device and that of the interface that its packets leave by. */
const OWN_ROUTES = 1_000;

/** The table of nftables that belongs to a device. */
function nftOf({ netns, table }: Place) {
  const program = netns === null ? ['nft'] : ['ip', 'netns', 'exec', netns, 'nft'];
  const named = ['inet', `gwlb_${table}`];
  const chain = (name: string, hook: string): Command => {
    return {
      kind: 'command',
      argv: [...program, 'add', 'chain', ...named, name, `{ ${hook} ; }`],
      undo: null,
    };
  };
  const add = (name: string, text: string): Command => {
    return {
      kind: 'command',
      argv: [...program, 'add', 'rule', ...named, name, ...text.split(' ')],
      undo: null,
    };
  };
  const made: Command = {
    kind: 'command',
    argv: [...program, 'add', 'table', ...named],
    undo: [...program, 'delete', 'table', ...named],
  };
  return { made, chain, add };
}

/**
 * What the kernel itself says about a packet (ICMP errors, RSTs) has to go into the device too. It goes by
 * the routes of the host's own packets, so it gets the packet's mark (`fwmark_reflect`).
 */
function answers(place: Place, facts: HostFacts): Step[] {
  if (!facts.nft) return [];
  const { name, table } = place;
  const { made, chain, add } = nftOf(place);
  return [
    made,
    chain('entered', 'type filter hook prerouting priority -300'),
    add('entered', `iifname "${name}" meta mark set ${markOf(table)}`),
    ...versions(facts).map((version) =>
      rule(
        ipOf(place, version),
        ...['fwmark', `${markOf(table)}/${MARK_MASK}`, 'lookup', table, 'pref', PRIORITY.answers],
      ),
    ),
  ];
}

/** Connections keep the mark, so that what comes back to them is routed into the device. */
function masquerade(place: Place): Step[] {
  const { name, table, nat } = place;
  if (nat === null) return [];
  const { chain, add } = nftOf(place);
  const mark = markOf(table);
  return [
    chain('connections', 'type filter hook prerouting priority -150'),
    add('connections', `iifname "${name}" ct mark set ${mark}`),
    add('connections', `iifname "${nat}" ct mark ${mark} meta mark set ${mark}`),
    chain('leaves', 'type nat hook postrouting priority 100'),
    add('leaves', `oifname "${nat}" ct mark ${mark} masquerade`),
  ];
}

/** A step as a command that can be pasted. */
export function stepText(step: Step): string {
  if (step.kind === 'command') return step.argv.map(quoted).join(' ');
  const inside = step.netns === null ? '' : `ip netns exec ${step.netns} `;
  return `${inside}sysctl -w ${step.key}=${step.value}`;
}

export function quoted(word: string): string {
  if (/^[\w./:=%+,@-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
