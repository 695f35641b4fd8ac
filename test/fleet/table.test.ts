import t from 'tap';
import { fnv1a64 } from '../../src/base/hash.js';
import { WEIGHT_UNIT } from '../../src/fleet/slow-start.js';
import { GENERATIONS } from '../../src/fleet/state.js';
import { tableOf, targetIdentity } from '../../src/fleet/table.js';
import { zoneNames, zoneNumber } from '../../src/fleet/zones.js';
import { binding } from '../../src/native/binding.js';
import { EVERY_SLOT, Played, spec, thrown } from './rig.js';

t.test('FNV-1a 64 by its published vectors', async (t) => {
  t.equal(fnv1a64(''), 0xcbf29ce484222325n);
  t.equal(fnv1a64('a'), 0xaf63dc4c8601ec8cn);
  t.equal(fnv1a64('foobar'), 0x85944171f73967e8n);
  t.equal(fnv1a64('é'), fnv1a64(Buffer.from([0xc3, 0xa9]).toString('utf8')));
});

t.test("a target's identity never changes between releases", async (t) => {
  t.equal(targetIdentity('10.0.1.10:6081'), 0x20386214eab7b01n);
});

t.test('tenths of a weight and generations are what native code counts in', async (t) => {
  t.equal(WEIGHT_UNIT, binding.limits.weightUnit);
  t.equal(GENERATIONS, binding.limits.generations);
});

t.test('the table says what the data plane must know', async (t) => {
  const limits = { targets: 8, zones: 3, endpoints: 2 };
  const played = new Played(
    { failover: 'rebalance', deregistrationDelayMs: 0, rule: null },
    true,
    limits,
  );
  played.do({ type: 'addEndpoint', id: 'e', zone: 'a' });
  played.register([
    spec(1, { zone: 'b', weight: 3 }),
    spec(2, { zone: 'c', port: 7000, weight: 0 }),
    spec(3, { zone: 'b' }),
  ]);
  played.deregister(['10.0.0.3']);
  const common = { reset: false, gone: false, keeps: true, generation: 0 };
  t.same(tableOf(played.fleet), {
    targets: [
      {
        ...common,
        slot: 0,
        zone: 1,
        address: 0x0a000001,
        port: 6081,
        eligible: true,
        weight: 30,
        identity: targetIdentity('10.0.0.1:6081'),
      },
      {
        ...common,
        slot: 1,
        zone: 2,
        address: 0x0a000002,
        port: 7000,
        eligible: false,
        weight: 1,
        identity: targetIdentity('10.0.0.2:7000'),
      },
      {
        slot: 2,
        zone: 1,
        address: 0x0a000003,
        port: 6081,
        eligible: false,
        reset: false,
        gone: true,
        keeps: false,
        generation: 1,
        weight: 10,
        identity: targetIdentity('10.0.0.3:6081'),
      },
    ],
    zones: 3,
    crossZone: false,
    seed: 0n,
  });
  played.do({ type: 'setCrossZone', crossZone: true });
  t.equal(tableOf(played.fleet).crossZone, true);
  played.do({ type: 'setCrossZone', crossZone: false });
  played.setPolicy({ rule: null, resetOnDeregistration: true, deregistrationDelayMs: 0 });
  played.register([spec(4, { zone: 'b' })]);
  played.deregister(['10.0.0.4']);
  t.match(tableOf(played.fleet).targets[3], { reset: true, gone: true });
  t.equal(tableOf(new Played().fleet).zones, 1, 'native code has no table without a zone');
});

t.test(
  'zones are numbered in the order they are named, for as long as anybody has them',
  async (t) => {
    const limits = { targets: 8, zones: 3, endpoints: 4 };
    const played = new Played({ rule: null, deregistrationDelayMs: 0 }, true, limits);
    const zones = () => zoneNames(played.fleet);
    played.register([spec(1, { zone: 'b' }), spec(2, { zone: 'a' })]);
    played.do({ type: 'addEndpoint', id: 'e', zone: 'a' });
    played.do({ type: 'addEndpoint', id: 'f', zone: 'a' });
    t.same(zones(), ['b', 'a']);
    const { revision } = played.fleet;
    played.do({ type: 'addEndpoint', id: 'g', zone: 'c' });
    t.ok(
      played.fleet.revision > revision,
      'the data plane must hear of a zone before its endpoint',
    );
    t.match(
      thrown(() => played.register([spec(3, { zone: 'd' })])),
      {
        code: 'ERR_GWLB_ENDPOINT_LIMIT',
        message: 'zone: expected at most 3 zones of targets and endpoints, received 4',
      },
    );
    t.match(
      thrown(() => played.do({ type: 'addEndpoint', id: 'h', zone: 'd' })),
      {
        code: 'ERR_GWLB_ENDPOINT_LIMIT',
      },
    );
    played.deregister(['10.0.0.1', '10.0.0.2']);
    t.same(zones(), ['b', 'a', 'c'], 'until the slot is free');
    played.tick(1, EVERY_SLOT);
    t.same(zones(), ['a', 'c']);
    t.equal(zoneNumber(played.fleet, 'c'), 2, 'numbers stay where they are');
    t.equal(tableOf(played.fleet).zones, 3);
    played.register([spec(3, { zone: 'd' })], 2);
    t.equal(zoneNumber(played.fleet, 'd'), 0, 'the lowest free one');
    played.do({ type: 'removeEndpoint', id: 'e', unused: false }, 3);
    t.equal(zoneNumber(played.fleet, 'a'), 1, 'it was held twice');
    played.do({ type: 'removeEndpoint', id: 'f', unused: false }, 3);
    played.do({ type: 'removeEndpoint', id: 'g', unused: false }, 3);
    t.same(zones(), ['d']);
    t.equal(tableOf(played.fleet).zones, 1);
  },
);

t.test(
  'endpoints have indices of their own, given out again when no flow can have them',
  async (t) => {
    const played = new Played();
    const add = (id: string, now: number) => {
      played.do({ type: 'addEndpoint', id, zone: 'a' }, now);
      return played.fleet.endpoints[id].index;
    };
    const remove = (id: string, unused: boolean, now: number) =>
      played.do({ type: 'removeEndpoint', id, unused }, now);
    t.same([add('e', 0), add('f', 0)], [0, 1]);
    t.match(
      thrown(() => add('e', 0)),
      {
        code: 'ERR_GWLB_DUPLICATE_ENDPOINT',
        message: 'endpoint.id: expected an id that no endpoint has, received "e"',
      },
    );
    t.match(
      thrown(() => add('g', 0)),
      {
        code: 'ERR_GWLB_ENDPOINT_LIMIT',
        message:
          'endpoint: expected at most 2 endpoints (the numbers of removed ones wait until their flows ' +
          'have ended), received one more than the 2 there are',
      },
    );
    remove('e', true, 1);
    t.equal(add('g', 1), 0, 'no packet ever entered by it');
    remove('f', false, 2);
    t.equal(thrown(() => add('h', 6_060_001)).code, 'ERR_GWLB_ENDPOINT_LIMIT');
    t.equal(add('h', 6_060_002), 1);
    t.match(
      thrown(() => remove('e', true, 0)),
      {
        code: 'ERR_GWLB_UNKNOWN_ENDPOINT',
        message: 'endpoint: expected an endpoint of this gateway, received e',
      },
    );
  },
);
