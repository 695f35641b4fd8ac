/**
 * The error contract of what listens and of what inspectors get, as contract.test.ts has it of the rest:
 * whatever they are given, they do their work or throw a `GatewayError` with a documented code, and where
 * they throw nothing has changed. GWLB_SEED repeats a run, GWLB_RUNS makes as many.
 */
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import {
  Appliance,
  CaptureFilter,
  ERROR_CODES,
  FlowContexts,
  GatewayError,
  GatewayLoadBalancer,
  InspectedBatch,
  InspectorTest,
  TargetGroup,
} from '../../src/index.js';
import {
  APPLIANCE,
  BATCHES,
  CONTEXTS,
  GATEWAY,
  ID,
  is,
  type Methods,
  NET,
  options,
  PACKETS,
  TEST,
} from './contract-methods.js';
import { type Argument, PACKET } from './contract-world.js';
import { labelOf } from './nasty.js';

const SEED = Number(process.env.GWLB_SEED ?? 20_261_130);
const RUNS = Number(process.env.GWLB_RUNS ?? 30);
interface Call {
  method: string;
  args: Argument[];
}

function anyCalls(methods: Methods): fc.Arbitrary<Call[]> {
  const call = fc.constantFrom(...Object.keys(methods)).chain((method) =>
    fc.tuple(...methods[method]).map((args) => ({
      method,
      args,
      [fc.toStringMethod]: () => `${method}(${args.map(labelOf).join(', ')})`,
    })),
  );
  return fc.array(call, { minLength: 6, maxLength: 16, size: 'max' });
}

/** How often each method did its work. */
type Done = Map<string, number>;

function check(method: string, error: unknown): void {
  const documented = error instanceof GatewayError && Object.hasOwn(ERROR_CODES, error.code);
  if (!documented) throw new Error(`${method} threw something else`, { cause: error });
}

function invoke(object: object, { method, args }: Call): unknown {
  const given = args.map((make) => make(undefined as never)) as never[];
  return (object as Record<string, (...args: never[]) => unknown>)[method](...given);
}

async function attempt(object: object, call: Call, state: () => unknown, done: Done) {
  const before = state();
  try {
    await invoke(object, call);
    done.set(call.method, (done.get(call.method) ?? 0) + 1);
  } catch (error) {
    check(call.method, error);
    if (!isDeepStrictEqual(state(), before)) throw new Error(`${call.method} threw halfway`);
  }
}

/** Makes an object, and calls its methods at random until the end. */
async function holds<T extends object>(
  methods: Methods,
  open: () => Promise<T>,
  state: (object: T) => unknown,
  close: (object: T) => unknown,
): Promise<string[]> {
  const done: Done = new Map();
  await fc.assert(
    fc.asyncProperty(anyCalls(methods), async (calls) => {
      const object = await open();
      try {
        for (const call of calls) await attempt(object, call, () => state(object), done);
      } finally {
        await close(object);
      }
    }),
    { seed: SEED, numRuns: RUNS, includeErrorInReport: false, verbose: 1 },
  );
  return Object.keys(methods).filter((method) => !done.has(method));
}

/** The methods of a class and of those above it, but for what is not the package's. */
function methodsOf(type: { prototype: object }, without: readonly string[]): string[] {
  const names = new Set<string>();
  let prototype: object = type.prototype;
  while (prototype !== Object.prototype && prototype.constructor.name !== 'EventEmitter') {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
      if (typeof value === 'function') names.add(name);
    }
    prototype = Object.getPrototypeOf(prototype);
  }
  return [...names].filter((name) => name !== 'constructor' && !without.includes(name)).sort();
}

/** Of gateways, for code inside of the package; and the ends. */
const INTERNAL = [
  'beginEndpoint',
  'keepEndpoint',
  'giveUpEndpoint',
  'beginRemoval',
  'endpointRemoved',
  'checkOpen',
  'checkStickiness',
  'checkTarget',
  'countLosses',
  'end',
  'epochOffsetMs',
  'findEndpoint',
  'flushEvents',
  'nowMs',
  'samplePeaks',
  'saveBy',
  'saved',
  'savedState',
  'unreachable',
  'wanted',
  'close',
];

