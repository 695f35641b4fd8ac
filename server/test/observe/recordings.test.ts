/** Recordings: a bounded folder, written in pieces. */

import { EventEmitter } from 'node:events';
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type GatewayLoadBalancer,
  type Recording,
  readCapture,
  TargetGroup,
  tuplePacket,
} from 'gwlb';
import t from 'tap';
import type { Config } from '../../src/config/types.js';
import type { Logger } from '../../src/observe/log.js';
import { Recorder } from '../../src/observe/recorder.js';
import { pruneRecordings } from '../../src/observe/recordings.js';

function folder(t: { teardown(undo: () => void): void }): string {
  const path = mkdtempSync(join(tmpdir(), 'gwlb-recordings-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

t.test('the newest ones stay, by count and by bytes', async (t) => {
  const path = folder(t);
  const make = (name: string, bytes: number) =>
    writeFileSync(join(path, name), new Uint8Array(bytes));
  const names = [
    'gwlb-20260101T000000Z',
    'gwlb-20260101T000000Z-2',
    'gwlb-20260101T000000Z-10',
    'gwlb-20260102T000000Z',
  ];
  for (const name of names) {
    make(`${name}.pcap`, 100);
    make(`${name}.jsonl`, 10);
  }
  const others = ['notes.txt', 'gwlb-20200101T000000Z.pcap.bak', 'gwlb-x.pcap'];
  for (const name of others) make(name, 1000);
  symlinkSync(join(path, 'notes.txt'), join(path, 'gwlb-20200101T000000Z.pcap'));
  const left = () => names.filter((name) => readdirSync(path).includes(`${name}.pcap`));
  const none = { count: 0, bytes: 0 };

  t.equal(await pruneRecordings(path, { keep: 4, bytes: 1000 }, none), 0);
  t.equal(await pruneRecordings(path, { keep: 4, bytes: 1000 }, { count: 1, bytes: 0 }), 1);
  t.strictSame(left(), names.slice(1), 'room for one more');
  t.equal(await pruneRecordings(path, { keep: 9, bytes: 250 }, none), 1, 'too many bytes');
  t.strictSame(left(), names.slice(2), 'in the order of their numbers');
  t.equal(await pruneRecordings(path, { keep: 9, bytes: 5 }, none), 1);
  t.strictSame(left(), names.slice(3), 'the newest stays');
  t.equal(await pruneRecordings(path, { keep: 1, bytes: 1e9 }, { count: 1, bytes: 0 }), 1);
  t.strictSame(left(), []);
  t.equal(readdirSync(path).length, 4, 'files of other names, and links, are not touched');
});

/** A recording of packets that came at these times. */
function recorded(times: readonly number[]): Recording {
  const packet = tuplePacket({ protocol: 'udp', source: '10.0.0.1:1', destination: '10.0.0.2:2' });
  const packets = times.map((timeMs) => ({
    timeMs,
    endpoint: null,
    length: packet.length,
    bytes: packet,
  }));
  const recording = { lost: 0, offsetMs: 0, count: times.length };
  return Object.assign(recording, {
    [Symbol.iterator]: () => packets.values(),
  }) as unknown as Recording;
}

/** A recorder over a gateway with these packets. */
async function rig(directory: string, recording: Recording) {
  const targetGroup = new TargetGroup({ healthCheck: false });
  const gateway = Object.assign(new EventEmitter(), {
    targetGroup,
    address: '10.0.1.5',
    port: 6081,
    record: async () => {},
    counters: () => ({ drops: {} }),
    recording: async () => recording,
  });
  const said: Record<string, unknown>[] = [];
  const say = (fields: Record<string, unknown>) => said.push(fields);
  const key = new Uint8Array(16);
  const recorder = await Recorder.begin({
    gateway: gateway as unknown as GatewayLoadBalancer,
    config: () => ({ targetGroup: { targets: [] }, gateway: {} }) as unknown as Config,
    keys: { hashKey: key, cookieKey: key },
    seconds: 60,
    directory,
    limits: { keep: 2, bytes: 1 << 30 },
    log: { info: say, error: say, warn: say } as unknown as Logger,
  });
  t.teardown(() => recorder.close());
  return { recorder, said };
}

t.test('a recording is written in pieces: others have their turns', async (t) => {
  const path = folder(t);
  const count = 60_000;
  const { recorder, said } = await rig(path, recorded(Array.from({ length: count }, (_, i) => i)));
  let turns = 0;
  let done = false;
  const look = () => {
    turns += 1;
    if (!done) setImmediate(look);
  };
  setImmediate(look);
  await recorder.write('test');
  done = true;
  // About 9 MB in pieces of 64 KiB.
  t.ok(turns > 50, `${turns} turns`);
  const [, told] = said;
  t.match(told, { event: 'recorded', cause: 'test', packets: count, removed: 0 });
  t.equal([...readCapture(String(told.file))].length, count);
});

t.test('recordings wait for each other, and those beyond the limit go', async (t) => {
  const path = folder(t);
  const { recorder, said } = await rig(path, recorded([1, 2, 3]));
  const first = recorder.write('a');
  await Promise.resolve();
  // The second waits for the first, which has begun; the third is the second.
  await Promise.all([first, recorder.write('b'), recorder.write('c')]);
  t.match(said.slice(1), [{ cause: 'a' }, { cause: 'b' }]);
  t.equal(said.length, 3);
  await recorder.write('d');
  t.match(said[3], { cause: 'd', removed: 1 });
  t.equal(readdirSync(path).length, 4);
  await recorder.close();
});

t.test('half a recording is not left behind', async (t) => {
  const path = folder(t);
  const { recorder, said } = await rig(path, recorded([1]));
  rmSync(path, { recursive: true });
  await recorder.write('test');
  t.match(said[1], { event: 'recording_failed', error: /ENOENT/ });
  t.throws(() => readFileSync(path));
});
