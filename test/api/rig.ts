/** A consumer network and a fleet on 127.0.0.0/8: what the tests of listening objects share. */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { decodeGeneve, encodeGeneve } from '../../src/index.js';

/** What a test has to undo things at its end. */
export interface Teardown {
  teardown(undo: () => unknown): void;
}

export interface Received {
  vni: number;
  protocolType: number;
  inner: Uint8Array;
  from: RemoteInfo;
}

/** A remote GENEVE peer: sends inner packets to a gateway, and keeps what comes back. */
export class Peer {
  readonly received: Received[] = [];
  readonly vni: number;
  readonly #socket: Socket;
  readonly #gateway: string;

  private constructor(socket: Socket, gateway: string, vni: number) {
    this.#socket = socket;
    this.#gateway = gateway;
    this.vni = vni;
    socket.on('message', (message, from) => {
      const { header } = decodeGeneve(message);
      if (!header) return;
      const { vni: id, protocolType, headerLength } = header;
      this.received.push({ vni: id, protocolType, inner: message.subarray(headerLength), from });
    });
  }

  static async open(t: Teardown, address: string, gateway: string, vni = 7): Promise<Peer> {
    const socket = createSocket('udp4');
    t.teardown(() => socket.close());
    socket.bind(6081, address);
    await once(socket, 'listening');
    return new Peer(socket, gateway, vni);
  }

  send(inner: Uint8Array): void {
    const protocolType = inner[0] >>> 4 === 6 ? 0x86dd : 0x0800;
    const header = encodeGeneve({ vni: this.vni, protocolType });
    this.#socket.send(Buffer.concat([header, inner]), 6081, this.#gateway);
  }

  /** Waits until so many packets have come. */
  async until(count: number): Promise<Received[]> {
    await until(() => this.received.length >= count, `${count} packets at the peer`);
    return this.received;
  }
}

/** Waits for something to come true; fails after some seconds. */
export async function until(isTrue: () => boolean, what: string): Promise<void> {
  const end = performance.now() + 15_000;
  while (!isTrue()) {
    if (performance.now() > end) throw new Error(`never came true: ${what}`);
    await delay(10);
  }
}

/** Counters once they are as a worker leaves them: it counts what it sends when that is under way. */
export async function settled<T>(read: () => T, isThere: (counters: T) => boolean): Promise<T> {
  await until(() => isThere(read()), 'the counters');
  return read();
}
