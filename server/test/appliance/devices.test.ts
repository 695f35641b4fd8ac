/** What is done for devices that come and go: the host, the program, the log. The kernel's part is played. */
import { EventEmitter } from 'node:events';
import type { ApplianceTunDevice, ApplianceTunEvents } from 'gwlb';
import { GatewayError } from 'gwlb';
import t from 'tap';
import type { DeviceProgram } from '../../src/appliance/device-program.js';
import { ApplianceDevices, type AttachedTun } from '../../src/appliance/devices.js';
import type { HostSetup } from '../../src/appliance/host-setup.js';
import type { Place } from '../../src/appliance/host-steps.js';
import { logged } from '../observe/log-rig.js';

const ID = 'vpce-0123456789abcdef0';

function deviceOf(name: string, more: Partial<ApplianceTunDevice> = {}): ApplianceTunDevice {
  const counters = {} as ApplianceTunDevice['counters'];
  const own = { name, out: null, endpoint: ID, netns: null, ifindex: 5, outIfindex: null };
  return { ...own, state: 'up', error: null, counters, ...more };
}

function rig(devices: ApplianceTunDevice[], refuse: (place: Place) => boolean = () => false) {
  const did: string[] = [];
  const tun = Object.assign(new EventEmitter<ApplianceTunEvents>(), { devices });
  const host = {
    apply: async (place: Place) => {
      await null;
      if (refuse(place)) throw new GatewayError('ERR_GWLB_SYSTEM', 'ip rule add: no');
      did.push(`apply ${place.name} ${place.out} ${place.table} ${place.nat}`);
      const lacking = place.name === 'gwi9' ? 'no nft' : null;
      return { place, done: ['a'], unchanged: 1, lacking };
    },
    undo: async (place: Place) => {
      await null;
      did.push(`undo ${place.name}`);
      return { undone: ['a'], left: place.name === 'gwi9' ? ['b'] : [] };
    },
  };
  const program = {
    changed: (change: string, { name }: { name: string }) => did.push(`${change} ${name}`),
    settled: async () => did.push('settled'),
  };
  const { log, entries } = logged();
  const work = {
    tun: tun as unknown as AttachedTun,
    setup: { host: host as unknown as HostSetup, settings: { nat: null, table: 100 } },
    program: program as unknown as DeviceProgram,
    log,
  };
  return { did, tun, work, entries, settled: () => new Promise((done) => setImmediate(done)) };
}

t.test('each device has a table of its own, and all is undone at the end', async (t) => {
  const { did, tun, work, settled } = rig([deviceOf('gwi0', { out: 'gwo0' })]);
  const devices = await ApplianceDevices.start(work);
  const second = deviceOf('gwi1');
  tun.devices.push(second);
  tun.emit('device', second);
  await settled();
  t.strictSame(did.splice(0), [
    'apply gwi0 gwo0 100 null',
    'create gwi0',
    'apply gwi1 gwi1 101 null',
    'create gwi1',
  ]);
  t.equal(devices.problem, null);
  await devices.stop();
  t.strictSame(did, ['destroy gwi0', 'destroy gwi1', 'settled', 'undo gwi0', 'undo gwi1']);
  tun.emit('device', second);
  await settled();
  t.equal(did.length, 5, 'nothing is done any more');
});

t.test('a device that was lost is set up anew when it is back', async (t) => {
  const { did, tun, work, entries, settled } = rig([deviceOf('gwi0')]);
  const devices = await ApplianceDevices.start(work);
  did.splice(0);
  const error = new GatewayError('ERR_GWLB_DEVICE', 'TUN device gwi0 was deleted');
  const gone = deviceOf('gwi0', { state: 'gone', error });
  tun.devices[0] = gone;
  tun.emit('gone', gone);
  t.equal(devices.problem, 'TUN device gwi0 was deleted');
  await settled();
  t.strictSame(did.splice(0), ['destroy gwi0', 'undo gwi0']);
  tun.devices[0] = deviceOf('gwi0');
  tun.emit('device', tun.devices[0]);
  // Told twice, it is set up once at a time.
  tun.emit('device', tun.devices[0]);
  await settled();
  t.strictSame(did.splice(0), [
    'apply gwi0 gwi0 100 null',
    'create gwi0',
    'undo gwi0',
    'apply gwi0 gwi0 100 null',
  ]);
  tun.emit('gone', deviceOf('gwi0', { state: 'down' }));
  tun.emit('device', tun.devices[0]);
  await settled();
  const again = ['undo gwi0', 'apply gwi0 gwi0 100 null'];
  t.strictSame(
    did,
    again,
    'set down, it is no new device for the program, but its routes are gone',
  );
  t.equal(devices.losses, 2);
  const events = entries.map(({ event }) => event).filter((event) => !event.startsWith('host_'));
  t.strictSame(events, ['device_lost', 'device_down']);
});

t.test('a host that cannot be set up: at the start an error, later told', async (t) => {
  const first = rig([deviceOf('gwi0'), deviceOf('gwi1')], ({ name }) => name === 'gwi1');
  await t.rejects(ApplianceDevices.start(first.work), { message: 'ip rule add: no' });
  t.strictSame(first.did.at(-1), 'undo gwi0', 'nothing is left');
  const { did, tun, work, entries, settled } = rig([], ({ name }) => name === 'gwi1');
  const devices = await ApplianceDevices.start(work);
  for (const name of ['gwi1', 'gwi9']) tun.emit('device', deviceOf(name));
  await settled();
  t.strictSame(did, ['apply gwi9 gwi9 101 null', 'create gwi9'], 'the rest goes on');
  const failed = entries.find(({ event }) => event === 'host_not_set_up');
  t.match(failed, { level: 'error', device: 'gwi1', error: 'ip rule add: no' });
  t.ok(entries.some(({ event, msg }) => event === 'host_lacks' && msg === 'no nft'));
  t.equal(devices.setupFailures, 1);
  await devices.stop();
  t.match(entries.at(-1), { event: 'host_left', left: ['b'], level: 'warn' });
  tun.emit('error', new GatewayError('ERR_GWLB_DEVICE', 'the name is in use'));
  t.match(entries.at(-1), { event: 'device_not_made', code: 'ERR_GWLB_DEVICE' });
});
