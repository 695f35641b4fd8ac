/** How far a program can have come with the addon when its environment ends. */

export interface Stage {
  name: string;
  sockets: boolean;
  /** Runs `reached` once the stage is there; `stop` and `hold` belong to it. */
  body: string;
}

export const STAGES: Stage[] = [
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
      gateway.configure(liveConfig(), new addon.TargetTable(twoTargets(), null));
      hold.push(gateway, gateway.counters, new addon.FlowTable(4, 1024, 1000, new Uint8Array(16)));
      reached();
    `,
  },
  {
    name: 'gateway engine started',
    sockets: true,
    body: `(async () => {
      let engine = await openGateway(2);
      engine.configure(liveConfig(), new addon.TargetTable(twoTargets(), null));
      await engine.addEndpoint(1, peerEndpoint());
      hold.push(engine);
      ports.push(engine.port);
      stop = (() => { const own = new WeakRef(engine); return () => own.deref().stop(); })();
      engine = null;
      reached();
    })();`,
  },
  {
    name: 'gateway engine being opened',
    sockets: true,
    body: `
      hold.push(openGateway(2));
      stop = () => hold[0].then((engine) => engine.stop());
      reached();
    `,
  },
  {
    name: 'gateway engine busy',
    sockets: true,
    body: `(async () => {
      const engine = await openGateway(2);
      hold.push(engine);
      ports.push(engine.port);
      stop = () => engine.stop();
      for (let i = 0; i < 20; i++) engine.addEndpoint(i, peerEndpoint()).catch(() => {});
      engine.lookAtDevices();
      reached();
    })();`,
  },
  {
    name: 'appliance engine started',
    sockets: true,
    body: `(async () => {
      let engine = await addon.openApplianceEngine(applianceConfig(), () => {});
      hold.push(engine);
      ports.push(engine.port);
      stop = (() => { const own = new WeakRef(engine); return () => own.deref().stop(); })();
      engine = null;
      reached();
    })();`,
  },
  {
    name: 'appliance engine being opened',
    sockets: true,
    body: `
      hold.push(addon.openApplianceEngine(applianceConfig(), () => {}));
      stop = () => hold[0].then((engine) => engine.stop());
      reached();
    `,
  },
  {
    name: 'inspecting',
    sockets: true,
    body: `(async () => {
      const socket = require('node:dgram').createSocket('udp4');
      let there = false;
      let engine = await addon.openApplianceEngine(applianceConfig(), () => {
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
    })();`,
  },
];

/** Before a stage's body: what belongs to it. */
export const COMMON = `
  const hold = [];
  const ports = [];
  let stop = () => {};
  async function openGateway(workers) {
    const engine = await addon.openGatewayEngine({ ...gatewayConfig(), udp: udpConfig(), workers });
    await engine.run();
    return engine;
  }
`;

/** Calls `work` for each of `all`, two at a time. */
export async function inPairs<T>(
  all: readonly T[],
  work: (one: T) => Promise<void>,
): Promise<void> {
  const left = [...all];
  const take = async () => {
    for (let one = left.shift(); one !== undefined; one = left.shift()) await work(one);
  };
  await Promise.all([take(), take()]);
}
