/** A process that listens and then does what its argument says; see gateway-load-balancer.test.ts. */
import { GatewayLoadBalancer, TargetGroup } from '../../src/index.js';

const targetGroup = new TargetGroup({ healthCheck: false });
targetGroup.register({ address: '127.77.0.30' });
const gateway = await GatewayLoadBalancer.listen({
  address: '127.77.0.31',
  targetGroup,
  limits: { flows: 1024, flowsIpv6: 1024 },
});
gateway.on('flow', () => {});
console.log('listening');
const mode = process.argv[2];
if (mode === 'close') await gateway.close();
if (mode === 'unref') gateway.unref();
if (mode === 'exit') process.exit(0);
