/** The methods of what listens and of what inspectors get, with arguments for each. */
import fc from 'fast-check';
import { tuplePacket } from '../../src/index.js';
import { type Argument, PACKET, TUPLE } from './contract-world.js';
import { nasty, nastyOptions } from './nasty.js';

export const NET = '127.77.62';
export const ID = 'vpce-00000000000000009';

/** What is called with good arguments more often than not. */
export const is = (value: unknown): fc.Arbitrary<Argument> =>
  fc.oneof({ weight: 2, arbitrary: fc.constant(() => value) }, { weight: 3, arbitrary: nasty([]) });
export const options = (valid: Readonly<Record<string, unknown>>): fc.Arbitrary<Argument> =>
  fc.oneof({ weight: 2, arbitrary: fc.constant(() => valid) }, nastyOptions(valid));

/** Arguments of each method, by its name. */
export type Methods = Readonly<Record<string, fc.Arbitrary<Argument>[]>>;

export const GATEWAY: Methods = {
  createEndpoint: [
    options({
      id: 'vpce-00000000000000008',
      zone: 'a',
      mtu: 1400,
      geneve: { peer: `${NET}.9`, port: 6081, vni: 7, inner: 'ip' },
    }),
  ],
  removeEndpoint: [is(ID)],
  restoreDevice: [is(ID)],
  deviceStatus: [is(ID)],
  settled: [],
  record: [is(0)],
  recording: [],
  ref: [],
  unref: [],
  endpoints: [],
  endpoint: [is(ID)],
  endpointAt: [is(0)],
  targets: [],
  counters: [],
  shares: [],
  awsMetrics: [],
  explain: [options(TUPLE), options({ endpoint: ID })],
  setTargetGroup: [is(null)],
  setCrossZone: [is(true)],
  setIdleTimeout: [options({ tcpSeconds: 60, otherSeconds: 5 })],
  setTcpReset: [options({ onIdleTimeout: true })],
  modifyListenerAttributes: [options({ 'tcp.idle_timeout.seconds': '60' })],
  rotateCookieKey: [options({ key: new Uint8Array(16), overlapSeconds: 5 })],
  setFlowReports: [is(5)],
  state: [],
};

export const APPLIANCE: Methods = {
  inspect: [options({ filter: 'tcp' }), is(() => {})],
  setHealth: [is('unhealthy'), is('draining')],
  forgetFlows: [],
  attachTun: [
    // No device is made before a packet comes; one that is, in a namespace that is not there.
    options({
      name: 'gwi%d',
      out: 'gwo%d',
      perEndpoint: { endpoints: [ID], max: 2 },
      netns: 'gwlb-nowhere-%d',
      mtu: 1500,
      txqueuelen: 10,
      persistent: false,
      offloads: false,
      limits: { flows: 1024, flowsIpv6: 1024 },
      idleTimeout: { tcpSeconds: 5, otherSeconds: 5 },
    }),
  ],
  counters: [],
};

export const TEST: Methods = {
  send: [is([PACKET]), options({ endpointId: ID, attachmentId: 5n, cookie: 5 })],
  advance: [is(1000)],
  counters: [],
};

export const PACKETS: Methods = {
  moveTo: [is(0)],
  drop: [],
  passFlow: [options({ afterPackets: 5, afterBytes: 5 })],
  dropFlow: [options({ afterPackets: 5 })],
  reject: [],
  rewrite: [is(tuplePacket({ ...TUPLE, protocol: 'udp' }))],
  sourceWord: [is(0)],
  destinationWord: [is(3)],
};

export const CONTEXTS: Methods = { of: [is(null)], end: [is(null)], sweep: [], close: [] };

/** Of a batch; its packets are tried one by one. */
export const BATCHES: Methods = { bytes: [is(0)], dropAll: [] };

/** Classes whose objects have these methods. */
export const CLASSES: Readonly<Record<string, Methods>> = {
  GatewayLoadBalancer: GATEWAY,
  Appliance: APPLIANCE,
  InspectorTest: TEST,
  InspectedPacket: PACKETS,
  InspectedBatch: BATCHES,
  FlowContexts: CONTEXTS,
};
