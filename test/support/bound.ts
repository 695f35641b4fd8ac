import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import type { Teardown } from './teardown.js';

/** A UDP socket on an address of ours, until the test's end. */
export async function bound(t: Teardown, address: string, port = 6081): Promise<Socket> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  t.teardown(() => socket.close());
  socket.bind(port, address);
  await once(socket, 'listening');
  return socket;
}
