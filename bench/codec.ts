// Reading one GENEVE header, and taking it off a whole batch.
import { decodeGeneve, encodeGeneve } from 'gwlb';
import { compareLoops, compareSamplers, prove, timeNs, wanted } from './harness.js';
import { noFields, parseFields, parseObject } from './js-codec.js';
import { BATCH, fill, makeRig, NOW, newBatch, proveForward } from './rig.js';
import { udpPacket } from './traffic.js';
import { WasmParser } from './wasm-codec.js';

let sink = 0;

const payloads = Array.from({ length: BATCH }, (_, i) => {
  const endpointId = `vpce-0${(0x0123_4567_89ab_0000n + BigInt(i)).toString(16).padStart(16, '0')}`;
  const header = encodeGeneve({ gateway: { endpointId, attachmentId: BigInt(i), cookie: i * 77 } });
  const inner = udpPacket(i);
  const bytes = new Uint8Array(header.length + inner.length);
  bytes.set(header);
  bytes.set(inner, header.length);
  return bytes;
});
const views = payloads.map((bytes) => new DataView(bytes.buffer));
const fields = noFields();

const wasm = new WasmParser();
/** Bytes of a datagram, one behind the other in the memory of the WebAssembly parser. */
const wasmAt = (i: number) => wasm.start + i * payloads[0].length;
for (const [i, bytes] of payloads.entries()) wasm.memory.set(bytes, wasmAt(i));

function readFields(i: number): boolean {
  return parseFields(views[i], 0, payloads[i].length, fields);
}

/** The WebAssembly parser refuses what the careful one refuses: every length, every byte changed. */
function proveRefusals(): void {
  const bytes = payloads[5].slice(0, 40);
  const view = new DataView(bytes.buffer);
  const alike = (what: string, length: number) => {
    wasm.memory.set(bytes, wasm.start);
    const taken = wasm.parse(wasm.start, length) === 1;
    prove(what, taken, parseFields(view, 0, length, fields));
    if (taken) prove(`${what}, and reads it alike`, wasm.found(), fields);
  };
  for (let length = 0; length <= 40; length += 1) alike(`${length} bytes`, length);
  for (let i = 0; i < 40; i += 1) {
    for (let bit = 1; bit < 0x100; bit <<= 1) {
      bytes[i] ^= bit;
      alike(`byte ${i} ^ ${bit}`, 40);
      bytes[i] ^= bit;
    }
  }
  wasm.memory.set(payloads[0], wasm.start);
}

function decode(): void {
  proveRefusals();
  for (let i = 0; i < BATCH; i += 1) {
    const expected = decodeGeneve(payloads[i]);
    prove(`payload ${i} is faultless`, expected.error, null);
    prove(`the object parser reads payload ${i} alike`, parseObject(payloads[i]), expected);
    prove(`the DataView parser takes payload ${i}`, readFields(i), true);
    prove(`the WebAssembly parser takes it`, wasm.parse(wasmAt(i), payloads[i].length), 1);
    prove(`the WebAssembly parser reads it alike`, wasm.found(), fields);
    const { endpointHigh, endpointLow, attachmentLow, cookie, headerLength } = fields;
    const high = BigInt(endpointHigh) << 32n;
    prove(
      `the DataView parser reads payload ${i} alike`,
      [
        `vpce-0${(high | BigInt(endpointLow)).toString(16).padStart(16, '0')}`,
        BigInt(attachmentLow),
        cookie,
        headerLength,
      ],
      [
        expected.gateway?.endpointId,
        expected.gateway?.attachmentId,
        expected.gateway?.cookie,
        expected.header?.headerLength,
      ],
    );
  }
  compareLoops({ suite: 'codec', name: 'decode one header', unit: 'ns/packet' }, BATCH, [
    {
      name: 'decodeGeneve',
      run: () => {
        for (let i = 0; i < BATCH; i += 1) sink += decodeGeneve(payloads[i]).gateway!.cookie;
      },
    },
    {
      name: 'JS DataView, no objects',
      run: () => {
        for (let i = 0; i < BATCH; i += 1) if (readFields(i)) sink += fields.cookie;
      },
    },
    {
      name: 'WASM, no objects',
      run: () => {
        for (let i = 0; i < BATCH; i += 1) {
          if (wasm.parse(wasmAt(i), payloads[i].length) === 1) sink += wasm.fields[7];
        }
      },
    },
    {
      name: 'WASM, header copied in',
      run: () => {
        for (let i = 0; i < BATCH; i += 1) {
          wasm.memory.set(payloads[i], wasm.start);
          if (wasm.parse(wasm.start, payloads[i].length) === 1) sink += wasm.fields[7];
        }
      },
    },
    {
      name: 'JS objects',
      run: () => {
        for (let i = 0; i < BATCH; i += 1) sink += parseObject(payloads[i]).gateway!.cookie;
      },
    },
  ]);
}

/** Whole datagrams as appliances return them, of flows that the gateway knows. */
function decapsulate(): void {
  const { gateway, endpoint } = makeRig(BATCH);
  const batch = newBatch();
  const packets = Array.from({ length: BATCH }, (_, i) => udpPacket(i));
  fill(batch, packets, 0, BATCH);
  gateway.toTargets(batch, endpoint, NOW);
  proveForward('every packet goes to a target', batch);
  const datagrams = packets.map((_, i) => batch.bytes(i).slice());
  const sources = packets.map((_, i) => batch.address[i]);
  const refill = () => {
    batch.clear();
    for (let i = 0; i < BATCH; i += 1) batch.add(datagrams[i], sources[i]);
  };
  refill();
  gateway.fromTargets(batch, NOW);
  proveForward('every datagram is taken', batch);
  for (let i = 0; i < BATCH; i += 1) {
    prove(`inner packet ${i} is as it went in`, batch.bytes(i), packets[i]);
    const { cookie } = decodeGeneve(datagrams[i]).gateway!;
    const view = new DataView(datagrams[i].buffer);
    prove(
      `the DataView parser takes datagram ${i}`,
      [parseFields(view, 0, datagrams[i].length, fields), fields.cookie],
      [true, cookie],
    );
  }
  const own = datagrams.map((bytes) => new DataView(bytes.buffer));
  const repeat = 16;
  const inTurn = (prepare: () => void, work: () => void) => () => {
    let total = 0;
    for (let round = 0; round < repeat; round += 1) {
      prepare();
      total += timeNs(work);
    }
    return total / repeat / BATCH;
  };
  const nothing = () => {};
  compareSamplers(
    {
      suite: 'codec',
      name: 'decapsulate a batch',
      unit: 'ns/packet',
      note: 'ours also finds the flow and verifies source and cookie; the peers only read the header',
    },
    [
      {
        name: 'Gateway.fromTargets',
        sample: inTurn(refill, () => gateway.fromTargets(batch, NOW)),
      },
      {
        name: 'JS DataView, no objects',
        sample: inTurn(nothing, () => {
          for (let i = 0; i < BATCH; i += 1) {
            if (parseFields(own[i], 0, datagrams[i].length, fields)) sink += fields.cookie;
          }
        }),
      },
      {
        name: 'JS objects',
        sample: inTurn(nothing, () => {
          for (let i = 0; i < BATCH; i += 1) sink += parseObject(datagrams[i]).gateway!.cookie;
        }),
      },
    ],
  );
  void gateway.close();
}

if (wanted('codec', 'decode one header')) decode();
if (wanted('codec', 'decapsulate a batch')) decapsulate();
if (Number.isNaN(sink)) throw new Error('a parser read no number');
