/** The capture of what passes: whole files, so many of so many bytes, and nothing that waits for a disk. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readCapture, tuplePacket } from 'gwlb';
import t, { type Test } from 'tap';
import { PacketFiles } from '../../src/appliance/packet-files.js';
import { logged } from '../observe/log-rig.js';

function folderFor(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'gwlb-packets-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Packets that differ by their port. */
const packets = (from: number, count: number) =>
  Array.from({ length: count }, (_, i) => ({
    bytes: tuplePacket({
      protocol: 'udp',
      source: `10.0.0.1:${from + i}`,
      destination: '10.0.0.2:9',
    }),
  }));

/** The ports of a file's packets. */
function portsIn(path: string): number[] {
  const capture = readCapture(path);
  const ports = [...capture].map(({ data, link }) => {
    if (link !== 101) throw new Error(`link type ${link}`);
    return (data[20] ?? 0) * 256 + (data[21] ?? 0);
  });
  if (capture.error) throw new Error(capture.error);
  return ports;
}

const RECORD = 16 + 28;

t.test('what is kept is written, in files that are bounded', async (t) => {
  const folder = folderFor(t);
  const path = join(folder, 'a.pcap');
  const { log, entries } = logged();
  const files = await PacketFiles.open({ path, bytes: 24 + 10 * RECORD, keep: 3 }, log);
  for (let from = 1000; from < 1045; from += 5) files.keep(packets(from, 5));
  await files.close();
  t.strictSame(readdirSync(folder).sort(), ['a.pcap', 'a.pcap.1', 'a.pcap.2']);
  const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);
  t.strictSame(portsIn(`${path}.2`), range(1020, 1030));
  t.strictSame(portsIn(`${path}.1`), range(1030, 1040));
  t.strictSame(portsIn(path), range(1040, 1045), 'the newest, with the rest');
  t.strictSame([files.written, files.lost], [45, 0]);
  t.equal(statSync(path).mode & 0o777, 0o600);
  t.strictSame(entries, []);
});

t.test('a file that was there is moved on, and a link is not followed', async (t) => {
  const folder = folderFor(t);
  const path = join(folder, 'a.pcap');
  const { log } = logged();
  const first = await PacketFiles.open({ path, bytes: 1 << 20, keep: 2 }, log);
  first.keep(packets(1, 1));
  await first.close();
  const second = await PacketFiles.open({ path, bytes: 1 << 20, keep: 2 }, log);
  second.keep(packets(2, 1));
  await second.close();
  t.strictSame([portsIn(path), portsIn(`${path}.1`)], [[2], [1]]);
  rmSync(path);
  symlinkSync(join(folder, 'elsewhere'), path);
  const third = await PacketFiles.open({ path, bytes: 1 << 20, keep: 1 }, log);
  await third.close();
  t.strictSame(portsIn(path), []);
  t.notOk(readdirSync(folder).includes('elsewhere'));
});

t.test('one packet is more than a file may have', async (t) => {
  const folder = folderFor(t);
  const path = join(folder, 'a.pcap');
  const files = await PacketFiles.open({ path, bytes: 30, keep: 2 }, logged().log);
  files.keep(packets(1, 3));
  await files.close();
  t.strictSame([portsIn(path), portsIn(`${path}.1`)], [[3], [2]]);
});

t.test('what a disk cannot take in time is lost, and counted', async (t) => {
  const path = join(folderFor(t), 'a.pcap');
  const files = await PacketFiles.open({ path, bytes: 1 << 30, keep: 1 }, logged().log);
  const big = { bytes: new Uint8Array(65_000).fill(0x45) };
  // In one turn of the loop: nothing can be written meanwhile.
  files.keep(Array.from({ length: 400 }, () => big));
  await files.close();
  t.ok(files.lost > 0);
  t.equal(files.written + files.lost, 400);
  t.equal([...readCapture(path)].length, files.written);
  t.ok(readFileSync(path).length <= (16 << 20) + 24 + 65_016);
});

t.test('a file that cannot be made is told', async (t) => {
  const path = join(folderFor(t), 'no', 'a.pcap');
  const open = PacketFiles.open({ path, bytes: 1 << 20, keep: 2 }, logged().log);
  await t.rejects(open, { code: 'ENOENT' });
});

t.test('a capture that cannot go on says so once, and packets do not mind', async (t) => {
  const folder = folderFor(t);
  const path = join(folder, 'a.pcap');
  const { log, entries } = logged();
  const files = await PacketFiles.open({ path, bytes: 24 + RECORD, keep: 2 }, log);
  rmSync(folder, { recursive: true });
  files.keep(packets(1, 3));
  await files.close();
  files.keep(packets(4, 2));
  t.strictSame(
    entries.map(({ event }) => event),
    ['capture_failed'],
  );
  t.ok(files.lost >= 2);
});
