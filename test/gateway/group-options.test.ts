import t from 'tap';
import {
  checkPolicyChange,
  checkTarget,
  checkTargetGroup,
} from '../../src/gateway/group-options.js';
import { parseMatcher } from '../../src/health/matcher.js';
import { thrown } from '../support/thrown.js';

const INVALID = 'ERR_GWLB_INVALID_ARGUMENT';
const RANGE = 'ERR_GWLB_OUT_OF_RANGE';

t.test('defaults are those of AWS', async (t) => {
  const settings = checkTargetGroup({});
  t.match(settings, {
    name: 'targets',
    port: 6081,
    inner: 'ip',
    sourceMac: null,
    destinationMac: null,
    optionClass: 0x0108,
    stickiness: '5-tuple',
    scope: 'endpoint',
    failover: 'no_rebalance',
    sendTcpReset: { onUnhealthy: false, onDeregistration: false },
    deregistrationDelaySeconds: 300,
    slowStartSeconds: 0,
    failOpen: false,
    healthCheck: {
      profile: 'aws',
      protocol: 'TCP',
      port: 80,
      path: '/',
      intervalSeconds: 10,
      timeoutSeconds: 5,
      healthyThreshold: 5,
      unhealthyThreshold: 2,
      matcher: { text: '200-399' },
      flapDamping: false,
      suspicion: true,
    },
  });
});

