/**
 * `gwlb decode` against what tshark says of the GENEVE captures of the corpus, and headers rebuilt from
 * what was read.
 */

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { type DecodedFrame, encodeGeneve, PcapWriter, tuplePacket } from 'gwlb';
import t from 'tap';
import { CLI, CORPUS } from '../../../test/support/places.js';

const tables = join(CORPUS, 'expected', 'tshark');
const skip = existsSync(tables) ? false : `there is no corpus at ${CORPUS} (GWLB_CORPUS)`;

type Line = DecodedFrame & { frame: number; time: number };

function decode(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, 'decode', ...args], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  return { status, stdout, stderr };
}

const lines = (text: string) => text.split('\n').filter(Boolean);

/** Of tshark's udp.checksum.status; what it did not check (2) may be anything. */
const CHECKSUM: Record<string, readonly string[]> = {
  0: ['bad'],
  1: ['ok'],
  2: ['ok', 'bad', 'unknown'],
  3: ['zero'],
};

/** Where this command and tshark differ on purpose: capture, and why. */
const DIFFERENT: Record<string, string> = {
  'tcpdump--bigtcp-ipv4-geneve-ipv4.pcap':
    'BIG TCP: the outer IPv4 length is 0; tshark stops at it, this command reads to the end of the frame',
  'tcpdump--bigtcp-ipv6-geneve-ipv4.pcap':
    'BIG TCP: the UDP length is 0; tshark stops at it, this command reads to the end of the frame',
};

function rowsOf(table: string): Record<string, string>[] {
  const [head, ...rows] = lines(readFileSync(join(tables, table), 'utf8'));
  const names = head.split('\t');
  return rows.map((row) => {
    const values = row.split('\t');
    return Object.fromEntries(names.map((name, i) => [name, values[i] ?? '']));
  });
}

/** Options as tshark's block of bytes, from the decoded ones. */
function optionBytes(geneve: NonNullable<DecodedFrame['geneve']>): string {
  return geneve.options
    .map(({ class: klass, type, data }) => {
      const words = data.length / 8;
      return `${klass.slice(2)}${type.toString(16).padStart(2, '0')}${words.toString(16).padStart(2, '0')}${data}`;
    })
    .join('');
}

t.test('every GENEVE capture reads as tshark reads it', { skip }, async (t) => {
  const captures = readdirSync(tables).filter((name) => name.endsWith('.geneve.tsv'));
  t.ok(captures.length >= 16, `${captures.length} captures`);
  for (const table of captures) {
    const path = join(CORPUS, table.replace('.geneve.tsv', '').replace('--', '/'));
    const { status, stdout, stderr } = decode(path, '--json');
    t.equal(status, 0, `${table}: readable to its end ${stderr}`);
    const decoded = lines(stdout).map((line) => JSON.parse(line) as Line);
    const rows = rowsOf(table);
    const reason = DIFFERENT[basename(path)];
    if (reason) {
      t.equal(rows.length, 0, reason);
      t.strictSame(
        decoded.map(({ geneve, error }) => [geneve?.vni, error]),
        [[5001, null]],
        reason,
      );
      continue;
    }
    t.strictSame(
      decoded.map(({ frame }) => frame),
      rows.map((row) => Number(row['frame.number'])),
      `${table}: the same frames`,
    );
    rows.forEach((row, i) => {
      compare(t, `${table} frame ${row['frame.number']}`, decoded[i], row);
    });
  }
});

function compare(t: Tap, name: string, line: Line, row: Record<string, string>): void {
  const { outer, geneve } = line;
  if (!outer || !geneve) return void t.fail(`${name}: has a header`);
  const types = row['geneve.option.type'].split(',').filter(Boolean).map(Number);
  t.strictSame(
    {
      ports: [outer.sourcePort, outer.destinationPort],
      version: geneve.version,
      oam: geneve.oam,
      critical: geneve.critical,
      protocolType: geneve.protocolType,
      vni: geneve.vni,
      options: optionBytes(geneve),
      classes: geneve.options.map((option) => option.class).join(','),
      types: geneve.options.map((option) => option.type),
      criticals: geneve.options.map((option) => Number(option.critical)).join(','),
    },
    {
      // Behind a comma is the inner packet's.
      ports: ['udp.srcport', 'udp.dstport'].map((key) => Number(row[key].split(',')[0])),
      version: Number(row['geneve.version']),
      oam: row['geneve.flags.oam'] === '1',
      critical: row['geneve.flags.critical'] === '1',
      protocolType: row['geneve.proto_type'],
      vni: Number(row['geneve.vni']),
      options: row['geneve.options'],
      classes: row['geneve.option.class'],
      types,
      criticals: row['geneve.option.type.critical'],
    },
    name,
  );
  const [status] = row['udp.checksum.status'].split(',');
  t.ok(
    CHECKSUM[status]?.includes(outer.checksum),
    `${name}: checksum ${outer.checksum}, ${status}`,
  );
  const rebuilt = encodeGeneve({
    protocolType: Number(geneve.protocolType),
    vni: geneve.vni,
    oam: geneve.oam,
    critical: geneve.critical,
    options: geneve.options.map((option) => ({
      class: Number(option.class),
      type: option.type,
      data: Buffer.from(option.data, 'hex'),
    })),
  });
  const options = Buffer.from(row['geneve.options'], 'hex');
  const expected = Buffer.alloc(8);
  expected[0] = (Number(row['geneve.version']) << 6) | (options.length / 4);
  expected[1] =
    (Number(row['geneve.flags.oam']) << 7) | (Number(row['geneve.flags.critical']) << 6);
  expected.writeUInt16BE(Number(row['geneve.proto_type']), 2);
  expected.writeUInt32BE(Number(row['geneve.vni']) * 256, 4);
  t.strictSame(Buffer.from(rebuilt), Buffer.concat([expected, options]), `${name}: rebuilt`);
}

