/** A consumer network and a fleet on 127.0.0.0/8: what the tests of listening objects share. */
import type { RemoteInfo, Socket } from 'node:dgram';
import { decodeGeneve, encodeGeneve } from '../../src/index.js';
import { bound } from '../support/bound.js';
import type { Teardown } from '../support/teardown.js';
import { until } from '../support/until.js';

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
    return new Peer(await bound(t, address), gateway, vni);
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

/** Counters once they are as a worker leaves them: it counts what it sends when that is under way. */
export async function settled<T>(read: () => T, isThere: (counters: T) => boolean): Promise<T> {
  await until(() => isThere(read()), 'the counters');
  return read();
}
