import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import {
  checkBoolean,
  checkInteger,
  checkOneOf,
  checkOptions,
  checkString,
  ERROR_CODES,
  fromSystemError,
  GatewayError,
  invalidArgument,
} from '../../src/base/errors.js';
import { ROOT } from '../support/places.js';
import { thrown } from '../support/thrown.js';

t.test('docs/errors.md has one heading for every code and no other', async (t) => {
  const page = readFileSync(join(ROOT, 'docs/errors.md'), 'utf8');
  const headings = [...page.matchAll(/^## (.*)$/gm)].map((match) => match[1]);
  t.same(headings.sort(), Object.keys(ERROR_CODES).sort());
});

t.test('an error has code, message, field and cause', async (t) => {
  const cause = new Error('below');
  const error = new GatewayError('ERR_GWLB_CONFIG', 'said', { field: 'a.b', cause });
  t.match(error, { name: 'GatewayError', code: 'ERR_GWLB_CONFIG', message: 'said', field: 'a.b' });
  t.equal(error.cause, cause);
  t.ok(error instanceof Error);
  const bare = new GatewayError('ERR_GWLB_CLOSED', 'closed');
  t.notOk('cause' in bare);
  t.notOk('field' in bare);
  t.notOk('expected' in bare);
  t.notOk('received' in bare);
  t.same(bare.path, []);
  t.equal(bare.detail, 'closed');
});

t.test('what an error is about, was expected and was received is data', async (t) => {
  const error = thrown(() => checkInteger('group.targets[3].weight', 5000, 0, 1000));
  t.match(error, { field: 'group.targets[3].weight', expected: '0–1000', received: '5000' });
  t.same(error.path, ['group', 'targets', 3, 'weight']);
  t.equal(error.detail, 'expected 0–1000, received 5000');
  t.equal(error.message, `${error.field}: ${error.detail}`);
  const unknown = thrown(() => checkOptions('f', { 'a [0]\n': 1 }, ['b']));
  t.same(unknown.path, ['f', 'a [0]\n'], 'whatever a key is called');
  t.equal(unknown.field, 'f["a [0]\\n"]');
  t.match(unknown, { expected: 'one of the options b', received: 'an unknown option' });
  t.ok(thrown(() => checkOptions('f', { ['x'.repeat(1e6)]: 1 }, ['b'])).message.length < 300);
});

t.test('an error is about another field without losing what it says', async (t) => {
  const cause = new Error('below');
  const error = new GatewayError('ERR_GWLB_CONFIG', 'cannot: x: y', { cause });
  const named = error.at(['endpoints', 2, 'tun']);
  t.match(named, { code: error.code, message: 'endpoints[2].tun: cannot: x: y', cause });
  t.equal(named.at('--tun').message, '--tun: cannot: x: y');
  t.equal(named.at([]).message, 'cannot: x: y');
  t.notOk('field' in named.at([]));
  const checked = invalidArgument('a: b', 'c', 'd, received e').at(['x', 'a.b']);
  t.match(checked, { field: 'x.a.b', expected: 'c', received: '"d, received e"' });
  t.same(checked.path, ['x', 'a.b']);
  t.equal(checked.message, 'x.a.b: expected c, received "d, received e"');
});

t.test('checks say what was expected and what was received', async (t) => {
  const INVALID = 'ERR_GWLB_INVALID_ARGUMENT';
  const cases: [() => unknown, string, string][] = [
    [() => checkInteger('f', 2, 5, 300), 'ERR_GWLB_OUT_OF_RANGE', 'f: expected 5–300, received 2'],
    [
      () => checkInteger('f', 301, 5, 300),
      'ERR_GWLB_OUT_OF_RANGE',
      'f: expected 5–300, received 301',
    ],
    [() => checkInteger('f', 5.5, 5, 9), INVALID, 'f: expected an integer 5–9, received 5.5'],
    [() => checkInteger('f', '5', 5, 9), INVALID, 'f: expected an integer 5–9, received "5"'],
    [
      () => checkInteger('f', Number.NaN, 5, 9),
      INVALID,
      'f: expected an integer 5–9, received NaN',
    ],
    [() => checkInteger('f', 5n, 5, 9), INVALID, 'f: expected an integer 5–9, received 5n'],
    [() => checkString('f', ''), INVALID, 'f: expected a non-empty string, received ""'],
    [() => checkString('f', null), INVALID, 'f: expected a non-empty string, received null'],
    [
      () => checkString('f', 'abc', { max: 2 }),
      INVALID,
      'f: expected a string of 1–2 characters, received "abc"',
    ],
    [
      () => checkString('f', 'B', { pattern: /^a$/, expected: 'an a' }),
      INVALID,
      'f: expected an a, received "B"',
    ],
    [() => checkBoolean('f', 0), INVALID, 'f: expected true or false, received 0'],
    [() => checkOneOf('f', 'c', ['a', 'b']), INVALID, 'f: expected "a" or "b", received "c"'],
    [() => checkOneOf('f', 4, [5, 3, 2]), INVALID, 'f: expected 5, 3 or 2, received 4'],
    [() => checkOneOf('f', undefined, ['a']), INVALID, 'f: expected "a", received undefined'],
    [() => checkOptions('f', [1], ['a']), INVALID, 'f: expected an object, received an array of 1'],
    [
      () => checkOptions('f', () => 1, ['a']),
      INVALID,
      'f: expected an object, received a function',
    ],
    [
      () => checkOptions('f', { a: 1, aa: 2 }, ['a', 'b']),
      INVALID,
      'f.aa: expected one of the options a, b, received an unknown option',
    ],
  ];
  for (const [run, code, message] of cases) t.match(thrown(run), { code, message });
  t.equal(thrown(() => checkOptions('f', { aa: 2 }, ['a'])).field, 'f.aa');
});

t.test('checks hand back what is right', async (t) => {
  t.equal(checkInteger('f', 5, 5, 5), 5);
  t.equal(checkString('f', '', { min: 0 }), '');
  t.equal(checkBoolean('f', false), false);
  t.equal(checkOneOf('f', 'b', ['a', 'b'] as const), 'b');
  t.same(checkOptions('f', { a: 1 }, ['a', 'b']), { a: 1 });
});

t.test('received values are shown on one short line', async (t) => {
  const received = (value: unknown) =>
    invalidArgument('f', 'x', value).message.split('received ')[1];
  t.equal(received('a\nb'), '"a\\nb"');
  t.equal(received('x'.repeat(500)).length, 81);
  t.equal(received({}), 'an object');
  t.equal(received(new Date()), 'a Date');
  t.equal(received(Symbol('s')), 'a symbol');
  t.equal(received(undefined), 'undefined');
});

t.test('errors of the operating system get a code and the way round', async (t) => {
  const system = (code: string, syscall: string, detail?: string) =>
    Object.assign(new Error(`${syscall} ${detail}: said (${code})`), { code, syscall, detail });
  const cases: [Error, string, string, RegExp][] = [
    [
      system('EADDRINUSE', 'bind', '10.0.0.1:6081'),
      'listen on 10.0.0.1:6081',
      'ADDRESS_IN_USE',
      /^cannot listen on 10\.0\.0\.1:6081: another socket .* \(bind EADDRINUSE\)$/,
    ],
    [
      system('EADDRNOTAVAIL', 'bind', '10.0.0.1:6081'),
      'listen',
      'ADDRESS_NOT_AVAILABLE',
      /ip address add/,
    ],
    [
      system('EPERM', 'ioctl(TUNSETIFF)', 'gwlbe0'),
      'create gwlbe0',
      'PERMISSION',
      /CAP_NET_ADMIN .*AmbientCapabilities=CAP_NET_ADMIN .*unshare -Urn/,
    ],
    [
      Object.assign(system('EACCES', 'open'), { path: '/var/log/flows' }),
      'write the flow log',
      'PERMISSION',
      /^cannot write the flow log: the user of this process may not: see owner and mode of the file/,
    ],
    [system('EMFILE', 'socket', '10.0.0.1:80'), 'listen', 'SYSTEM', /LimitNOFILE=/],
    [system('EACCES', 'open', '/dev/net/tun'), 'create gwlbe0', 'PERMISSION', /CAP_NET_ADMIN/],
    [
      system('EACCES', 'bind', '10.0.0.1:80'),
      'listen on 10.0.0.1:80',
      'PERMISSION',
      /CAP_NET_BIND_SERVICE.*1024/,
    ],
    [
      system('EPERM', 'setns', '/run/netns/gw'),
      'create TUN device gwlbe0',
      'PERMISSION',
      /CAP_SYS_ADMIN.*ip netns exec/,
    ],
    [system('EPERM', 'sendto'), 'send', 'PERMISSION', /run as root/],
    [
      system('ENOENT', 'open', '/run/netns/gw'),
      'create TUN device gwlbe0',
      'UNKNOWN_NAMESPACE',
      /ip netns list/,
    ],
    [system('EINVAL', 'setns', '/etc/passwd'), 'listen', 'UNKNOWN_NAMESPACE', /ip netns add/],
    [system('ENOENT', 'open', '/dev/net/tun'), 'create gwlbe0', 'DEVICE', /modprobe tun/],
    [system('EINVAL', 'ioctl(TUNSETIFF)', 'eth0'), 'create eth0', 'DEVICE', /another kind/],
    [system('ENAMETOOLONG', 'ioctl(TUNSETIFF)', 'x'), 'create x', 'DEVICE', /15 characters/],
    [system('EBUSY', 'ioctl(TUNSETIFF)', 'x'), 'create x', 'DEVICE', /another program/],
    [system('EEXIST', 'ioctl(TUNSETIFF)', 'x'), 'create x', 'DEVICE', /exists already/],
    [system('ENODEV', 'ioctl(SIOCGIFMTU)', 'x'), 'create x', 'DEVICE', /no such device/],
    [system('ENOENT', 'read', 'x'), 'read x', 'SYSTEM', /said \(ENOENT\)/],
    [system('EIO', 'read', 'x'), 'read x', 'SYSTEM', /^cannot read x: read x: said/],
    [new Error('odd'), 'bind', 'SYSTEM', /^cannot bind: odd$/],
  ];
  for (const [error, action, code, message] of cases) {
    const made = fromSystemError(error, action);
    t.match(made, { code: `ERR_GWLB_${code}`, message }, error.message);
    t.equal(made.cause, error);
  }
  t.match(fromSystemError('text', 'go'), { code: 'ERR_GWLB_SYSTEM', message: 'cannot go: text' });
  const ours = new GatewayError('ERR_GWLB_CLOSED', 'closed');
  t.equal(fromSystemError(ours, 'go'), ours);
});

t.test('without a system call the action tells what was tried', async (t) => {
  const denied = Object.assign(new Error('denied'), { code: 'EACCES' });
  t.match(fromSystemError(denied, 'create TUN device x').message, /CAP_NET_ADMIN/);
  t.match(fromSystemError(denied, 'enter namespace x').message, /CAP_SYS_ADMIN/);
  t.match(fromSystemError(denied, 'listen on 1.2.3.4:80').message, /CAP_NET_BIND_SERVICE/);
});
