/** The flow log: what its records say, and that what cannot be written is counted. */

import { spawnSync } from 'node:child_process';
import { EventEmitter } from 'node:events';
import {
  existsSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Endpoint, FlowEvent, Target } from 'gwlb';
import t from 'tap';
import { ROOT } from '../../../test/support/places.js';
import { until } from '../../../test/support/until.js';
import { FlowLog, type FlowSource } from '../../src/observe/flow-log.js';
import { FlowRecords } from '../../src/observe/flow-records.js';
import {
  FileSink,
  type FlowSink,
  type FlowSinkEvents,
  type Unwritten,
} from '../../src/observe/flow-sink.js';
import type { Logger } from '../../src/observe/log.js';

/** For a process of its own. */
const sinkModule = pathToFileURL(join(ROOT, 'server/dist/observe/flow-sink.js')).href;
const folder = mkdtempSync(join(tmpdir(), 'gwlb-flows-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
let files = 0;
const newPath = () => join(folder, `${files++}.jsonl`);

const ENDPOINT = { id: 'vpce-00000000000000001' } as Endpoint;
const target = (id: string) => ({ id }) as Target;

/** When the events are said to have happened. */
const ENDED = Date.UTC(2026, 0, 2);

function event(fields: Partial<FlowEvent> = {}): FlowEvent {
  return {
    type: 'ended',
    at: ENDED,
    nowMs: 5000,
    cause: 'closed',
    end: 'closed',
    protocol: 'tcp',
    ends: ['10.0.2.10:443', '203.0.113.9:52144'],
    endpoint: ENDPOINT,
    target: target('10.0.1.10:6081'),
    previous: null,
    cookie: 0x10fe64,
    counters: {
      openedAt: ENDED - 3000,
      packetsTo: 9,
      bytesTo: 900,
      packetsFrom: 7,
      bytesFrom: 700,
    },
    ...fields,
  };
}

const moved = (from: string, fields: Partial<FlowEvent> = {}) =>
  event({ type: 'moved', end: null, counters: null, previous: target(from), ...fields });
const live = { type: 'lives', end: null, cause: null } as const;

t.test('records', async (t) => {
  await t.test('of a flow that ended', async (t) => {
    t.strictSame(new FlowRecords('gw', true).of(event()), {
      time: '2026-01-02T00:00:00.000Z',
      type: 'end',
      gateway: 'gw',
      endpoint: ENDPOINT.id,
      protocol: 'tcp',
      ends: ['10.0.2.10:443', '203.0.113.9:52144'],
      target: '10.0.1.10:6081',
      previousTargets: [],
      cookie: '0x0010fe64',
      start: '2026-01-01T23:59:57.000Z',
      durationMs: 3000,
      packetsTo: 9,
      bytesTo: 900,
      packetsFrom: 7,
      bytesFrom: 700,
      end: 'closed',
    });
  });

  await t.test('of one that goes on', async (t) => {
    const record = new FlowRecords('gw', true).of(event(live));
    t.match(record, { type: 'live', end: null, packetsTo: 9, durationMs: 3000 });
  });

  await t.test('of one that moved', async (t) => {
    const records = new FlowRecords('gw', true);
    t.equal(records.of(moved('a:1')), null);
    t.equal(records.of(moved('b:1', { endpoint: { id: 'vpce-2' } as Endpoint })), null);
    records.of(moved('c:1'));
    const lives = records.of(event({ type: 'lives', end: null }));
    t.strictSame(lives?.previousTargets, ['a:1', 'c:1'], 'its own, in order');
    t.strictSame(records.of(event())?.previousTargets, ['a:1', 'c:1']);
    t.strictSame(records.of(event())?.previousTargets, [], 'the next with this tuple is another');
    records.of(moved('a:1'));
    records.of(event({ type: 'opened', end: null }));
    t.strictSame(records.of(event())?.previousTargets, [], 'also where the end was not seen');
    for (let i = 0; i < 20; i += 1) records.of(moved(`${i}:1`));
    t.equal(records.of(event())?.previousTargets.length, 16);
  });

  await t.test('of flows of the gateway as a whole', async (t) => {
    const records = new FlowRecords('gw', false);
    records.of(moved('a:1'));
    const record = records.of(event({ endpoint: null, target: null, counters: null }));
    t.match(record, { endpoint: null, target: null, previousTargets: ['a:1'], start: null });
    t.match(record, { durationMs: null, packetsTo: null, bytesFrom: null });
  });
});

/** A gateway that says what the test makes it say. */
class Source extends EventEmitter {
  readonly name = 'gw';
  readonly targetGroup = { scope: 'endpoint' };
  interval = -1;
  eventsLost = 3;
  counters = () => ({ eventsLost: this.eventsLost });
  setFlowReports = (seconds: number) => {
    this.interval = seconds;
  };
}

/** A disk that is as full, and as slow, as the test wants it. */
class Sink implements FlowSink {
  waiting = 0;
  readonly lines: Record<string, unknown>[] = [];
  closed: Unwritten = { bytes: 0, records: 0 };
  /** Lines are written only when the test says so. */
  slow = false;
  events: FlowSinkEvents | null = null;
  write = (line: string, records: number) => {
    if (!line.endsWith('}\n')) throw new Error(`no line: ${line}`);
    this.lines.push(JSON.parse(line));
    if (!this.slow) this.events?.written(records);
  };
  reopen = () => {};
  close = async () => this.closed;
}

function logger(): { log: Logger; said: Record<string, unknown>[] } {
  const said: Record<string, unknown>[] = [];
  const say = (fields: Record<string, unknown>) => said.push(fields);
  return { log: { warn: say, error: say, info: say } as unknown as Logger, said };
}

function rig(sink: Sink | undefined, path = '/flows.jsonl') {
  const source = new Source();
  const { log, said } = logger();
  const config = { path, intervalSeconds: 60 };
  const made = (events: FlowSinkEvents) => Object.assign(sink as Sink, { events });
  const flowLog = new FlowLog(source as unknown as FlowSource, config, log, sink && made);
  return { source, said, flowLog };
}

t.test('what cannot be written is counted, and told in the log itself', async (t) => {
  const sink = new Sink();
  const { source, said, flowLog } = rig(sink);
  t.equal(source.interval, 60);
  source.emit('flow', event({ type: 'opened', end: null }));
  source.emit('flow', event());
  t.match(sink.lines, [{ type: 'end', gateway: 'gw' }]);
  const lag = Math.abs(Date.now() - Date.parse(String(sink.lines[0].time)));
  t.ok(lag > 60_000, 'times are those of the events, which are of long ago here');

  sink.waiting = 17 << 20;
  source.emit('flow', event());
  source.emit('flow', event());
  t.equal(sink.lines.length, 1);
  t.strictSame(flowLog.totals, { records: 1, recordsLost: 2, eventsLost: 0 });
  sink.waiting = 0;
  source.emit('flow', event());
  t.match(sink.lines.slice(1), [{ type: 'lost', gateway: 'gw', events: 0, records: 2 }, {}]);
  t.equal(sink.lines.length, 3, 'before the next record');
  source.emit('flow', event());
  t.equal(sink.lines.length, 4, 'and once');

  source.eventsLost += 40;
  await flowLog.close();
  t.match(sink.lines.slice(4), [{ type: 'lost', events: 40, records: 0 }]);
  t.match(said, [{ event: 'flow_log_lost', events: 40, records: 0 }]);
  t.strictSame(flowLog.totals, { records: 3, recordsLost: 2, eventsLost: 40 });
  t.equal(source.listenerCount('flow'), 0);
});

t.test('a rest that is not written before the end is told', async (t) => {
  const sink = new Sink();
  sink.slow = true;
  sink.closed = { bytes: 512, records: 2 };
  const { source, said, flowLog } = rig(sink);
  for (let i = 0; i < 3; i += 1) source.emit('flow', event());
  t.match(flowLog.totals, { records: 0, recordsLost: 0 }, 'what waits is not written');
  sink.events?.written(1);
  await flowLog.close();
  t.match(flowLog.totals, { records: 1, recordsLost: 2 }, 'and lost where it stays so');
  t.match(said, [{ event: 'flow_log_lost', bytes: 512, records: 2 }]);
});

t.test('a file', async (t) => {
  const lines = (path: string) => readFileSync(path, 'utf8').split('\n').filter(Boolean);

  await t.test('is rotated without losing a line', async (t) => {
    const path = newPath();
    const { source, said, flowLog } = rig(undefined, path);
    t.equal(statSync(path).mode & 0o777, 0o640 & ~process.umask());
    source.emit('flow', event());
    await until(() => lines(path).length === 1, 'it is written soon, and not only when full');
    source.emit('flow', event());
    renameSync(path, `${path}.1`);
    flowLog.reopen();
    source.emit('flow', event());
    await flowLog.close();
    t.equal(lines(`${path}.1`).length + lines(path).length, 3);
    t.ok(lines(path).length >= 1, 'the new file has what came after');
    t.strictSame(said, []);
  });

  await t.test('is appended to', async (t) => {
    const path = newPath();
    for (let i = 0; i < 2; i += 1) {
      const { source, flowLog } = rig(undefined, path);
      source.emit('flow', event());
      await flowLog.close();
    }
    t.equal(lines(path).length, 2);
  });

  await t.test('of another name from now on', async (t) => {
    const [path, other] = [newPath(), newPath()];
    const { source, flowLog } = rig(undefined, path);
    flowLog.configure({ path: other, intervalSeconds: 5 });
    t.equal(source.interval, 5);
    source.emit('flow', event());
    await flowLog.close();
    t.strictSame([lines(path).length, lines(other).length], [0, 1]);
  });

  await t.test('that is not there', async (t) => {
    const path = join(folder, 'none', 'flows.jsonl');
    const wrong = { code: 'ERR_GWLB_SYSTEM', field: 'flowLog.path', message: /^flowLog\.path: / };
    t.throws(() => rig(undefined, path), wrong);
    t.throws(() => FlowLog.check({ path, intervalSeconds: 0 }), wrong);
    t.notOk(existsSync(path));
    const { source, said, flowLog } = rig(undefined, newPath());
    t.throws(() => flowLog.configure({ path, intervalSeconds: 0 }), wrong);
    source.emit('flow', event());
    await flowLog.close();
    t.strictSame(said, [], 'the one before goes on');
  });

  await t.test('on a full disk', async (t) => {
    const path = newPath();
    if (spawnSync('prlimit', ['--version']).status !== 0) return t.comment('there is no prlimit');
    const program = `
      import { FileSink } from ${JSON.stringify(sinkModule)};
      process.on('SIGXFSZ', () => {});
      let told = '';
      let written = 0;
      const sink = new FileSink(process.argv[1], {
        written: (records) => { written += records; },
        failed: (error) => { told ||= error.code; },
      });
      sink.write('x'.repeat(10_000), 1);
      setTimeout(async () => {
        const waiting = sink.waiting;
        const left = await sink.close();
        console.log(JSON.stringify({ told, waiting, left, written }));
      }, 300);`;
    const args = ['--fsize=4096', process.execPath, '--input-type=module', '-e', program, path];
    const { stdout, stderr } = spawnSync('prlimit', args, { encoding: 'utf8' });
    t.match(
      JSON.parse(stdout || 'null'),
      { told: 'EFBIG', waiting: 5904, left: { bytes: 5904, records: 1 }, written: 0 },
      stderr,
    );
    t.equal(statSync(path).size, 4096);
  });

  await t.test('counts what is written when it is', async (t) => {
    const path = newPath();
    let records = 0;
    const sink = new FileSink(path, {
      written: (count) => {
        records += count;
      },
      failed: (error) => t.fail(error.message),
    });
    sink.write('a\n', 1);
    sink.write('lost\n', 0);
    t.equal(records, 0);
    t.equal(sink.waiting, 7);
    for (let i = 0; i < 1000; i += 1) sink.write(`${'ä'.repeat(100)}\n`, 1);
    t.strictSame(await sink.close(), { bytes: 0, records: 0 });
    t.equal(records, 1001);
    t.equal(sink.waiting, 0);
    t.equal(lines(path).length, 1002);
  });

  await t.test('that is none: nothing waits for it, and no link is followed', async (t) => {
    const fifo = newPath();
    spawnSync('mkfifo', [fifo]);
    const link = newPath();
    symlinkSync(newPath(), link);
    for (const [path, what] of [
      [fifo, 'a FIFO'],
      [link, 'a symbolic link'],
      [folder, 'EISDIR|a directory'],
      ['/dev/full', 'a device'],
    ]) {
      const message = new RegExp(`^flowLog\\.path: .*(?:${what})`);
      t.throws(() => rig(undefined, path), { field: 'flowLog.path', message }, path);
      t.throws(() => FlowLog.check({ path, intervalSeconds: 0 }), { message });
    }
    t.notOk(existsSync(link));
    const { source, said, flowLog } = rig(undefined, newPath());
    t.throws(() => flowLog.configure({ path: fifo, intervalSeconds: 0 }), { message: /FIFO/ });
    source.emit('flow', event());
    await flowLog.close();
    t.strictSame(said, []);
  });
});
