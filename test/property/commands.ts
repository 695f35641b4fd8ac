/** What may happen in a sequence, as plain data that fast-check makes and shrinks. */
import fc from 'fast-check';
import { ENDPOINTS, NARROW, OPTIONS, type PacketSpec, PROTOCOLS, TARGETS } from './world.js';

/** What becomes of the flows of a target that is lost. */
export type OnLoss =
  | 'no_rebalance'
  | 'rebalance'
  | 'reset'
  | 'reset-unhealthy'
  | 'reset-deregistration';

export interface CaseOptions {
  readonly stickiness: '5-tuple' | '3-tuple' | '2-tuple';
  readonly scope: 'endpoint' | 'gateway';
  readonly midStream: 'auto' | 'drop' | 'pickup';
  readonly cookieCheck: 'lenient' | 'strict';
  readonly promotion: 'return' | 'ingress';
  readonly resetOnIdle: boolean;
  readonly pathMtuDiscovery: boolean;
  readonly clampMss: 'off' | 'auto' | number;
  /** Endpoints' packets are cut where they must be (M2). */
  readonly cuts: boolean;
  readonly onLoss: OnLoss;
  readonly delaySeconds: number;
  readonly failOpen: boolean;
  readonly crossZone: boolean;
  readonly checks: boolean;
}

/** The cookie of a returned packet, told from the one that it was sent with. */
export type CookieSpec =
  | { readonly kind: 'own' }
  /** The one of an older packet of the history. */
  | { readonly kind: 'older'; readonly back: number }
  /** Bits flipped. */
  | { readonly kind: 'altered'; readonly mask: number }
  /** A good tag for another slot or incarnation, with the key of that number. */
  | {
      readonly kind: 'signed';
      readonly slot: number | null;
      readonly incarnation: number;
      readonly key: number;
    };

/**
 * What a target returns in place of what it was sent: `longer` with more in it, a number that piece of
 * what it would be cut into on the way.
 */
export type Inner = 'same' | 'reversed' | 'error' | 'longer' | number;

export type Action =
  | { readonly do: 'send'; readonly endpoint: number; readonly packets: readonly PacketSpec[] }
  | {
      readonly do: 'return';
      /** How far back in the history of what was sent to targets. */
      readonly back: number;
      readonly from: 'own' | 'stranger' | number;
      readonly cookie: CookieSpec;
      readonly inner: Inner;
      /** Of a reversed TCP packet. */
      readonly flags: number;
      readonly endpoint: 'own' | 'unknown' | number;
      readonly ecn: number;
    }
  | {
      /**
       * Many flows at once, from neighbouring ports; then all of their targets return, or they go on,
       * or are answered and go on.
       */
      readonly do: 'flood';
      readonly version: 4 | 6;
      readonly protocol: 'tcp' | 'udp';
      readonly first: number;
      readonly count: number;
      readonly after: 'nothing' | 'return' | 'again' | 'talk';
    }
  /** Time goes by; then a sweep, or none. */
  | { readonly do: 'wait'; readonly ms: number; readonly sweep: boolean }
  | { readonly do: 'sweep' }
  | { readonly do: 'held' }
  | { readonly do: 'health'; readonly target: number; readonly ok: boolean }
  | { readonly do: 'register'; readonly target: number; readonly weight: number }
  | { readonly do: 'deregister'; readonly target: number }
  | { readonly do: 'weight'; readonly target: number; readonly weight: number }
  | {
      readonly do: 'policy';
      readonly onLoss: OnLoss;
      readonly delaySeconds: number;
      readonly failOpen: boolean;
    }
  | { readonly do: 'idle'; readonly tcpSeconds: number; readonly otherSeconds: number }
  | { readonly do: 'reset-on-idle'; readonly on: boolean }
  | { readonly do: 'rotate'; readonly key: number; readonly overlapSeconds: number }
  | { readonly do: 'cross-zone'; readonly on: boolean }
  | { readonly do: 'stickiness'; readonly stickiness: CaseOptions['stickiness'] };

