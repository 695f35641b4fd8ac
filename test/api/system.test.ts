/** What a program asks and tells the kernel, and the checks of options without their use. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import {
  checkOptionsOf,
  GatewayError,
  limitPrivileges,
  type OptionsKind,
  readRoutes,
  removeTun,
  TargetGroup,
} from '../../src/index.js';
import { ROOT } from '../support/places.js';

t.test('the routes of this host', async (t) => {
  const { routes, rules, complete } = readRoutes();
  t.equal(complete, true);
  t.ok(
    rules.some(({ table }) => table === 254),
    'the main table is asked',
  );
  for (const { version, prefix, bits, text } of routes) {
    t.equal(prefix.length, version === 4 ? 4 : 16);
    t.ok(text.endsWith(`/${bits}`), text);
  }
  t.throws(() => readRoutes('gwlb-no-such-namespace'), {
    code: 'ERR_GWLB_UNKNOWN_NAMESPACE',
    field: 'options.netns',
  });
  t.throws(() => readRoutes(5 as never), { name: 'GatewayError', field: 'netns' });
});

t.test('a TUN device that is not there', async (t) => {
  t.throws(() => removeTun('gwlb-absent'), { code: /ERR_GWLB_(DEVICE|PERMISSION)/ });
  t.throws(() => removeTun('a b'), { field: 'name', code: 'ERR_GWLB_INVALID_ARGUMENT' });
  t.throws(() => removeTun('gwlb0', ''), { name: 'GatewayError', field: 'netns' });
});

/** In a process of its own: what is given up does not come back. */
function limited(expression: string): { status: number | null; stdout: string; stderr: string } {
  const script = `
    import { readFileSync } from 'node:fs';
    import { limitPrivileges } from '${join(ROOT, 'dist/index.js')}';
    ${expression};
    const status = readFileSync('/proc/self/status', 'utf8');
    console.log(status.match(/CapPrm:\\s*(\\S+)/)[1], status.match(/NoNewPrivs:\\s*(\\d)/)[1]);`;
  return spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    cwd: ROOT,
  });
}

t.test('privileges that are not named are given up', async (t) => {
  const none = limited('limitPrivileges([])');
  t.match(none, { status: 0, stdout: `${'0'.repeat(16)} 1\n` }, none.stderr);
  if (process.getuid?.() === 0) {
    t.match(limited("limitPrivileges(['CAP_NET_ADMIN'])").stdout, /^0{12}1000 1/);
    const some = "['CAP_NET_ADMIN', 'CAP_NET_BIND_SERVICE']";
    const inherits = limited(`
      limitPrivileges(${some}, 'nobody', ['CAP_NET_ADMIN']);
      (await import('node:child_process')).spawnSync('grep', ['CapEff', '/proc/self/status'], {
        stdio: 'inherit',
      })`);
    t.match(inherits.stdout, /^CapEff:\t0{12}1000\n0{12}1400 1/, inherits.stderr);
  }
  const unknown = limited("limitPrivileges([], 'gwlb-nobody-has-this-name')");
  t.equal(unknown.status, 1);
  t.match(
    unknown.stderr,
    /user: expected the name of a user of this system, received "gwlb-nobody/,
  );
});

t.test('what is no capability is refused, and nothing given up', async (t) => {
  const wrong: [unknown, unknown, string, unknown?][] = [
    [['CAP_SYS_BOOT'], undefined, 'keep[0]'],
    [['CAP_NET_ADMIN', 5], undefined, 'keep[1]'],
    ['CAP_NET_ADMIN', undefined, 'keep'],
    [undefined, undefined, 'keep'],
    [[], '', 'user'],
    [[], 5, 'user'],
    [['CAP_NET_ADMIN'], undefined, 'inherit[0]', ['CAP_SYS_BOOT']],
    [['CAP_NET_ADMIN'], undefined, 'inherit', ['CAP_SYS_ADMIN']],
    [['CAP_NET_ADMIN'], undefined, 'inherit', 'CAP_NET_ADMIN'],
  ];
  for (const [keep, user, field, inherit] of wrong) {
    const call = () => limitPrivileges(keep as never, user as never, inherit as never);
    t.throws(call, { name: 'GatewayError', field });
  }
});

