/**
 * How an environment can end, at every stage of using the addon: each in a process of its own, which
 * has to end by itself, with code 0 and no signal.
 */
import t from 'tap';
import { runChild, socketsRefused } from './fixtures.js';
import { COMMON, inPairs, STAGES } from './stages.js';

/** What `reached` does. */
const ENDS: Record<string, string> = {
  'process.exit(0)': 'process.exit(0);',
  'process.exit(0) in an exit handler too': `
    process.on('exit', () => { stop(); process.exit(0); });
    process.exit(0);
  `,
  'stopped, then nothing left to do': 'stop(); stop();',
  'stopped later': 'setTimeout(() => { stop(); }, 20);',
  collected: `
    setImmediate(async () => {
      hold.length = 0;
      stop = null;
      for (let i = 0; i < 10; i++) { gc(); await new Promise((resolve) => setTimeout(resolve, 5)); }
    });
  `,
  'collected, but for the views': `
    const views = hold.filter((one) => ArrayBuffer.isView(one) || one.block)
      .map((one) => ArrayBuffer.isView(one) ? one : new Uint8Array(one.block));
    setImmediate(async () => {
      hold.length = 0;
      stop = null;
      for (let i = 0; i < 10; i++) { gc(); await new Promise((resolve) => setTimeout(resolve, 5)); }
      for (const view of views) view.fill(view instanceof BigUint64Array ? 1n : 1);
    });
  `,
};

/** Without an engine there is nothing to stop, or to collect beside the views. */
const ENGINE_ENDS = ['process.exit(0) in an exit handler too', 'stopped later', 'collected'];

const refused = await socketsRefused();

for (const { name, sockets, body } of STAGES) {
  t.test(name, { skip: sockets && refused }, async (t) => {
    const ends = Object.entries(ENDS).filter(([end]) => sockets || !ENGINE_ENDS.includes(end));
    await inPairs(ends, async ([end, reached]) => {
      const result = await runChild(`
        ${COMMON}
        let is_there = false;
        process.on('exit', () => { if (!is_there) process.exitCode = 3; });
        function reached() { is_there = true; ${reached} }
        ${body}
      `);
      t.strictSame(result, { code: 0, signal: null, stdout: '', stderr: '' }, end);
    });
  });
}

t.test('a gateway engine does not keep the process alive', { skip: refused }, async (t) => {
  const result = await runChild(`
    ${COMMON}
    openGateway(1).then((engine) => { globalThis.engine = engine; });
  `);
  t.strictSame(result, { code: 0, signal: null, stdout: '', stderr: '' });
});

t.test('an appliance engine does, until it is stopped', { skip: refused }, async (t) => {
  const result = await runChild(`
    addon.openApplianceEngine(applianceConfig(), () => {}).then((engine) => {
      const timer = setTimeout(() => { console.log('alive'); engine.stop(); }, 100);
      timer.unref();
    });
  `);
  t.strictSame(result, { code: 0, signal: null, stdout: 'alive\n', stderr: '' });
});