export interface Case {
  readonly options: CaseOptions;
  readonly actions: readonly Action[];
}

const [FIN, SYN, RST, ACK] = [1, 2, 4, 16];

const flags = fc.oneof(
  { weight: 4, arbitrary: fc.constant(SYN) },
  { weight: 3, arbitrary: fc.constant(ACK) },
  { weight: 2, arbitrary: fc.constantFrom(SYN | ACK, FIN | ACK, RST, RST | ACK, FIN) },
  { weight: 1, arbitrary: fc.nat(63) },
);

const piece = fc.constantFrom<PacketSpec['piece'][]>(
  ...(['first', 'last', 'middle', 'first', 'last', 'tiny', 'attack', 'whole'] as const),
  ...(['long first', 'long middle', 'long last'] as const),
);

type Fields = { [F in keyof PacketSpec]: fc.Arbitrary<PacketSpec[F]> };

const FIELDS: Fields = {
  version: fc.constantFrom(4 as const, 4 as const, 6 as const),
  client: fc.constantFrom(0, 0, 0, 1),
  port: fc.constantFrom(0, 0, 0, 1),
  back: fc.boolean(),
  protocol: fc.constantFrom(
    ...(['tcp', 'tcp', 'tcp', 'tcp', ...Object.keys(PROTOCOLS)] as (keyof typeof PROTOCOLS)[]),
  ),
  flags,
  heard: fc.constantFrom(true, true, true, false),
  payload: fc.constantFrom(0, 0, 10, 520, 560, 8_480),
  ecn: fc.constantFrom(0, 0, 1, 2, 3),
  id: fc.nat(1),
  dontFragment: fc.constantFrom(false, false, true),
  options: fc.constantFrom('none', 'none', ...Object.keys(OPTIONS)) as fc.Arbitrary<
    PacketSpec['options']
  >,
  piece: fc.oneof({ weight: 6, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: piece }),
  error: fc.oneof(
    { weight: 8, arbitrary: fc.constant(null) },
    {
      weight: 1,
      arbitrary: fc.record({
        quoted: fc.constantFrom(28, 48, 56, 200, 10, 22, 44),
        nested: fc.constantFrom(false, false, false, true),
      }),
    },
  ),
};

function packetSpec(fields: Partial<Fields> = {}): fc.Arbitrary<PacketSpec> {
  return fc.record({ ...FIELDS, ...fields });
}

const target = fc.nat(TARGETS.length - 1);
const weight = fc.constantFrom(1, 1, 5, 1000, 0);

const send = (packets: fc.Arbitrary<PacketSpec>, endpoint = fc.constantFrom(0, 0, 0, 1, 2)) =>
  fc.record({
    do: fc.constant('send' as const),
    endpoint,
    packets: fc.array(packets, { minLength: 1, maxLength: 4 }),
  });

const cookie: fc.Arbitrary<CookieSpec> = fc.oneof(
  { weight: 6, arbitrary: fc.constant({ kind: 'own' as const }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('older' as const), back: fc.nat(5) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('altered' as const),
      mask: fc.constantFrom(1, 0x10000, 0x100000, 0x80000000),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('signed' as const),
      slot: fc.constantFrom(null, 0, 1, 2),
      incarnation: fc.constantFrom(0, 1, 15),
      key: fc.nat(2),
    }),
  },
);

const GIVE_BACK = {
  do: fc.constant('return' as const),
  back: fc.constantFrom(0, 0, 0, 1, 2, 3, 4),
  from: fc.oneof(
    { weight: 8, arbitrary: fc.constant('own' as const) },
    { weight: 1, arbitrary: fc.constant('stranger' as const) },
    { weight: 2, arbitrary: target },
  ),
  cookie,
  inner: fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom<Inner[]>('same', 'same', 'same', 'reversed', 'error') },
    { weight: 1, arbitrary: fc.constantFrom<Inner[]>('longer', 0, 1, 2) },
  ),
  flags,
  endpoint: fc.oneof(
    { weight: 10, arbitrary: fc.constant('own' as const) },
    { weight: 1, arbitrary: fc.constant('unknown' as const) },
    { weight: 1, arbitrary: fc.nat(ENDPOINTS.length - 1) },
  ),
  ecn: fc.constantFrom(0, 0, 0, 1, 2, 3),
};

