/** Every function and method of the addon, with every kind of wrong argument in every place. */
import { types } from 'node:util';
import t, { type Test } from 'tap';
import { binding } from '../../src/native/binding.js';
import {
  applianceConfig,
  gatewayConfig,
  gatewayHeader,
  liveConfig,
  peerEndpoint,
  plainEndpoint,
  socketsRefused,
  twoTargets,
  udpConfig,
  udpPacket,
} from './fixtures.js';
import {
  bigint,
  boolean,
  bytes,
  callback,
  choice,
  integer,
  type Kind,
  list,
  native,
  object,
  text,
  words,
  wrongArguments,
} from './kinds.js';
import {
  APPLIANCE,
  BATCH_ENDPOINT,
  ENDPOINT,
  GATEWAY_FIELDS,
  LIVE_FIELDS,
  PEER,
  PORTS,
  TARGETS,
  U32,
  UDP,
} from './object-kinds.js';

const NOW = integer(0, Number.MAX_SAFE_INTEGER);
/** Words that a column must not have. */
const WRONG_WORDS = [
  ['slot', 4096],
  ['zone', 1],
  ['port', 0],
  ['port', 65_536],
  ['eligible', 2],
  ['reset', 2],
  ['gone', 2],
  ['keeps', 2],
  ['generation', 8192],
  ['weight', 10_001],
] as const;

const INDEX = integer(0, 4095);
const MS = integer(0, 2 ** 31 - 1);

/** Which numbers have a batch changes while others are made and collected. */
const BATCH = integer(0, 1000);

interface Call {
  what: string;
  call: (...given: never[]) => unknown;
  good: unknown[];
  kinds: Kind[];
}

/** A call of a method by its name, so that what is checked is the class, not a bound function. */
function method(self: object, name: string, good: unknown[], kinds: Kind[]): Call {
  const call = (...given: unknown[]) =>
    (self as Record<string, (...given: unknown[]) => unknown>)[name](...given);
  return { what: `${self.constructor.name}.${name}`, call, good, kinds };
}

function construction(name: keyof typeof binding, good: unknown[], kinds: Kind[]): Call {
  const Class = binding[name] as unknown as new (...given: unknown[]) => object;
  return { what: `new ${name}`, call: (...given) => new Class(...given), good, kinds };
}

function plain(name: keyof typeof binding, good: unknown[], kinds: Kind[]): Call {
  return { what: name, call: binding[name] as Call['call'], good, kinds };
}

const batch = new binding.PacketBatch(4, 2240);
const gateway = new binding.Gateway(gatewayConfig());
const table = new binding.FlowTable(4, 1024, 1000, new Uint8Array(16));
const targetTable = new binding.TargetTable(twoTargets(), null);
const key = new Uint8Array(16);
const entry = table.insert(key, 1, 0);
const reader = new binding.CaptureReader(binding.captureHeader(1), true);

