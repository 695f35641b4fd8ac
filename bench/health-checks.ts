/**
 * What the health checks of a large group cost: 1,000 targets on 127.1.0.0/16, each checked every
 * 5 s, with the server in another process. Prints the share of one core that this process used.
 *
 *   node build-bench/health-checks.js [targets] [seconds]
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { TargetGroup } from 'gwlb';

const INTERVAL_SECONDS = 5;

interface Result {
  protocol: string;
  targets: number;
  checks: number;
  failed: number;
  cpuPercent: number;
  meanMs: number;
  lastMs: number;
}

async function serve(): Promise<void> {
  const server = createServer((_request, response) => response.end('ok'));
  server.listen(0, '0.0.0.0', 4096);
  await once(server, 'listening');
  process.send?.((server.address() as AddressInfo).port);
}

async function measure(
  protocol: 'TCP' | 'HTTP',
  port: number,
  targets: number,
  seconds: number,
): Promise<Result> {
  const group = new TargetGroup({
    healthCheck: { protocol, port, intervalSeconds: INTERVAL_SECONDS, timeoutSeconds: 2 },
  });
  group.register(
    ...Array.from({ length: targets }, (_, i) => ({ address: `127.1.${i >> 8}.${i & 255}` })),
  );
  const durations: number[] = [];
  let failed = 0;
  group.on('probe', ({ ok, durationMs }) => {
    durations.push(durationMs);
    if (!ok) failed++;
  });
  group.attach({ netns: '', flowsActive: () => 0 });
  // The first round begins at once; what counts is the steady state.
  await sleep(INTERVAL_SECONDS * 1000);
  durations.length = 0;
  const cpu = process.cpuUsage();
  const startedAt = performance.now();
  await sleep(seconds * 1000);
  const { user, system } = process.cpuUsage(cpu);
  const elapsedMs = performance.now() - startedAt;
  group.detach();
  await group.close();
  durations.sort((a, b) => a - b);
  const expected = (targets * seconds) / INTERVAL_SECONDS;
  if (failed > 0 || Math.abs(durations.length - expected) > expected * 0.1 + 2) {
    throw new Error(`${durations.length} checks, ${failed} failed; expected ${expected}`);
  }
  return {
    protocol,
    targets,
    checks: durations.length,
    failed,
    cpuPercent: round((user + system) / 10 / elapsedMs),
    meanMs: round(durations.reduce((sum, ms) => sum + ms, 0) / durations.length),
    lastMs: round(durations.at(-1) ?? 0),
  };
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function main(): Promise<void> {
  const targets = Number(process.argv[2] ?? 1000);
  const seconds = Number(process.argv[3] ?? 10);
  const server = fork(fileURLToPath(import.meta.url), ['serve']);
  try {
    const [port] = await once(server, 'message');
    const results = [
      await measure('TCP', port, targets, seconds),
      await measure('HTTP', port, targets, seconds),
    ];
    console.table(results);
  } finally {
    server.kill();
  }
}

if (process.argv[2] === 'serve') await serve();
else await main();
