// A process of the health benchmark: `server`, `gwlb PORT TARGETS` or `http PORT TARGETS`. Says what is
// ready, answers 'progress', ends with its parent.
import { once } from 'node:events';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Gateway, TargetGroup } from 'gwlb';

export const INTERVAL_SECONDS = 5;
const TIMEOUT_SECONDS = 5;

/** What a prober has done so far. */
export interface ProberProgress {
  /** CPU time in microseconds, user and system. */
  cpu: number;
  good: number;
  bad: number;
}

let good = 0;
let bad = 0;

function addresses(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `127.1.${i >>> 8}.${i & 0xff || 1}`).map(
    (address, i) => ((i & 0xff) === 0 ? `127.2.${i >>> 8}.1` : address),
  );
}

async function server(): Promise<number> {
  const http = createServer((_, response) => response.end('ok'));
  http.listen({ port: 0, host: '0.0.0.0', backlog: 1024 });
  await once(http, 'listening');
  return (http.address() as AddressInfo).port;
}

function own(port: number, count: number): void {
  const targetGroup = new TargetGroup({
    healthCheck: {
      protocol: 'HTTP',
      port,
      intervalSeconds: INTERVAL_SECONDS,
      timeoutSeconds: TIMEOUT_SECONDS,
    },
  });
  targetGroup.on('probe', ({ ok }) => {
    if (ok) good += 1;
    else bad += 1;
  });
  targetGroup.register(...addresses(count).map((address) => ({ address })));
  // Health checks run while a gateway uses the group.
  new Gateway({ targetGroup, limits: { flows: 1024, flowsIpv6: 1024 } });
}

/** node:http as one would use it: a request an interval and target, spread over the interval. */
function plain(port: number, count: number): void {
  const probe = (host: string) => {
    const done = (ok: boolean) => {
      if (ok) good += 1;
      else bad += 1;
    };
    const options = { host, port, path: '/', agent: false, timeout: TIMEOUT_SECONDS * 1000 };
    const asked = request(options, (response) => {
      response.resume();
      response.on('end', () => done((response.statusCode ?? 0) < 400));
    });
    asked.on('timeout', () => asked.destroy(new Error('timeout')));
    asked.on('error', () => done(false));
    asked.end();
  };
  const interval = INTERVAL_SECONDS * 1000;
  for (const [i, host] of addresses(count).entries()) {
    setTimeout(
      () => {
        probe(host);
        setInterval(probe, interval, host);
      },
      (interval * i) / count,
    );
  }
}

async function main([role, port, count]: string[]): Promise<void> {
  process.on('disconnect', () => process.exit(0));
  process.on('message', () => {
    const { user, system } = process.cpuUsage();
    process.send?.({ cpu: user + system, good, bad } satisfies ProberProgress);
  });
  if (role === 'server') {
    process.send?.(await server());
    return;
  }
  (role === 'gwlb' ? own : plain)(Number(port), Number(count));
  process.send?.('ready');
}

if (process.send) await main(process.argv.slice(2));
