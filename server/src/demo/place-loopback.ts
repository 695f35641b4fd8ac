/** The same story without privileges: everything on 127.0.0.0/8, conversations generated. */
import { Lab } from '../lab/lab.js';
import type { GeneratorStart } from './role-generator.js';
import { roleOf } from './role-of.js';
import type { Place } from './world.js';

const GENERATOR = '127.0.9.1';
const GATEWAY = '127.0.1.5';
const CLIENT = '203.0.113.9';
const ADDRESSES = ['10.0.2.10', '10.0.3.10'];
const ZONES = ['a', 'b'];

const PICTURE = `
  ┌──────────────────────────────┐   GENEVE, VNI 1 (zone a), 2 (zone b)   ┌───────────────────────────┐
  │ generator 127.0.9.1          ├────────────────────────────────────────┤ gateway load balancer     │
  │ client 203.0.113.9           │                                        │ 127.0.1.5                 │
  │ application 10.0.2.10 (a)    │                                        └─────────────┬─────────────┘
  │ application 10.0.3.10 (b)    │                                   GENEVE, UDP 6081   │
  └──────────────────────────────┘          ┌───────────────┬───────────────┬───────────┴ ─ ─ ─ ┐
                                       fw1 127.0.1.11  fw2 127.0.1.12  fw3 127.0.1.13  (fw4 127.0.1.14)
                                       zone a          zone a          zone b           zone b`;

export async function loopbackPlace(): Promise<Place> {
  const lab = new Lab();
  const client = lab.start(roleOf('generator'), 'generator', null);
  await client.call('begin', {
    address: GENERATOR,
    gateway: GATEWAY,
    client: CLIENT,
    vnis: { [ADDRESSES[0]]: 1, [ADDRESSES[1]]: 2 },
  } satisfies GeneratorStart);
  return {
    kind: 'loopback',
    picture: PICTURE,
    lab,
    client,
    addresses: ADDRESSES,
    servicePort: 80,
    firewall: null,
    sites: [0, 1, 2, 3].map((i) => ({
      name: `fw${i + 1}`,
      address: `127.0.1.${11 + i}`,
      zone: i < 2 ? 'a' : 'b',
      namespace: null,
    })),
    healthPort: 8080,
    clientPrefix: CLIENT,
    gatewayNamespace: null,
    gatewayStart: {
      listen: {
        address: GATEWAY,
        name: 'inspection',
        crossZone: true,
        limits: { flows: 65_536, flowsIpv6: 1024 },
      },
      endpoints: ZONES.map((zone, i) => ({ zone, geneve: { peer: GENERATOR, vni: i + 1 } })),
    },
    connectEndpoints: async () => {},
    names: {
      ingress: 'the generator plays the route tables: the zone decides the VNI',
      entry: 'enters the endpoint',
      exit: 'goes back to the generator',
      application: 'application',
    },
  };
}
