import t from 'tap';
import type { AttributeSettings } from '../../src/gateway/group-attributes.js';
import { changeAttributes, readAttributes } from '../../src/gateway/group-attributes.js';

const BASE: AttributeSettings = {
  deregistrationDelaySeconds: 300,
  failover: 'no_rebalance',
  sendTcpReset: { onUnhealthy: false, onDeregistration: false },
  stickiness: '5-tuple',
};
const RESETTING: AttributeSettings = {
  ...BASE,
  sendTcpReset: { onUnhealthy: true, onDeregistration: true },
};
const BOTH = {
  'target_failover.on_deregistration': 'rebalance',
  'target_failover.on_unhealthy': 'rebalance',
};

t.test('attributes tell the settings under the AWS names', async (t) => {
  t.same(readAttributes(BASE), {
    'deregistration_delay.timeout_seconds': '300',
    'stickiness.enabled': 'false',
    'target_failover.on_deregistration': 'no_rebalance',
    'target_failover.on_unhealthy': 'no_rebalance',
    'send_tcp_reset.on_unhealthy.enabled': 'false',
    'send_tcp_reset.on_deregistration.enabled': 'false',
  });
  const sticky = readAttributes({ ...BASE, stickiness: '3-tuple', failover: 'rebalance' });
  t.match(sticky, {
    ...BOTH,
    'stickiness.enabled': 'true',
    'stickiness.type': 'source_ip_dest_ip_proto',
  });
  t.match(readAttributes(RESETTING), {
    'send_tcp_reset.on_unhealthy.enabled': 'true',
    'send_tcp_reset.on_deregistration.enabled': 'true',
  });
  t.equal(
    readAttributes({ ...BASE, stickiness: '2-tuple' })['stickiness.type'],
    'source_ip_dest_ip',
  );
});

t.test('changes name what they change, the rest stays', async (t) => {
  const cases: [AttributeSettings, Record<string, string>, Partial<AttributeSettings>][] = [
    [BASE, {}, {}],
    [BASE, { 'deregistration_delay.timeout_seconds': '0' }, { deregistrationDelaySeconds: 0 }],
    [
      BASE,
      { 'deregistration_delay.timeout_seconds': '3600' },
      { deregistrationDelaySeconds: 3600 },
    ],
    [BASE, BOTH, { failover: 'rebalance' }],
    [
      BASE,
      { 'stickiness.enabled': 'true', 'stickiness.type': 'source_ip_dest_ip' },
      { stickiness: '2-tuple' },
    ],
    [
      { ...BASE, stickiness: '2-tuple' },
      { 'stickiness.enabled': 'false' },
      { stickiness: '5-tuple' },
    ],
    [
      { ...BASE, stickiness: '2-tuple' },
      { 'stickiness.type': 'source_ip_dest_ip_proto' },
      { stickiness: '3-tuple' },
    ],
    [BASE, { 'send_tcp_reset.on_unhealthy.enabled': 'false' }, {}],
    [
      BASE,
      { 'send_tcp_reset.on_unhealthy.enabled': 'true' },
      { sendTcpReset: { onUnhealthy: true, onDeregistration: false } },
    ],
    [
      RESETTING,
      { 'send_tcp_reset.on_unhealthy.enabled': 'false' },
      { sendTcpReset: { onUnhealthy: false, onDeregistration: true } },
    ],
    [
      { ...BASE, stickiness: '3-tuple', failover: 'rebalance' },
      {
        'send_tcp_reset.on_deregistration.enabled': 'true',
        'stickiness.enabled': 'false',
        'target_failover.on_deregistration': 'no_rebalance',
        'target_failover.on_unhealthy': 'no_rebalance',
      },
      {
        sendTcpReset: { onUnhealthy: false, onDeregistration: true },
        stickiness: '5-tuple',
        failover: 'no_rebalance',
      },
    ],
  ];
  for (const [before, changes, expected] of cases) {
    t.same(changeAttributes(before, changes), { ...before, ...expected }, JSON.stringify(changes));
  }
});

