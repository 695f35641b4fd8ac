/** Listener attributes under their AWS names. */
import t from 'tap';
import {
  Gateway,
  type GatewayError,
  type ListenerAttributes,
  TargetGroup,
} from '../../src/index.js';

const IDLE = 'tcp.idle_timeout.seconds';
const RESET = 'send_tcp_reset.on_idle_timeout.enabled';

t.test('they are another name for the options', async (t) => {
  const gateway = new Gateway({ targetGroup: new TargetGroup() });
  t.teardown(() => gateway.close());
  t.strictSame({ ...gateway.listenerAttributes }, { [IDLE]: '350', [RESET]: 'false' });
  gateway.modifyListenerAttributes({ [IDLE]: '600' });
  t.equal(gateway.idleTimeout.tcpSeconds, 600);
  t.equal(gateway.sendTcpReset.onIdleTimeout, false);
  gateway.modifyListenerAttributes({ [RESET]: 'true' });
  t.equal(gateway.sendTcpReset.onIdleTimeout, true);
  gateway.setIdleTimeout({ tcpSeconds: 60 });
  t.strictSame({ ...gateway.listenerAttributes }, { [IDLE]: '60', [RESET]: 'true' });
});

t.test('a wrong one is refused by name, and nothing changes', async (t) => {
  const gateway = new Gateway({ targetGroup: new TargetGroup() });
  t.teardown(() => gateway.close());
  const wrong: [Record<string, unknown>, RegExp][] = [
    [{ [IDLE]: '59' }, /^tcp\.idle_timeout\.seconds: expected "60"–"6000", received "59"$/],
    [{ [IDLE]: '6001' }, /received "6001"$/],
    [{ [IDLE]: 600 }, /received 600$/],
    [{ [IDLE]: '6e2' }, /received "6e2"$/],
    [
      { [IDLE]: '600', [RESET]: 'yes' },
      /^send_tcp_reset.*expected "true" or "false", received "yes"/,
    ],
    [{ 'routing.http.x': '1' }, /^routing\.http\.x is not an attribute of a listener: it has tcp/],
  ];
  for (const [changes, message] of wrong) {
    try {
      gateway.modifyListenerAttributes(changes as Partial<ListenerAttributes>);
      t.fail(`${message} was not thrown`);
    } catch (error) {
      t.equal((error as GatewayError).code, 'ERR_GWLB_ATTRIBUTES');
      t.match((error as GatewayError).message, message);
    }
    t.equal(gateway.idleTimeout.tcpSeconds, 350);
  }
});

t.test('the idle timeout needs 5-tuple stickiness', async (t) => {
  const gateway = new Gateway({ targetGroup: new TargetGroup({ stickiness: '2-tuple' }) });
  t.teardown(() => gateway.close());
  t.throws(
    () => {
      gateway.modifyListenerAttributes({ [IDLE]: '600', [RESET]: 'true' });
    },
    { code: 'ERR_GWLB_ATTRIBUTES' },
  );
  t.equal(gateway.sendTcpReset.onIdleTimeout, false, 'all or none');
});
