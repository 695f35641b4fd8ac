/** The addon's devices of an appliance: what they are given, and in which order. */
import t from 'tap';
import { binding } from '../../src/native/binding.js';
import { applianceConfig, socketsRefused } from './fixtures.js';
import {
  bigint,
  boolean,
  choice,
  integer,
  type Kind,
  list,
  object,
  optional,
  text,
  wrongArguments,
} from './kinds.js';

const skip = await socketsRefused();

const DEVICES = object({
  devices: integer(1, 256),
  perEndpoint: boolean,
  anyEndpoint: boolean,
  endpoints: list(bigint),
  offloads: boolean,
  flowsIpv4: integer(1024, 2 ** 27),
  flowsIpv6: integer(1024, 2 ** 27),
  tcpIdleMs: integer(1, 2 ** 31 - 1),
  otherIdleMs: integer(1, 2 ** 31 - 1),
});

const DEVICE = object({
  name: text(15),
  netns: text(4096),
  mtu: integer(68, 8500),
  queuePackets: integer(0, 1 << 20),
  lifetime: choice(binding.names.tunLifetimes),
});

t.test('devices of an appliance are refused by their arguments', { skip }, async (t) => {
  const appliance = await binding.openApplianceEngine(applianceConfig(), () => {});
  t.teardown(() => appliance.stop());
  const tun = { name: 'gwlbtest%d', netns: '', mtu: 1500, queuePackets: 0, lifetime: 'held' };
  const devices = {
    devices: 2,
    perEndpoint: true,
    anyEndpoint: false,
    endpoints: [5n],
    offloads: false,
    flowsIpv4: 1024,
    flowsIpv6: 1024,
    tcpIdleMs: 1000,
    otherIdleMs: 1000,
  };
  const number = integer(0, 255);
  const methods = appliance as unknown as Record<string, (...given: unknown[]) => unknown>;
  const calls: [string, unknown[], Kind[]][] = [
    ['attachDevices', [devices], [DEVICES]],
    ['addDevice', [0, tun, tun], [number, DEVICE, optional(DEVICE)]],
    ['restoreDevice', [0], [number]],
    ['endpointsFrom', [0], [integer(0, 256)]],
    ['deviceCounters', [0], [optional(number)]],
  ];
  for (const [method, good, kinds] of calls) {
    for (const [where, given] of wrongArguments(good, kinds, [])) {
      const call = () => methods[method](...given);
      t.throws(call, { name: /^(TypeError|RangeError)$/ }, `${method} ${where}`);
    }
  }
  t.strictSame([appliance.endpointsFrom(0), appliance.deviceCounters(0)], [[], null]);
  await t.rejects(appliance.addDevice(0, tun as never, null), { code: 'EINVAL' }, 'no devices');
  await appliance.attachDevices(devices);
  await t.rejects(appliance.attachDevices(devices), { code: 'EEXIST' });
  await t.rejects(appliance.addDevice(2, tun as never, null), { code: 'EINVAL' }, 'two of them');
  await t.rejects(appliance.restoreDevice(0), { code: 'EINVAL' }, 'not made');
  t.equal(appliance.deviceCounters()?.length, appliance.deviceCounters(1)?.length);
  t.strictSame([appliance.deviceCounters(2), await appliance.lookAtDevices()], [null, []]);
  await appliance.detachDevices();
  t.equal(appliance.deviceCounters(), null);
});
