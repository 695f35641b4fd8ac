/** The arguments of `gwlb appliance` as data, and what is wrong with them. */
import t from 'tap';
import { type ApplianceArguments, applianceSettings } from '../../src/appliance/options.js';

const DEFAULTS: ApplianceArguments = {
  listen: '127.0.0.1',
  port: '6081',
  healthPort: '80',
  drop: [],
  optionClass: '0x0108',
  maxEndpoints: '16',
  tunMtu: '8500',
  flows: '65536',
  offloads: true,
  removeDevices: false,
  table: '6081',
  setup: true,
  printSetup: false,
  onEndpointTimeout: '30',
  healthProtocol: 'http',
  healthInterval: '5',
  healthTimeout: '4',
  drainSeconds: '0',
  pcapFilter: '',
  pcapBytes: '134217728',
  pcapKeep: '10',
  dropPrivileges: true,
};

const settings = (given: Partial<ApplianceArguments>) =>
  applianceSettings({ ...DEFAULTS, ...given });

const ID = 'vpce-0123456789abcdef0';

t.test('without devices it is what it was', async (t) => {
  t.match(settings({}), {
    listen: { address: '127.0.0.1', port: 6081, healthCheck: { protocol: 'HTTP', port: 80 } },
    tun: null,
    setup: null,
    deviceProgram: null,
    health: { command: null, file: null, flowMs: null, intervalMs: 5_000, timeoutMs: 4_000 },
    drainMs: 0,
    metrics: null,
    socket: null,
    capture: null,
    logLevel: 'warn',
  });
});

t.test('devices', async (t) => {
  t.match(settings({ tun: 'gwlb0' }), {
    tun: { name: 'gwlb0', out: null, mtu: 8500, netns: null, persistent: true },
    setup: { nat: null, table: 6081 },
    logLevel: 'info',
  });
  t.match(settings({ tun: 'in=gwi0,out=gwo0', tunNetns: 'blue', removeDevices: true }).tun, {
    name: 'gwi0',
    out: 'gwo0',
    netns: 'blue',
    persistent: false,
  });
  const each = { tunPerEndpoint: 'gwi%d', endpoints: `${ID}, ${ID.replace('0', '1')}` };
  t.match(settings({ ...each, netnsPerEndpoint: 'tenant%d', maxEndpoints: '4' }).tun, {
    name: 'gwi%d',
    netns: 'tenant%d',
    perEndpoint: { endpoints: [ID, ID.replace('0', '1')], max: 4 },
    persistent: false,
  });
  t.match(settings({ tunPerEndpoint: 'in=gwi%d,out=gwo%d', endpoints: 'any' }).tun, {
    out: 'gwo%d',
    perEndpoint: { endpoints: 'any', max: 16 },
  });
  t.strictSame(settings({ tun: 'a', nat: true, table: '7' }).setup, { nat: 'default', table: 7 });
  t.strictSame(settings({ tun: 'a', nat: 'eth1' }).setup?.nat, 'eth1');
  t.equal(settings({ tun: 'a', setup: false }).setup, null);
});

t.test('all that goes with it', async (t) => {
  const given = settings({
    tun: 'gwlb0',
    onEndpoint: './rules',
    healthCommand: ' check  --all ',
    healthFile: '/run/well',
    healthFlow: '10',
    healthProtocol: 'tcp',
    drainSeconds: '30',
    metrics: '127.0.0.1:9465',
    socket: '/run/a.sock',
    pcap: 'a.pcap',
    pcapFilter: 'tcp',
    logLevel: 'debug',
  });
  t.match(given, {
    listen: { healthCheck: { protocol: 'TCP', port: 80 } },
    deviceProgram: { path: './rules', timeoutMs: 30_000 },
    health: { command: ['check', '--all'], file: '/run/well', flowMs: 10_000 },
    drainMs: 30_000,
    metrics: { address: '127.0.0.1', port: 9465 },
    socket: '/run/a.sock',
    capture: { path: 'a.pcap', bytes: 1 << 27, keep: 10 },
    logLevel: 'debug',
  });
});

