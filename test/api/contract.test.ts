/**
 * The error contract: whatever a public function is given, it does its work or throws a `GatewayError`
 * with a documented code, and where it throws nothing has changed. GWLB_SEED repeats a run, GWLB_RUNS
 * makes as many.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import * as api from '../../src/index.js';
import { apiSymbols } from '../support/api-symbols.js';
import { CLASSES } from './contract-methods.js';
import {
  type Argument,
  CALLS,
  type Call,
  capture,
  PACKET,
  TUPLE,
  World,
} from './contract-world.js';
import { labelOf, nasty, nastyOptions } from './nasty.js';

const { ERROR_CODES, GatewayError } = api;
type Replay = ReturnType<typeof api.replay>;
const SEED = Number(process.env.GWLB_SEED ?? 20_261_130);
const RUNS = Number(process.env.GWLB_RUNS ?? 400);

// Some of what is tried as a path can be one.
const home = process.cwd();
const folder = mkdtempSync(join(tmpdir(), 'gwlb-contract-'));
process.chdir(folder);
t.teardown(() => {
  process.chdir(home);
  rmSync(folder, { recursive: true });
});

const good = (value: unknown, keys: string[] = []): fc.Arbitrary<Argument> =>
  fc.oneof(
    fc.constant(() => value),
    nasty(keys),
  );
const options = (valid: Record<string, unknown>): fc.Arbitrary<Argument> =>
  fc.oneof(
    { weight: 1, arbitrary: fc.constant(() => valid) },
    { weight: 3, arbitrary: nastyOptions(valid) },
  );

const GENEVE = api.encodeGeneve({});
const HEADER = { protocolType: 0x0800, vni: 5, oam: true, options: [], optionClass: 5 };
const GATEWAY = { endpointId: 'vpce-00000000000000009', attachmentId: 5n, cookie: 5 };
const OPTION = { class: 1, type: 1, data: new Uint8Array(4) };
const REPLAY = {
  capture: capture(),
  targetGroup: { name: 'x' },
  targets: [{ address: '10.0.1.10' }],
  endpoints: [{ zone: 'a' }],
  gateway: { limits: { flows: 1024 } },
  events: [{ at: 0, target: '10.0.1.10', weight: 5 }],
  onSent: () => {},
};
const EVENT = { at: 0, target: '10.0.1.10', weight: 5, register: {}, attribute: {}, keys: {} };

/** Functions, and what else has no object of its own in the world. */
const FUNCTIONS: Record<string, fc.Arbitrary<Argument>[]> = {
  decodeFrame: [good(PACKET), options({ link: 101, wireLength: 100, optionClass: 1, port: 5 })],
  decodeGeneve: [good(GENEVE), options({ optionClass: 5 })],
  encodeGeneve: [fc.oneof(options(HEADER), options({ options: [OPTION], gateway: GATEWAY }))],
  flowKey: [good(PACKET), good('3-tuple'), good(5)],
  formatEndpointId: [good(5n)],
  parseEndpointId: [good('vpce-00000000000000009')],
  describeOptions: [good('target')],
  optionsSchema: [good('geneve')],
  checkOptionsOf: [good('target'), options({ address: '10.0.1.10' }), good('x')],
  optionProblems: [good('targetGroup'), options({ name: 'x', healthCheck: {} }), good('x')],
  completeOptions: [good('appliance'), options({ address: '10.0.1.10', limits: {}, drop: [] })],
  readRoutes: [good(null)],
  removeTun: [good('gwlb-absent'), good(null)],
  formatIpv4: [good(5)],
  parseIpv4: [good('10.0.0.1')],
  parseDropRule: [good('tcp port 5')],
  protocolName: [good(6)],
  protocolNumber: [good('tcp')],
  readCapture: [good(REPLAY.capture)],
  tuplePacket: [options(TUPLE), good(2), good(PACKET)],
  updateChecksums: [good(PACKET)],
  replay: [
    fc.oneof(
      options(REPLAY),
      options(EVENT).map((make) => (world: World) => {
        return { ...REPLAY, events: [make(world)] };
      }),
    ),
  ],
};

const CREATE = { targetGroup: new api.TargetGroup(), crossZone: true, limits: { flows: 1024 } };
const ERROR_ARGUMENTS: Record<string, fc.Arbitrary<Argument>[]> = {
  invalidArgument: [good('options.port'), good('a number'), good(5)],
  mismatch: [good('ERR_GWLB_OUT_OF_RANGE'), good(['a', 1]), good('a number'), good('a text')],
  fromSystemError: [good(new Error('no')), good('listen')],
};

const functions = { ...api } as unknown as Record<string, (...args: never[]) => unknown>;