/** Good arguments where a field has few good values would be refused as a duplicate or the like. */
const CALLS: Call[] = [
  construction('PacketBatch', [4, 2240], [integer(1, 256), integer(192, 65536)]),

  construction('Gateway', [gatewayConfig()], [object(GATEWAY_FIELDS)]),
  method(
    gateway,
    'configure',
    [liveConfig(), targetTable],
    [object(LIVE_FIELDS), { accepts: (value) => value === null }],
  ),
  method(gateway, 'setEndpoint', [1, { ...plainEndpoint(), cuts: true }], [INDEX, BATCH_ENDPOINT]),
  method(gateway, 'setEndpoint', [1, { ...peerEndpoint(), cuts: true }], [INDEX, PEER]),
  method(gateway, 'removeEndpoint', [1], [INDEX]),
  method(gateway, 'setCookieKey', [new Uint8Array(16), 0, 0], [bytes(16), NOW, MS]),
  method(gateway, 'previewFlows', [targetTable, 0, 10], [native, integer(0, U32), integer(1, U32)]),
  method(gateway, 'takeHeld', [batch.id, 0], [BATCH, NOW]),
  method(gateway, 'toTargets', [batch.id, 0, 1, 0], [BATCH, integer(0, 4), INDEX, NOW]),
  method(gateway, 'fromTargets', [batch.id, 0, 0], [BATCH, integer(0, 4), NOW]),
  method(gateway, 'sweep', [0, 10], [NOW, integer(0, U32)]),
  method(gateway, 'explain', [udpPacket(), 0, 0], [bytes(), INDEX, NOW]),
  method(gateway, 'drainEvents', [10], [integer(0, 2 ** 20)]),
  method(gateway, 'endFlows', [0, 10], [integer(0, U32), integer(1, 2 ** 16)]),
  method(gateway, 'readEvents', [new Uint8Array(104)], [bytes()]),
  method(
    gateway,
    'describe',
    [udpPacket(), 0, 0, new Uint8Array(104)],
    [bytes(), INDEX, NOW, { accepts: (it) => types.isUint8Array(it) && it.length >= 104 }],
  ),

  construction(
    'FlowTable',
    [4, 1024, 1000, new Uint8Array(16)],
    [
      { accepts: (value) => value === 4 || value === 6 },
      integer(1024, 2 ** 27),
      integer(1, 2 ** 31 - 1),
      bytes(16),
    ],
  ),
  method(
    table,
    'lookup',
    [key, 1, new Uint32Array(1), 0],
    [
      { accepts: (value) => types.isUint8Array(value) && value.length >= 16 },
      integer(0, 1),
      words(1),
      NOW,
    ],
  ),
  method(table, 'insert', [key, 1, 0], [bytes(16), integer(0, U32), NOW]),
  method(table, 'value', [entry], [integer(entry, entry)]),
  method(table, 'setValue', [entry, 5], [integer(entry, entry), integer(0, U32)]),
  method(table, 'sweep', [0, 10], [NOW, integer(0, U32)]),

  plain('matchFilter', [new Uint32Array(0), udpPacket()], [words(0), bytes()]),
  plain('captureHeader', [1], [integer(0, 0xffff)]),
  plain('captureRecord', [new Uint8Array(4), 4, 0n], [bytes(), integer(4, U32), bigint]),
  plain(
    'decodeFrame',
    [udpPacket(), 36, 101, 0x0108, 6081],
    [
      { accepts: (value) => types.isUint8Array(value) && value.buffer instanceof ArrayBuffer },
      integer(36, U32),
      integer(0, U32),
      integer(0, 0xffff),
      integer(0, 0xffff),
    ],
  ),
  plain(
    'locatePacket',
    [udpPacket(), 36, 101, 0x0108, 6081],
    [
      { accepts: (value) => types.isUint8Array(value) && value.buffer instanceof ArrayBuffer },
      integer(36, U32),
      integer(0, U32),
      integer(0, 0xffff),
      integer(0, 0xffff),
    ],
  ),
  plain(
    'cutPacket',
    [udpPacket(), 8, 0, new Uint8Array(65_535)],
    [bytes(), integer(1, 0xffff), integer(0, U32), bytes(65_535)],
  ),
  method(reader, 'feed', [binding.captureHeader(1), true], [bytes(), boolean]),
  plain('decodeGeneve', [gatewayHeader(1n, 1), 0x0108], [bytes(), integer(0, 0xffff)]),
  plain(
    'encodeGeneve',
    [
      {
        protocolType: 0x0800,
        vni: 1,
        oam: false,
        critical: false,
        options: [{ class: 1, type: 2, data: new Uint8Array(4) }],
      },
    ],
    [
      object({
        protocolType: integer(0, 0xffff),
        vni: integer(0, 0xffffff),
        oam: boolean,
        critical: boolean,
        options: list(
          object({
            class: integer(0, 0xffff),
            type: integer(0, 255),
            data: {
              accepts: (value) =>
                types.isUint8Array(value) &&
                value.buffer instanceof ArrayBuffer &&
                value.length % 4 === 0,
            },
          }),
        ),
      }),
    ],
  ),
  plain(
    'flowKey',
    [udpPacket(), 5, 0],
    [bytes(), { accepts: (value) => [5, 3, 2].includes(value as number) }, integer(0, 0xffff)],
  ),
  plain(
    'scoreOf',
    [0n, 5n, 65_535, 10],
    [bigint, bigint, integer(0, 2 ** 18 - 1), integer(1, 10_000)],
  ),
  construction(
    'TargetTable',
    [twoTargets(), targetTable],
    [TARGETS, { accepts: (value) => value === null }],
  ),
  plain(
    'targetTable',
    [twoTargets(), targetTable],
    [TARGETS, { accepts: (value) => value === null }],
  ),
  method(targetTable, 'rows', [0], [integer(0, 0)]),
];

const OBJECTS: readonly (readonly [string, unknown])[] = [
  ['a Gateway', gateway],
  ['a FlowTable', table],
  ['a CaptureReader', reader],
  ['an object with a PacketBatch as prototype', Object.create(batch)],
  ['a Proxy of a PacketBatch', new Proxy(batch, {})],
];

