/** The classic inspection topology in network namespaces, every part real. */
import { Lab } from '../lab/lab.js';
import type { Remote } from '../lab/remote.js';
import { Firewall } from './firewall.js';
import type { BalancerStart } from './role-balancer.js';
import { roleOf } from './role-of.js';
import type { ApplianceSite, Place } from './world.js';

const CLIENT = '203.0.113.9';
const GATEWAY = '10.0.1.5';
const ZONES = ['a', 'b'] as const;
const FABRIC_MTU = 9000;
const PORT = 80;

const PICTURE = `
   internet                     VPC router (policy routing)                        application
  ┌───────────────┐   ┌───────────────────────────────────────────────┐   ┌──────────────────────────┐
  │ client        ├───┤ internet gateway      endpoint subnet's table ├───┤ zone a  10.0.2.10  ALB ─┐│
  │ 203.0.113.9   │   │ ingress route table ┐   ┌ app subnets' tables ├───┤ zone b  10.0.3.10  ALB ─┤│
  └───────────────┘   └─────────────────────┼───┼─────────────────────┘   │   web1, web2  ◄─────────┘│
                                   gwlbe-a (TUN)  gwlbe-b (TUN)           └──────────────────────────┘
                                            │   │
                              ┌─────────────┴───┴────────────┐
                              │ gateway load balancer 10.0.1.5│
                              └──────────────┬───────────────┘
                                             │ GENEVE, UDP 6081
                     ┌───────────────┬───────┴───────┬ ─ ─ ─ ─ ─ ─ ─ ┐
                fw1 10.0.1.11   fw2 10.0.1.12   fw3 10.0.1.13   (fw4 10.0.1.14)
                zone a          zone a          zone b           zone b, when needed`;

export async function namespacesPlace(): Promise<Place> {
  const lab = new Lab();
  const sites = [0, 1, 2, 3].map((i) => ({
    name: `fw${i + 1}`,
    address: `10.0.1.${11 + i}`,
    zone: i < 2 ? 'a' : 'b',
    namespace: `fw${i + 1}`,
  }));
  await Promise.all([buildVpc(lab).then(() => buildApplication(lab)), buildFabric(lab, sites)]);
  const client = lab.start(roleOf('client'), 'client', 'internet');
  return {
    kind: 'namespaces',
    picture: PICTURE,
    lab,
    client,
    addresses: ['10.0.2.10', '10.0.3.10'],
    servicePort: PORT,
    sites,
    firewall: new Firewall(lab, 'fw3', 'fw3'),
    healthPort: 80,
    clientPrefix: CLIENT,
    gatewayNamespace: 'gw',
    gatewayStart: {
      listen: { address: GATEWAY, name: 'inspection', crossZone: true, limits: LIMITS },
      endpoints: ZONES.map((zone) => ({ zone, tun: `gwlbe-${zone}`, netns: 'vpc' })),
    },
    connectEndpoints: () => connectEndpoints(lab),
    names: {
      ingress: 'internet gateway: its ingress route table has the endpoint as next hop',
      entry: 'enters the endpoint',
      exit: "leaves the endpoint; the endpoint subnet's table leads on",
      application: 'application load balancer',
    },
  };
}

const LIMITS = { flows: 65_536, flowsIpv6: 1024 };

async function buildVpc(lab: Lab): Promise<void> {
  await lab.router('vpc');
  await lab.sysctl('vpc', ['net.ipv6.conf.default.disable_ipv6=1']);
  await lab.namespace('internet');
  await lab.cable('internet', 'eth0', 'vpc', 'inet0');
  await lab.ip('internet', [
    `addr add ${CLIENT}/24 dev eth0`,
    'route add default via 203.0.113.1 dev eth0',
  ]);
  await lab.ip('vpc', ['addr add 203.0.113.1/24 dev inet0']);
  for (const [i, zone] of ZONES.entries()) {
    const net = `10.0.${2 + i}`;
    await lab.namespace(`app-${zone}`);
    await lab.cable(`app-${zone}`, 'eth0', 'vpc', `app-${zone}`);
    await lab.ip(`app-${zone}`, [
      `addr add ${net}.10/24 dev eth0`,
      `route add default via ${net}.1 dev eth0`,
    ]);
    await lab.ip('vpc', [`addr add ${net}.1/24 dev app-${zone}`]);
  }
}

