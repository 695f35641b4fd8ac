/** `gwlb preview` and `gwlb status` against a gateway that runs. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { CLI } from '../../../test/support/places.js';
import { askGateway } from '../../src/api/client.js';
import { policyArgument, targetOf } from '../../src/cli/preview.js';
import { statusText } from '../../src/cli/status.js';
import { start } from '../support/running.js';
import { gwlb } from './rig.js';

const folder = mkdtempSync(join(tmpdir(), 'gwlb-preview-'));
const socket = join(folder, 'control.sock');
const file = join(folder, 'gateway.yaml');
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

const ID = 'vpce-00000000000000001';
const [ONE, TWO] = ['127.88.0.2', '127.88.0.3'];

const ask = (...args: string[]) => {
  const [command = '', ...rest] = args;
  return command === 'preview'
    ? gwlb(command, rest[0] ?? '', '--socket', socket, ...rest.slice(1))
    : gwlb(command, '--socket', socket, ...rest);
};

t.test('arguments of a change', async (t) => {
  t.strictSame(
    policyArgument(['failover=rebalance', 'failOpen=true', 'deregistrationDelaySeconds=60']),
    {
      failover: 'rebalance',
      failOpen: true,
      deregistrationDelaySeconds: 60,
    },
  );
  t.strictSame(
    policyArgument(['sendTcpReset.onUnhealthy=true', 'sendTcpReset.onDeregistration=false']),
    {
      sendTcpReset: { onUnhealthy: true, onDeregistration: false },
    },
  );
  for (const wrong of ['failover', '=rebalance', 'a.b.c=1', '__proto__=1']) {
    t.throws(
      () => policyArgument([wrong]),
      { field: 'update', message: /expected KEY=VALUE/ },
      wrong,
    );
  }
  t.strictSame(targetOf(ONE, { zone: 'a', weight: '2' }), { address: ONE, zone: 'a', weight: 2 });
  t.throws(() => targetOf(ONE, { port: '0' }), { name: 'GatewayError', field: '--port' });
  t.throws(() => targetOf(ONE, { weight: 'x' }), { name: 'GatewayError', field: '--weight' });
});

t.test('a gateway runs', async (t) => {
  writeFileSync(
    file,
    `gateway: { address: 127.88.0.1, limits: { flows: 4096 } }
targetGroup: { healthCheck: false, targets: [{ address: ${ONE} }, { address: ${TWO} }] }
endpoints: [{ id: ${ID}, geneve: { peer: 127.88.0.9, vni: 7 } }]
control: { socket: ${socket} }
`,
  );
  const running = start(t, 'run', file);
  await running.event('started');

  const failed = await ask('preview', 'fail', ONE);
  t.strictSame([failed.status, failed.error], [0, null]);
  t.match(failed.stdout, `unhealthy: ${ONE}:6081\n  zone default: `);
  t.match(failed.stdout, `${TWO}:6081: `);
  t.match(failed.stdout, 'of new flows, then 100.0 %');
  const json = JSON.parse((await ask('preview', 'deregister', ONE, TWO, '--json')).stdout);
  t.match(json.zones, [{ zone: 'default', rows: 65_536, moved: 65_536 }]);
  t.strictSame(json.flows, {
    total: 0,
    stay: 0,
    move: 0,
    reset: 0,
    noTarget: 0,
    moves: [],
  });
  const more = ['--zone', 'default', '--weight', '3', '--json'];
  const added = JSON.parse((await ask('preview', 'register', '127.88.0.4', ...more)).stdout);
  const { target, after } = added.zones[0].targets[2];
  t.equal(target, '127.88.0.4:6081');
  t.ok(Math.abs(after / 65_536 - 3 / 5) < 0.02, 'its weight counts');
  t.match((await ask('preview', 'weight', ONE, '0')).stdout, `weight 0: ${ONE}:6081`);
  t.match((await ask('preview', 'update', 'failover=rebalance')).stdout, 'update failover\n');
  for (const word of ['recover', 'drain-over']) {
    t.equal((await ask('preview', word, ONE)).status, 0, word);
  }

  const wrong: [string[], RegExp][] = [
    [['fail', '10.9.9.9'], /^target: expected a registered target, received "10\.9\.9\.9"$/],
    [['weight', ONE, '1001'], /^weight: expected 0–1000, received 1001$/],
    [['register', ONE], /^.*expected a target that is not registered/],
    [['register', '10.0.0.300'], /^address: expected a unicast IPv4 address/],
    [['update', 'failover=never'], /^failover: expected "no_rebalance" or "rebalance"/],
    [['update', 'weight=1'], /^weight: expected one of the options stickiness, /],
    [['update', 'stickiness=2-tuple'], /^stickiness: expected "5-tuple", the stickiness it has/],
  ];
  for (const [args, message] of wrong) {
    t.match((await ask('preview', ...args)).error?.message, message, args.join(' '));
  }
  const one = ['preview', 'fail', '--socket', socket, '10.9.9.9'];
  const { status: code, stderr } = spawnSync(process.execPath, [CLI, ...one], { encoding: 'utf8' });
  t.strictSame(
    [code, stderr],
    [2, 'gwlb: target: expected a registered target, received "10.9.9.9"\n'],
  );
  t.equal((await ask('preview', 'explode', ONE)).status, 2);
  await t.rejects(askGateway(socket, '/v1/preview', {}), {
    name: 'GatewayError',
    field: 'changes',
  });
  const many = Array.from({ length: 101 }, () => ({ fail: ONE }));
  await t.rejects(askGateway(socket, '/v1/preview', { changes: many }), {
    name: 'GatewayError',
    field: 'changes',
  });
  await t.rejects(askGateway(socket, '/v1/preview', { changes: [{ fail: 5 }] }), {
    code: 'ERR_GWLB_INVALID_ARGUMENT',
  });

  const status = await ask('status');
  t.equal(status.status, 0);
  t.match(status.stdout, /^gateway gateway on 127\.88\.0\.1:6081, gwlb .*, 1 worker, up \d+ s\n/);
  t.match(status.stdout, `${ONE}:6081`);
  t.match(status.stdout, /\n127\.88\.0\.3:6081 +default +healthy +\d+ s +1 +\d\d\.\d % +0 +0 +0\n/);
  t.match(
    status.stdout,
    /\nvpce-00000000000000001 +default +geneve 127\.88\.0\.9 vni 7 +yes +0 +0\n/,
  );
  t.match(status.stdout, /\ndrops: none\n$/);
  const told = JSON.parse((await ask('status', '--json')).stdout);
  const shares = told.targets.map(({ share }: { share: number }) => share);
  t.equal(shares[0] + shares[1], 1);
  t.match(told, { failure: null, counters: { packetsIn: 0, drops: { no_flow: 0 } } });
});

t.test('the status of a gateway in trouble', async (t) => {
  const text = statusText(
    {
      version: '1.0.0',
      startedAt: new Date(0).toISOString(),
      failure: 'cannot go on reading gwlbe0',
      gateway: { name: 'g', address: '10.0.0.1', port: 6081, netns: 'inspect', workers: 4 },
      targetGroup: { name: 'f', failover: 'rebalance', stickiness: '5-tuple', failOpen: false },
      targets: [
        {
          id: '10.0.1.10:6081',
          zone: 'a',
          state: 'unhealthy',
          reason: 'Target.Timeout',
          impeded: 'connect EMFILE',
          since: 0,
          weight: 1,
          share: 0,
        },
      ],
      endpoints: [],
      counters: { packetsIn: 5, drops: { no_flow: 2, no_targets: 0 } } as never,
      hints: [{ reason: 'send_failed', text: 'send_failed 3: no route' }],
    },
    3 * 86_400_000,
  );
  t.match(text, 'on 10.0.0.1:6081 in inspect, gwlb 1.0.0, 4 workers, up 3 d\nFAILED: cannot go on');
  t.match(text, /\nUNCHECKED: 1 of 1 targets keep the state they had, .*: connect EMFILE\n/);
  t.match(
    text,
    /10\.0\.1\.10:6081 +a +unhealthy \(Target\.Timeout\), unchecked +3 d +1 +0\.0 % +0 +0 +0/,
  );
  t.match(text, /drops: no_flow 2\nlikely: send_failed 3: no route$/);
});
