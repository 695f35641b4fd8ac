// Random hits in a table of flows, 256 keys a call. Every contender starts from the same 16-byte keys
// as they come out of packets; what it makes of them (a string, a BigInt, words) is part of its time.
import { FlowTable, flowKey, NO_FLOW } from 'gwlb';
import { compareLoops, prove, quick, wanted } from './harness.js';
import { JsTable } from './js-table.js';
import { randomNumbers, udpPacket } from './traffic.js';

const BATCH = 256;
const KEY_BYTES = 16;
const NOW = 1000;

let sink = 0;

function stringKey(words: Uint16Array, at: number): string {
  return String.fromCharCode(
    words[at],
    words[at + 1],
    words[at + 2],
    words[at + 3],
    words[at + 4],
    words[at + 5],
    words[at + 6],
    words[at + 7],
  );
}

function bigintKey(words: BigUint64Array, at: number): bigint {
  return (words[at + 1] << 64n) | words[at];
}

/** Keys one behind the other. */
function makeKeys(flows: number): Uint8Array {
  const keys = new Uint8Array(flows * KEY_BYTES);
  for (let i = 0; i < flows; i += 1) keys.set(flowKey(udpPacket(i, 28))!, i * KEY_BYTES);
  return keys;
}

/** `count` keys of random flows, the order in which they are looked up. */
function makeQuestions(keys: Uint8Array, flows: number, count: number) {
  const random = randomNumbers(7);
  const questions = new Uint8Array(count * KEY_BYTES);
  const answers = new Uint32Array(count);
  for (let i = 0; i < count; i += 1) {
    const flow = random(flows);
    answers[i] = flow;
    const from = flow * KEY_BYTES;
    questions.set(keys.subarray(from, from + KEY_BYTES), i * KEY_BYTES);
  }
  return { questions, answers };
}

/** The tables with all flows in them, and what is asked of them. */
function setUp(flows: number) {
  const keys = makeKeys(flows);
  const count = Math.max(BATCH * 64, 2 ** Math.ceil(Math.log2(flows)));
  const { questions, answers } = makeQuestions(keys, flows, count);
  const table = new FlowTable({ capacity: Math.max(1024, flows), idleMs: 350_000 });
  const strings = new Map<string, number>();
  const bigints = new Map<bigint, number>();
  const typed = new JsTable(flows);
  const shorts = new Uint16Array(keys.buffer);
  const ints = new Uint32Array(keys.buffer);
  const bigs = new BigUint64Array(keys.buffer);
  for (let i = 0; i < flows; i += 1) {
    const at = table.set(keys.subarray(i * KEY_BYTES, (i + 1) * KEY_BYTES), i, NOW);
    if (at === NO_FLOW) throw new Error(`proof of input failed: no room for flow ${i}`);
    strings.set(stringKey(shorts, i * 8), i);
    bigints.set(bigintKey(bigs, i * 2), i);
    typed.set(ints, i * 4, i, NOW);
  }
  const sizes = [table.size, strings.size, bigints.size, typed.size];
  prove('every flow is in every table', sizes, [flows, flows, flows, flows]);
  return {
    table,
    strings,
    bigints,
    typed,
    answers,
    windows: Array.from({ length: count / BATCH }, (_, i) =>
      questions.subarray(i * BATCH * KEY_BYTES, (i + 1) * BATCH * KEY_BYTES),
    ),
    shorts: new Uint16Array(questions.buffer),
    ints: new Uint32Array(questions.buffer),
    bigs: new BigUint64Array(questions.buffer),
  };
}

function proveAnswers(tables: ReturnType<typeof setUp>): void {
  const { table, strings, bigints, typed, answers, windows, shorts, ints, bigs } = tables;
  const positions = new Uint32Array(BATCH);
  for (let window = 0; window < Math.min(windows.length, 16); window += 1) {
    table.lookup(windows[window], BATCH, positions, NOW);
    for (let i = 0; i < BATCH; i += 1) {
      const at = window * BATCH + i;
      const found = [
        positions[i] === NO_FLOW ? undefined : table.value(positions[i]),
        strings.get(stringKey(shorts, at * 8)),
        bigints.get(bigintKey(bigs, at * 2)),
        typed.value(typed.find(ints, at * 4, NOW)),
      ];
      const expected = answers[at];
      prove(`all find flow ${expected}`, found, [expected, expected, expected, expected]);
    }
  }
}

function compare(name: string, flows: number): void {
  const tables = setUp(flows);
  proveAnswers(tables);
  const { table, strings, bigints, typed, windows, shorts, ints, bigs } = tables;
  const positions = new Uint32Array(BATCH);
  // Each contender goes on where it stopped, so that all of the table is visited.
  const nextWindow = () => {
    let next = 0;
    return () => {
      next = next + 1 === windows.length ? 0 : next + 1;
      return next;
    };
  };
  const turns = [nextWindow(), nextWindow(), nextWindow(), nextWindow()];
  compareLoops({ suite: 'lookup', name, unit: 'ns/lookup' }, BATCH, [
    {
      name: 'FlowTable.lookup',
      run: () => {
        table.lookup(windows[turns[0]()], BATCH, positions, NOW);
        sink += positions[0];
      },
    },
    {
      name: 'Map, string key',
      run: () => {
        const from = turns[1]() * BATCH;
        for (let i = from; i < from + BATCH; i += 1) sink += strings.get(stringKey(shorts, i * 8))!;
      },
    },
    {
      name: 'Map, BigInt key',
      run: () => {
        const from = turns[2]() * BATCH;
        for (let i = from; i < from + BATCH; i += 1) sink += bigints.get(bigintKey(bigs, i * 2))!;
      },
    },
    {
      name: 'typed-array table',
      run: () => {
        const from = turns[3]() * BATCH;
        for (let i = from; i < from + BATCH; i += 1) sink += typed.find(ints, i * 4, NOW);
      },
    },
  ]);
}

const sizes: [string, number][] = [
  ['lookup ipv4 10k from javascript', 10_000],
  ['lookup ipv4 100k from javascript', 100_000],
  ['lookup ipv4 1m from javascript', 1_000_000],
];
for (const [name, flows] of quick ? sizes.slice(0, 2) : sizes) {
  if (wanted('lookup', name)) compare(name, flows);
}
if (Number.isNaN(sink)) throw new Error('a lookup found nothing');