t.test('each rule has its sentence', async (t) => {
  const mismatch =
    'ValidationError: target_failover.on_deregistration and target_failover.on_unhealthy must both ' +
    'be set to the same value for this target group';
  const delay = 'deregistration_delay.timeout_seconds: expected "0"–"3600", received';
  const reset = (event: string, needs: string) =>
    `ValidationError: send_tcp_reset.${event}.enabled can only be "true" when ${needs}`;
  const noRebalance = 'target_failover.on_unhealthy is "no_rebalance"';
  const fiveTuple = 'stickiness.enabled is "false"';
  const cases: [AttributeSettings, Record<string, unknown>, string][] = [
    [BASE, { 'target_failover.on_unhealthy': 'rebalance' }, mismatch],
    [BASE, { 'target_failover.on_deregistration': 'rebalance' }, mismatch],
    [
      { ...BASE, failover: 'rebalance' },
      { 'target_failover.on_unhealthy': 'no_rebalance' },
      mismatch,
    ],
    [
      BASE,
      { 'stickiness.enabled': 'true' },
      'ValidationError: stickiness.type must be set when stickiness.enabled is "true"',
    ],
    [
      BASE,
      { 'stickiness.type': 'source_ip_dest_ip' },
      'ValidationError: stickiness.type can only be set when stickiness.enabled is "true"',
    ],
    [
      BASE,
      { 'stickiness.enabled': 'false', 'stickiness.type': 'source_ip_dest_ip' },
      'ValidationError: stickiness.type can only be set when stickiness.enabled is "true"',
    ],
    [
      { ...BASE, failover: 'rebalance' },
      { 'send_tcp_reset.on_unhealthy.enabled': 'true' },
      reset('on_unhealthy', noRebalance),
    ],
    [
      { ...BASE, failover: 'rebalance' },
      { 'send_tcp_reset.on_deregistration.enabled': 'true' },
      reset('on_deregistration', noRebalance),
    ],
    [
      { ...BASE, stickiness: '3-tuple' },
      { 'send_tcp_reset.on_unhealthy.enabled': 'true' },
      reset('on_unhealthy', fiveTuple),
    ],
    [
      { ...BASE, stickiness: '2-tuple' },
      { 'send_tcp_reset.on_deregistration.enabled': 'true' },
      reset('on_deregistration', fiveTuple),
    ],
    [RESETTING, BOTH, reset('on_unhealthy', noRebalance)],
    [
      RESETTING,
      { ...BOTH, 'send_tcp_reset.on_unhealthy.enabled': 'false' },
      reset('on_deregistration', noRebalance),
    ],
    [
      RESETTING,
      { 'stickiness.enabled': 'true', 'stickiness.type': 'source_ip_dest_ip' },
      reset('on_unhealthy', fiveTuple),
    ],
    [
      BASE,
      { 'send_tcp_reset.on_unhealthy.enabled': 'on' },
      'send_tcp_reset.on_unhealthy.enabled: expected "true" or "false", received "on"',
    ],
    [BASE, { 'deregistration_delay.timeout_seconds': '3601' }, `${delay} "3601"`],
    [BASE, { 'deregistration_delay.timeout_seconds': 300 }, `${delay} 300`],
    [BASE, { 'deregistration_delay.timeout_seconds': '-1' }, `${delay} "-1"`],
    [
      BASE,
      { 'stickiness.enabled': 'yes' },
      'stickiness.enabled: expected "true" or "false", received "yes"',
    ],
    [
      BASE,
      { 'stickiness.type': 'source_ip' },
      'stickiness.type: expected "source_ip_dest_ip" or "source_ip_dest_ip_proto", received "source_ip"',
    ],
    [
      BASE,
      { 'stickiness.type': 'constructor' },
      'stickiness.type: expected "source_ip_dest_ip" or "source_ip_dest_ip_proto", received "constructor"',
    ],
    [
      BASE,
      { 'target_failover.on_unhealthy': 'drop' },
      'target_failover.on_unhealthy: expected "no_rebalance" or "rebalance", received "drop"',
    ],
    [
      BASE,
      { 'load_balancing.cross_zone.enabled': 'true' },
      'load_balancing.cross_zone.enabled is not an attribute of a GENEVE target group: it is an attribute of the load balancer (crossZone)',
    ],
    [
      BASE,
      { 'slow_start.duration_seconds': '30' },
      'slow_start.duration_seconds is not an attribute of a GENEVE target group: it is an option here (slowStartSeconds)',
    ],
    [BASE, { toString: 'x' }, 'toString is not an attribute of a GENEVE target group: it has '],
  ];
  for (const [before, changes, message] of cases) {
    try {
      changeAttributes(before, changes);
      t.fail(`accepted ${JSON.stringify(changes)}`);
    } catch (error) {
      const { code, message: said } = error as { code: string; message: string };
      t.equal(code, 'ERR_GWLB_ATTRIBUTES');
      t.ok(said.startsWith(message), said);
    }
  }
});
