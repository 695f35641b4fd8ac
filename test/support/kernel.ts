/** The kernel's own network stack as a judge: packets in by a TUN device, and what becomes of them. */
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { inNamespace, kill, runIn, start } from '../../server/src/lab/processes.js';
import { type CapturedFrame, PcapWriter, readCapture } from '../../src/index.js';
import { ROOT } from './places.js';
import { until } from './until.js';

export const KERNEL = join(ROOT, 'test/support/kernel.py');
const LINK_RAW_IP = 101;

/** Writes packets, from their IP headers on, to a capture; a second apart. */
export function writePackets(path: string, packets: readonly Uint8Array[]): void {
  using writer = new PcapWriter(path, { link: LINK_RAW_IP });
  packets.forEach((packet, i) => {
    writer.write(packet, BigInt(i) * 1_000_000_000n);
  });
}

/** The packets of a capture enter a namespace by a TUN device that is there. */
export async function inject(namespace: string, device: string, capture: string): Promise<void> {
  const { status, out, err } = await runIn(namespace, 'python3', [KERNEL, 'send', device, capture]);
  if (status !== 0) throw new Error(`inject into ${device}: ${err}`);
  if (out.trim() !== '0') throw new Error(`${device}: the kernel refused ${out.trim()} packets`);
}

/** Captures what a device of a namespace sees. */
export class Recorder {
  readonly #path: string;
  readonly #tcpdump: ChildProcess;

  static async start(namespace: string, device: string, path: string): Promise<Recorder> {
    const command = `tcpdump -n -i ${device} -w '${path}' --immediate-mode -U -B 65536 2>&1`;
    const tcpdump = await start(...inNamespace(namespace, ['sh', '-c', `exec ${command}`]));
    return new Recorder(path, tcpdump);
  }

  private constructor(path: string, tcpdump: ChildProcess) {
    this.#path = path;
    this.#tcpdump = tcpdump;
  }

  /** Waits until one of the frames is the one; then all of them. Fails if it does not come. */
  async until(isTheOne: (frame: CapturedFrame) => boolean): Promise<CapturedFrame[]> {
    return until(
      () => complete(this.#path),
      (frames) => frames.some(isTheOne),
      'a frame is captured',
    );
  }

  /** Ends the capture; what it has is in the file. */
  async stop(): Promise<void> {
    await kill(this.#tcpdump, 'SIGINT');
  }
}

/** The frames of a file that is still being written. */
function complete(path: string): CapturedFrame[] {
  const frames: CapturedFrame[] = [];
  try {
    for (const frame of readCapture(path)) frames.push({ ...frame, data: frame.data.slice() });
  } catch {
    // The last one is not there in full yet.
  }
  return frames;
}