function check(t: Test, calls: readonly Call[]): void {
  for (const { what, call, good, kinds } of calls) {
    t.equal(kinds.length, good.length, `${what}: every argument has a kind`);
    t.doesNotThrow(() => call(...(good as never[])), `${what} takes good arguments`);
    let tried = 0;
    for (const [where, given] of wrongArguments(good, kinds, OBJECTS)) {
      let thrown: unknown = null;
      try {
        call(...(given as never[]));
      } catch (error) {
        thrown = error;
      }
      tried++;
      if (thrown instanceof TypeError || thrown instanceof RangeError) continue;
      t.fail(`${what}: ${where}: expected a TypeError or RangeError, received ${String(thrown)}`);
    }
    t.ok(tried >= 20, `${what}: ${tried} wrong arguments throw`);
  }
}

t.test('without sockets', async (t) => check(t, CALLS));

t.test('engines', { skip: await socketsRefused() }, async (t) => {
  const gatewayEngine = await binding.openGatewayEngine({
    ...gatewayConfig(),
    udp: udpConfig(),
    workers: 1,
  });
  const appliance = await binding.openApplianceEngine(applianceConfig(), () => {});
  t.teardown(() => {
    gatewayEngine.stop();
    appliance.stop();
  });
  const opened: Promise<{ stop(): Promise<void> }>[] = [];
  t.teardown(async () => {
    for (const engine of await Promise.all(opened)) await engine.stop();
  });
  const opens = (one: Call): Call => ({
    ...one,
    call: (...given) => opened.push(one.call(...given) as Promise<{ stop(): Promise<void> }>),
  });
  check(t, [
    opens(
      plain(
        'openGatewayEngine',
        [{ ...gatewayConfig(), udp: udpConfig(), workers: 1 }],
        [object({ ...GATEWAY_FIELDS, udp: object({ ...UDP, ...PORTS }), workers: integer(1, 64) })],
      ),
    ),
    method(
      gatewayEngine,
      'configure',
      [liveConfig(), targetTable],
      [object(LIVE_FIELDS), { accepts: (value) => value === null }],
    ),
    method(gatewayEngine, 'addEndpoint', [1, peerEndpoint()], [INDEX, PEER]),
    method(gatewayEngine, 'removeEndpoint', [1], [INDEX]),
    method(gatewayEngine, 'setCookieKey', [new Uint8Array(16), 0, 0], [bytes(16), NOW, MS]),
    method(
      gatewayEngine,
      'setRecording',
      [144_000, 1000],
      [integer(0, 2 ** 32), integer(0, 3_600_000)],
    ),
    method(
      gatewayEngine,
      'previewFlows',
      [targetTable, 0, 10],
      [native, integer(0, U32), integer(1, U32)],
    ),
    method(gatewayEngine, 'explain', [udpPacket(), 0, 0], [bytes(), INDEX, NOW]),
    method(gatewayEngine, 'drainEvents', [10], [integer(0, 2 ** 20)]),
    method(
      gatewayEngine,
      'sendDatagram',
      [0x7f000001, 9, 0, new Uint8Array(8)],
      [integer(0, U32), integer(1, 65535), integer(0, 65535), bytes()],
    ),
    opens(plain('openApplianceEngine', [applianceConfig(), () => {}], [APPLIANCE, callback])),
    construction('ApplianceEngine', [{ ...applianceConfig(), offline: true }], [APPLIANCE]),
    method(appliance, 'setInspect', [true, new Uint32Array(0)], [boolean, words(0)]),
  ]);

  t.test('a TUN device that cannot be is refused by its argument', async (t) => {
    const kinds = [
      INDEX,
      ENDPOINT,
      object({
        name: text(15),
        netns: text(4096),
        mtu: integer(68, 8500),
        queuePackets: integer(0, 1 << 20),
        lifetime: choice(binding.names.tunLifetimes),
      }),
    ];
    const good = [
      2,
      plainEndpoint(),
      { name: 'gwlbtest%d', netns: '', mtu: 1500, queuePackets: 0, lifetime: 'held' },
    ];
    const add = gatewayEngine.addTun.bind(gatewayEngine) as (...given: unknown[]) => unknown;
    for (const [where, given] of wrongArguments(good, kinds, OBJECTS)) {
      t.throws(() => add(...given), { name: /^(TypeError|RangeError)$/ }, where);
    }
    t.throws(() => add(2, peerEndpoint(), good[2]), TypeError, 'a device and a peer');
    const restore = gatewayEngine.restoreTun.bind(gatewayEngine) as (given: unknown) => unknown;
    for (const [where, given] of wrongArguments([1], [INDEX], OBJECTS)) {
      t.throws(() => restore(given[0]), { name: /^(TypeError|RangeError)$/ }, where);
    }
    await t.rejects(restore(1) as Promise<void>, { code: 'EINVAL' }, 'no device');
  });

  t.test('devices and routes are asked for by text', async (t) => {
    const remove = binding.removeTun as (...given: unknown[]) => unknown;
    for (const [where, given] of wrongArguments(['a', ''], [text(15), text(4096)], OBJECTS)) {
      t.throws(() => remove(...given), { name: /^(TypeError|RangeError)$/ }, where);
    }
    const routes = binding.readRoutes as (...given: unknown[]) => unknown;
    for (const [where, given] of wrongArguments([''], [text(4096)], OBJECTS)) {
      t.throws(() => routes(...given), { name: /^(TypeError|RangeError)$/ }, where);
    }
    t.throws(() => routes('no-such-namespace'), { code: 'ENOENT' });
  });

  t.test('what is no batch of this engine is not released', async (t) => {
    const release = appliance.release.bind(appliance) as (given: unknown) => void;
    for (const value of [undefined, {}, batch, gateway, Object.create(null), 5]) {
      t.throws(() => release(value), TypeError);
    }
  });
});

