/** Objects of every class that can be had without sockets, the calls of them, and all that they show. */
import fc from 'fast-check';
import {
  CaptureFilter,
  type Endpoint,
  FlowTable,
  flowKey,
  Gateway,
  GatewayError,
  PacketBatch,
  PcapWriter,
  readCapture,
  type Target,
  TargetGroup,
  tuplePacket,
} from '../../src/index.js';
import { nasty, nastyOptions } from './nasty.js';

export const TUPLE = { protocol: 'tcp', source: '203.0.113.9:52144', destination: '10.0.2.10:443' };
export const PACKET = tuplePacket(TUPLE);
const KEY = flowKey(PACKET) as Uint8Array;

/** A gateway's clock that packets have moved already. */
const NOW = 1000;

export function capture(): Uint8Array {
  const pieces: Uint8Array[] = [];
  const writer = new PcapWriter((bytes) => pieces.push(bytes));
  writer.write(PACKET, 0n);
  return Buffer.concat(pieces);
}

export class World {
  readonly group = new TargetGroup({ healthCheck: false });
  readonly target: Target;
  readonly gateway: Gateway;
  readonly endpoint: Endpoint;
  readonly batch = new PacketBatch({ packets: 4, jumbo: false });
  readonly table = new FlowTable({ capacity: 1024 });
  /** Of the one flow in the table. */
  readonly position: number;
  readonly written: Uint8Array[] = [];
  readonly writer = new PcapWriter((bytes) => this.written.push(bytes));
  readonly reader = readCapture(capture());
  readonly filter = new CaptureFilter('tcp');

  constructor() {
    [this.target] = this.group.register({ address: '10.0.1.10' }, { address: '10.0.1.11' });
    const limits = { flows: 1024, flowsIpv6: 1024 };
    this.gateway = new Gateway({ targetGroup: this.group, limits });
    this.endpoint = this.gateway.createEndpoint();
    this.batch.add(PACKET);
    this.gateway.toTargets(this.batch, this.endpoint, NOW);
    this.batch.clear();
    this.batch.add(PACKET);
    this.position = this.table.set(KEY, 7, NOW);
  }

  /** Everything of it that can be seen, to be compared. */
  state(): unknown {
    const { group, gateway, batch, table } = this;
    const { attributes, healthCheck, name, failover, sendTcpReset, inUse, failOpen } = group;
    const { idleTimeout, closed, flows, listenerAttributes } = gateway;
    return {
      group: { attributes, healthCheck, name, failover, sendTcpReset, inUse, failOpen },
      targets: group.targets().map((target) => target.toJSON()),
      gateway: { idleTimeout, closed, flows, listenerAttributes, counters: gateway.counters() },
      // The clock of packets goes no further either.
      now: gateway.explain(TUPLE).idleLeftMs,
      endpoints: gateway.endpoints().map(({ id, index, zone }) => ({ id, index, zone })),
      batch: { count: batch.count, block: Buffer.from(batch.block).toString('base64') },
      table: { size: table.size, value: table.get(KEY, NOW) },
      written: this.written.length,
    };
  }

  async close(): Promise<void> {
    await this.gateway.close();
    await this.group.close().catch((error) => {
      if (!(error instanceof GatewayError)) throw error;
    });
  }
}

/** Makes one argument. */
export type Argument = ((world: World) => unknown) & { label?: string };

export interface Call {
  /** `Gateway.toTargets`; a constructor is `new Gateway`. */
  name: string;
  args: fc.Arbitrary<Argument>[];
  call: (world: World, args: never[]) => unknown;
}

/** As it should be more often than not, so that what follows it is reached. */
const or = (good: Argument, ...keys: string[]): fc.Arbitrary<Argument> =>
  fc.oneof({ weight: 3, arbitrary: fc.constant(good) }, { weight: 2, arbitrary: nasty(keys) });
const is = (value: unknown) => or(() => value);
const options = (valid: Readonly<Record<string, unknown>>): fc.Arbitrary<Argument> =>
  fc.oneof(
    fc.constant(() => valid),
    nastyOptions(valid),
  );

const SPEC = { address: '10.0.1.12', port: 6081, zone: 'b', weight: 5 };
const POLICY = {
  failover: 'rebalance',
  sendTcpReset: {},
  deregistrationDelaySeconds: 5,
  slowStartSeconds: 1,
  failOpen: true,
  healthCheck: false,
};
const GROUP = {
  name: 'x',
  port: 6081,
  inner: 'ip',
  optionClass: 1,
  stickiness: '5-tuple',
  scope: 'gateway',
};
const HEALTH = {
  protocol: 'HTTP',
  port: 80,
  path: '/',
  intervalSeconds: 10,
  matcher: '200',
  profile: 'aws',
};
const GATEWAY = {
  targetGroup: new TargetGroup({ healthCheck: false }),
  crossZone: true,
  idleTimeout: { tcpSeconds: 60 },
  mtu: 1500,
  limits: { flows: 1024 },
  midStream: 'drop',
  sourcePorts: { base: 40_000, count: 4 },
  cookieCheck: 'strict',
  promotion: 'ingress',
  sendTcpReset: { onIdleTimeout: true },
  attachmentId: 5n,
  hashKey: new Uint8Array(16),
  cookieKey: new Uint8Array(16),
  outerHeaders: true,
  address: '10.0.1.5',
  port: 6081,
};
const KEY_OPTIONS = { key: new Uint8Array(16), overlapSeconds: 5 };

