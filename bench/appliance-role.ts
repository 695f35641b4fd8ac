// An appliance of the appliance benchmark: `pass|flow|inspect|dgram ADDRESS`. Says when it is ready.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { Appliance } from 'gwlb';

const PORT = 6081;
const HEADER = 40;

/** What inspectors compute of every packet, so that they read its 5-tuple. */
export let sum = 0;

async function own(kind: string, address: string): Promise<void> {
  const appliance = await Appliance.listen({ address, healthCheck: false });
  if (kind === 'pass') return;
  const verdicts = kind === 'flow';
  appliance.inspect((packets) => {
    for (const packet of packets) {
      sum ^=
        packet.protocol +
        packet.sourceAddress +
        packet.destinationAddress +
        packet.sourcePort +
        packet.destinationPort;
      if (verdicts) packet.passFlow();
    }
  });
}

/** The same with Node's own sockets: looks where a header has to be, and returns the datagram. */
async function dgram(address: string): Promise<void> {
  const socket = createSocket({ type: 'udp4', recvBufferSize: 4 << 20, sendBufferSize: 4 << 20 });
  socket.on('message', (message, { address: gateway }) => {
    if (message.length < HEADER + 28 || message[0] !== 8) return;
    const view = new DataView(message.buffer, message.byteOffset, message.length);
    sum ^=
      view.getUint8(HEADER + 9) +
      view.getUint32(HEADER + 12) +
      view.getUint32(HEADER + 16) +
      view.getUint16(HEADER + 20) +
      view.getUint16(HEADER + 22);
    socket.send(message, PORT, gateway);
  });
  socket.bind(PORT, address);
  await once(socket, 'listening');
}

const [kind, address] = process.argv.slice(2);
await (kind === 'dgram' ? dgram(address) : own(kind, address));
process.stdout.write('ready\n');
