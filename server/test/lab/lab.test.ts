/** The laboratory itself: what it makes is there, says why it failed, and is gone at the end. */
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { runPrivately } from '../../../test/support/privately.js';
import { cannotRun } from '../../../test/support/wide.js';
import { Lab } from '../../src/lab/lab.js';
import { inNamespace, kill, run, runIn, start } from '../../src/lab/processes.js';

const reason = await runPrivately(import.meta.url);
const { default: t } = await import('tap');

const TALKER = fileURLToPath(new URL('./talker.js', import.meta.url));

function isAlive(pid: number): boolean {
  return (
    existsSync(`/proc/${pid}`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  );
}

t.test('programs are run to their end, or until they are killed', async (t) => {
  t.strictSame(inNamespace(null, ['a', 'b']), ['a', ['b']]);
  t.strictSame(inNamespace('n', ['a', 'b']), ['ip', ['netns', 'exec', 'n', 'a', 'b']]);
  t.match(await run('sh', ['-c', 'echo out; echo err >&2; exit 3']), {
    status: 3,
    out: 'out\n',
    err: 'err\n',
  });
  t.equal((await run('cat', [], 5, 'given')).out, 'given');
  const absent = await run('gwlb-no-such-program', []);
  t.not(absent.status, 0);
  t.match(absent.err, /ENOENT/);
  t.equal((await run('sleep', ['60'], 0.05)).status, null, 'at most so long');
  const child = await start('sh', ['-c', 'echo ready; exec sleep 60']);
  t.ok(isAlive(child.pid ?? 0));
  await kill(child);
  t.notOk(isAlive(child.pid ?? 0));
  await kill(child);
  await t.rejects(start('false', []), { message: /false ended with exit code 1/ });
});

t.test('processes of ours answer calls', async (t) => {
  const lab = new Lab();
  t.teardown(() => lab.close());
  const notes: unknown[] = [];
  const remote = lab.start([TALKER], 'talker', null, (...note) => notes.push(note));
  t.equal(await remote.call('double', 21), 42);
  await t.rejects(remote.call('fail'), { message: 'it failed' });
  await remote.call('tell', { a: 1 });
  t.strictSame(notes, [['told', { a: 1 }]]);
  await t.rejects(remote.call('leave'), { message: 'talker ended (exit code 7)' });
  await t.rejects(remote.call('double', 1), 'nobody is there');
  const other = lab.start([TALKER], 'other', null);
  t.equal(await other.call('double', 1), 2);
  await lab.close();
  t.notOk(isAlive(other.pid));
});

if (reason !== null) {
  cannotRun(t, reason);
} else {
  t.test('namespaces, cables and settings', async (t) => {
    const lab = new Lab();
    t.teardown(() => lab.close());
    await lab.router('a');
    await lab.namespace('b', ['addr add 10.9.0.1/32 dev lo']);
    await lab.cable('a', 'left', 'b', 'right');
    await lab.ip('a', ['addr add 10.9.1.1/24 dev left']);
    await lab.ip('b', ['addr add 10.9.1.2/24 dev right', 'route add default via 10.9.1.1']);
    const read = async (name: string) => (await lab.run('a', 'sysctl', '-n', name)).trim();
    t.equal(await read('net.ipv4.ip_forward'), '1');
    t.equal(await read('net.ipv4.conf.left.rp_filter'), '0', 'also of what came later');
    await lab.sysctl('b', ['net.ipv4.ip_default_ttl=7']);
    t.match((await runIn('b', 'cat', ['/proc/sys/net/ipv4/ip_default_ttl'])).out, /^7$/m);
    t.match(
      (await runIn('b', 'ip', ['route', 'get', '10.9.1.1'])).out,
      /dev right src 10\.9\.1\.2/,
    );
    await t.rejects(lab.ip('a', ['link set nothing up']), {
      message: /Cannot find device "nothing"/,
    });
    await t.rejects(lab.namespace('a'), { message: /File exists/ });
    await t.rejects(lab.run('a', 'sh', '-c', 'exit 5'), { message: /exit code 5|Command failed/ });
  });

  t.test('nothing is left', async (t) => {
    const lab = new Lab();
    await lab.namespace('c');
    const sleeper = lab.begin('c', 'sleep', '60');
    const remote = lab.start([TALKER], 'talker', 'c');
    t.equal(await remote.call('double', 4), 8);
    const gone = once(sleeper, 'exit');
    await lab.close();
    await gone;
    t.notOk(isAlive(remote.pid));
    t.notMatch((await run('ip', ['netns', 'list'])).out, /^c\b/m);
    await lab.close();
  });
}