const MS = [
  1, 9, 49, 50, 1_000, 6_000, 9_999, 10_000, 14_999, 15_000, 29_000, 31_000, 60_000, 120_000,
  350_000,
];
const wait = fc.record({
  do: fc.constant('wait' as const),
  ms: fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom(...MS, 3_600_000) },
    { weight: 1, arbitrary: fc.integer({ min: 1, max: 3_600_000 }) },
  ),
  sweep: fc.boolean(),
});

const onLoss = fc.constantFrom<OnLoss>(
  'no_rebalance',
  'rebalance',
  'reset',
  'reset-unhealthy',
  'reset-deregistration',
);
const delaySeconds = fc.constantFrom(0, 5, 300);

const flood = fc.record({
  do: fc.constant('flood' as const),
  version: fc.constantFrom(4 as const, 4 as const, 4 as const, 6 as const),
  protocol: fc.constantFrom('tcp' as const, 'udp' as const),
  first: fc.constantFrom(1_000, 1_100, 2_000, 3_000),
  count: fc.oneof(fc.constantFrom(64, 255, 256, 257, 700), fc.integer({ min: 1, max: 1100 })),
  after: fc.constantFrom('nothing', 'return', 'again', 'talk') as fc.Arbitrary<
    'nothing' | 'return' | 'again' | 'talk'
  >,
});

const stickiness = fc.constantFrom('5-tuple', '3-tuple', '2-tuple') as fc.Arbitrary<
  CaseOptions['stickiness']
>;

/** Everything that may happen but packets. */
const others = {
  wait,
  sweep: fc.constant({ do: 'sweep' as const }),
  held: fc.constant({ do: 'held' as const }),
  health: fc.record({ do: fc.constant('health' as const), target, ok: fc.boolean() }),
  register: fc.record({ do: fc.constant('register' as const), target, weight }),
  deregister: fc.record({ do: fc.constant('deregister' as const), target }),
  weight: fc.record({ do: fc.constant('weight' as const), target, weight }),
  policy: fc.record({
    do: fc.constant('policy' as const),
    onLoss,
    delaySeconds,
    failOpen: fc.boolean(),
  }),
  idle: fc.record({
    do: fc.constant('idle' as const),
    tcpSeconds: fc.constantFrom(60, 350, 6000),
    otherSeconds: fc.constantFrom(1, 120),
  }),
  resetOnIdle: fc.record({ do: fc.constant('reset-on-idle' as const), on: fc.boolean() }),
  rotate: fc.record({
    do: fc.constant('rotate' as const),
    key: fc.nat(2),
    overlapSeconds: fc.constantFrom(0, 60, 350),
  }),
  crossZone: fc.record({ do: fc.constant('cross-zone' as const), on: fc.boolean() }),
  stickiness: fc.record({ do: fc.constant('stickiness' as const), stickiness }),
};

function traffic(packets: fc.Arbitrary<PacketSpec>) {
  return {
    send: send(packets),
    sendNarrow: send(packets, fc.constant(NARROW)),
    return: fc.record(GIVE_BACK),
    returnPiece: fc.record({ ...GIVE_BACK, inner: fc.constantFrom<Inner[]>(0, 1, 2, 'longer') }),
    flood,
  };
}

function actions(
  packets: fc.Arbitrary<PacketSpec>,
  weights: Partial<Record<keyof typeof others | keyof ReturnType<typeof traffic>, number>>,
): fc.Arbitrary<Action> {
  const all: Record<string, fc.Arbitrary<Action>> = { ...others, ...traffic(packets) };
  return fc.oneof(
    ...Object.entries(weights).map(([name, weight]) => ({ weight, arbitrary: all[name] })),
  );
}

