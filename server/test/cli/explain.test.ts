/** `gwlb explain` against a gateway that runs, and against none. */
import { execFile } from 'node:child_process';
import { existsSync, lstatSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { CLI } from '../../../test/support/places.js';
import { start } from '../support/running.js';
import { gwlb } from './rig.js';

const folder = mkdtempSync(join(tmpdir(), 'gwlb-explain-'));
const socket = join(folder, 'control.sock');
const file = join(folder, 'gateway.yaml');
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

const GATEWAY = '127.86.0.1';
const ID = 'vpce-00000000000000001';

function write(more = ''): void {
  writeFileSync(
    file,
    `gateway: { address: ${GATEWAY}, limits: { flows: 4096 } }
targetGroup: { healthCheck: false, targets: [{ address: 127.86.0.2 }, { address: 127.86.0.3 }] }
endpoints: [{ id: ${ID}, geneve: { peer: 127.86.0.9, vni: 7 } }]
control: { socket: ${socket} }
${more}`,
  );
}

interface Ran {
  status: number;
  stdout: string;
  stderr: string;
}

function spawned(...args: string[]): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(process.execPath, [CLI, ...args], (error, stdout, stderr) => {
      resolve({ status: Number(error?.code ?? 0), stdout, stderr });
    });
  });
}

const FLOW = ['tcp', '203.0.113.9:52144', '10.0.2.10:443'];

t.test('no gateway runs', async (t) => {
  const { status, stdout, stderr } = await spawned('explain', '--socket', socket, ...FLOW);
  t.strictSame([status, stdout], [2, '']);
  t.match(stderr, /^gwlb: no gateway answers on .*control\.sock: start one .*\n$/);
});

t.test('a gateway runs', async (t) => {
  write();
  const running = start(t, 'run', file);
  await running.event('started');
  t.equal(lstatSync(socket).mode & 0o777, 0o600);
  const told = await spawned('explain', '--socket', socket, ...FLOW);
  t.strictSame([told.status, told.stderr], [0, '']);
  t.match(told.stdout, /^5-tuple tcp 10\.0\.2\.10:443 203\.0\.113\.9:52144 by endpoint /);
  t.match(told.stdout, /decided by: new \(K3\)/);
  const json = await gwlb('explain', '--config', file, '--json', '--endpoint', ID, ...FLOW);
  t.match(JSON.parse(json.stdout), { decision: 'new', endpoint: ID, target: { port: 6081 } });
  t.equal(`${JSON.parse(json.stdout).text}\n`, told.stdout);
  const gre = await gwlb('explain', '--socket', socket, '47', '10.0.0.1', '2001:db8::1');
  t.equal(gre.error?.message, 'destination: expected an IPv4 address, received "2001:db8::1"');
  const icmp = await gwlb('explain', '--socket', socket, 'icmp', '2001:db8::1', '2001:db8::2');
  t.match(icmp.stdout, /^3-tuple icmp6 2001:db8::1 2001:db8::2 /);
  const unknown = ['--endpoint', 'vpce-0ffffffffffffffff', ...FLOW];
  const nowhere = await spawned('explain', '--socket', socket, ...unknown);
  t.equal(nowhere.status, 2);
  t.match(nowhere.stderr, /^gwlb: endpoint: expected an endpoint of this gateway/);

  await t.test('its socket changes with a restart only', async (t) => {
    write(`log: { level: info }\n`);
    writeFileSync(
      file,
      `gateway: { address: ${GATEWAY}, limits: { flows: 4096 } }\ncontrol: { socket: ${socket}2 }\n`,
    );
    t.match((await running.reload()).at(-1)?.problems, [
      /^control\.socket: a change needs a restart \(/,
    ]);
  });

  t.equal(await running.end(), 0);
  t.notOk(existsSync(socket), 'the socket went with it');
});

t.test('wrong arguments', async (t) => {
  const both = await gwlb('explain', '--socket', socket, '--config', file, ...FLOW);
  t.equal(both.status, 2);
  t.equal((await gwlb('explain', 'tcp')).status, 2);
  writeFileSync(file, `gateway: { address: ${GATEWAY} }\n`);
  const none = await gwlb('explain', '--config', file, ...FLOW);
  t.match(none.error, {
    code: 'ERR_GWLB_CONFIG',
    message: /yaml: expected control\.socket, .*none$/,
  });
  writeFileSync(file, `gateway: { address: 300 }\ncontrol: { socket: "" }\n`);
  const wrong = await gwlb('explain', '--config', file, ...FLOW);
  t.match(
    wrong.error?.message,
    /yaml:1:12: gateway\.address: .*\n.*yaml:2:12: control\.socket: expected/,
  );
});
