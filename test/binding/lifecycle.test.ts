/**
 * How an environment can end, at every stage of using the addon: each in a process of its own, which
 * has to end by itself, with code 0 and no signal.
 */
import t from 'tap';
import { program, runChild, socketsRefused } from './fixtures.js';

interface Stage {
  name: string;
  sockets: boolean;
  /** Runs `reached` once the stage is there; `stop` and `hold` belong to it. */
  body: string;
}

const STAGES: Stage[] = [
  { name: 'loaded', sockets: false, body: 'reached();' },
  {
    name: 'batch created',
    sockets: false,
    body: 'hold.push(new addon.PacketBatch(256, 9152)); reached();',
  },
  {
    name: 'gateway created',
    sockets: false,
    body: `
      const gateway = new addon.Gateway(gatewayConfig());
      gateway.setTargets(twoTargets());
      hold.push(gateway, gateway.counters, new addon.FlowTable(4, 1024, 1000, new Uint8Array(16)));
      reached();
    `,
  },
  {
    name: 'gateway engine started',
    sockets: true,
    body: `
      let engine = new addon.GatewayEngine({ ...gatewayConfig(), udp: udpConfig(), workers: 2 });
      engine.setTargets(twoTargets());
      engine.addEndpoint(1, peerEndpoint());
      hold.push(engine);
      ports.push(engine.port);
      stop = (() => { const own = new WeakRef(engine); return () => own.deref().stop(); })();
      engine = null;
      reached();
    `,
  },
  {
    name: 'appliance engine started',
    sockets: true,
    body: `
      let engine = new addon.ApplianceEngine(applianceConfig(), () => {});
      hold.push(engine);
      ports.push(engine.port);
      stop = (() => { const own = new WeakRef(engine); return () => own.deref().stop(); })();
      engine = null;
      reached();
    `,
  },
  {
    name: 'inspecting',
    sockets: true,
    body: `
      const socket = require('node:dgram').createSocket('udp4');
      let there = false;
      let engine = new addon.ApplianceEngine(applianceConfig(), () => {
        if (there) return;
        there = true;
        const batch = own.deref().next();
        hold.push(batch, new Uint8Array(batch.block), batch.details);
        if (batch.count() === 0) throw new Error('an empty batch');
        socket.close();
        // Inside of the callback, with the batch in hand.
        reached();
      });
      const own = new WeakRef(engine);
      hold.push(engine);
      ports.push(engine.port);
      stop = () => own.deref().stop();
      const datagram = Buffer.concat([gatewayHeader(1n, 1), udpPacket()]);
      for (let i = 0; i < 20; i++) socket.send(datagram, engine.port, '127.0.0.1');
      engine = null;
    `,
  },
];

/** What \`reached\` does. */
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

const COMMON = `
  const hold = [];
  const ports = [];
  let stop = () => {};
`;

const WORKER_ENDS: Record<string, string> = {
  'worker.terminate()': 'worker.terminate();',
  'process.exit() inside the worker': "worker.postMessage('exit');",
};

const refused = await socketsRefused();

for (const { name, sockets, body } of STAGES) {
  t.test(name, { skip: sockets && refused }, async (t) => {
    for (const [end, reached] of Object.entries(ENDS)) {
      const result = await runChild(`
        ${COMMON}
        let is_there = false;
        process.on('exit', () => { if (!is_there) process.exitCode = 3; });
        function reached() { is_there = true; ${reached} }
        ${body}
      `);
      t.strictSame(result, { code: 0, signal: null, stdout: '', stderr: '' }, end);
    }

    for (const [end, action] of Object.entries(WORKER_ENDS)) {
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
    }
  });
}

t.test('a gateway engine does not keep the process alive', { skip: refused }, async (t) => {
  const result = await runChild(`
    const engine = new addon.GatewayEngine({ ...gatewayConfig(), udp: udpConfig(), workers: 1 });
    globalThis.engine = engine;
  `);
  t.strictSame(result, { code: 0, signal: null, stdout: '', stderr: '' });
});

t.test('an appliance engine does, until it is stopped', { skip: refused }, async (t) => {
  const result = await runChild(`
    const engine = new addon.ApplianceEngine(applianceConfig(), () => {});
    const timer = setTimeout(() => { console.log('alive'); engine.stop(); }, 100);
    timer.unref();
  `);
  t.strictSame(result, { code: 0, signal: null, stdout: 'alive\n', stderr: '' });
});

t.test('workers come and go while engines run', { skip: refused }, async (t) => {
  const inside = program(`
    globalThis.engines = [
      new addon.GatewayEngine({ ...gatewayConfig(), udp: udpConfig(), workers: 1 }),
      new addon.ApplianceEngine(applianceConfig(), () => {}),
    ];
    require('node:worker_threads').parentPort.postMessage('there');
  `);
  const result = await runChild(`
    const { Worker } = require('node:worker_threads');
    const text = ${JSON.stringify(inside)};
    let left = 12;
    let ended = 0;
    function next() {
      if (left-- === 0) return;
      const worker = new Worker(text, { eval: true });
      worker.on('message', () => worker.terminate());
      worker.on('exit', () => { if (++ended === 12) console.log('all gone'); next(); });
    }
    for (let i = 0; i < 3; i++) next();
  `);
  t.strictSame(result, { code: 0, signal: null, stdout: 'all gone\n', stderr: '' });
});
