/** Capture files on disk: read in windows, closed in time, and written only while they are open. */
import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { PcapWriter, readCapture, replay } from '../../src/index.js';

const folder = mkdtempSync(join(tmpdir(), 'gwlb-capture-file-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

/** Descriptors that this process has of a file. */
function open(path: string): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === path;
    } catch {
      return false;
    }
  }).length;
}

function written(name: string, sizes: readonly number[]): string {
  const path = join(folder, name);
  using writer = new PcapWriter(path);
  for (const [i, size] of sizes.entries()) {
    writer.write(new Uint8Array(size).fill(i), BigInt(i), size + i);
  }
  return path;
}

const told = (frame: { data: Uint8Array; length: number; timeNs: bigint }) => ({
  ...frame,
  data: Buffer.from(frame.data).toString('latin1'),
});

t.test('a file of many windows is read as its bytes are', async (t) => {
  // Windows have a mebibyte: records end everywhere in them.
  const sizes = Array.from({ length: 120 }, (_, i) => (i * 7919) % 100_003);
  const path = written('many.pcap', sizes);
  const all = readCapture(path);
  const frames = [...all].map(told);
  t.equal(all.error, null);
  t.strictSame(frames, [...readCapture(readFileSync(path))].map(told));
  t.equal(frames.length, 120);
  t.equal(open(path), 0, 'closed at its end');

  const cut = join(folder, 'cut.pcap');
  writeFileSync(cut, readFileSync(path).subarray(0, -1));
  const part = readCapture(cut);
  t.equal([...part].length, 119);
  t.match(part.error, /^frame 120 at byte \d+: expected \d+ bytes, the file has \d+ more$/);
  t.equal(open(cut), 0);
});

t.test('a file larger than 2 GiB begins at once', async (t) => {
  const path = written('large.pcap', [64, 64]);
  truncateSync(path, 3 * 2 ** 30);
  const capture = readCapture(path);
  t.equal(capture.next().value?.data.length, 64);
  t.equal(capture.next().value?.data.length, 64);
  t.equal(open(path), 1);
  capture.return();
  t.equal(open(path), 0);
  t.strictSame(capture.next(), { done: true, value: undefined });
});

t.test('a loop that is left closes it', async (t) => {
  const path = written('left.pcap', Array(30).fill(100_000));
  const capture = readCapture(path);
  t.equal(open(path), 1);
  for (const _ of capture) break;
  t.equal(open(path), 0);
  for (const _ of replay({ capture: path })) break;
  t.equal(open(path), 0, 'of a replay, too');
});

t.test('a writer that was closed writes nowhere', async (t) => {
  const writer = new PcapWriter(join(folder, 'closed.pcap'));
  writer.close();
  // Takes the number that the writer had.
  const other = join(folder, 'other');
  const file = openSync(other, 'w');
  const closed = { code: 'ERR_GWLB_CLOSED', message: /closed\.pcap: the writer was closed/ };
  t.throws(() => writer.write(new Uint8Array(10)), closed);
  closeSync(file);
  t.equal(readFileSync(other).length, 0);

  let bytes = 0;
  const told = new PcapWriter((piece) => {
    bytes += piece.length;
  });
  told.close();
  t.throws(() => told.write(new Uint8Array(10)), { code: 'ERR_GWLB_CLOSED' });
  t.equal(bytes, 24, 'the header alone');
});

t.test('a writer whose file cannot be written says so, and leaves nothing open', async (t) => {
  t.throws(() => new PcapWriter('/dev/full'), {
    code: 'ERR_GWLB_CAPTURE',
    message: /^cannot write \/dev\/full: ENOSPC/,
  });
  t.equal(open('/dev/full'), 0);
  const writer = new PcapWriter(join(folder, 'limits.pcap'));
  t.teardown(() => writer.close());
  t.throws(() => writer.write(new Uint8Array(262_145)), {
    code: 'ERR_GWLB_OUT_OF_RANGE',
    field: 'data',
  });
  t.throws(() => writer.write(new Uint8Array(1), 1n << 64n), {
    code: 'ERR_GWLB_INVALID_ARGUMENT',
    field: 'timeNs',
  });
});
