// One of 300 targets leaves and comes back while two workers forward: from the call until every worker
// chooses by the new table. Nothing may be lost meanwhile. Beside it the same without traffic.
import { GatewayLoadBalancer, TargetGroup } from 'gwlb';
import { compareSamplers, prove, quick, wanted } from './harness.js';
import { enterNamespaces, VNI, WireLab } from './wire-lab.js';

const SUITE = 'change';
const NAME = 'change live 300 targets';
const TARGETS = 300;
const [GENERATOR, GATEWAY] = ['127.1.0.1', '127.1.0.2'];
const SECONDS = quick ? '2' : '6';

/** All targets are this machine, which takes every address of the loopback. */
async function balancerOf(address: string) {
  const targetGroup = new TargetGroup({ healthCheck: false });
  const addresses = Array.from(
    { length: TARGETS },
    (_, i) => `127.2.${1 + (i >> 7)}.${1 + (i & 127)}`,
  );
  targetGroup.register(...addresses.map((target) => ({ address: target, port: 7081 })));
  const limits = { flows: 65_536, flowsIpv6: 1024 };
  const options = { address, targetGroup, workers: 2, limits };
  const balancer = await GatewayLoadBalancer.listen(options);
  await balancer.createEndpoint({ geneve: { peer: GENERATOR, vni: VNI } });
  return { balancer, targetGroup };
}

async function change(): Promise<void> {
  const lab = new WireLab();
  await lab.run(null, 'ip', 'link', 'set', 'lo', 'up');
  const busy = await balancerOf(GATEWAY);
  const idle = await balancerOf('127.1.0.5');
  try {
    // Takes what any target is sent.
    const generated = lab.measure(
      ...['generate', GENERATOR, GATEWAY, '0.0.0.0:7081', SECONDS, '128', '64', '1000', '1', '1'],
    );
    const sampler = (name: string, { targetGroup }: typeof busy) => {
      const [first] = targetGroup.targets();
      let weight = 1;
      return {
        name,
        sample: () => {
          weight = 1 - weight;
          const started = performance.now();
          targetGroup.setWeight(first, weight);
          return performance.now() - started;
        },
      };
    };
    compareSamplers(
      { suite: SUITE, name: NAME, unit: 'ms', note: 'wall time; half of the changes each way' },
      [sampler('under load', busy), sampler('without traffic', idle)],
    );
    const { came, sent } = await generated;
    prove('packets came through', came > 0 && came >= sent * 0.99, true);
  } finally {
    await busy.balancer.close();
    await idle.balancer.close();
    await lab.close();
  }
}

if (wanted(SUITE, NAME)) {
  await enterNamespaces(import.meta.url);
  await change();
}
process.exit(0);
