/** An appliance's process: its rules, and a record of what it saw. */
import { Appliance, type ApplianceOptions, type ApplianceTun, type InspectedPacket } from 'gwlb';
import { serve } from '../lab/remote.js';
import { FORBIDDEN_PATH, FORBIDDEN_PORT, now, type SeenFlow, type SeenPacket } from './types.js';

export interface ApplianceStart {
  listen: ApplianceOptions;
  /** First digits of the clients' addresses. */
  clientPrefix: string;
}

const FORBIDDEN = Buffer.from(` ${FORBIDDEN_PATH} `);
const REPORT_MS = 100;
const TCP = 6;

let appliance: Appliance;
let tun: ApplianceTun | null = null;
let clientPrefix = '';
let followed = '';
const flows = new Map<string, SeenFlow>();
const packetsSeen: SeenPacket[] = [];
const changed = new Set<SeenFlow>();

async function begin(options: ApplianceStart): Promise<void> {
  clientPrefix = options.clientPrefix;
  appliance = await Appliance.listen({
    ...options.listen,
    drop: [{ protocol: 'tcp', port: FORBIDDEN_PORT }],
  });
  appliance.inspect((packets) => {
    for (const packet of packets) inspect(packet, packets.port[packet.index]);
  });
  setInterval(report, REPORT_MS).unref();
}

function inspect(packet: InspectedPacket, outerSourcePort: number): void {
  if (packet.protocol !== TCP) return;
  const source = `${packet.source}:${packet.sourcePort}`;
  const destination = `${packet.destination}:${packet.destinationPort}`;
  const toServer = source.startsWith(clientPrefix);
  const [client, server] = toServer ? [source, destination] : [destination, source];
  const forbidden = toServer && Buffer.from(packet.bytes).includes(FORBIDDEN);
  if (forbidden) packet.drop();

  const { cookie } = packet;
  const key = `${client} ${server} ${cookie}`;
  let flow = flows.get(key);
  if (!flow) {
    const endpoint = packet.endpointId;
    flow = { client, server, cookie, endpoint, toServer: 0, toClient: 0, dropped: 0 };
    flows.set(key, flow);
  }
  if (toServer) flow.toServer++;
  else flow.toClient++;
  if (forbidden) flow.dropped++;
  changed.add(flow);
  if (client === followed) packetsSeen.push(seen(packet, toServer, forbidden, outerSourcePort));
}

function seen(
  packet: InspectedPacket,
  toServer: boolean,
  dropped: boolean,
  outerSourcePort: number,
): SeenPacket {
  const { bytes } = packet;
  const flags = bytes[(bytes[0] & 15) * 4 + 13];
  const names = ['FIN', 'SYN', 'RST', 'PSH', 'ACK'].filter((_, bit) => (flags >> bit) & 1);
  return {
    at: now(),
    toServer,
    bytes: packet.length,
    tcpFlags: names.join('+'),
    cookie: packet.cookie,
    endpoint: packet.endpointId,
    outerSourcePort,
    verdict: dropped ? 'drop' : 'pass',
  };
}

function report(): void {
  if (changed.size === 0) return;
  note('flows', [...changed]);
  changed.clear();
}

let note: (name: string, value: unknown) => void;

export function start(): void {
  note = serve({
    begin,
    /** Hands what the inspector passes to the kernel, by a device. */
    attach: async (name: string) => {
      tun = await appliance.attachTun({ name });
    },
    detach: async () => {
      await tun?.detach();
    },
    follow: (client: string) => {
      followed = client;
      packetsSeen.length = 0;
    },
    followed: () => packetsSeen,
    counters: () => {
      report();
      return appliance.counters();
    },
    close: () => appliance.close(),
  });
}