t.test('every wrong option of a target group has its sentence', async (t) => {
  const check = (healthCheck: object) => ({ healthCheck });
  const name = '1–32 letters, digits and hyphens';
  const path = 'a path of at most 1024 visible ASCII characters that begins with /';
  const codes = 'HTTP codes 200–599 such as "200", "200,301" or "200-399"';
  const mac = 'a MAC address such as "02:00:00:00:00:01"';
  const http = { protocol: 'HTTP' };
  const fast = { profile: 'fast' };
  const geneve = { protocol: 'GENEVE' };
  const cases: [unknown, string, string][] = [
    [null, INVALID, ': expected an object, received null'],
    [{ nmae: 'x' }, INVALID, '.nmae: expected one of the options name, port,'],
    [{ name: 'a_b' }, INVALID, `.name: expected ${name}, received "a_b"`],
    [{ name: '' }, INVALID, `.name: expected ${name}, received ""`],
    [{ name: 'x'.repeat(33) }, INVALID, `.name: expected ${name}, received "xxx`],
    [{ port: 0 }, RANGE, '.port: expected 1–65535, received 0'],
    [{ port: '6081' }, INVALID, '.port: expected an integer 1–65535, received "6081"'],
    [{ inner: 'IP' }, INVALID, '.inner: expected "ip" or "ethernet", received "IP"'],
    [{ inner: 'ethernet' }, INVALID, `.sourceMac: expected ${mac}, received undefined`],
    [
      { inner: 'ethernet', sourceMac: '02:00:00:00:00:01', destinationMac: '02' },
      INVALID,
      `.destinationMac: expected ${mac}, received "02"`,
    ],
    [
      { sourceMac: '02:00:00:00:00:01' },
      INVALID,
      `.sourceMac: expected nothing unless inner is 'ethernet', received "02:00:00:00:00:01"`,
    ],
    [{ optionClass: 65536 }, RANGE, '.optionClass: expected 0–65535, received 65536'],
    [
      { stickiness: 5 },
      INVALID,
      '.stickiness: expected "5-tuple", "3-tuple" or "2-tuple", received 5',
    ],
    [{ scope: 'zone' }, INVALID, '.scope: expected "endpoint" or "gateway", received "zone"'],
    [
      { failover: 'none' },
      INVALID,
      '.failover: expected "no_rebalance" or "rebalance", received "none"',
    ],
    [
      { deregistrationDelaySeconds: 3601 },
      RANGE,
      '.deregistrationDelaySeconds: expected 0–3600, received 3601',
    ],
    [{ sendTcpReset: true }, INVALID, '.sendTcpReset: expected an object, received true'],
    [
      { sendTcpReset: { onUnhealthy: 'yes' } },
      INVALID,
      '.sendTcpReset.onUnhealthy: expected true or false, received "yes"',
    ],
    [
      { sendTcpReset: { onIdleTimeout: true } },
      INVALID,
      '.sendTcpReset.onIdleTimeout: expected one of the options onUnhealthy, onDeregistration',
    ],
    [
      { sendTcpReset: { onUnhealthy: true }, failover: 'rebalance' },
      'ERR_GWLB_ATTRIBUTES',
      '.sendTcpReset.onUnhealthy: expected false unless failover is "no_rebalance", received true with "rebalance"',
    ],
    [
      { sendTcpReset: { onDeregistration: true }, stickiness: '2-tuple' },
      'ERR_GWLB_ATTRIBUTES',
      '.sendTcpReset.onDeregistration: expected false unless stickiness is "5-tuple", received true with "2-tuple"',
    ],
    [{ slowStartSeconds: 901 }, RANGE, '.slowStartSeconds: expected 0–900, received 901'],
    [{ failOpen: 1 }, INVALID, '.failOpen: expected true or false, received 1'],
    [{ healthCheck: true }, INVALID, '.healthCheck: expected an object, received true'],
    [check({ intervall: 1 }), INVALID, '.healthCheck.intervall: expected one of the options'],
    [
      check({ protocol: 'UDP' }),
      INVALID,
      '.healthCheck.protocol: expected "TCP", "HTTP", "HTTPS" or "GENEVE", received "UDP"',
    ],
    [check({ port: 65536 }), RANGE, '.healthCheck.port: expected 1–65535, received 65536'],
    [
      check({ path: '/' }),
      INVALID,
      '.healthCheck.path: expected nothing with protocol TCP, received "/"',
    ],
    [
      check({ matcher: '200' }),
      INVALID,
      '.healthCheck.matcher: expected nothing with protocol TCP, received "200"',
    ],
    [check({ ...http, path: 'x' }), INVALID, `.healthCheck.path: expected ${path}, received "x"`],
    [
      check({ ...http, path: '/a b' }),
      INVALID,
      `.healthCheck.path: expected ${path}, received "/a b"`,
    ],
    [check({ ...http, path: '/\r\nX: y' }), INVALID, '.healthCheck.path: expected a path'],
    [
      check({ ...http, path: `/${'x'.repeat(1024)}` }),
      INVALID,
      '.healthCheck.path: expected a path',
    ],
    [
      check({ ...http, matcher: 'ok' }),
      INVALID,
      `.healthCheck.matcher: expected ${codes}, received "ok"`,
    ],
    [
      check({ intervalSeconds: 2 }),
      RANGE,
      '.healthCheck.intervalSeconds: expected 5–300, received 2',
    ],
    [
      check({ intervalSeconds: 301 }),
      RANGE,
      '.healthCheck.intervalSeconds: expected 5–300, received 301',
    ],
    [
      check({ timeoutSeconds: 1 }),
      RANGE,
      '.healthCheck.timeoutSeconds: expected 2–120, received 1',
    ],
    [
      check({ timeoutSeconds: 121 }),
      RANGE,
      '.healthCheck.timeoutSeconds: expected 2–120, received 121',
    ],
    [
      check({ intervalSeconds: 5, timeoutSeconds: 6 }),
      RANGE,
      '.healthCheck.timeoutSeconds: expected at most intervalSeconds (5), received 6',
    ],
    [
      check({ healthyThreshold: 1 }),
      RANGE,
      '.healthCheck.healthyThreshold: expected 2–10, received 1',
    ],
    [
      check({ healthyThreshold: 11 }),
      RANGE,
      '.healthCheck.healthyThreshold: expected 2–10, received 11',
    ],
    [
      check({ unhealthyThreshold: 1 }),
      RANGE,
      '.healthCheck.unhealthyThreshold: expected 2–10, received 1',
    ],
    [
      check({ unhealthyThreshold: 11 }),
      RANGE,
      '.healthCheck.unhealthyThreshold: expected 2–10, received 11',
    ],
    [
      check({ profile: 'slow' }),
      INVALID,
      '.healthCheck.profile: expected "aws" or "fast", received "slow"',
    ],
    [
      check({ intervalSeconds: 7.5 }),
      INVALID,
      '.healthCheck.intervalSeconds: expected an integer 5–300, received 7.5',
    ],
    [
      check({ ...fast, intervalSeconds: 0.09 }),
      RANGE,
      '.healthCheck.intervalSeconds: expected 0.1–300, received 0.09',
    ],
    [
      check({ ...fast, intervalSeconds: Number.NaN }),
      INVALID,
      '.healthCheck.intervalSeconds: expected a number 0.1–300, received NaN',
    ],
    [
      check({ ...fast, intervalSeconds: Number.POSITIVE_INFINITY }),
      RANGE,
      '.healthCheck.intervalSeconds: expected 0.1–300, received Infinity',
    ],
    [
      check({ ...fast, timeoutSeconds: 0.049 }),
      RANGE,
      '.healthCheck.timeoutSeconds: expected 0.05–120, received 0.049',
    ],
    [
      check({ ...fast, timeoutSeconds: '0.1' }),
      INVALID,
      '.healthCheck.timeoutSeconds: expected a number 0.05–120, received "0.1"',
    ],
    [
      check({ ...fast, timeoutSeconds: 0.6 }),
      RANGE,
      '.healthCheck.timeoutSeconds: expected at most intervalSeconds (0.5), received 0.6',
    ],
    [
      check({ ...fast, unhealthyThreshold: 1 }),
      RANGE,
      '.healthCheck.unhealthyThreshold: expected 2–10, received 1',
    ],
    [
      check({ ...geneve, path: '/' }),
      INVALID,
      '.healthCheck.path: expected nothing with protocol GENEVE, received "/"',
    ],
    [
      check({ ...http, source: '10.0.0.1' }),
      INVALID,
      '.healthCheck.source: expected nothing with protocol HTTP, received "10.0.0.1"',
    ],
    [
      check({ destination: '10.0.0.1' }),
      INVALID,
      '.healthCheck.destination: expected nothing with protocol TCP, received "10.0.0.1"',
    ],
    [
      check({ ...geneve, source: '10.0.0' }),
      INVALID,
      '.healthCheck.source: expected an IP address, received "10.0.0"',
    ],
    [
      check({ ...geneve, destination: 5 }),
      INVALID,
      '.healthCheck.destination: expected an IP address, received 5',
    ],
    [
      check({ ...geneve, source: 'fd00::1' }),
      INVALID,
      '.healthCheck.destination: expected an IPv6 address like source, received "198.18.0.2"',
    ],
    [
      check({ suspicion: 1 }),
      INVALID,
      '.healthCheck.suspicion: expected true or false, received 1',
    ],
    [
      check({ flapDamping: 'yes' }),
      INVALID,
      '.healthCheck.flapDamping: expected true or false, received "yes"',
    ],
  ];
  for (const [options, code, message] of cases) {
    const error = thrown(() => checkTargetGroup(options));
    t.equal(error.code, code, error.message);
    t.ok(error.message.startsWith(`targetGroup${message}`), error.message);
    t.ok(error.message.startsWith(error.field ?? '?'));
  }
});