t.test('a gateway that listens', async (t) => {
  t.strictSame(Object.keys(GATEWAY).sort(), methodsOf(GatewayLoadBalancer, INTERNAL));
  const never = await holds(
    GATEWAY,
    async () => {
      const targetGroup = new TargetGroup({ healthCheck: false });
      targetGroup.register({ address: `${NET}.10` });
      const limits = { flows: 1024, flowsIpv6: 1024 };
      const gateway = await GatewayLoadBalancer.listen({
        address: `${NET}.5`,
        targetGroup,
        limits,
      });
      await gateway.createEndpoint({ id: ID, geneve: { peer: `${NET}.9`, vni: 9 } });
      return gateway;
    },
    (gateway) => {
      const { closed, crossZone, idleTimeout, listenerAttributes, sendTcpReset } = gateway;
      return {
        settings: { closed, crossZone, idleTimeout, listenerAttributes, sendTcpReset },
        group: gateway.targetGroup.targets().map((target) => target.toJSON()),
        endpoints: gateway.endpoints().map((endpoint) => [endpoint.index, endpoint.toJSON()]),
        counters: gateway.counters(),
      };
    },
    (gateway) => gateway.close(),
  );
  t.strictSame(never, ['setTargetGroup'], 'all others worked, too');
});

t.test('an appliance', async (t) => {
  t.strictSame(Object.keys(APPLIANCE).sort(), methodsOf(Appliance, ['close']));
  const never = await holds(
    APPLIANCE,
    () => Appliance.listen({ address: `${NET}.10`, healthCheck: { port: 8080 } }),
    (appliance) => ({ closed: appliance.closed, counters: appliance.counters() }),
    (appliance) => appliance.close(),
  );
  t.strictSame(never, []);
});

t.test("an inspector's test", async (t) => {
  t.strictSame(Object.keys(TEST).sort(), methodsOf(InspectorTest, ['close']));
  const make = [
    is(() => {}),
    options({
      filter: new CaptureFilter('tcp'),
      drop: [{ protocol: 'tcp', port: 5 }],
      failOpen: true,
      limits: { flows: 1024, flowsIpv6: 1024 },
      idleTimeout: { tcpSeconds: 5, otherSeconds: 5 },
    }),
  ];
  fc.assert(
    fc.property(fc.tuple(...make), (args) => {
      try {
        const given = args.map((one) => one(undefined as never)) as never[];
        new InspectorTest(...(given as unknown as [() => void])).close();
      } catch (error) {
        check('new InspectorTest', error);
      }
    }),
    { seed: SEED, numRuns: 4 * RUNS, includeErrorInReport: false, verbose: 1 },
  );
  const never = await holds(
    TEST,
    async () => new InspectorTest(() => {}),
    (test) => test.counters(),
    (test) => test.close(),
  );
  t.strictSame(never, []);
});

t.test('what an inspector has in its hands, and what it kept of that', async (t) => {
  const done = new Set<string>();
  const tried = (object: object, calls: readonly Call[], state: () => unknown = () => null) => {
    for (const call of calls) {
      const before = state();
      try {
        invoke(object, call);
        done.add(call.method);
      } catch (error) {
        check(call.method, error);
        if (!isDeepStrictEqual(state(), before)) throw new Error(`${call.method} threw halfway`);
      }
    }
  };
  const all = [anyCalls(PACKETS), anyCalls(BATCHES), anyCalls(CONTEXTS)] as const;
  await fc.assert(
    fc.asyncProperty(...all, async (ofPacket, ofBatch, ofContexts) => {
      const kept: object[] = [];
      const test = new InspectorTest((packets) => {
        const contexts = new FlowContexts<number>({ create: () => 0 });
        const verdicts = () => [...packets].map(({ verdict }) => verdict);
        for (const packet of packets) {
          kept.push(packet);
          tried(packet, ofPacket, () => [packet.verdict, packet.length, Buffer.from(packet.bytes)]);
          contexts.of(packet);
        }
        tried(packets, ofBatch, verdicts);
        tried(contexts, ofContexts);
        contexts.close();
        kept.push(packets);
      });
      await test.send([PACKET, PACKET]);
      // They were given back.
      for (const one of kept) tried(one, one instanceof InspectedBatch ? ofBatch : ofPacket);
      test.close();
    }),
    { seed: SEED, numRuns: 2 * RUNS, includeErrorInReport: false, verbose: 1 },
  );
  const never = [...Object.keys(PACKETS), ...Object.keys(BATCHES), ...Object.keys(CONTEXTS)];
  t.strictSame(
    never.filter((method) => !done.has(method)),
    ['of', 'end'],
  );
});
