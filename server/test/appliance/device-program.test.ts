/** The program that is run for devices: in turn for each, together for all, and never in anybody's way. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { until } from '../../../test/support/until.js';
import { DeviceProgram, type ToldDevice } from '../../src/appliance/device-program.js';
import { logged } from '../observe/log-rig.js';

const ID = 'vpce-0123456789abcdef0';
const deviceOf = (name: string, more: Partial<ToldDevice> = {}): ToldDevice => {
  return { name, out: null, endpoint: ID, netns: null, ...more };
};

/** A program, the file that it may write to (`$out`), and what is in it. */
function programFor(t: Test, body: string) {
  const folder = mkdtempSync(join(tmpdir(), 'gwlb-program-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const out = join(folder, 'out');
  writeFileSync(out, '');
  const path = join(folder, 'a program');
  writeFileSync(path, `#!/bin/sh\nout=${out}\n${body}\n`);
  chmodSync(path, 0o755);
  return { path, folder, lines: () => readFileSync(out, 'utf8').trimEnd().split('\n') };
}

t.test('it is told of each device what it is', async (t) => {
  const env = '"$GWLB_CHANGE" "$GWLB_DEVICE" "$GWLB_DEVICE_OUT" "$GWLB_ENDPOINT" "$GWLB_NETNS"';
  const { path, lines } = programFor(t, `echo "$# $1 $2 $3 $4|"${env} >> $out; echo hello`);
  const { log, entries } = logged();
  const program = new DeviceProgram(path, 60_000, log);
  program.changed('create', deviceOf('gwi0', { out: 'gwo0', netns: 'blue' }));
  await program.settled();
  program.changed('destroy', deviceOf('gwlb0', { endpoint: null }));
  await program.settled();
  t.strictSame(lines(), [
    `4 create gwi0 gwo0 ${ID}|create gwi0 gwo0 ${ID} blue`,
    '4 destroy gwlb0 gwlb0 |destroy gwlb0 gwlb0',
  ]);
  t.match(entries, [
    { event: 'device_program_said', msg: 'hello', device: 'gwi0' },
    { event: 'device_program', change: 'create', device: 'gwi0', endpoint: ID },
    { event: 'device_program_said', device: 'gwlb0' },
    { event: 'device_program', change: 'destroy' },
  ]);
});

t.test('one at a time for a device, and what was undone meanwhile is left out', async (t) => {
  const { path, folder, lines } = programFor(
    t,
    'echo "begin $1 $2" >> $out; while [ ! -e "$(dirname "$0")/go" ]; do sleep 0.02; done; echo "end $1 $2" >> $out',
  );
  const program = new DeviceProgram(path, 60_000, logged().log);
  const one = deviceOf('gwi0');
  program.changed('create', one);
  program.changed('create', deviceOf('gwi1'));
  await until(
    () => lines().length,
    (count) => count === 2,
    'both run at the same time',
  );
  for (let i = 0; i < 100; i += 1) {
    program.changed('destroy', one);
    program.changed('create', one);
  }
  program.changed('destroy', one);
  writeFileSync(join(folder, 'go'), '');
  await program.settled();
  t.strictSame(
    lines().filter((line) => line.endsWith('gwi0')),
    ['begin create gwi0', 'end create gwi0', 'begin destroy gwi0', 'end destroy gwi0'],
  );
});

t.test('one that fails or hangs is told, and counted', async (t) => {
  const { log, entries } = logged();
  const failing = new DeviceProgram(programFor(t, 'echo no rules >&2; exit 4').path, 60_000, log);
  failing.changed('create', deviceOf('gwi0'));
  await failing.settled();
  t.equal(failing.failures, 1);
  t.match(entries.at(-1), {
    event: 'device_program_failed',
    level: 'error',
    device: 'gwi0',
    error: 'exit code 4: no rules',
  });
  const hanging = new DeviceProgram(programFor(t, 'sleep 60').path, 200, log);
  hanging.changed('create', deviceOf('gwi0'));
  await hanging.settled();
  t.match(entries.at(-1), { error: 'no end within 0.2 s' });
  const absent = new DeviceProgram('/gwlb/absent', 200, log);
  absent.changed('create', deviceOf('gwi0'));
  await absent.settled();
  t.match(entries.at(-1), { error: /^cannot be started/ });
});

t.test('who is in a hurry ends what runs and what waits', async (t) => {
  const { path, lines } = programFor(t, 'echo "$1" >> $out; sleep 60');
  const program = new DeviceProgram(path, 60_000, logged().log);
  program.changed('create', deviceOf('gwi0'));
  program.changed('destroy', deviceOf('gwi0'));
  await until(
    () => lines()[0],
    (line) => line === 'create',
    'it runs',
  );
  program.stop();
  program.changed('create', deviceOf('gwi1'));
  await program.settled();
  t.strictSame(lines(), ['create']);
});
