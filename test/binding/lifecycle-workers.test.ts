/** How a worker thread can end, at every stage of using the addon, while the process goes on. */
import t from 'tap';
import { program, runChild, socketsRefused } from './fixtures.js';
import { COMMON, inPairs, STAGES } from './stages.js';

const WORKER_ENDS: Record<string, string> = {
  'worker.terminate()': 'worker.terminate();',
  'process.exit() inside the worker': "worker.postMessage('exit');",
};

const refused = await socketsRefused();

for (const { name, sockets, body } of STAGES) {
  t.test(name, { skip: sockets && refused }, async (t) => {
    await inPairs(Object.entries(WORKER_ENDS), async ([end, action]) => {
      const inside = program(`
        const { parentPort } = require('node:worker_threads');
        ${COMMON}
        parentPort.on('message', () => process.exit(0));
        function reached() { parentPort.postMessage(ports); }
        ${body}
      `);
      const result = await runChild(`
        const { Worker } = require('node:worker_threads');
        const worker = new Worker(${JSON.stringify(inside)}, { eval: true });
        worker.on('error', (error) => { console.log(error); });
        worker.on('message', (ports) => {
          worker.on('exit', () => {
            // Its sockets are closed: the ports are free again.
            for (const port of ports) {
              const socket = require('node:dgram').createSocket('udp4');
              socket.bind({ port, address: '127.0.0.1', exclusive: true }, () => socket.close());
            }
            console.log('gone');
          });
          ${action}
        });
      `);
      t.strictSame(result, { code: 0, signal: null, stdout: 'gone\n', stderr: '' }, end);
    });
  });
}

t.test('workers come and go while engines run', { skip: refused }, async (t) => {
  const inside = program(`
    ${COMMON}
    const appliance = addon.openApplianceEngine(applianceConfig(), () => {});
    Promise.all([openGateway(1), appliance]).then((engines) => {
      globalThis.engines = engines;
      require('node:worker_threads').parentPort.postMessage('there');
    });
  `);
  const result = await runChild(`
    const { Worker } = require('node:worker_threads');
    const text = ${JSON.stringify(inside)};
    let left = 12;
    let ended = 0;
    function next() {
      if (left === 0) return;
      left--;
      const worker = new Worker(text, { eval: true });
      worker.on('message', () => worker.terminate());
      worker.on('exit', () => { if (++ended === 12) console.log('all gone'); next(); });
    }
    for (let i = 0; i < 3; i++) next();
  `);
  t.strictSame(result, { code: 0, signal: null, stdout: 'all gone\n', stderr: '' });
});
