/** The metrics listener under those who ask and never read. */
import { once } from 'node:events';
import { connect } from 'node:net';
import t from 'tap';
import { MetricsServer } from '../../src/observe/metrics-server.js';

const address = '127.0.0.1';
const port = 30_000 + (process.pid % 10_000);

t.test('what failed is alive no more, and not ready', async (t) => {
  let failure: Error | null = null;
  let ready = true;
  const server = await MetricsServer.listen(
    { address, port: port - 1 },
    {
      text: async () => '',
      failure: () => failure,
      readiness: () => ({ ready, endpoints: [], lines: ['a line'] }),
    },
  );
  t.teardown(() => server.close());
  const ask = async (path: string) => {
    const response = await fetch(`http://${address}:${port - 1}${path}`);
    return [response.status, await response.text()];
  };
  t.strictSame(await ask('/healthz'), [200, 'ok\n']);
  t.strictSame(await ask('/readyz'), [200, 'a line\n']);
  ready = false;
  t.strictSame(await ask('/healthz'), [200, 'ok\n']);
  t.strictSame(await ask('/readyz'), [503, 'a line\n']);
  [failure, ready] = [new Error('broken'), true];
  t.strictSame(await ask('/healthz'), [503, 'broken\n']);
  t.strictSame(await ask('/readyz'), [503, 'forwarding failed: broken\na line\n']);
});

t.test('five connections with 2,000 requests each cost a scrape or two', async (t) => {
  let scrapes = 0;
  const server = await MetricsServer.listen(
    { address, port },
    {
      text: async () => {
        scrapes += 1;
        return 'x'.repeat(1 << 20);
      },
      failure: () => null,
      readiness: () => ({ ready: true, endpoints: [], lines: ['fine'] }),
    },
  );
  t.teardown(() => server.close());
  const attackers = Array.from({ length: 5 }, () => connect(port, address).on('error', () => {}));
  t.teardown(() => {
    for (const socket of attackers) socket.destroy();
  });
  await Promise.all(
    attackers.map(async (socket) => {
      socket.pause();
      await once(socket, 'connect');
      socket.write('GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n'.repeat(2_000));
    }),
  );
  const ask = async (path: string) => {
    const response = await fetch(`http://${address}:${port}${path}`);
    return [response.status, (await response.text()).length];
  };
  t.strictSame(await ask('/healthz'), [200, 3]);
  t.strictSame(await ask('/metrics'), [200, 1 << 20]);
  t.ok(scrapes <= 6, `${scrapes} scrapes for six connections`);
  t.strictSame(await ask('/readyz'), [200, 5]);
  t.equal((await ask('/none'))[0], 404);
});
