/** What worker threads kept of the packets that entered. */
import { endianness } from 'node:os';
import t from 'tap';
import { Recording } from '../../src/gateway/recording.js';
import { tuplePacket } from '../../src/index.js';

const RECORD_BYTES = 144;

/** As worker threads leave them: each worker's packets in order. */
function recorded(workers: readonly (readonly number[])[]): Uint8Array {
  const times = workers.flat();
  const packet = tuplePacket({ protocol: 'udp', source: '10.0.0.1:1', destination: '10.0.0.2:2' });
  const all = new Uint8Array(times.length * RECORD_BYTES);
  const view = new DataView(all.buffer);
  const little = endianness() === 'LE';
  for (const [i, time] of times.entries()) {
    const at = i * RECORD_BYTES;
    view.setBigUint64(at, BigInt(time), little);
    view.setUint32(at + 8, packet.length, little);
    view.setUint16(at + 12, 0xffff, little);
    view.setUint16(at + 14, packet.length, little);
    all.set(packet, at + 16);
    view.setUint16(at + 16 + 20, i & 0xffff);
  }
  return all;
}

t.test('packets come in order of time, whichever worker had them', async (t) => {
  const workers = [[1, 5, 5, 9], [], [2, 5, 8], [0, 10]];
  const packets = recorded(workers);
  const recording = new Recording({ packets, lost: 0 }, 1000, () => undefined);
  const read = [...recording].map(({ timeMs, bytes }) => [
    timeMs - 1000,
    (bytes[20] << 8) | bytes[21],
  ]);
  const sorted = workers
    .flat()
    .map((time, i) => [time, i])
    .sort(([a, i], [b, j]) => a - b || i - j);
  t.strictSame(read, sorted);
  t.strictSame([...new Recording({ packets: new Uint8Array(0), lost: 0 }, 0, () => undefined)], []);
});