t.test('arguments that are missing', async (t) => {
  for (const { what, call, good } of CALLS) {
    t.throws(() => call(), { name: /^(TypeError|RangeError)$/ }, `${what} without any`);
    const short = good.slice(0, -1) as never[];
    t.throws(
      () => call(...short),
      { name: /^(TypeError|RangeError)$/ },
      `${what} without the last`,
    );
  }
});

t.test('messages name the place, what was expected and what was received', async (t) => {
  const wrong = { ...gatewayConfig(), mtu: 70_000 };
  t.throws(() => new binding.Gateway(wrong), {
    name: 'RangeError',
    message: 'config.mtu: expected an integer from 576 to 8500, received 70000',
  });
  const targets = twoTargets();
  targets.weight[1] = 0;
  t.throws(() => new binding.TargetTable(targets, null), {
    name: 'RangeError',
    message: 'targets.weight[1]: expected an integer from 1 to 10000, received 0',
  });
  t.throws(() => gateway.toTargets(table as never, 0, 0, 0), {
    name: 'TypeError',
    message: 'batch: expected an integer from 0 to 4294967295, received an object',
  });
  t.throws(() => binding.flowKey(new Int8Array(4) as never, 5, 0), {
    name: 'TypeError',
    message: 'packet: expected a Uint8Array that is not shared, received an Int8Array',
  });
});

t.test('combinations that are wrong together', async (t) => {
  const twice = twoTargets();
  twice.slot[1] = 0;
  t.throws(() => new binding.TargetTable(twice, null), RangeError, 'one slot for two targets');
  for (const [column, wrong] of WRONG_WORDS) {
    const targets = twoTargets();
    targets[column][1] = wrong;
    t.throws(() => new binding.TargetTable(targets, null), { name: 'RangeError' }, column);
  }
  const ports = { ...gatewayConfig(), sourcePortBase: 65535, sourcePortCount: 2 };
  t.throws(() => new binding.Gateway(ports), RangeError, 'source ports above 65535');
  t.throws(
    () => new binding.PacketBatch(4, 2241),
    RangeError,
    'a stride that is no multiple of 64',
  );
  const data = new Uint8Array(124);
  const options = [1, 2, 3].map((type) => ({ class: 1, type, data }));
  const header = { protocolType: 0x0800, vni: 0, oam: false, critical: false, options };
  t.throws(() => binding.encodeGeneve(header), RangeError, 'more options than fit');
});

t.test('a getter that throws is heard, one that meddles changes nothing', async (t) => {
  const oops = new Error('oops');
  const config = Object.defineProperty(gatewayConfig(), 'mtu', {
    get() {
      throw oops;
    },
  });
  t.throws(() => new binding.Gateway(config), oops);

  const hashKey = new Uint8Array(16);
  const detaches = Object.defineProperty({ ...gatewayConfig(), hashKey }, 'stickiness', {
    get() {
      structuredClone(hashKey.buffer, { transfer: [hashKey.buffer] });
      return 5;
    },
  });
  t.doesNotThrow(() => new binding.Gateway(detaches), 'bytes were copied before the getter ran');
});