const WRONG: [Partial<ApplianceArguments>, string, RegExp][] = [
  [{ tun: 'a b' }, '--tun', /expected NAME or in=NAME,out=NAME.*received "a b"/],
  [{ tun: '' }, '--tun', /received ""/],
  [{ tun: 'in=a' }, '--tun', /received "in=a"/],
  [{ tun: 'in=a,out=b,c' }, '--tun', /received/],
  [{ tun: 'a"; drop' }, '--tun', /received/],
  [{ tun: 'a%d%d' }, '--tun', /received/],
  [{ tun: 'abcdefghijklmnop' }, '--tun', /received/],
  [{ tun: 'a', tunPerEndpoint: 'b%d' }, '--tun-per-endpoint', /nothing together with --tun/],
  [{ tunPerEndpoint: 'b%d' }, '--endpoints', /expected any, or ids vpce-….*received undefined/],
  [{ tunPerEndpoint: 'b%d', endpoints: 'vpce-1' }, '--endpoints', /received "vpce-1"/],
  [{ tunPerEndpoint: 'b%d', endpoints: 'any', maxEndpoints: '257' }, '--max-endpoints', /1–256/],
  [{ tun: 'a', endpoints: 'any' }, '--endpoints', /nothing without --tun-per-endpoint/],
  [{ netnsPerEndpoint: 'a%d' }, '--netns-per-endpoint', /nothing without --tun-per-endpoint/],
  [{ nat: true }, '--nat', /nothing without --tun or --tun-per-endpoint/],
  [{ onEndpoint: 'x' }, '--on-endpoint', /nothing without --tun/],
  [{ tunNetns: 'x' }, '--tun-netns', /nothing without --tun/],
  [{ healthFlow: '3' }, '--health-flow', /nothing without --tun/],
  [{ tun: 'a', nat: 'a b' }, '--nat', /the name of an interface, received "a b"/],
  [{ tun: 'a', table: '0' }, '--table', /1–30000, received 0/],
  [{ tun: 'a', table: '255' }, '--table', /other than the kernel's, 253–255, received 255/],
  [{ tunPerEndpoint: 'a%d', endpoints: 'any', table: '250' }, '--table', /received 250–265/],
  [{ tun: 'a', tunMtu: '67' }, '--tun-mtu', /68–8500, received 67/],
  [{ tun: 'a', flows: 'many' }, '--flows', /a number/],
  [{ printSetup: true }, '--print-setup', /together with --tun/],
  [{ tun: 'a', setup: false, printSetup: true }, '--print-setup', /without --no-setup/],
  [{ tun: 'a', onEndpoint: '' }, '--on-endpoint', /a program/],
  [{ tun: 'a', onEndpointTimeout: '0' }, '--on-endpoint-timeout', /1–600, received 0/],
  [{ healthProtocol: 'udp' }, '--health-protocol', /http or tcp, received "udp"/],
  [{ healthCommand: '  ' }, '--health-command', /a program and its arguments, 1–64 words/],
  [{ healthCommand: 'a '.repeat(65) }, '--health-command', /1–64 words/],
  [{ healthInterval: '0' }, '--health-interval', /1–300/],
  [{ healthTimeout: '301' }, '--health-timeout', /1–300/],
  [{ healthFile: '' }, '--health-file', /a path/],
  [{ drainSeconds: '-1' }, '--drain-seconds', /a number 0–3600, received "-1"/],
  [{ metrics: 'localhost' }, '--metrics', /an address and port/],
  [{ socket: '/'.repeat(200) }, '--socket', /a path of 1–107 bytes/],
  [{ pcap: '' }, '--pcap', /a path/],
  [{ pcapFilter: 'tcp prt 4' }, '--pcap-filter', /column 5/],
  [{ pcapBytes: '5' }, '--pcap-bytes', /received 5/],
  [{ pcapKeep: '0' }, '--pcap-keep', /1–1000/],
  [{ logLevel: 'loud' }, '--log-level', /one of .*info.*received "loud"/],
  [{ healthPort: 'x' }, '--health-port', /a number/],
];

t.test('what is wrong is told by the name of the argument', async (t) => {
  for (const [given, field, message] of WRONG) {
    t.throws(
      () => settings(given),
      { name: 'GatewayError', field, message },
      JSON.stringify(given),
    );
  }
});