type Tap = Pick<typeof t, 'fail' | 'ok' | 'strictSame'>;

t.test('a JSON line has its keys in their order', { skip }, async (t) => {
  const path = join(CORPUS, 'geneve-gwlb/tx-gwlb-for-demo--tencent-gwlb-geneve.pcap');
  const [line] = lines(decode(path, '--json', '--option-class', '0x0167').stdout);
  const packet = JSON.parse(line);
  t.strictSame(Object.keys(packet), [
    'frame',
    'time',
    'outer',
    'geneve',
    'gateway',
    'inner',
    'error',
  ]);
  t.equal(packet.gateway.cookie, '0x5fdde97c');
  t.equal(packet.gateway.endpointId, 'vpce-062696730766a306a');
  t.equal(packet.gateway.attachmentId, '0x0000000000000000');
  const text = lines(decode(path, '--option-class', '0x0167').stdout);
  t.match(text[0], /^1 .*:33132 > .*:6081 .*vpce-062696730766a306a cookie 0x5fdde97c .*icmp /);
});

t.test('a file that is cut, or no capture, is said to be', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gwlb-decode-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'no.pcap');
  writeFileSync(file, 'this is no capture at all, only text');
  const { status, stdout, stderr } = decode(file);
  t.equal(status, 1);
  t.equal(stdout, '');
  t.match(stderr, /^gwlb: cannot read .*no\.pcap: .+\n$/);
  const usage = decode(file, '--port', '70000');
  t.equal(usage.status, 2);
  t.match(usage.stderr, '--port: expected 1–65535, received 70000');
  const header = Buffer.alloc(30);
  header.writeUInt32LE(0xa1b2c3d4, 0);
  header.writeUInt16LE(2, 4);
  header.writeUInt16LE(4, 6);
  header.writeUInt32LE(65_535, 16);
  header.writeUInt32LE(1, 20);
  writeFileSync(file, header);
  t.equal(decode(file).status, 1, 'cut inside of a record');
});

t.test('link types: NULL and LOOP are read, others named', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gwlb-decode-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const tuple = { protocol: 'udp', source: '10.0.0.1:40000', destination: '10.0.0.2:6081' };
  const datagram = tuplePacket(tuple, 0, encodeGeneve({ vni: 7 }));
  const capture = (link: number, ...frames: Uint8Array[]) => {
    const file = join(folder, 'in.pcap');
    using writer = new PcapWriter(file, { link: link & 0xffff });
    for (const frame of frames) writer.write(frame, 0n);
    writer.close();
    const bytes = readFileSync(file);
    bytes.writeUInt32LE(link, 20);
    writeFileSync(file, bytes);
    return decode(file, '--json');
  };
  for (const [link, family] of [
    [0, [2, 0, 0, 0]],
    [108, [0, 0, 0, 2]],
  ] as const) {
    const { status, stdout } = capture(link, Buffer.concat([Buffer.from(family), datagram]));
    t.equal(status, 0);
    t.match(JSON.parse(stdout), { geneve: { vni: 7 } });
  }
  for (const link of [147, 65_540]) {
    const { status, stdout, stderr } = capture(link, datagram, datagram);
    t.match({ status, stdout }, { status: 1, stdout: '' });
    t.match(
      stderr,
      new RegExp(`in\\.pcap: link type ${link} \\(2 frames\\) is not read: expected`),
    );
  }
  const plain = tuplePacket({ ...tuple, destination: '10.0.0.2:53' });
  const none = capture(101, plain);
  t.match({ status: none.status, stdout: none.stdout }, { status: 1, stdout: '' });
  t.match(none.stderr, /in\.pcap: no GENEVE packet \(UDP to port 6081\) in 1 frames\n$/);
});

t.test('a reader that has seen enough ends it quietly', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gwlb-decode-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'many.pcap');
  const tuple = { protocol: 'udp', source: '10.0.0.1:40000', destination: '10.0.0.2:6081' };
  const geneve = Buffer.concat([encodeGeneve({ vni: 7 }), tuplePacket(tuple)]);
  const datagram = tuplePacket(tuple, 0, geneve);
  {
    using writer = new PcapWriter(file);
    // Many times what a pipe takes before somebody reads.
    for (let i = 0; i < 5000; i += 1) writer.write(datagram);
  }
  const child = spawn(process.execPath, [CLI, 'decode', file, '--json'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  let stderr = '';
  child.stderr.on('data', (data) => {
    stderr += data;
  });
  const closed = once(child, 'close');
  const [chunk] = await once(child.stdout, 'data');
  child.stdout.destroy();
  const [line] = lines(String(chunk));
  t.match(JSON.parse(line), { frame: 1, geneve: { vni: 7 }, error: null });
  t.strictSame(await closed, [0, null]);
  t.equal(stderr, '');

  const script = 'node="$1"; shift; "$node" "$@" | head -1';
  const args = ['-c', script, 'sh', process.execPath, CLI, 'decode', file];
  const piped = spawnSync('sh', [...args, '--json'], { encoding: 'utf8', timeout: 5000 });
  t.match(piped, { status: 0, stderr: '', stdout: `${line}\n` });
});