/** Packets of one connection, mostly, so that much happens to it. */
const connection = packetSpec({
  version: fc.constantFrom(4 as const, 4 as const, 4 as const, 6 as const),
  client: fc.constant(0),
  port: fc.constant(0),
  protocol: fc.constantFrom('tcp', 'tcp', 'tcp', 'udp'),
  payload: fc.constantFrom(0, 10),
  piece: fc.constant(null),
});

const pieces = packetSpec({
  client: fc.constant(0),
  port: fc.constantFrom(0, 0, 1),
  protocol: fc.constantFrom('udp', 'udp', 'tcp', 'tcp', 'gre', 'sctp'),
  piece: fc.oneof({ weight: 1, arbitrary: fc.constant(null) }, { weight: 5, arbitrary: piece }),
});

/** Packets that a narrow endpoint has no room for, and what comes back of them. */
const long = packetSpec({
  version: fc.constantFrom(4 as const, 4 as const, 4 as const, 6 as const),
  client: fc.constant(0),
  port: fc.constant(0),
  protocol: fc.constantFrom('udp', 'udp', 'tcp', 'gre'),
  payload: fc.constantFrom(10, 560, 1_400),
  piece: fc.oneof({ weight: 2, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: piece }),
});

/** What a sequence is mostly about. */
const TOPICS = [
  actions(packetSpec(), {
    send: 24,
    return: 14,
    wait: 7,
    sweep: 5,
    held: 3,
    health: 3,
    register: 2,
    deregister: 2,
    weight: 1,
    policy: 1,
    idle: 1,
    resetOnIdle: 1,
    rotate: 1,
    crossZone: 1,
    stickiness: 1,
  }),
  actions(connection, {
    send: 12,
    return: 4,
    wait: 4,
    sweep: 2,
    health: 8,
    register: 3,
    deregister: 3,
    weight: 3,
    policy: 3,
    crossZone: 2,
    stickiness: 1,
  }),
  actions(connection, { send: 10, return: 14, wait: 3, health: 3, rotate: 2, sweep: 1 }),
  actions(pieces, { send: 10, return: 4, held: 4, wait: 4, health: 1, sweep: 1, stickiness: 1 }),
  actions(long, { sendNarrow: 10, returnPiece: 10, held: 2, wait: 2, sweep: 1 }),
];

const options: fc.Arbitrary<CaseOptions> = fc.record({
  stickiness: fc.constantFrom('5-tuple', '5-tuple', '5-tuple', '3-tuple', '2-tuple'),
  scope: fc.constantFrom('endpoint', 'endpoint', 'gateway'),
  midStream: fc.constantFrom('drop', 'drop', 'auto', 'pickup'),
  cookieCheck: fc.constantFrom('lenient', 'strict'),
  promotion: fc.constantFrom('return', 'ingress'),
  resetOnIdle: fc.boolean(),
  pathMtuDiscovery: fc.constantFrom(true, true, false),
  clampMss: fc.constantFrom('off', 'auto', 1_220),
  cuts: fc.boolean(),
  onLoss,
  delaySeconds,
  failOpen: fc.boolean(),
  crossZone: fc.boolean(),
  checks: fc.constantFrom(false, false, true),
}) as fc.Arbitrary<CaseOptions>;

export function cases(maxActions: number): fc.Arbitrary<Case> {
  const sequences = TOPICS.map((action) =>
    fc.array(action, { minLength: 1, maxLength: maxActions, size: 'max' }),
  );
  return fc.record({ options, actions: fc.oneof(...sequences) });
}

/** Sequences that fill the tables. */
export function floods(maxActions: number): fc.Arbitrary<Case> {
  const weights = { flood: 8, send: 3, return: 2, wait: 1, sweep: 1, health: 1 };
  const sequence = fc.array(actions(connection, weights), {
    minLength: 1,
    maxLength: maxActions,
    size: 'max',
  });
  // One key a port.
  const given = options.map((chosen) => ({ ...chosen, stickiness: '5-tuple' as const }));
  return fc.record({ options: given, actions: sequence });
}