/** The route tables, once the endpoint devices are there. */
async function connectEndpoints(lab: Lab): Promise<void> {
  await lab.ip('vpc', [
    // Behind each route into an endpoint one that ends packets: without the device nothing passes uninspected.
    'route add blackhole 10.0.2.0/24 metric 4294967295 table 100',
    'route add blackhole 10.0.3.0/24 metric 4294967295 table 100',
    'route add blackhole default metric 4294967295 table 101',
    'route add blackhole default metric 4294967295 table 102',
    // Ingress (edge association): what comes from the internet for the application subnets.
    'route add 10.0.2.0/24 dev gwlbe-a table 100',
    'route add 10.0.3.0/24 dev gwlbe-b table 100',
    'rule add iif inet0 lookup 100 pref 100',
    // Application subnets: answers go back by the zone's endpoint.
    'route add default dev gwlbe-a table 101',
    'rule add iif app-a lookup 101 pref 101',
    'route add default dev gwlbe-b table 102',
    'rule add iif app-b lookup 102 pref 102',
    // Endpoint subnets: what was inspected goes on.
    'route add 10.0.2.0/24 dev app-a table 103',
    'route add 10.0.3.0/24 dev app-b table 103',
    'route add 203.0.113.0/24 dev inet0 table 103',
    'rule add iif gwlbe-a lookup 103 pref 103',
    'rule add iif gwlbe-b lookup 103 pref 104',
  ]);
}

/** Bridge, gateway and appliances. */
async function buildFabric(lab: Lab, sites: readonly ApplianceSite[]): Promise<void> {
  await lab.namespace('fabric', ['link add br0 type bridge', 'link set br0 up']);
  const attach = async ({ name, address }: { name: string; address: string }) => {
    await lab.namespace(name);
    await lab.cable(name, 'eth0', 'fabric', name);
    await lab.ip(name, [`addr add ${address}/24 dev eth0`, `link set eth0 mtu ${FABRIC_MTU}`]);
    await lab.ip('fabric', [`link set ${name} mtu ${FABRIC_MTU} master br0`]);
  };
  await Promise.all([{ name: 'gw', address: GATEWAY }, ...sites].map(attach));
}

/** A load balancer in each zone, and two servers behind them. */
async function buildApplication(lab: Lab): Promise<void> {
  const servers = [
    { name: 'web1', address: '10.0.4.11', port: 8080 },
    { name: 'web2', address: '10.0.4.12', port: 8080 },
  ];
  await lab.namespace('backend', ['link add br0 type bridge', 'link set br0 up']);
  const attach = async (name: string, address: string) => {
    await lab.cable(name, 'back0', 'backend', name);
    await lab.ip(name, [`addr add ${address}/24 dev back0`]);
    await lab.ip('backend', [`link set ${name} master br0`]);
  };
  const ready: Promise<unknown>[] = [];
  for (const { name, address, port } of servers) {
    await lab.namespace(name);
    await attach(name, address);
    const server: Remote = lab.start(roleOf('application'), name, name);
    ready.push(server.call('begin', { address, port }));
  }
  for (const [i, zone] of ZONES.entries()) {
    await attach(`app-${zone}`, `10.0.4.${2 + i}`);
    const balancer = lab.start(roleOf('balancer'), `load balancer ${zone}`, `app-${zone}`);
    const options: BalancerStart = { address: `10.0.${2 + i}.10`, port: PORT, servers };
    ready.push(balancer.call('begin', options));
  }
  await Promise.all(ready);
}
