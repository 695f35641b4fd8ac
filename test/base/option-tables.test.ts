/** What describes options says the same as what checks them. */
import t from 'tap';
import {
  checkOptionsOf,
  completeOptions,
  describeOptions,
  GatewayError,
  type OptionDescription,
  optionProblems,
  optionsSchema,
  TargetGroup,
} from '../../src/index.js';

const KINDS = [
  'listen',
  'endpoint',
  'tun',
  'geneve',
  'gateway',
  'batchEndpoint',
  'targetGroup',
  'target',
  'flowReports',
  'appliance',
] as const;

/** Faultless others of each kind. */
const OTHERS: Record<string, Record<string, unknown>> = {
  listen: { address: '192.0.2.1', targetGroup: new TargetGroup() },
  gateway: { targetGroup: new TargetGroup() },
  endpoint: { tun: 'gwlb0' },
  appliance: { address: '192.0.2.1' },
  target: { address: '192.0.2.1' },
  tun: { name: 'gwlb0' },
  geneve: { peer: '192.0.2.1' },
};

interface Schema {
  type?: string;
  minimum?: number;
  maximum?: number;
  enum?: unknown[];
  properties?: Record<string, Schema>;
  required?: string[];
  anyOf?: Schema[];
  description?: string;
  default?: unknown;
}

/** An option of an object goes beside what is required there. */
const BESIDE: Record<string, object> = { geneve: { peer: '192.0.2.1' }, tun: { name: 'gwlb0' } };

function withOthers(kind: (typeof KINDS)[number], path: readonly string[], value: unknown): object {
  const nested = path.reduceRight<unknown>((inner, key, i) => {
    const beside = i === 1 ? BESIDE[path[0] ?? ''] : undefined;
    return { ...beside, [key]: inner };
  }, value);
  const others = kind === 'endpoint' && path[0] === 'geneve' ? {} : OTHERS[kind];
  return { ...others, ...(nested as object) };
}

function isTaken(kind: (typeof KINDS)[number], path: readonly string[], value: unknown): boolean {
  try {
    checkOptionsOf(kind, withOthers(kind, path, value));
    return true;
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    return false;
  }
}

/** Every option that is no object, with its path. */
function leaves(
  options: Readonly<Record<string, OptionDescription>>,
  schema: Schema,
  path: string[] = [],
): { path: string[]; option: OptionDescription; schema: Schema }[] {
  return Object.entries(options).flatMap(([key, option]) => {
    const own = schema.properties?.[key] as Schema;
    const inner = own.properties ? own : own.anyOf?.find(({ properties }) => properties);
    return option.options && inner
      ? leaves(option.options, inner, [...path, key])
      : [{ path: [...path, key], option, schema: own }];
  });
}

for (const kind of KINDS) {
  t.test(`${kind}: schema, description and check agree`, async (t) => {
    const schema = optionsSchema(kind) as Schema;
    const all = leaves(describeOptions(kind), schema);
    t.ok(all.length >= 1);
    for (const { path, option, schema } of all) {
      const name = path.join('.');
      t.equal(schema.description, option.meaning, name);
      t.ok(option.meaning.length > 5 && option.defaultText !== '', `${name} is described`);
      if (schema.type === 'integer') {
        t.equal(option.range, `${schema.minimum}–${schema.maximum}`, name);
        t.notOk(isTaken(kind, path, (schema.minimum as number) - 1), `${name}: below`);
        t.notOk(isTaken(kind, path, (schema.maximum as number) + 1), `${name}: above`);
        t.notOk(isTaken(kind, path, '5'), `${name}: text`);
      }
      for (const word of schema.enum ?? []) {
        const needs = kind === 'targetGroup' && word === 'ethernet';
        if (!needs) t.ok(isTaken(kind, path, word), `${name}: ${word}`);
      }
      if (schema.enum) t.notOk(isTaken(kind, path, 'other'), `${name}: another word`);
      if (option.default !== null) {
        const only = /\b(source|destination|path|matcher)$/.test(name);
        if (!only) t.ok(isTaken(kind, path, option.default), `${name}: its default`);
      }
    }
  });
}

t.test('what is required is required', async (t) => {
  for (const kind of KINDS) {
    for (const key of (optionsSchema(kind) as Schema).required ?? []) {
      t.equal(describeOptions(kind)[key].defaultText, 'required', `${kind}.${key}`);
      const { [key]: _, ...others } = OTHERS[kind];
      t.throws(() => checkOptionsOf(kind, others), new RegExp(`${kind}\\.${key}: expected`));
    }
  }
});

t.test('a group has the defaults of its description', async (t) => {
  const group = new TargetGroup() as unknown as Record<string, unknown>;
  for (const [key, option] of Object.entries(describeOptions('targetGroup'))) {
    if (option.options === null) t.equal(group[key], option.default, key);
  }
  const check = new TargetGroup().healthCheck as unknown as Record<string, unknown>;
  const described = describeOptions('targetGroup').healthCheck.options ?? {};
  for (const key of Object.keys(check)) {
    t.equal(String(check[key]), described[key].defaultText, key);
  }
  const fast = new TargetGroup({ healthCheck: { profile: 'fast' } })
    .healthCheck as unknown as Record<string, unknown>;
  for (const [key, { variant }] of Object.entries(described)) {
    if (variant?.when[0] === 'profile') t.equal(String(fast[key]), variant.defaultText, key);
  }
});

