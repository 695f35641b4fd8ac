/** `gwlb reload`, and the trail that reloads leave. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeOptions } from 'gwlb';
import t from 'tap';
import { type Config, loadConfig, parseConfig, problemLine } from '../../src/config/config.js';
import { changesBetween, changeText, restartNeeded } from '../../src/config/reload.js';
import { Service } from '../../src/service/service.js';
import { logged } from '../observe/log-rig.js';
import { gwlb } from './rig.js';

const folder = mkdtempSync(join(tmpdir(), 'gwlb-reload-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const file = join(folder, 'gateway.yaml');
const socket = join(folder, 'control.sock');

function configOf(text: string): Config {
  const loaded = parseConfig(text);
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.problems));
  return loaded.config;
}

const GATEWAY = 'gateway: { address: 127.87.0.1, limits: { flows: 4096 } }\n';
const group = (text: string) => `${GATEWAY}targetGroup: { ${text} }\n`;

t.test('what changed, key by key', async (t) => {
  const told = (before: string, after: string) => {
    const changes = changesBetween(configOf(before), configOf(after));
    return [changes.map(changeText), restartNeeded(changes).map(({ key }) => key)];
  };
  t.strictSame(told(GATEWAY, GATEWAY), [[], []]);
  t.strictSame(told(group('failover: rebalance'), group('slowStartSeconds: 30')), [
    ['targetGroup.failover: "rebalance" → "no_rebalance"', 'targetGroup.slowStartSeconds: 0 → 30'],
    [],
  ]);
  t.strictSame(
    told(
      group('targets: [{ address: 10.0.0.2 }, { address: 10.0.0.3, weight: 5 }]'),
      group('targets: [{ address: 10.0.0.4, zone: b }, { address: 10.0.0.3, weight: 6 }]'),
    ),
    [
      [
        'targetGroup.targets[10.0.0.2:6081]: removed',
        'targetGroup.targets[10.0.0.3:6081].weight: 5 → 6',
        'targetGroup.targets[10.0.0.4:6081]: added {"address":"10.0.0.4","port":6081,"zone":"b","weight":1}',
      ],
      [],
    ],
    'a place in the list is no change',
  );
  t.strictSame(
    told(
      group('healthCheck: { profile: fast }'),
      group('healthCheck: { profile: fast, intervalSeconds: 1 }'),
    ),
    [['targetGroup.healthCheck.intervalSeconds: 0.5 → 1'], []],
    'the old value is the one in force, given or not',
  );
  const endpoint = (vni: number) =>
    `${GATEWAY}endpoints: [{ id: vpce-00000000000000001, geneve: { peer: 127.87.0.9, vni: ${vni} } }]\n`;
  t.strictSame(told(endpoint(7), endpoint(8)), [
    ['endpoints[vpce-00000000000000001].geneve.vni: 7 → 8'],
    ['endpoints[vpce-00000000000000001].geneve.vni'],
  ]);
  t.match(told(GATEWAY, endpoint(7)), [[/^endpoints\[vpce-00000000000000001\]: added \{/], []]);
  const key = (digit: string, name = 'cookieKey') =>
    `gateway: { address: 127.87.0.1, limits: { flows: 4096 }, ${name}: "${digit.repeat(32)}" }\n`;
  t.strictSame(told(key('1'), key('2')), [['gateway.cookieKey: (secret) → (secret)'], []]);
  t.strictSame(told(key('1'), GATEWAY), [['gateway.cookieKey: removed'], []]);
  t.strictSame(told(key('1', 'hashKey'), key('2', 'hashKey'))[1], ['gateway.hashKey']);
  const more = (text: string) => `${GATEWAY}${text}\n`;
  t.strictSame(
    told(more('metrics: { listen: 127.87.0.1:80 }'), more('metrics: { listen: 127.87.0.1:81 }')),
    [['metrics.listen: "127.87.0.1:80" → "127.87.0.1:81"'], ['metrics.listen']],
  );
  t.strictSame(told(more('log: { level: info }'), more('log: { level: warn }'))[1], []);
});

t.test('a reload that is asked for is waited for, and told', async (t) => {
  const { log, entries } = logged();
  const text = (failover: string, more = '') =>
    `gateway: { address: 127.87.0.1, limits: { flows: ${more ? 8192 : 4096} } }
targetGroup: { healthCheck: false, failover: ${failover}, targets: [{ address: 127.87.0.2 }] }
control: { socket: ${socket} }
`;
  const service = await Service.start(configOf(text('rebalance')), log, '1.2.3', async (own) => {
    const loaded = loadConfig(file);
    if (loaded.ok) return own.reload(loaded.config);
    return own.refuse(loaded.problems.map((problem) => problemLine(file, problem)));
  });
  t.teardown(() => service.stop('test'));
  const errors: string[] = [];
  const { error } = console;
  console.error = (line) => errors.push(line);
  t.teardown(() => {
    console.error = error;
  });
  const reload = (...more: string[]) => gwlb('reload', '--socket', socket, ...more);

  writeFileSync(file, text('no_rebalance'));
  const applied = await reload();
  const change = 'targetGroup.failover: "rebalance" → "no_rebalance"';
  t.strictSame([applied.status, applied.stdout], [0, `reload applied: 1 change\n${change}\n`]);
  t.equal(service.gateway.targetGroup.failover, 'no_rebalance');
  t.match(
    entries.find(({ event }) => event === 'reloaded'),
    {
      changes: [{ key: 'targetGroup.failover', old: 'rebalance', new: 'no_rebalance' }],
    },
  );
  t.strictSame((await reload()).stdout, 'reload applied: no changes\n');

  writeFileSync(file, text('no_rebalance', 'more'));
  t.equal((await reload()).status, 1);
  t.match(errors.splice(0), [
    /^reload refused: nothing changed\ngateway\.limits\.flows: a change needs a restart \(4096 → 8192\)\n/,
  ]);
  writeFileSync(file, 'gateway: { address: 1 }\n');
  t.equal((await reload()).status, 1);
  t.match(errors.splice(0), [/^reload refused: nothing changed\n.*yaml:1:12: gateway\.address: /]);
  const json = await reload('--json');
  t.match([json.status, JSON.parse(json.stdout)], [1, { applied: false, changes: [] }]);
});

/** Each option that the library changes in use, with another value than its default. */
const LIVE: Record<string, Record<string, unknown>> = {
  gateway: {
    crossZone: true,
    idleTimeout: { tcpSeconds: 600, otherSeconds: 60 },
    sendTcpReset: { onIdleTimeout: true },
    cookieKey: '1'.repeat(32),
  },
  targetGroup: {
    stickiness: '2-tuple',
    failover: 'rebalance',
    sendTcpReset: { onUnhealthy: true, onDeregistration: true },
    deregistrationDelaySeconds: 30,
    slowStartSeconds: 30,
    failOpen: true,
    healthCheck: false,
  },
};

