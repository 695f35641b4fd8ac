/** What signals and readers that do not read do to `gwlb run` and `gwlb appliance`; over 127.0.0.0/8. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import t from 'tap';
import { CLI } from '../../../test/support/places.js';
import { until } from '../../../test/support/until.js';
import { makeLogger } from '../../src/observe/log.js';

const folder = mkdtempSync(join(tmpdir(), 'gwlb-signals-'));
const file = join(folder, 'gateway.yaml');
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

const net = `127.${64 + (process.pid % 100)}.${(process.pid >> 8) % 250}`;
const port = 20_000 + (process.pid % 10_000);
/** Without what watches the processes of tests: that would answer signals itself. */
const NODE = ['-u', 'NODE_OPTIONS', process.execPath, CLI];
const HELD = ['SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const;

function configure(more = '', gateway = ''): void {
  writeFileSync(
    file,
    `gateway: { ${gateway} address: ${net}.1, port: ${port}, limits: { flows: 4096 } }
targetGroup: { healthCheck: false, port: ${port}, targets: [{ address: ${net}.2 }] }
endpoints: [{ id: vpce-00000000000000001, geneve: { peer: ${net}.9, port: ${port}, vni: 7 } }]
metrics: { listen: "127.0.0.1:${port}" }
${more}`,
  );
}

/** Whether the process has a handler for each of the signals; null where it is gone. */
function catches({ pid }: ChildProcess): boolean | null {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const caught = BigInt(`0x${/^SigCgt:\s*(\w+)$/m.exec(status)?.[1]}`);
    return [1n, 10n, 12n].every((number) => (caught >> (number - 1n)) & 1n);
  } catch {
    return null;
  }
}

interface Told {
  out: string;
  err: string;
}

