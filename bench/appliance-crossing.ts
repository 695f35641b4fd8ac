// What a packet costs an inspector in JavaScript when packets wait for it, so that batch follows batch:
// JavaScript is held up until the engine has filled all of its batches, and then charged for the CPU time
// from the end of the first one, which finds cold caches, to the end of the last.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import { Appliance } from 'gwlb';
import { addon } from './addon.js';
import { prove } from './harness.js';

const HELD_MS = 40;
const PACKETS_MIN = 1024;

/** What the inspector computes, so that it has read the 5-tuple. */
export let sum = 0;

/** Nanoseconds of CPU time a packet; `generator` is a command that keeps packets coming to `address`. */
export async function crossing(
  address: string,
  generator: readonly string[],
  samples: number,
): Promise<number[]> {
  const appliance = await Appliance.listen({ address, healthCheck: false });
  // Of this go: packets behind its first batch, and the CPU time at the end of its first and its last.
  let packets = 0;
  let first = 0;
  let last = 0;
  appliance.inspect((batch) => {
    if (first !== 0) packets += batch.count;
    for (const packet of batch) {
      sum ^=
        packet.protocol +
        packet.sourceAddress +
        packet.destinationAddress +
        packet.sourcePort +
        packet.destinationPort;
    }
    last = addon.cpuNs();
    if (first === 0) first = last;
  });
  const [program, ...args] = generator;
  const child = spawn(program, [...args, String(process.pid)], { stdio: 'ignore' });
  const hold = new Int32Array(new SharedArrayBuffer(4));
  const costs: number[] = [];
  try {
    // The first ones warm the code up.
    for (let n = -5; n < samples; ) {
      prove('the generator goes on', child.exitCode, null);
      Atomics.wait(hold, 0, 0, HELD_MS);
      packets = first = 0;
      await turn();
      await turn();
      if (packets < PACKETS_MIN) continue;
      if (n >= 0) costs.push((last - first) / packets);
      n += 1;
    }
  } finally {
    child.kill('SIGKILL');
    await once(child, 'exit');
    await appliance.close();
  }
  return costs;
}
