/** Events of a replay: what they do to flows, when, and every mistake of a file. */
import t from 'tap';
import { type ReplayOptions, replay } from '../../src/index.js';
import { ACK, captureOf, fates, linesOf, SYN, tcp, udp } from './rig.js';

/** One packet a second of one connection, from its SYN on; the target of each. */
function targetsOf(seconds: number, options: Omit<ReplayOptions, 'capture'>): (string | null)[] {
  const frames = Array.from({ length: seconds }, (_, at) => ({ at, bytes: tcp(at ? ACK : SYN) }));
  return linesOf(frames, options)
    .filter((line) => line.direction === 'ingress')
    .map(({ target, reason, verdict }) => target ?? `${verdict} ${reason}`);
}

const [HOME] = targetsOf(1, {});
const OTHER = HOME === '10.0.1.10' ? '10.0.1.11' : '10.0.1.10';
const unhealthy = { at: 2, target: HOME ?? '', health: 'unhealthy' } as const;

t.test('health', async (t) => {
  const rebalance = { targetGroup: { failover: 'rebalance' } } as const;
  t.strictSame(
    targetsOf(5, { ...rebalance, events: [unhealthy] }),
    [HOME, HOME, OTHER, OTHER, OTHER],
    'before the frame of the same time',
  );
  t.strictSame(
    targetsOf(4, { ...rebalance, events: [{ ...unhealthy, at: 2.000000001 }] }),
    [HOME, HOME, HOME, OTHER],
    'and not before an earlier one, in the same millisecond',
  );
  t.strictSame(targetsOf(4, { events: [unhealthy] }), [HOME, HOME, HOME, HOME], 'no_rebalance');
  const back = { at: 2.5, target: HOME ?? '', health: 'healthy' } as const;
  t.strictSame(targetsOf(4, { ...rebalance, events: [unhealthy, back] }), [
    HOME,
    HOME,
    OTHER,
    OTHER,
  ]);
  t.strictSame(
    targetsOf(4, { ...rebalance, events: [unhealthy, { ...back, at: 2 }] }),
    [HOME, HOME, HOME, HOME],
    'events of one time in their order',
  );
  const reset = { targetGroup: { sendTcpReset: { onUnhealthy: true, onDeregistration: true } } };
  t.strictSame(targetsOf(4, { ...reset, events: [unhealthy] }), [
    HOME,
    HOME,
    'reset flow_refused',
    'reset flow_refused',
  ]);
});

t.test('registration', async (t) => {
  const events = [
    { at: 1, register: { address: '10.0.1.12' } },
    { at: 1, target: '10.0.1.10', weight: 0 },
    { at: 1, target: '10.0.1.11', weight: 0 },
  ];
  const frames = [0, 1, 2].map((at) => ({ at, bytes: udp(40_000 + at) }));
  t.match(fates(linesOf(frames, { events })), [
    /10\.0\.1\.1[01]/,
    '2 new forward 10.0.1.12',
    '3 new forward 10.0.1.12',
  ]);

  const leave = { at: 1, target: HOME ?? '', deregister: true } as const;
  const targetGroup = { failover: 'rebalance', deregistrationDelaySeconds: 2 } as const;
  t.strictSame(
    targetsOf(5, { targetGroup, events: [leave] }),
    [HOME, HOME, HOME, OTHER, OTHER],
    'drains for its delay, in capture time',
  );
  t.strictSame(
    targetsOf(4, {
      targetGroup,
      events: `
        {"at":1,"attribute":{"deregistration_delay.timeout_seconds":"0"}}
        {"at":1,"target":"${HOME}:6081","deregister":true}
      `,
    }),
    [HOME, OTHER, OTHER, OTHER],
    'attributes by their AWS names',
  );
});

t.test('keys', async (t) => {
  const key = (digit: string) => digit.repeat(32);
  const cookies = (events: string) =>
    linesOf([{ at: 0, bytes: udp() }], { targets: [{ address: '10.0.1.10' }], events }).map(
      ({ cookie }) => cookie,
    );
  const [a, b, c] = [
    `{"at":0,"keys":{"hash":"${key('1')}","cookie":"${key('2')}"}}`,
    `{"at":0,"keys":{"hash":"${key('1')}","cookie":"${key('3')}"}}`,
    `{"at":0,"keys":{"hash":"${key('4')}"}}`,
  ].map(cookies);
  t.strictSame(a, cookies(`{"at":0,"keys":{"cookie":"${key('2')}","hash":"${key('1')}"}}`));
  t.equal(new Set([a, b, c, cookies('')].map(String)).size, 4, 'each makes another signature');
});

t.test('events without frames, and after the last one', async (t) => {
  t.strictSame(linesOf([], { events: [unhealthy] }), []);
  const late = linesOf([{ at: 0, bytes: udp() }], { events: [{ ...unhealthy, at: 100 }] });
  t.equal(late.length, 2);
});