t.test('what is at the edge of a range is accepted', async (t) => {
  const healthCheck = {
    protocol: 'HTTPS',
    port: 65535,
    path: '/a?b=c',
    intervalSeconds: 300,
    timeoutSeconds: 120,
    healthyThreshold: 10,
    unhealthyThreshold: 10,
    matcher: 200,
  };
  const settings = checkTargetGroup({ name: 'a-9', deregistrationDelaySeconds: 0, healthCheck });
  t.match(settings.healthCheck, { ...healthCheck, matcher: { text: '200' } });
  const least = { port: 1, intervalSeconds: 5, timeoutSeconds: 2, healthyThreshold: 2 };
  t.match(checkTargetGroup({ healthCheck: least }).healthCheck, least);
  const equal = { intervalSeconds: 7, timeoutSeconds: 7 };
  t.match(checkTargetGroup({ healthCheck: equal }).healthCheck, equal);
  t.equal(checkTargetGroup({ healthCheck: false }).healthCheck, false);
  const ethernet = {
    inner: 'ethernet',
    sourceMac: '02-00-00-00-00-0A',
    destinationMac: '02:00:00:00:00:0b',
  };
  t.match(checkTargetGroup(ethernet), {
    sourceMac: '02:00:00:00:00:0a',
    destinationMac: '02:00:00:00:00:0b',
  });
});

t.test('checks of the data path', async (t) => {
  const check = (options: object = {}) =>
    checkTargetGroup({ healthCheck: { protocol: 'GENEVE', ...options } }).healthCheck;
  t.match(check(), { port: 9, source: '198.18.0.1', destination: '198.18.0.2' });
  t.match(check({ port: 7, source: 'FD00::0:1', destination: 'fd00::2' }), {
    port: 7,
    source: 'fd00::1',
    destination: 'fd00::2',
  });
});

