/** What makes an appliance unhealthy, and what makes it healthy again. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { until } from '../../../test/support/until.js';
import { Health, type HealthNow } from '../../src/appliance/health.js';
import { CommandSource, FileSource, FlowSource } from '../../src/appliance/health-sources.js';

t.test('it is healthy as long as nothing says otherwise', async (t) => {
  const told: HealthNow[] = [];
  const health = new Health((now) => told.push(now));
  const one = { name: 'one', problem: null as string | null };
  const two = { name: 'two', problem: 'two is wrong' as string | null };
  t.strictSame(health.now, { healthy: false, reason: 'it is starting', draining: false });
  health.add(one);
  health.add(two);
  health.look();
  t.strictSame(told, [], 'as long as it starts it is not healthy');
  health.started();
  health.look();
  t.strictSame(told, [{ healthy: false, reason: 'two is wrong', draining: false }]);
  one.problem = 'one is wrong';
  health.look();
  t.equal(health.now.reason, 'one is wrong', 'the first that says so');
  one.problem = null;
  two.problem = null;
  health.look();
  t.strictSame(health.now, { healthy: true, reason: null, draining: false });
  health.drain();
  two.problem = 'late';
  health.look();
  t.strictSame(health.now, {
    healthy: false,
    reason: 'draining: it is about to stop',
    draining: true,
  });
  t.equal(health.changes, 4);
  t.equal(told.length, 4);
});

t.test('a command says it by its exit code', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gwlb-health-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'well');
  let looks = 0;
  const check = { argv: ['test', '-e', file], intervalMs: 20, timeoutMs: 5_000 };
  const source = new CommandSource(check, () => {
    looks += 1;
  });
  t.match(source.problem, 'has not ended yet', 'first of all nothing is known');
  const isNow = (wanted: string | null) =>
    until(
      () => source.problem,
      (problem) => problem === wanted,
      String(wanted),
    );
  await isNow('test: exit code 1');
  writeFileSync(file, '');
  await isNow(null);
  rmSync(file);
  await isNow('test: exit code 1');
  t.ok(looks > 2);
  await source.close();
  const after = looks;
  writeFileSync(file, '');
  await new Promise((resolve) => setTimeout(resolve, 100));
  t.strictSame([looks, source.problem], [after, 'test: exit code 1'], 'nothing is asked any more');
});

t.test('a command that hangs says no', async (t) => {
  const check = { argv: ['sleep', '60'], intervalMs: 10, timeoutMs: 100 };
  const source = new CommandSource(check, () => {});
  await until(
    () => source.problem,
    (problem) => problem === 'sleep: no end within 0.1 s',
    'it is ended',
  );
  await t.resolves(source.close());
});

t.test('a file says it by being there', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gwlb-health-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'well');
  const source = new FileSource(file);
  t.match(source.problem, 'not known yet');
  await source.look();
  t.equal(source.problem, `${file} is not there`);
  writeFileSync(file, '');
  await source.look();
  t.equal(source.problem, null);
  const odd = new FileSource(join(file, 'below'));
  await odd.look();
  t.match(odd.problem, 'ENOTDIR');
});

t.test('packets say it by not coming back', async (t) => {
  const source = new FlowSource(3_000);
  let now = 10_000;
  const flow = { entered: 5, returned: 5 };
  const after = (ms: number, entered: number, returned: number) => {
    now += ms;
    flow.entered += entered;
    flow.returned += returned;
    source.look({ ...flow }, now);
    return source.problem;
  };
  t.equal(after(0, 0, 0), null, 'what was before the first look says nothing');
  t.equal(after(60_000, 0, 0), null, 'nothing enters, nothing returns');
  t.equal(after(1_000, 10, 0), null);
  t.equal(after(2_000, 10, 0), null);
  t.match(after(1_000, 10, 0), 'packets have entered for 3 s, and none has returned');
  t.match(after(10_000, 10, 0), 'none has returned', 'as long as packets enter');
  t.equal(after(1_000, 10, 1), null, 'one that returned is enough');
  t.equal(after(2_000, 10, 0), null);
  t.match(after(3_000, 1, 0), 'none has returned');
  t.match(after(2_000, 0, 0), 'none has returned');
  t.equal(after(1_000, 0, 0), null, 'it is tried again when none has entered for as long');
  t.equal(after(2_000, 1, 0), null);
  t.match(after(3_000, 1, 0), 'none has returned', 'and is judged anew');
});
