/** Wireshark's dissectors as a judge. */
import { run } from '../../server/src/lab/processes.js';

/** Every occurrence of every field of one frame, as text. */
export type Row<Field extends string> = Record<Field, string[]>;

/** Sums are verified, and fragments left as they are. */
const PREFERENCES = [
  ...['ip.check_checksum:TRUE', 'udp.check_checksum:TRUE', 'tcp.check_checksum:TRUE'],
  ...['ip.defragment:FALSE', 'ipv6.defragment:FALSE'],
].flatMap((preference) => ['-o', preference]);

const LAYOUT = ['occurrence=a', 'aggregator=|', 'separator=/t'].flatMap((one) => ['-E', one]);

/** What tshark says of the frames of a capture, in their order. */
export async function tshark<Field extends string>(
  path: string,
  fields: readonly Field[],
  more: readonly string[] = [],
): Promise<Row<Field>[]> {
  const wanted = fields.flatMap((field) => ['-e', field]);
  const args = ['-n', '-r', path, ...PREFERENCES, ...more, '-T', 'fields', ...LAYOUT, ...wanted];
  const { status, out, err } = await run('tshark', args, 100);
  if (status !== 0) throw new Error(`tshark: exit code ${status}: ${err}`);
  return out
    .replace(/\n$/, '')
    .split('\n')
    .map((line) => {
      const values = line.split('\t');
      const named = fields.map((field, i) => [field, values[i] ? values[i].split('|') : []]);
      return Object.fromEntries(named) as Row<Field>;
    });
}

/** What `complaints` reads. */
export const COMPLAINT_FIELDS = [
  ...['ip.checksum.status', 'udp.checksum.status', 'tcp.checksum.status'],
  ...['icmp.checksum.status', 'icmpv6.checksum.status'],
  ...['_ws.malformed', '_ws.expert.message', '_ws.expert.severity', '_ws.expert.group'],
] as const;

/** Wireshark's words: 0 bad, 1 good, 2 unverified (fragments), 3 not present. */
const BAD = '0';
export const GOOD = '1';
const CHECKSUMS = COMPLAINT_FIELDS.filter((field) => field.endsWith('checksum.status'));

/** From here on it is a warning or an error. */
const WARNING = 0x600000;
/** Remarks on how a conversation goes, such as a segment sent again. */
const SEQUENCE = 0x2000000;

/** Wrong sums, malformed headers and warnings of a frame. */
export function complaints(row: Row<(typeof COMPLAINT_FIELDS)[number]>): string[] {
  const checksums = CHECKSUMS.filter((field) => row[field].includes(BAD));
  const messages = row['_ws.expert.severity'].flatMap((severity, i) => {
    const remark = Number(row['_ws.expert.group'][i]) === SEQUENCE;
    return Number(severity) < WARNING || remark ? [] : [row['_ws.expert.message'].join()];
  });
  return [...checksums, ...row['_ws.malformed'], ...messages];
}
