/** The addon's surface, and objects in places where they do not belong. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { binding } from '../../src/native/binding.js';
import { ROOT } from '../support/places.js';
import { applianceConfig, gatewayConfig, runChild, socketsRefused, udpConfig } from './fixtures.js';

const source = (name: string) => readFileSync(join(ROOT, `src/native/${name}.ts`), 'utf8');

/** The members of an interface in one of the files that declare the addon. */
function membersOf(name: string, file: string): string[] {
  const body = new RegExp(`^export interface ${name}\\b[^{]*\\{\n(.*?)\n\\}\n`, 'ms');
  const members = body.exec(source(file))?.[1] ?? '';
  return [...members.matchAll(/^ {2}(\w+)[:(]/gm)].map((match) => match[1]);
}

t.test('it exports what src/native/binding.ts declares', async (t) => {
  const names = [
    ...membersOf('NativeBinding', 'binding'),
    ...membersOf('NativeSystem', 'binding-system'),
    ...membersOf('NativeCaptureFunctions', 'binding-codec'),
  ];
  t.ok(names.length >= 18, 'the declaration was found');
  t.strictSame(Object.keys(binding).sort(), names.sort());

  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  t.equal(binding.version, version);
});

t.test('lists have one name for each number', async (t) => {
  const { dropReasons, counterLayout, limits } = binding;
  t.equal(dropReasons[0].name, 'none');
  for (const list of [dropReasons, ...Object.values(counterLayout).filter(Array.isArray)]) {
    const names = list.map(({ name }) => name);
    t.equal(new Set(names).size, names.length, 'no name twice');
    for (const { name, sentence } of list) {
      t.match(name, /^[a-z][a-z0-9_]*$/);
      t.ok(sentence.length > 5, `${name} has a sentence`);
    }
  }
  t.equal(counterLayout.dropsAt, counterLayout.gateway.length);
  t.equal(counterLayout.targetsAt, counterLayout.dropsAt + dropReasons.length);
  t.equal(
    counterLayout.endpointsAt,
    counterLayout.targetsAt + counterLayout.target.length * limits.targets,
  );
  t.equal(
    counterLayout.probesAt,
    counterLayout.endpointsAt + counterLayout.endpoint.length * limits.endpoints,
  );
  t.equal(counterLayout.applianceDropsAt, counterLayout.appliance.length);
});

t.test('properties of native objects cannot be changed', async (t) => {
  const batch = new binding.PacketBatch(2, 2240);
  const gateway = new binding.Gateway(gatewayConfig());
  const names = ['block', 'capacity', 'stride', 'headroom', 'layout', 'id', 'slots'];
  t.strictSame(Object.keys(batch), names);
  const bound = ['toTargets', 'fromTargets', 'takeHeld'];
  for (const [object, all] of [
    [batch, names],
    [gateway, ['counters', ...bound]],
  ] as const) {
    for (const name of all) {
      t.throws(() => Object.defineProperty(object, name, { value: 'other' }), TypeError, name);
      t.notOk(Reflect.deleteProperty(object, name), name);
    }
  }
  const { owner } = gateway.toTargets as unknown as { owner: unknown };
  t.equal(owner, gateway);
  t.notOk(Reflect.deleteProperty(gateway.toTargets, 'owner'));
});

const batch = new binding.PacketBatch(2, 2240);
const gateway = new binding.Gateway(gatewayConfig());
const table = new binding.FlowTable(4, 1024, 1000, new Uint8Array(16));
const reader = new binding.CaptureReader(binding.captureHeader(1), true);

function methods(Class: {
  name: string;
  prototype: object;
}): [string, (...given: unknown[]) => unknown][] {
  return Object.getOwnPropertyNames(Class.prototype)
    .filter((name) => name !== 'constructor')
    .map((name) => [`${Class.name}.${name}`, Class.prototype[name as never]]);
}

t.test('methods refuse any other this', async (t) => {
  const classes = [
    binding.Gateway,
    binding.GatewayEngine,
    binding.ApplianceEngine,
    binding.FlowTable,
    binding.CaptureReader,
  ] as unknown as { name: string; prototype: object }[];
  const objects = [batch, gateway, table, reader];
  for (const Class of classes) {
    const all = methods(Class);
    t.ok(all.length >= 2, `${Class.name} has methods`);
    const foreign: unknown[] = [undefined, null, 5, {}, [], Object.create(Class.prototype)];
    for (const object of objects) {
      if (object.constructor === Class) continue;
      const disguised = Object.create(object);
      foreign.push(object, disguised, Object.setPrototypeOf(disguised, Class.prototype));
    }
    for (const [name, call] of all) {
      for (const self of foreign) t.throws(() => call.call(self), TypeError, name);
    }
  }
});

t.test('constructors', async (t) => {
  // Only what was opened is an engine.
  const Engine = binding.GatewayEngine as unknown as new (...given: unknown[]) => unknown;
  const config = { ...gatewayConfig(), udp: udpConfig(), workers: 1 };
  t.throws(() => new Engine(config), { message: /expected a call of openGatewayEngine/ });
  t.throws(() => new binding.ApplianceEngine(applianceConfig()), {
    message: /expected offline, or a call of openApplianceEngine/,
  });

  for (const Class of [binding.PacketBatch, binding.Gateway, binding.FlowTable]) {
    const call = Class as unknown as (...given: unknown[]) => unknown;
    t.throws(() => call(2, 2240), TypeError, `${Class.name} without new`);
    t.throws(() => call.call(batch, 2, 2240), TypeError, `${Class.name} on a made object`);
  }

  class Derived extends binding.PacketBatch {}
  t.equal(new Derived(3, 2240).capacity, 3, 'may be derived from');

  // One class's constructor with another one's prototype: what it makes is what it was made by.
  const Gateway = binding.Gateway as unknown as new () => InstanceType<typeof binding.Gateway>;
  const mixed: unknown = Reflect.construct(binding.PacketBatch, [2, 2240], Gateway);
  const pretended = mixed as InstanceType<typeof binding.Gateway>;
  t.throws(() => pretended.flows(), TypeError);
  t.throws(() => pretended.sweep(0, 1), TypeError);
});

t.test(
  'an appliance batch cannot be made, nor used as another',
  { skip: await socketsRefused() },
  async (t) => {
    const result = await runChild(`
    (async () => {
    const other = await addon.openApplianceEngine(applianceConfig(), () => {});
    const engine = await addon.openApplianceEngine(applianceConfig(), () => {
      const batch = engine.next();
      if (batch === null) return;
      const refused = [];
      const attempt = (name, call) => {
        try { call(); } catch (error) { if (error instanceof TypeError) refused.push(name); }
      };
      attempt('construct', () => new batch.constructor());
      attempt('toTargets', () => new addon.Gateway(gatewayConfig()).toTargets(batch, 0, 0, 0));
      attempt('setCount', () => batch.setCount(1));
      attempt('reset', () => batch.reset(0, 1));
      attempt('other', () => other.release(batch));
      other.stop();
      console.log(refused.join());
      engine.release(batch);
      engine.stop();
    });
    const socket = require('node:dgram').createSocket('udp4');
    const datagram = Buffer.concat([gatewayHeader(1n, 1), udpPacket()]);
    socket.send(datagram, engine.port, '127.0.0.1', () => socket.close());
    })();
  `);
    t.match(result, {
      code: 0,
      signal: null,
      stdout: 'construct,toTargets,setCount,reset,other\n',
    });
  },
);

t.test('two copies of the addon', { skip: await socketsRefused() }, async (t) => {
  const result = await runChild(`
    const fs = require('node:fs');
    const path = require('node:path');
    const folder = fs.mkdtempSync(path.join(require('node:os').tmpdir(), 'gwlb-copy-'));
    const file = path.join(folder, 'copy.node');
    fs.copyFileSync(addonPath, file);
    const copy = require(file);
    fs.rmSync(folder, { recursive: true });

    const gateways = [addon, copy].map((one) => new one.Gateway(gatewayConfig()));
    const batches = [addon, copy].map((one) => new one.PacketBatch(4, 2240));
    for (const [i, gateway] of gateways.entries()) {
      gateway.toTargets(batches[i].id, 4, 0xffff, 0);
      try {
        gateway.flows.call(gateways[1 - i]);
        console.log('worked on the other one');
      } catch (error) {
        console.log(error.name);
      }
    }
    const opening = [addon, copy].map((one) => one.openApplianceEngine(applianceConfig(), () => {}));
    Promise.all(opening).then((engines) => {
      console.log(engines[0].port !== engines[1].port);
      for (const engine of engines) engine.stop();
    });
  `);
  t.match(result, { code: 0, signal: null, stdout: `${'TypeError\n'.repeat(2)}true\n` });
});

t.test('worker threads have a class of their own each', async (t) => {
  const result = await runChild(`
    const { Worker } = require('node:worker_threads');
    const workers = [1, 2, 3, 4].map(() => new Worker(
      'const addon = require(process.env.GWLB_TEST_ADDON);' +
      'const batch = new addon.PacketBatch(8, 2240);' +
      'require("node:worker_threads").parentPort.postMessage(batch.capacity);',
      { eval: true },
    ));
    for (const worker of workers) worker.on('message', (count) => console.log(count));
  `);
  t.match(result, { code: 0, signal: null, stdout: '8\n'.repeat(4) });
});

t.test('system errors', { skip: await socketsRefused() }, async (t) => {
  const engine = await binding.openApplianceEngine(applianceConfig(), () => {});
  t.teardown(() => engine.stop());
  const config = applianceConfig();
  const udp = { ...config.udp, port: engine.port };
  await t.rejects(
    binding.openApplianceEngine({ ...config, udp }, () => {}),
    {
      code: 'EADDRINUSE',
      syscall: 'bind',
      detail: `127.0.0.1:${engine.port}`,
      message: `bind 127.0.0.1:${engine.port}: address already in use`,
    },
  );
  const taken = { ...udpConfig(), port: engine.port };
  await t.rejects(binding.openGatewayEngine({ ...gatewayConfig(), udp: taken, workers: 1 }), {
    code: 'EADDRINUSE',
    syscall: 'bind',
  });
  const away = { ...config.udp, address: 0xcb007109 };
  await t.rejects(
    binding.openApplianceEngine({ ...config, udp: away }, () => {}),
    {
      code: 'EADDRNOTAVAIL',
      detail: '203.0.113.9:0',
    },
  );
  t.throws(() => binding.openTcpSocket('no-such-namespace'), {
    code: /^(ENOENT|EPERM)$/,
    syscall: /^(open|setns)$/,
    detail: '/run/netns/no-such-namespace',
  });
});
