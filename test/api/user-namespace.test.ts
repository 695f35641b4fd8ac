/** An ordinary user's gateway: inside of a user namespace nobody has a privilege over the whole host. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { whyNoNamespaces } from '../../server/src/lab/sandbox.js';
import { ROOT } from '../support/places.js';

const INSIDE = ['--user', '--map-root-user', '--net'];

function whyNot(): string | false {
  const reason = whyNoNamespaces();
  if (reason !== null) return reason;
  const { status, stderr } = spawnSync('unshare', [...INSIDE, 'true'], { encoding: 'utf8' });
  return status === 0 ? false : `no user namespaces: ${stderr}`;
}

t.test('makes its devices', { skip: whyNot() }, async (t) => {
  const script = `
    import { GatewayLoadBalancer, TargetGroup } from '${join(ROOT, 'dist/index.js')}';
    import { execFileSync } from 'node:child_process';
    execFileSync('ip', ['link', 'set', 'lo', 'up']);
    const targetGroup = new TargetGroup({ healthCheck: false });
    const gateway = await GatewayLoadBalancer.listen({ address: '127.0.0.1', targetGroup });
    await gateway.createEndpoint({ tun: 'gwlb0' });
    await gateway.createEndpoint({ tun: { name: 'gwlb1', txqueuelen: 77 } });
    console.log(execFileSync('ip', ['-o', 'link', 'show', 'gwlb1'], { encoding: 'utf8' }));
    await gateway.close();`;
  const node = [process.execPath, '--input-type=module', '-e', script];
  const { status, stdout, stderr } = spawnSync('unshare', [...INSIDE, ...node], {
    encoding: 'utf8',
    cwd: ROOT,
  });
  t.equal(status, 0, stderr);
  t.match(stdout, /gwlb1: .* qlen 77\b/);
});