t.test('every mistake is named, with its line and key', async (t) => {
  const problems = (events: string) => {
    try {
      replay({ capture: captureOf([{ at: 0, bytes: udp() }]), events });
      return [];
    } catch (error) {
      return (error as Error).message.split('\n');
    }
  };
  t.strictSame(problems(''), []);
  t.strictSame(problems('\n  \n'), []);
  const cases: [string, RegExp][] = [
    ['nonsense', /^line 1: expected a JSON object, received other text$/],
    ['{"at":1', /^line 1: expected a JSON object/],
    ['[]', /^line 1: expected an object, received an array|^line 1: expected an object/],
    ['null', /^line 1: expected an object, received null$/],
    ['{}', /^line 1: at: expected seconds since the first frame/],
    ['{"at":-1,"target":"a","health":"healthy"}', /^line 1: at: expected .* received -1$/],
    ['{"at":"1","target":"a","health":"healthy"}', /^line 1: at: expected .* received "1"$/],
    ['{"at":1}', /^line 1: expected one of register, .* received none$/],
    [
      '{"at":1,"target":"10.0.1.10","health":"healthy","weight":1}',
      /^line 1: expected one of .* received health and weight$/,
    ],
    [
      '{"at":1,"target":"10.0.1.10","helth":"healthy"}',
      /^line 1: helth: expected one of the keys at, target, health, .* received an unknown key$/,
    ],
    [
      '{"at":1,"target":"10.0.1.10","health":"ill"}',
      /^line 1: health: expected "healthy" or "unhealthy", received "ill"$/,
    ],
    ['{"at":1,"health":"healthy"}', /^line 1: target: expected .* received undefined|nothing$/],
    ['{"at":1,"target":"10.0.1.10","weight":1001}', /^line 1: weight: expected 0–1000/],
    ['{"at":1,"target":"10.0.1.10","deregister":false}', /^line 1: deregister: expected true/],
    [
      '{"at":1,"target":"10.0.1.10","register":{"address":"10.0.1.12"}}',
      /^line 1: target: expected nothing beside register/,
    ],
    ['{"at":1,"register":{"address":"10.0.1"}}', /^line 1: register\.address: expected a unicast/],
    [
      '{"at":1,"register":{"address":"10.0.1.12","zoen":"a"}}',
      /^line 1: register\.zoen: expected one of the options/,
    ],
    ['{"at":1,"register":{"address":"10.0.1.10"}}', /^line 1: register: expected a target that is/],
    ['{"at":0,"keys":{"hash":"12"}}', /^line 1: keys\.hash: expected 32 hexadecimal digits/],
    [
      '{"at":0,"keys":{"hsh":"12"}}',
      /^line 1: keys\.hsh: expected one of the options hash, cookie/,
    ],
    [
      '{"at":0,"target":"10.0.1.10","weight":1}\n{"at":0,"keys":{}}',
      /^line 2: keys: expected keys in the first event only/,
    ],
    ['{"at":1,"register":"10.0.1.12"}', /^line 1: register: expected an object/],
    [
      '{"at":1,"attribute":{"target_failover.on_unhealthy":"rebalance"}}',
      /^line 1: attribute: ValidationError: target_failover\.on_deregistration and .* same value/,
    ],
    [
      '{"at":1,"attribute":{"nonsense":"true"}}',
      /^line 1: attribute\.nonsense: .*is not an attribute/,
    ],
    ['{"at":1,"attribute":true}', /^line 1: attribute: expected an object/],
    [
      '{"at":1,"attribute":{"stickiness.enabled":"true","stickiness.type":"source_ip"}}',
      /^line 1: attribute\.stickiness\.type: .*received "?source_ip"?/,
    ],
    ['{"at":1,"target":"10.0.9.9","health":"healthy"}', /^line 1: target: expected a registered/],
    [
      '{"at":2,"target":"10.0.1.10","weight":1}\n{"at":1.5,"target":"10.0.1.10","weight":1}',
      /^line 2: at: expected at least 2, as line 1 has it, received 1\.5$/,
    ],
    [
      '{"at":0,"target":"10.0.1.10","deregister":true}\n' +
        '{"at":301,"target":"10.0.1.10","deregister":true}',
      /^line 2: target: expected a registered target, received "10\.0\.1\.10"$/,
    ],
  ];
  for (const [events, expected] of cases) {
    const found = problems(events);
    t.equal(found.length, 1, events);
    t.match(found[0], expected, events);
  }
  t.match(
    problems(
      '{"at":1,"target":"10.0.9.9","health":"unhealthy"}\n\n{"at":2,"target":"10.0.9.9","health":"healthy"}\nx',
    ),
    [/^line 1: target/, /^line 3: target/, /^line 4: expected a JSON/],
    'all of them, in order',
  );
  t.throws(
    () =>
      replay({
        capture: captureOf([]),
        events: [{ at: 1, target: '10.0.1.10', health: 'ill' }] as never,
      }),
    { message: /^events\[0\]: health: expected/ },
  );
});
