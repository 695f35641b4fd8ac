/** Memory that `ArrayBuffer.prototype.transfer` moved to another thread outlives the one it came from. */
import t from 'tap';
import { program, runChild, socketsRefused } from './fixtures.js';

// Node 20 has it behind a flag, which later ones do not know any more.
const FLAGS = process.versions.node.startsWith('20.') ? ['--harmony-rab-gsab-transfer'] : [];

/** What the addon lends, by an expression that makes it. */
const LENT: Record<string, string> = {
  "a batch's block": 'new addon.PacketBatch(256, 9152).block',
  "a gateway's counters": 'new addon.Gateway(gatewayConfig()).counters.buffer',
  "the codec's words": 'addon.geneveWords.buffer',
};
const ENGINES: Record<string, string> = {
  "an engine's counters":
    '(globalThis.engine = await addon.openGatewayEngine(' +
    '{ ...gatewayConfig(), udp: udpConfig(), workers: 1 })).counters[0].buffer',
  "an appliance's counters":
    '(globalThis.engine = await addon.openApplianceEngine(applianceConfig(), () => {})).counters.buffer',
};
const refused = await socketsRefused();

/** A worker moves the memory, sends it and ends; then it is written and read. */
function moved(expression: string, collect: boolean): string {
  const inside = program(`
    const { parentPort } = require('node:worker_threads');
    (async () => {
      const bytes = (${expression}).transfer();
      parentPort.postMessage(bytes, [bytes]);
      ${collect ? 'gc(); setImmediate(() => { gc(); process.exit(); });' : ''}
    })();
  `);
  return `
    const { Worker } = require('node:worker_threads');
    const worker = new Worker(${JSON.stringify(inside)}, { eval: true });
    let bytes;
    worker.on('error', (error) => console.log(error));
    worker.on('message', (buffer) => {
      bytes = new Uint8Array(buffer);
      if (${!collect}) worker.terminate();
    });
    worker.on('exit', () => setTimeout(() => {
      bytes.fill(7);
      console.log(bytes.length > 0 && bytes.every((byte) => byte === 7) ? 'there' : 'lost');
      bytes = null;
      gc();
      setTimeout(gc, 10);
    }, 10));
  `;
}

for (const [name, expression] of Object.entries({ ...LENT, ...ENGINES })) {
  const skip = name in ENGINES && refused;
  for (const collect of [false, true]) {
    t.test(`${name}${collect ? ', collected before' : ''}`, { skip }, async (t) => {
      const result = await runChild(moved(expression, collect), FLAGS);
      t.strictSame(result, { code: 0, signal: null, stdout: 'there\n', stderr: '' });
    });
  }
}

t.test('what was not moved is freed with its thread', async (t) => {
  const inside = program(`
    globalThis.kept = Array.from({ length: 24 }, () => new addon.PacketBatch(256, 9152));
    require('node:worker_threads').parentPort.postMessage('there');
  `);
  const result = await runChild(`
    const { Worker } = require('node:worker_threads');
    const text = ${JSON.stringify(inside)};
    const one = () => new Promise((resolve) => {
      const worker = new Worker(text, { eval: true });
      worker.on('message', () => worker.terminate());
      worker.on('exit', resolve);
    });
    (async () => {
      for (let i = 0; i < 4; i++) await one();
      const before = process.memoryUsage().rss;
      for (let i = 0; i < 24; i++) await one();
      const grown = (process.memoryUsage().rss - before) / 2 ** 20;
      // All of it would be 1,300 MB.
      console.log(grown < 400 ? 'freed' : 'grew by ' + grown + ' MB');
    })();
  `);
  t.strictSame(result, { code: 0, signal: null, stdout: 'freed\n', stderr: '' });
});