t.test('the fast profile', async (t) => {
  const fast = (options: object = {}) =>
    checkTargetGroup({ healthCheck: { profile: 'fast', ...options } }).healthCheck;
  t.match(fast(), {
    profile: 'fast',
    protocol: 'TCP',
    intervalSeconds: 0.5,
    timeoutSeconds: 0.4,
    healthyThreshold: 2,
    unhealthyThreshold: 2,
    flapDamping: true,
  });
  t.match(fast({ intervalSeconds: 0.1 }), { intervalSeconds: 0.1, timeoutSeconds: 0.1 });
  t.match(fast({ timeoutSeconds: 0.05, flapDamping: false }), {
    timeoutSeconds: 0.05,
    flapDamping: false,
  });
  t.match(fast({ intervalSeconds: 300, timeoutSeconds: 120 }), { timeoutSeconds: 120 });
});

t.test('a change of the policy names only what changes, and nothing else may', async (t) => {
  t.same(checkPolicyChange({ failOpen: true }), { failOpen: true });
  t.same(Object.keys(checkPolicyChange({ healthCheck: {} })), ['healthCheck']);
  t.match(
    thrown(() => checkPolicyChange({ scope: 'gateway' })).message,
    'targetGroup.scope: expected one of the options that can change (stickiness, failover',
  );
});

t.test('a matcher takes codes, lists and ranges within 200–599', async (t) => {
  const matcher = parseMatcher('f', '200-204, 301,404');
  for (const code of [200, 204, 301, 404]) t.ok(matcher.matches(code), `${code}`);
  for (const code of [0, 101, 199, 205, 300, 302, 403, 405, 599])
    t.notOk(matcher.matches(code), `${code}`);
  t.ok(parseMatcher('f', '200-599').matches(599));
  const wrong = [
    '',
    ',',
    '200,',
    '199',
    '600',
    '200-',
    '-200',
    '399-200',
    '200-600',
    '20',
    '2000',
    '2e2',
    null,
    {},
    199,
    200.5,
  ];
  for (const text of wrong) {
    t.match(
      thrown(() => parseMatcher('f', text)),
      { code: INVALID, message: /^f: expected HTTP codes/ },
      String(text),
    );
  }
});

t.test('targets: defaults, and every wrong value', async (t) => {
  t.same(checkTarget({ address: '10.0.1.10' }, 6081, 'targets[0]'), {
    id: '10.0.1.10:6081',
    address: '10.0.1.10',
    number: 0x0a00010a,
    port: 6081,
    zone: 'default',
    weight: 1,
  });
  t.equal(checkTarget({ address: '223.255.255.255', weight: 0 }, 6081, 'f').number, 0xdfffffff);
  const cases: [unknown, string, string][] = [
    ['10.0.1.10', INVALID, ': expected an object, received "10.0.1.10"'],
    [{}, INVALID, '.address: expected a unicast IPv4 address, received undefined'],
    [
      { address: '10.0.1' },
      INVALID,
      '.address: expected a unicast IPv4 address, received "10.0.1"',
    ],
    [{ address: '10.0.1.256' }, INVALID, '.address: expected a unicast IPv4 address'],
    [{ address: '010.0.0.1' }, INVALID, '.address: expected a unicast IPv4 address'],
    [{ address: '0.0.0.0' }, INVALID, '.address: expected a unicast IPv4 address'],
    [{ address: '224.0.0.1' }, INVALID, '.address: expected a unicast IPv4 address'],
    [{ address: '255.255.255.255' }, INVALID, '.address: expected a unicast IPv4 address'],
    [{ address: '::1' }, INVALID, '.address: expected a unicast IPv4 address, received "::1"'],
    [
      { address: 167772161 },
      INVALID,
      '.address: expected a unicast IPv4 address, received 167772161',
    ],
    [{ address: '10.0.0.1', port: 0 }, RANGE, '.port: expected 1–65535, received 0'],
    [
      { address: '10.0.0.1', zone: '' },
      INVALID,
      '.zone: expected 1–63 letters, digits, ".", "_" and "-", received ""',
    ],
    [{ address: '10.0.0.1', zone: 'a b' }, INVALID, '.zone: expected 1–63'],
    [{ address: '10.0.0.1', weight: 1001 }, RANGE, '.weight: expected 0–1000, received 1001'],
    [{ address: '10.0.0.1', weight: -1 }, RANGE, '.weight: expected 0–1000, received -1'],
    [
      { address: '10.0.0.1', wieght: 1 },
      INVALID,
      '.wieght: expected one of the options address, port, zone, weight',
    ],
  ];
  for (const [target, code, message] of cases) {
    const error = thrown(() => checkTarget(target, 6081, 'targets[3]'));
    t.equal(error.code, code, error.message);
    t.ok(error.message.startsWith(`targets[3]${message}`), error.message);
  }
});