const calls: Call[] = [
  ...CALLS,
  ...Object.entries(FUNCTIONS).map(([name, args]): Call => {
    const call = functions[name];
    return { name, args, call: (_, given) => exhausted(call(...given)) };
  }),
  {
    name: 'Gateway.create',
    args: [options({ ...CREATE })],
    call: async (_, [given]) => (await api.Gateway.create(given)).close(),
  },
  ...['invalidArgument', 'mismatch', 'fromSystemError'].map(
    (method): Call => ({
      name: `GatewayError.${method}`,
      args: ERROR_ARGUMENTS[method],
      call: (_, given) =>
        (api.GatewayError as unknown as Record<string, (...args: never[]) => unknown>)[method](
          ...given,
        ),
    }),
  ),
  {
    name: 'Packet.moveTo',
    args: [good(0)],
    call: ({ batch }, [index]) => {
      const [packet] = batch;
      return packet?.moveTo(index).verdict;
    },
  },
  {
    name: 'GatewayError.at',
    args: [fc.oneof(good('options.port'), good(['targets', 3]))],
    call: (_, [field]) => api.GatewayError.invalidArgument('x', 'a number', 5).at(field),
  },
  {
    name: 'Appliance.listen',
    args: [
      options({
        port: 0,
        drop: [{ port: 5 }],
        limits: { flows: 1024 },
        healthCheck: { path: '/' },
      }),
    ],
    // Without an address nothing is opened, whatever else it is given.
    call: (_, [given]) => api.Appliance.listen(given),
  },
  {
    name: 'GatewayLoadBalancer.listen',
    args: [
      options({
        netns: null,
        name: 'x',
        workers: 1,
        offloads: false,
        signal: undefined,
        mtu: 1500,
      }),
    ],
    call: (_, [given]) => api.GatewayLoadBalancer.listen(given),
  },
];

/** A replay does its work while its lines are read. */
function exhausted(result: unknown): unknown {
  if (typeof result !== 'object' || result === null || !('summary' in result)) return result;
  return [...(result as Replay)];
}

interface Step {
  call: Call;
  args: Argument[];
}

const step: fc.Arbitrary<Step> = fc.constantFrom(...calls).chain((call) =>
  fc.tuple(...call.args).map((args) => ({
    call,
    args,
    [fc.toStringMethod]: () => `${call.name}(${args.map(labelOf).join(', ')})`,
  })),
);

function complain(name: string, what: string, error?: unknown): never {
  throw new Error(`${name} ${what}`, { cause: error });
}

async function attempt({ call, args }: Step, world: World): Promise<boolean> {
  const given = args.map((make) => make(world)) as never[];
  const before = world.state();
  try {
    await call.call(world, given);
    return true;
  } catch (error) {
    if (!(error instanceof GatewayError)) complain(call.name, 'threw another error', error);
    if (!Object.hasOwn(ERROR_CODES, error.code)) complain(call.name, 'threw another code', error);
    if (!isDeepStrictEqual(world.state(), before)) complain(call.name, 'threw halfway', error);
    return false;
  }
}

t.test('every call does its work or throws a GatewayError and changes nothing', async (t) => {
  const done = new Map<string, number>();
  const refused = new Map<string, number>();
  const sequence = fc.array(step, { minLength: 4, maxLength: 12, size: 'max' });
  await fc.assert(
    fc.asyncProperty(sequence, async (steps) => {
      const world = new World();
      try {
        for (const one of steps) {
          const counts = (await attempt(one, world)) ? done : refused;
          counts.set(one.call.name, (counts.get(one.call.name) ?? 0) + 1);
          if (world.gateway.endpoints().length !== 1) break;
        }
      } finally {
        await world.close();
      }
    }),
    { seed: SEED, numRuns: RUNS, includeErrorInReport: false, verbose: 1 },
  );
  const never = calls.filter(({ name }) => !done.has(name)).map(({ name }) => name);
  const some = ['removeTun', 'Appliance.listen', 'GatewayLoadBalancer.listen'];
  t.strictSame(never, some, 'all others worked too');
  t.ok(refused.size > calls.length / 2);
});

/** In a process that loses its privileges: system.test.ts. */
const ELSEWHERE = ['limitPrivileges'];
/** Their objects are made by others, and their methods take nothing. */
const NOTHING = /^ApplianceTun\.|^(Endpoint|Target)\.toJSON$|^\w+\.close$|^ReplayEventsError\./;

t.test('no public class, function or method is left out', async (t) => {
  const constructed = calls.map(({ name }) => name.replace(/^new (\w+).*/, '$1.constructor'));
  const elsewhere = Object.entries(CLASSES).flatMap(([type, methods]) =>
    Object.keys(methods).map((method) => `${type}.${method}`),
  );
  const names = new Set([...constructed, ...elsewhere, ...ELSEWHERE]);
  const missing = apiSymbols()
    .filter(({ kind }) => kind === 'function' || kind === 'method')
    .map(({ name }) => name)
    .filter((name) => name in api || (name.split('.')[0] ?? '') in api)
    .filter((name) => !names.has(name) && !NOTHING.test(name));
  t.strictSame(missing, []);
  const touched = new Set([...names].map((name) => name.split('.')[0]));
  const classes = apiSymbols().filter(({ name, kind }) => kind === 'class' && name in api);
  t.strictSame(
    classes
      .map(({ name }) => name)
      .filter((name) => !touched.has(name))
      .sort(),
    ['ApplianceTun', 'Endpoint', 'ReplayEventsError', 'Target'],
    'they have no methods of their own with arguments',
  );
});