t.test('options are checked as their users check them', async (t) => {
  const targetGroup = new TargetGroup({ healthCheck: false });
  const right: [OptionsKind, unknown][] = [
    ['listen', { address: '10.0.1.5', targetGroup }],
    ['targetGroup', { scope: 'gateway', healthCheck: false }],
    ['target', { address: '10.0.1.10', weight: 0 }],
    ['endpoint', { zone: 'a', mtu: 1500, tun: 'gwlb0', netns: null }],
    ['endpoint', { geneve: { peer: '10.0.9.1' } }],
    ['batchEndpoint', { zone: 'a' }],
    ['gateway', { targetGroup, outerHeaders: true, address: '10.0.1.5' }],
    ['appliance', { address: '::', healthCheck: false, drop: [{ port: 53 }] }],
    ['tun', { name: 'gwlb0', persistent: true }],
    ['geneve', { peer: '10.0.9.1' }],
    ['flowReports', { intervalSeconds: 60 }],
  ];
  for (const [kind, options] of right) t.equal(checkOptionsOf(kind, options), undefined, kind);
  const wrong: [OptionsKind, unknown, string][] = [
    ['listen', { address: '10.0.1.5', targetGroup, mtu: 1 }, 'at.mtu'],
    ['listen', { address: '10.0.1.5' }, 'at.targetGroup'],
    ['targetGroup', { scope: 'x' }, 'at.scope'],
    ['target', { address: 'x' }, 'at.address'],
    ['endpoint', { tun: 'gwlb0', netns: 5 }, 'at.netns'],
    ['endpoint', { geneve: { peer: '10.0.9.1' }, netns: null }, 'at.netns'],
    ['endpoint', { tun: 'gwlb0', geneve: { peer: '10.0.9.1' } }, 'at'],
    ['endpoint', { zone: 'a' }, 'at'],
    ['batchEndpoint', { tun: 'gwlb0' }, 'at.tun'],
    ['gateway', { targetGroup, outerHeaders: true }, 'at.address'],
    ['appliance', { address: '10.0.1.5', netns: 'x' }, 'at.healthCheck'],
    ['appliance', { address: '10.0.1.5', drop: [{ port: 53 }, { port: 0 }] }, 'at.drop[1].port'],
    ['tun', { name: '' }, 'at.name'],
    ['geneve', { peer: '10.0.9.1', vni: -1 }, 'at.vni'],
    ['flowReports', { intervalSeconds: -1 }, 'at.intervalSeconds'],
    ['flowReports', 60, 'at'],
  ];
  for (const [kind, options, field] of wrong) {
    t.throws(() => checkOptionsOf(kind, options, 'at'), { name: 'GatewayError', field }, kind);
  }
  t.throws(() => checkOptionsOf('targetGroup', { scope: 'x' }), {
    name: 'GatewayError',
    field: 'targetGroup.scope',
  });
  t.throws(() => checkOptionsOf('x' as never, {}), { name: 'GatewayError', field: 'kind' });
});

t.test('errors say the same about another field', async (t) => {
  const error = GatewayError.invalidArgument('scope', '"a" or "b"', 5);
  t.equal(error.message, 'scope: expected "a" or "b", received 5');
  t.equal(error.detail, 'expected "a" or "b", received 5');
  const other = error.at('fleet.scope');
  t.match(other, { code: error.code, field: 'fleet.scope', cause: error });
  t.equal(other.message, 'fleet.scope: expected "a" or "b", received 5');
  const system = Object.assign(new Error('no'), { code: 'EADDRINUSE', syscall: 'bind' });
  const told = GatewayError.fromSystemError(system, 'listen on 10.0.0.1:80');
  t.match(told, { code: 'ERR_GWLB_ADDRESS_IN_USE', message: /^cannot listen on 10\.0\.0\.1:80: / });
  t.equal(told.at('listen').message, `listen: ${told.message}`, 'it had no field before');
});
