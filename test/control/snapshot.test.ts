import fc from 'fast-check';
import t from 'tap';
import { checkTarget } from '../../src/control/options.js';
import { Registry } from '../../src/control/registry.js';
import { SlotAllocator } from '../../src/control/slots.js';
import { snapshotOf, ZoneIndex } from '../../src/control/snapshot.js';
import type { GatewayError } from '../../src/errors.js';
import { fnv1a64, targetIdentity } from '../../src/fleet/identity.js';
import { TARGETS_MAX, ZONES_MAX } from '../../src/limits.js';
import { POLICY } from './registry-rig.js';

t.test('FNV-1a 64 by its published vectors', async (t) => {
  t.equal(fnv1a64(''), 0xcbf29ce484222325n);
  t.equal(fnv1a64('a'), 0xaf63dc4c8601ec8cn);
  t.equal(fnv1a64('foobar'), 0x85944171f73967e8n);
  t.equal(fnv1a64('é'), fnv1a64(Buffer.from([0xc3, 0xa9]).toString('utf8')));
});

t.test("a target's identity never changes between releases", async (t) => {
  t.equal(targetIdentity('10.0.1.10:6081'), 0x20386214eab7b01n);
});

t.test('a zone that nobody has any more gives its number back', async (t) => {
  const zones = new ZoneIndex();
  t.same(
    ['a', 'b', 'c'].map((name) => zones.number(name)),
    [0, 1, 2],
  );
  t.same([zones.hold('c'), zones.hold('c'), zones.hold('d')], [2, 2, 3]);
  zones.keep(new Set(['a']));
  t.same(zones.entries(), [
    ['a', 0],
    ['c', 2],
    ['d', 3],
  ]);
  t.equal(zones.size, 4, 'numbers stay where they are');
  t.equal(zones.number('e'), 1, 'the lowest free one');
  zones.release('c');
  zones.release('d');
  zones.keep(new Set());
  t.same(zones.entries(), [['c', 2]], 'it was held twice');
  zones.release('c');
  const copy = zones.clone();
  zones.keep(new Set());
  t.equal(zones.size, 0);
  t.same(copy.entries(), [['c', 2]]);
});

t.test('zones are numbered in the order they are named', async (t) => {
  const zones = new ZoneIndex();
  t.same([zones.number('b'), zones.number('a'), zones.number('b')], [0, 1, 0]);
  t.same(zones.entries(), [
    ['b', 0],
    ['a', 1],
  ]);
  for (let i = 2; i < ZONES_MAX; i++) t.equal(zones.number(`z${i}`), i);
  zones.checkRoom(['a', 'b']);
  try {
    zones.number('more');
    t.fail('took one more');
  } catch (error) {
    t.match(error as GatewayError, {
      code: 'ERR_GWLB_ENDPOINT_LIMIT',
      message: `zone: expected at most ${ZONES_MAX} zones of targets and endpoints, received ${ZONES_MAX + 1}`,
    });
  }
  t.equal(zones.size, ZONES_MAX);
});

t.test('the snapshot says what the data plane must know', async (t) => {
  const policy = {
    ...POLICY,
    failover: 'rebalance',
    deregistrationDelayMs: 0,
    checks: false,
  } as const;
  const registry = new Registry(policy, { targets: TARGETS_MAX, zones: ZONES_MAX });
  registry.attach(0);
  const target = (address: string, options = {}) => checkTarget({ address, ...options }, 6081, 'f');
  registry.register(
    [
      target('10.0.1.10', { zone: 'b', weight: 3 }),
      target('255.0.0.1'.replace('255', '223'), { port: 7000, weight: 0 }),
      target('10.0.1.11', { zone: 'b' }),
    ],
    0,
  );
  registry.deregister([registry.get('10.0.1.11')], 0);
  const zones = new ZoneIndex();
  zones.number('a');
  const snapshot = snapshotOf(registry, zones, false, 0);
  t.same(snapshot, {
    targets: [
      {
        slot: 0,
        zone: 1,
        address: 0x0a00010a,
        port: 6081,
        eligible: true,
        reset: false,
        gone: false,
        keeps: true,
        generation: 0,
        weight: 30,
        identity: targetIdentity('10.0.1.10:6081'),
      },
      {
        slot: 1,
        zone: 2,
        address: 0xdf000001,
        port: 7000,
        eligible: false,
        reset: false,
        gone: false,
        keeps: true,
        generation: 0,
        weight: 1,
        identity: targetIdentity('223.0.0.1:7000'),
      },
      {
        slot: 2,
        zone: 1,
        address: 0x0a00010b,
        port: 6081,
        eligible: false,
        reset: false,
        gone: true,
        keeps: false,
        generation: 1,
        weight: 10,
        identity: targetIdentity('10.0.1.11:6081'),
      },
    ],
    zones: 3,
    crossZone: false,
    seed: 0n,
  });
  t.equal(snapshotOf(registry, zones, true, 0).crossZone, true);
  const resetting = { ...policy, failover: 'no_rebalance', resetOnDeregistration: true } as const;
  registry.setPolicy(resetting, false, 0);
  registry.register([target('10.0.1.12', { zone: 'b' })], 0);
  registry.deregister([registry.get('10.0.1.12')], 0);
  t.match(snapshotOf(registry, zones, false, 0).targets[3], { reset: true, gone: true });
});

t.test('slots: never used ones first, then the one freed longest ago', async (t) => {
  const slots = new SlotAllocator(3, 100);
  t.same([slots.allocate(0), slots.allocate(0)], [0, 1]);
  slots.release(1, 10, false);
  slots.release(0, 20, false);
  t.equal(slots.available(20), 1);
  t.equal(slots.allocate(20), 2);
  t.equal(slots.allocate(109), -1);
  t.equal(slots.available(110), 1);
  t.equal(slots.allocate(110), 1);
  t.equal(slots.allocate(119), -1);
  t.equal(slots.allocate(120), 0);
  slots.release(2, 121, true);
  t.equal(slots.available(121), 1);
  t.equal(slots.allocate(121), 2, 'a clean one needs no quarantine');
});

t.test('property: slots are unique, in range and kept in quarantine', async (t) => {
  const steps = fc.array(
    fc.record({ take: fc.boolean(), pick: fc.nat(), clean: fc.boolean(), ms: fc.nat({ max: 60 }) }),
    { maxLength: 80, size: 'max' },
  );
  fc.assert(
    fc.property(steps, (list) => {
      const slots = new SlotAllocator(4, 100);
      const used: number[] = [];
      const freed = new Map<number, number>();
      let now = 0;
      for (const { take, pick, clean, ms } of list) {
        now += ms;
        const available = slots.available(now);
        if (take) {
          const slot = slots.allocate(now);
          if (slot < 0 !== (available === 0)) return false;
          if (slot < 0) continue;
          if (slot > 3 || used.includes(slot)) return false;
          if (now - (freed.get(slot) ?? -1000) < 100) return false;
          used.push(slot);
        } else if (used.length > 0) {
          const [slot] = used.splice(pick % used.length, 1);
          slots.release(slot, now, clean);
          if (clean) freed.delete(slot);
          else freed.set(slot, now);
        }
      }
      return true;
    }),
  );
  t.pass('held');
});