function start(...args: string[]): { child: ChildProcess; told: Told } {
  const child = spawn('env', [...NODE, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  t.teardown(() => child.kill('SIGKILL'));
  const told: Told = { out: '', err: '' };
  child.stdout.on('data', (data) => {
    told.out += data;
  });
  child.stderr.on('data', (data) => {
    told.err += data;
  });
  return { child, told };
}

/** Signals all the time from the moment that they are handled until it is ready, and then some. */
async function bombard(child: ChildProcess, isReady: () => boolean): Promise<void> {
  await until(
    () => catches(child),
    (does) => does === true,
    'handlers',
  );
  const send = () => {
    for (const signal of HELD) child.kill(signal);
  };
  await until(
    () => {
      send();
      return isReady() || child.exitCode !== null || child.signalCode !== null;
    },
    (over) => over,
    'ready',
  );
  send();
}

async function ended(child: ChildProcess): Promise<unknown[]> {
  if (child.exitCode !== null || child.signalCode !== null) {
    return [child.exitCode, child.signalCode];
  }
  return once(child, 'exit');
}

t.test('a gateway outlives them from its start on', async (t) => {
  configure();
  const { child, told } = start('run', file);
  await bombard(child, () => told.out.includes('"event":"started"'));
  await until(
    () => told.out,
    (out) => out.includes('"event":"reloaded"') && out.includes('"event":"no_recording"'),
    'what came before the end of the start is done then',
  );
  child.kill('SIGTERM');
  t.strictSame(await ended(child), [0, null]);
  t.notMatch(told.err, /[Dd]ebugger/);
  t.match(told.out, /"event":"stopped"/);
});

t.test('and writes what it recorded', async (t) => {
  configure();
  const { child, told } = start('run', file, '--record', '5', '--record-dir', folder);
  await bombard(child, () => told.out.includes('"event":"recorded"'));
  child.kill('SIGTERM');
  t.strictSame(await ended(child), [0, null]);
});

/** Parts of a configuration that name a file, what is in it, and how a start with a FIFO ends. */
const FILES = [
  {
    name: 'flow-log',
    use: (path: string) => configure(`flowLog: { path: "${path}" }\n`),
    text: '',
    code: 1,
    refused: /flowLog\.path: .*FIFO/,
  },
  {
    name: 'key',
    use: (path: string) => configure('', `cookieKey: { file: "${path}" },`),
    text: '000102030405060708090a0b0c0d0e0f\n',
    code: 2,
    refused: /gateway\.cookieKey: .*FIFO/,
  },
];

for (const { name, use, text, code, refused } of FILES) {
  t.test(`a FIFO as ${name} file keeps nobody waiting`, async (t) => {
    const path = join(folder, name);
    spawnSync('mkfifo', [path]);
    use(path);
    const first = start('run', file);
    t.strictSame(await ended(first.child), [code, null], 'the start');
    t.match(first.told.out + first.told.err, refused);

    rmSync(path);
    writeFileSync(path, text, { mode: 0o600 });
    const { child, told } = start('run', file);
    await until(
      () => told.out,
      (out) => out.includes('"event":"started"'),
      'started',
    );
    rmSync(path);
    spawnSync('mkfifo', [path]);
    const other = join(folder, `other-${name}`);
    spawnSync('mkfifo', [other]);
    use(other);
    child.kill('SIGHUP');
    await until(
      () => told.out + told.err,
      (out) => refused.test(out),
      'the reload is refused',
    );
    t.equal((await fetch(`http://127.0.0.1:${port}/healthz`)).status, 200, 'it goes on');
    child.kill('SIGTERM');
    t.strictSame(await ended(child), [0, null]);
  });
}

t.test('an appliance too', async (t) => {
  const { child, told } = start('appliance', '--listen', `${net}.3`, '--health-port', 'off');
  await bombard(child, () => told.out.includes('gwlb appliance ready'));
  await until(
    () => told.out,
    (out) => out.includes('packetsReceived 0'),
    'its counters',
  );
  child.kill('SIGTERM');
  t.strictSame(await ended(child), [0, null]);
  t.notMatch(told.err, /[Dd]ebugger/);
});

/** A pipe that nobody reads, full already. */
function fullPipe(t: Tap, name: string): number {
  const path = join(folder, name);
  spawnSync('mkfifo', [path]);
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  t.teardown(() => closeSync(fd));
  for (const piece of [4096, 1]) {
    try {
      for (;;) writeSync(fd, Buffer.alloc(piece, 10));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    }
  }
  return fd;
}

type Tap = { teardown(work: () => unknown): void };

for (const [name, more] of [
  ['its log', ''],
  ['its flow log', 'flowLog: { path: "-" }\n'],
]) {
  t.test(`a gateway ends although nobody reads ${name}`, async (t) => {
    configure(more);
    const full = fullPipe(t, `full${more.length}`);
    const child = spawn('env', [...NODE, 'run', file], {
      stdio: ['ignore', full, full],
    });
    t.teardown(() => child.kill('SIGKILL'));
    const healthy = async () => {
      try {
        return (await fetch(`http://127.0.0.1:${port}/healthz`)).status;
      } catch {
        return 0;
      }
    };
    await until(healthy, (status) => status === 200, 'healthy');
    child.kill('SIGTERM');
    t.strictSame(await ended(child), [0, null]);
  });
}

t.test('an appliance ends although nobody reads', async (t) => {
  const full = fullPipe(t, 'full-appliance');
  const args = [...NODE, 'appliance', '--listen', `${net}.4`, '--health-port', 'off'];
  const child = spawn('env', args, { stdio: ['ignore', full, 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  await until(
    () => spawnSync('ss', ['-lun', `src ${net}.4`], { encoding: 'utf8' }).stdout,
    (out) => out.includes(':6081'),
    'ready',
  );
  child.kill('SIGTERM');
  t.strictSame(await ended(child), [0, null]);
});

t.test('lines that nobody reads take a bounded room, and are counted', async (t) => {
  const read: string[] = [];
  const waiting: (() => void)[] = [];
  let open = false;
  const output = new Writable({
    decodeStrings: false,
    write(line, _, done) {
      read.push(line);
      if (open) done();
      else waiting.push(done);
    },
  });
  const log = makeLogger('info', output as unknown as NodeJS.WriteStream);
  const LINES = 20_000;
  for (let i = 0; i < LINES; i += 1) log.info({ event: 'much', i, text: 'x'.repeat(200) }, 'much');
  t.ok(output.writableLength < 1.1 * (1 << 20), `${output.writableLength} bytes wait`);
  open = true;
  for (const done of waiting) done();
  await until(
    () => read.length > 0 && JSON.parse(read.at(-1) as string),
    ({ event }) => event === 'log_lost',
    'told',
  );
  const much = read.filter((line) => line.includes('"event":"much"')).length;
  t.match(JSON.parse(read.at(-1) as string), { level: 'warn', lines: LINES - much });
});
