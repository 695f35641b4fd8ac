// What a packet costs an inspector in JavaScript when packets wait for it: JavaScript is held up until the
// engine has filled all of its batches, and then charged for the CPU time until it has handled them.
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
  let packets = 0;
  appliance.inspect((batch) => {
    for (const packet of batch) {
      packets += 1;
      sum ^=
        packet.protocol +
        packet.sourceAddress +
        packet.destinationAddress +
        packet.sourcePort +
        packet.destinationPort;
    }
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
      const before = packets;
      const started = addon.cpuNs();
      await turn();
      await turn();
      const ns = addon.cpuNs() - started;
      if (packets - before < PACKETS_MIN) continue;
      if (n >= 0) costs.push(ns / (packets - before));
      n += 1;
    }
  } finally {
    child.kill('SIGKILL');
    await once(child, 'exit');
    await appliance.close();
  }
  return costs;
}
