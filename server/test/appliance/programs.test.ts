/** Programs of the operator's: ended in time with all that they started, and bounded in what they say. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { until } from '../../../test/support/until.js';
import { runProgram } from '../../src/appliance/programs.js';

const sh = (script: string, ...args: string[]) => ['sh', '-c', script, 'sh', ...args];
const LONG = 60_000;

t.test('it is run without a shell, with its environment', async (t) => {
  const argv = ['printf', '%s,', 'a b', '$HOME', '*', ''];
  t.strictSame(await runProgram({ argv, timeoutMs: LONG }), {
    ok: true,
    problem: '',
    output: 'a b,$HOME,*,,',
  });
  const env = { GWLB_DEVICE: 'gwi0' };
  const told = await runProgram({
    argv: sh('echo "$GWLB_DEVICE" "$1"', 'x'),
    env,
    timeoutMs: LONG,
  });
  t.equal(told.output, 'gwi0 x\n');
});

t.test('why it failed is told, with the last that it said', async (t) => {
  const failed = async (script: string) => {
    const { ok, problem } = await runProgram({ argv: sh(script), timeoutMs: LONG });
    return [ok, problem];
  };
  t.strictSame(await failed('exit 3'), [false, 'exit code 3']);
  t.strictSame(await failed('echo one; echo two >&2; exit 1'), [false, 'exit code 1: two']);
  t.strictSame(await failed('kill -9 $$'), [false, 'ended by SIGKILL']);
  const absent = await runProgram({ argv: ['/gwlb/no-such-program'], timeoutMs: LONG });
  t.match(absent, { ok: false, problem: /^cannot be started: .*ENOENT/ });
});

/** A shell that starts another one, which writes its number and waits. */
function parentAndChild(t: { teardown(end: () => void): void }): { script: string; file: string } {
  const folder = mkdtempSync(join(tmpdir(), 'gwlb-programs-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'pid');
  return {
    script: `trap '' TERM; (trap '' TERM; echo $$ > ${file}; sleep 60) & wait; sleep 60`,
    file,
  };
}

const isAlive = (pid: number) =>
  existsSync(`/proc/${pid}`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));

t.test('what hangs is ended, and what it started', async (t) => {
  const { script, file } = parentAndChild(t);
  const begun = performance.now();
  const { ok, problem } = await runProgram({ argv: sh(script), timeoutMs: 300 });
  t.strictSame([ok, problem], [false, 'no end within 0.3 s']);
  t.ok(performance.now() - begun < 30_000, 'not after its own time');
  const pid = Number(readFileSync(file, 'utf8'));
  await until(
    () => isAlive(pid),
    (alive) => !alive,
    'its child has ended too',
  );
});

t.test('who needs it no more ends it', async (t) => {
  const { script, file } = parentAndChild(t);
  const stop = new AbortController();
  const run = runProgram({ argv: sh(script), timeoutMs: LONG, signal: stop.signal });
  await until(
    () => existsSync(file),
    (there) => there,
    'it runs',
  );
  stop.abort();
  t.strictSame(await run, { ok: false, problem: 'it was not waited for', output: '' });
  const late = await runProgram({ argv: sh('sleep 60'), timeoutMs: LONG, signal: stop.signal });
  t.notOk(late.ok);
});

t.test('a child that holds its output keeps nobody waiting', async (t) => {
  const { ok } = await runProgram({ argv: sh('sleep 60 & exit 0'), timeoutMs: LONG });
  t.ok(ok);
});

t.test('what it says is bounded, whatever it writes', async (t) => {
  const lines: string[] = [];
  const flood = await runProgram({
    argv: sh('yes | head -n 100000; head -c 20000000 /dev/zero | tr "\\0" x; echo; echo last'),
    timeoutMs: LONG,
    onLine: (line) => lines.push(line),
  });
  t.ok(flood.ok);
  t.equal(lines.length, 200);
  t.equal(flood.output.length, 1 << 20);
  const long: string[] = [];
  const argv = sh('head -c 20000000 /dev/zero | tr "\\0" x; echo; echo y; echo; printf z');
  await runProgram({ argv, timeoutMs: LONG, onLine: (line) => long.push(line) });
  t.strictSame(
    long.map((line) => line.length),
    [501, 1, 1],
    'a long line is cut, an empty one left out, an unfinished one told',
  );
});