t.test('update takes what is live, and nothing else', async (t) => {
  const group = new TargetGroup();
  const given: Record<string, unknown> = { sendTcpReset: {}, healthCheck: {} };
  for (const [key, option] of Object.entries(describeOptions('targetGroup'))) {
    const change = { [key]: given[key] ?? option.default };
    if (option.live) t.doesNotThrow(() => group.update(change), key);
    else t.throws(() => group.update(change), new RegExp(`targetGroup\\.${key}: expected`));
  }
});

/** The messages of all problems. */
const told = (...args: Parameters<typeof optionProblems>) =>
  optionProblems(...args).map(({ message }) => message);

t.test('optionProblems tells every mistake, each once', async (t) => {
  t.strictSame(told('target', { port: 0, weight: 1, wait: 5, way: 6 }, 'at'), [
    'at.address: expected a unicast IPv4 address, received undefined',
    'at.port: expected 1–65535, received 0',
    'at.wait: expected one of the options address, port, zone, weight, received an unknown option',
    'at.way: expected one of the options address, port, zone, weight, received an unknown option',
  ]);
  t.strictSame(
    optionProblems('targetGroup', {
      name: '',
      healthCheck: { path: 'x', protocol: 'HTTP', port: 0, spare: 1 },
      sendTcpReset: { onUnhealthy: 1 },
    }).map(({ field }) => field),
    [
      'targetGroup.name',
      'targetGroup.sendTcpReset.onUnhealthy',
      'targetGroup.healthCheck.port',
      'targetGroup.healthCheck.path',
      'targetGroup.healthCheck.spare',
    ],
  );
  t.strictSame(told('targetGroup', {}), []);
  t.strictSame(told('tun', 5), [
    'tun: expected a device name of 1–15 characters without spaces, "/", ":" and "%", received 5',
  ]);
  t.throws(() => optionProblems('x' as never, {}), { name: 'GatewayError', field: 'kind' });
});

t.test('optionProblems: what is wrong between options comes when each is right', async (t) => {
  const healthCheck = { intervalSeconds: 5, timeoutSeconds: 6 };
  const between =
    'targetGroup.healthCheck.timeoutSeconds: expected at most intervalSeconds (5), received 6';
  t.strictSame(told('targetGroup', { healthCheck }), [between]);
  t.strictSame(told('targetGroup', { healthCheck, port: 0 }), [
    'targetGroup.port: expected 1–65535, received 0',
    between,
  ]);
  const group = { sendTcpReset: { onUnhealthy: true }, failover: 'rebalance' };
  t.match(told('targetGroup', group), [
    /sendTcpReset\.onUnhealthy: expected false unless failover/,
  ]);
  t.strictSame(told('targetGroup', { ...group, port: 0 }).length, 1);
});

t.test(
  'optionProblems: an option beside a wrong one it depends on is judged by itself',
  async (t) => {
    t.match(told('targetGroup', { inner: 'x', sourceMac: '02:00:00:00:00:01' }), [
      /inner: expected/,
    ]);
    t.match(told('targetGroup', { inner: 'x', sourceMac: 'x' }), [
      /inner: expected/,
      /sourceMac: expected a MAC address/,
    ]);
    t.match(told('targetGroup', { sourceMac: 'x' }), [/sourceMac: expected nothing unless inner/]);
    t.match(told('targetGroup', { inner: 'ethernet' }), [
      /sourceMac: expected a MAC address .* undefined/,
      /destinationMac: expected a MAC address/,
    ]);
    const fast = { profile: 'fast', intervalSeconds: 0.2, timeoutSeconds: 0.1 };
    t.strictSame(told('targetGroup', { healthCheck: fast }), []);
    t.match(told('targetGroup', { healthCheck: { ...fast, profile: 'aws' } }), [
      /intervalSeconds: expected an integer/,
      /timeoutSeconds: expected an integer/,
    ]);
  },
);

t.test('completeOptions: what is given, and the defaults in the form of options', async (t) => {
  const group = completeOptions('targetGroup', { healthCheck: { intervalSeconds: 5 }, port: null });
  t.strictSame(group, {
    name: 'targets',
    port: 6081,
    inner: 'ip',
    optionClass: 0x0108,
    scope: 'endpoint',
    stickiness: '5-tuple',
    failover: 'no_rebalance',
    sendTcpReset: { onUnhealthy: false, onDeregistration: false },
    deregistrationDelaySeconds: 300,
    slowStartSeconds: 0,
    failOpen: false,
    healthCheck: {
      profile: 'aws',
      protocol: 'TCP',
      port: 80,
      intervalSeconds: 5,
      timeoutSeconds: 5,
      healthyThreshold: 5,
      unhealthyThreshold: 2,
      flapDamping: false,
      suspicion: true,
    },
  });
  t.strictSame(completeOptions('targetGroup', group), group, 'which are options again');
  t.equal(completeOptions('targetGroup', { healthCheck: false }).healthCheck, false);
  const http = completeOptions('targetGroup', { healthCheck: { protocol: 'HTTP' } });
  t.match(http.healthCheck, { path: '/', matcher: '200-399' });
  const listen = completeOptions('listen', {
    ...OTHERS.listen,
    limits: { flows: 8192 },
  });
  t.match(listen, {
    address: '192.0.2.1',
    netns: null,
    clampMss: 'off',
    limits: { flows: 8192, flowsIpv6: 2048 },
    sourcePorts: { base: 32_768, count: 256 },
  });
  for (const key of ['hashKey', 'cookieKey', 'signal']) t.notOk(key in listen, key);
  t.strictSame(completeOptions('endpoint', { tun: 'gwlb0' }), { zone: 'default', tun: 'gwlb0' });
  t.throws(() => completeOptions('target', {}), { name: 'GatewayError', field: 'target.address' });
});
