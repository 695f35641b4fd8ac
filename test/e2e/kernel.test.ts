/** Real traffic through appliances whose kernels forward it: out of GENEVE into Linux and back. */
import type { Test } from 'tap';
import { runIn } from '../../server/src/lab/processes.js';
import type { ApplianceTunOptions } from '../../src/index.js';
import { CLIENT, Fleet, INNER_MTU, SERVER, setMtu } from '../support/fleet.js';
import { runPrivately } from '../support/privately.js';
import { startServers, traffic } from '../support/processes.js';
import type { Questions, Transfer } from '../support/traffic.js';
import { cannotRun, WIDE, whyMissing } from '../support/wide.js';

const reason = await runPrivately(import.meta.url);
const { default: t } = await import('tap');

const MEGABYTE = 1_000_000;
/** What the kernel loses where it has no room; TCP sends it again. */
const NO_ROOM = ['receive_overflow', 'send_would_block', 'worker_ring_full', 'device_overflow'];

async function story(t: Test, kernel: ApplianceTunOptions): Promise<void> {
  const fleet = await Fleet.build({ kernel, listen: { offloads: kernel.offloads ?? true } });
  t.teardown(() => fleet.close());
  const server = await startServers('server');
  t.teardown(() => server.kill('SIGKILL'));

  for (const host of [SERVER.v4, SERVER.v6]) {
    t.test(`a TCP transfer to ${host} arrives as it was sent`, async (t) => {
      const total = (WIDE ? 100 : 20) * MEGABYTE;
      const args = ['send', host, String(total)];
      const { sent, received } = await traffic<Transfer>('client', args);
      t.strictSame(received, sent);
      t.equal(received.bytes, total);
    });

    for (const bytes of ['0', '3000']) {
      t.test(`questions of ${bytes} bytes to ${host} over UDP have answers`, async (t) => {
        const args = ['ask', host, '20', '5', bytes];
        const told = await traffic<Questions>('client', args);
        t.strictSame(told, { asked: 100, answered: 100 });
      });
    }
  }

  // With a deadline it waits for its answers however slow the machine is, not for twice the last one's time.
  t.test('ping, also in fragments', { skip: pingMissing() }, async (t) => {
    for (const host of [SERVER.v4, SERVER.v6]) {
      for (const size of ['56', '3000']) {
        const args = ['-q', '-c', '5', '-i', '0.05', '-w', '15', '-s', size, host];
        const { out } = await runIn('client', 'ping', args);
        t.match(out, /, 5 received/, `${host} ${size}`);
      }
    }
    await setMtu(fleet.lab, INNER_MTU);
    const args = ['-q', '-c', '3', '-i', '0.05', '-w', '15', '-M', 'do', '-s', '8472', SERVER.v4];
    const { out } = await runIn('client', 'ping', args);
    t.match(out, /, 3 received/, 'as large as AWS carries');
  });

  t.test('what the kernel refuses is told to the client', async (t) => {
    for (const [i] of fleet.appliances.entries()) {
      await fleet.lab.ip(`appliance${i}`, [`route add unreachable ${SERVER.v4}/32`]);
    }
    const args = ['-q', '-c', '1', '-W', '15', SERVER.v4];
    const { out } = await runIn('client', 'ping', args);
    t.match(out, /\+1 errors/);
    for (const [i] of fleet.appliances.entries()) {
      await fleet.lab.ip(`appliance${i}`, [`route del unreachable ${SERVER.v4}/32`]);
    }
  });

  t.test('every packet has its flow, and the books agree', async (t) => {
    const dropped = (drops: Record<string, number>) =>
      Object.entries(drops).filter(([name, count]) => count > 0 && !NO_ROOM.includes(name));
    t.strictSame(dropped(fleet.gateway.counters().drops), [], 'the gateway took all of them');
    for (const [i, appliance] of fleet.appliances.entries()) {
      const own = appliance.counters();
      t.strictSame(dropped(own.drops), [], 'nothing was dropped but for lack of room');
      const lost = Object.values(own.drops).reduce((sum, count) => sum + count, 0);
      t.equal(
        own.packetsReceived +
          own.packetsFromKernel +
          own.drops.receive_overflow +
          own.drops.device_overflow,
        own.packetsReturned + own.packetsToKernel + lost,
      );
      const { packetsToKernel, packetsFromKernel, packetsReturned } = fleet.tuns[i].counters();
      t.match(own, { packetsToKernel, packetsFromKernel, packetsReturned });
      t.ok(packetsToKernel > 0, 'both appliances worked');
    }
    const flows = fleet.tuns.map((tun) => tun.flows());
    t.ok(flows.some(({ ipv4 }) => ipv4 > 0) && flows.some(({ ipv6 }) => ipv6 > 0));
  });

  t.test('without its devices an appliance returns packets itself', async (t) => {
    const before = fleet.appliances.map((appliance) => appliance.counters());
    await Promise.all(fleet.tuns.map((tun) => tun.detach()));
    const args = ['ask', SERVER.v4, '5', '4', '0'];
    const told = await traffic<Questions>('client', args);
    t.strictSame(told, { asked: 20, answered: 20 });
    for (const [i, appliance] of fleet.appliances.entries()) {
      t.equal(appliance.counters().packetsToKernel, before[i].packetsToKernel);
    }
  });
}

function pingMissing(): string | false {
  const missing = whyMissing('ping');
  if (missing !== null && WIDE) throw new Error(missing);
  return missing ?? false;
}

async function tests(): Promise<void> {
  t.comment(`between ${CLIENT.v4} and ${SERVER.v4}`);
  await t.test('one device', async (t) => story(t, { name: 'gwk0' }));
  if (!WIDE) return;
  await t.test('two devices', async (t) => story(t, { name: 'gwi0', out: 'gwo0' }));
  await t.test('without offloads', async (t) => story(t, { name: 'gwk0', offloads: false }));
}

if (reason === null) await tests();
else cannotRun(t, reason);
