/** Entry of the demo's processes: `node role.js gateway|appliance|client|balancer|application|…`. */
import { holdSignals } from '../service/signals.js';
import type { RoleName } from './role-of.js';

const ROLES: Record<RoleName, () => Promise<{ start(): void }>> = {
  gateway: () => import('./role-gateway.js'),
  appliance: () => import('./role-appliance.js'),
  client: () => import('./role-client.js'),
  balancer: () => import('./role-balancer.js'),
  application: () => import('./role-application.js'),
  generator: () => import('./role-generator.js'),
};

holdSignals(['SIGUSR1', 'SIGUSR2']);
// Ctrl-C reaches the whole process group; only the demo itself decides when its processes end.
process.on('SIGINT', () => {});

const role = await ROLES[process.argv[2] as RoleName]();
role.start();