t.test('what the library changes in use, a reload changes', async (t) => {
  // Another group needs a configuration of its own.
  const live = (kind: 'listen' | 'targetGroup') =>
    Object.entries(describeOptions(kind)).flatMap(([key, { live }]) => (live ? [key] : []));
  t.strictSame(
    live('listen')
      .filter((key) => key !== 'targetGroup')
      .sort(),
    keysOf('gateway'),
  );
  t.strictSame(live('targetGroup').sort(), keysOf('targetGroup'));

  const text = (change: Record<string, Record<string, unknown>>) =>
    JSON.stringify({
      gateway: { address: '127.87.0.3', limits: { flows: 4096 }, ...change.gateway },
      targetGroup: { ...change.targetGroup },
    });
  const { log } = logged();
  const service = await Service.start(configOf(text({})), log, '1.2.3');
  t.teardown(() => service.stop('test'));
  const inForce = (section: string, key: string) => {
    const { gateway } = service;
    const of = section === 'gateway' ? gateway : gateway.targetGroup;
    return (of as unknown as Record<string, unknown>)[key];
  };
  for (const [section, options] of Object.entries(LIVE)) {
    for (const [key, value] of Object.entries(options)) {
      const name = `${section}.${key}`;
      const before = inForce(section, key);
      const { applied, changes } = await service.reload(
        configOf(text({ [section]: { [key]: value } })),
      );
      t.ok(applied, name);
      t.ok(changes.every((change) => change.key.startsWith(name)) && changes.length > 0, name);
      // What a key is, nobody is told.
      if (key !== 'cookieKey') t.strictSame(inForce(section, key), value, `${name} is in force`);
      t.ok((await service.reload(configOf(text({})))).applied, `${name} back`);
      t.strictSame(inForce(section, key), before, `${name} is as before`);
    }
  }
});

function keysOf(section: string): string[] {
  return Object.keys(LIVE[section] ?? {}).sort();
}

t.test(
  'a reload that takes stickiness and the idle timeout that excludes it, either way',
  async (t) => {
    const text = (stickiness: string, tcpSeconds: number) =>
      `gateway: { address: 127.87.0.4, limits: { flows: 4096 }, idleTimeout: { tcpSeconds: ${tcpSeconds} } }
targetGroup: { stickiness: ${stickiness} }
`;
    const { log } = logged();
    const service = await Service.start(configOf(text('5-tuple', 600)), log, '1.2.3');
    t.teardown(() => service.stop('test'));
    for (const [stickiness, tcpSeconds] of [
      ['2-tuple', 350],
      ['5-tuple', 60],
      ['3-tuple', 350],
    ] as const) {
      const { problems } = await service.reload(configOf(text(stickiness, tcpSeconds)));
      t.strictSame(problems, []);
      const { targetGroup, idleTimeout } = service.gateway;
      t.strictSame([targetGroup.stickiness, idleTimeout.tcpSeconds], [stickiness, tcpSeconds]);
    }
  },
);