const group: Record<string, fc.Arbitrary<Argument>[]> = {
  register: [options(SPEC), options({ ...SPEC, port: 6082 })],
  deregister: [or(({ target }) => target), is('10.0.1.11')],
  setTargets: [or(() => [SPEC, { address: '10.0.1.10' }])],
  targets: [],
  target: [is('10.0.1.10')],
  targetInSlot: [is(0)],
  setWeight: [or(({ target }) => target), is(5)],
  setHealth: [is('10.0.1.10'), is('unhealthy'), is('because')],
  update: [options(POLICY)],
  modifyAttributes: [options({ 'deregistration_delay.timeout_seconds': '5' })],
  preview: [
    options({ register: SPEC }),
    options({ weight: { target: '10.0.1.10', weight: 5 } }),
    options({ fail: ['10.0.1.10'] }),
    options({ update: POLICY }),
  ],
};

const gateway: Record<string, fc.Arbitrary<Argument>[]> = {
  createEndpoint: [options({ id: 'vpce-00000000000000009', zone: 'a', mtu: 1500 })],
  removeEndpoint: [or(({ endpoint }) => endpoint)],
  toTargets: [or(({ batch }) => batch), or(({ endpoint }) => endpoint), is(NOW)],
  fromTargets: [or(({ batch }) => batch), is(NOW)],
  takeHeld: [or(({ batch }) => batch), is(NOW)],
  sweep: [is(NOW), is(16)],
  sourcePort: [or(({ batch }) => batch), is(0)],
  endpoints: [],
  shares: [],
  endpoint: [is('vpce-00000000000000009')],
  endpointAt: [is(0)],
  counters: [],
  awsMetrics: [],
  explain: [options(TUPLE), or(() => ({}), 'endpoint')],
  targets: [],
  setTargetGroup: [or(({ group }) => group)],
  setCrossZone: [is(true)],
  setIdleTimeout: [options({ tcpSeconds: 60, otherSeconds: 5 })],
  setTcpReset: [options({ onIdleTimeout: true })],
  modifyListenerAttributes: [options({ 'tcp.idle_timeout.seconds': '60' })],
  rotateCookieKey: [options(KEY_OPTIONS)],
  setFlowReports: [is(5)],
};

const table: Record<string, fc.Arbitrary<Argument>[]> = {
  lookup: [is(KEY), is(1), is(new Uint32Array(1)), is(NOW)],
  get: [is(KEY), is(NOW)],
  set: [is(KEY), is(5), is(NOW)],
  delete: [is(KEY), is(NOW)],
  value: [or(({ position }) => position)],
  setValue: [or(({ position }) => position), is(5)],
  sweep: [is(NOW), is(16)],
  clear: [],
};

/** Calls of the methods of an object of the world. */
function methods(
  type: string,
  of: (world: World) => object,
  all: Record<string, fc.Arbitrary<Argument>[]>,
): Call[] {
  return Object.entries(all).map(([method, args]) => ({
    name: `${type}.${method}`,
    args,
    call: (world, given) =>
      (of(world) as Record<string, (...args: never[]) => unknown>)[method](...given),
  }));
}

function construct(type: new (...args: never[]) => object, ...args: Call['args']): Call {
  return { name: `new ${type.name}`, args, call: (_, given) => new type(...given) };
}

export const CALLS: Call[] = [
  construct(TargetGroup, options({ ...GROUP, ...POLICY })),
  {
    ...construct(TargetGroup, options({ healthCheck: HEALTH })),
    name: 'new TargetGroup, checks',
  },
  construct(Gateway, options(GATEWAY)),
  construct(PacketBatch, options({ packets: 4, jumbo: true })),
  construct(
    FlowTable,
    options({ capacity: 1024, family: 6, idleMs: 5, hashKey: new Uint8Array(16) }),
  ),
  construct(CaptureFilter, is('tcp')),
  construct(
    PcapWriter,
    or(() => () => {}),
    options({ link: 1 }),
  ),
  ...methods('TargetGroup', (world) => world.group, group),
  ...methods('Gateway', (world) => world.gateway, gateway),
  ...methods('FlowTable', (world) => world.table, table),
  ...methods('PacketBatch', (world) => world.batch, {
    add: [is(PACKET), is('10.0.1.10')],
    reserve: [is(100)],
    bytes: [is(0)],
    clear: [],
  }),
  ...methods('PcapWriter', (world) => world.writer, { write: [is(PACKET), is(5n), is(100)] }),
  ...methods('CaptureReader', (world) => world.reader, { next: [], return: [] }),
  ...methods('CaptureFilter', (world) => world.filter, { matches: [is(PACKET)], toString: [] }),
];
